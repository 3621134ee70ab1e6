/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/falloc.h>

#include "stream/gate.h"
#include "tests/unit/unit.h"

#define HAS(name) (1u << ATTR_##name)

static Command command(CommandKind kind, uint32_t attrs, const char *path) {
        Command c = {.kind = kind, .attrs = attrs | HAS(PATH), .offset = 99};

        memcpy(c.path, path, strlen(path) + 1);
        memset(c.uuid, 1, sizeof(c.uuid));
        return c;
}

static Gate begun(const StreamLimits *limits) {
        static const StreamLimits none;
        Command c = command(CMD_SUBVOL, HAS(UUID) | HAS(CTRANSID), "s");
        Gate g;

        gate_init(&g, limits ? limits : &none);
        assert_int_equal(gate_check(&g, &c, NULL), 0);
        return g;
}

static void refuse(Gate *g, const Command *c, ErrKind kind, const char *part) {
        Err *e = NULL;

        assert_true(gate_check(g, c, &e) < 0);
        assert_non_null(strstr(err_text(e), "Byte 99 of the stream"));
        assert_story(&e, kind, part);
}

static void paths_stay_below(void **state _unused_) {
        static const struct {
                const char *path, *why;
        } bad[] = {
                        {"", "is empty"},
                        {"/", "absolute"},
                        {"/a", "absolute"},
                        {"..", "component .."},
                        {"../a", "component .."},
                        {"a/..", "component .."},
                        {"a/../b", "component .."},
                        {".", "component ."},
                        {"./a", "component ."},
                        {"a/./b", "component ."},
                        {"a/.", "component ."},
                        {"a/", "empty component"},
                        {"a//b", "empty component"},
        };
        static const char *const good[] = {
                        "a", "a/b", "...", "..a", "a..", ".a/..b/...", "\n", "\xff"};
        char name[300];

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                Gate g = begun(NULL);
                Command c = command(CMD_UNLINK, 0, bad[i].path);

                refuse(&g, &c, ERR_UNSAFE_PATH, bad[i].why);
                c = command(CMD_RENAME, HAS(PATH_TO), "a");
                memcpy(c.path_to, bad[i].path, strlen(bad[i].path) + 1);
                refuse(&g, &c, ERR_UNSAFE_PATH, bad[i].why);
                c.kind = CMD_LINK;
                c.attrs = HAS(PATH) | HAS(PATH_LINK);
                refuse(&g, &c, ERR_UNSAFE_PATH, bad[i].why);
                c = command(CMD_SUBVOL, HAS(UUID), bad[i].path);
                g.open = false;
                refuse(&g, &c, ERR_UNSAFE_PATH, bad[i].why);
        }
        for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
                Gate g = begun(NULL);
                Command c = command(CMD_UNLINK, 0, good[i]);

                assert_int_equal(gate_check(&g, &c, NULL), 0);
        }

        memset(name, 'n', sizeof(name));
        for (size_t n = 254; n < 258; n++) {
                Gate g = begun(NULL);
                Command c;

                name[n] = '\0';
                c = command(CMD_UNLINK, 0, name);
                if (n <= NAME_MAX)
                        assert_int_equal(gate_check(&g, &c, NULL), 0);
                else
                        refuse(&g, &c, ERR_UNSAFE_PATH, "more than 255");
                name[n] = 'n';
        }
}

/* A link may point anywhere: nobody here follows it. */
static void targets_are_free(void **state _unused_) {
        Gate g = begun(NULL);
        Command c = command(CMD_SYMLINK, HAS(PATH_LINK) | HAS(INO), "l");

        strcpy(c.path_to, "/../..//etc");
        assert_int_equal(gate_check(&g, &c, NULL), 0);
        c.path_to[0] = '\0';
        refuse(&g, &c, ERR_BAD_STREAM, "points nowhere");
}

static void the_root_takes_metadata_only(void **state _unused_) {
        for (CommandKind k = CMD_MKFILE; k < CMD_ENABLE_VERITY; k++) {
                Gate g = begun(NULL);
                Command c = command(k, 0, "");
                bool may = k == CMD_CHMOD || k == CMD_CHOWN || k == CMD_UTIMES ||
                           k == CMD_FILEATTR || k == CMD_SET_XATTR || k == CMD_REMOVE_XATTR;

                if (k == CMD_END)
                        continue;
                strcpy(c.xattr_name, "user.a");
                if (may)
                        assert_int_equal(gate_check(&g, &c, NULL), 0);
                else
                        refuse(&g, &c, ERR_UNSAFE_PATH, "is empty");
        }
}

static void order_matters(void **state _unused_) {
        Gate g = begun(NULL);
        Command sub = command(CMD_SUBVOL, HAS(UUID) | HAS(CTRANSID), "t");
        Command end = {.kind = CMD_END, .offset = 99}, file = command(CMD_MKFILE, HAS(INO), "f");

        refuse(&g, &sub, ERR_BAD_STREAM, "before the END");
        sub.kind = CMD_SNAPSHOT;
        refuse(&g, &sub, ERR_BAD_STREAM, "before the END");
        assert_int_equal(gate_check(&g, &end, NULL), 0);
        refuse(&g, &end, ERR_BAD_STREAM, "before any subvolume");
        refuse(&g, &file, ERR_BAD_STREAM, "before any subvolume");
        memset(sub.clone_uuid, 2, sizeof(sub.clone_uuid));
        sub.clone_ctransid = 5;
        assert_int_equal(gate_check(&g, &sub, NULL), 0);
        assert_true(g.subvol.incremental);
        assert_int_equal(g.subvol.parent_uuid[0], 2);
        assert_int_equal(g.subvol.parent_ctransid, 5);
        assert_string_equal(g.subvol.name, "t");
        assert_int_equal(gate_check(&g, &file, NULL), 0);
        assert_int_equal(g.subvol.inodes, 1);
}

static void limits_hold(void **state _unused_) {
        StreamLimits limits = {.bytes = 100, .inodes = 2, .file_size = 1000, .subvols = 1};
        Gate g = begun(&limits);
        Command c = command(CMD_WRITE, HAS(FILE_OFFSET) | HAS(DATA), "f");

        c.data_size = 60;
        c.file_offset = 940;
        assert_int_equal(gate_check(&g, &c, NULL), 0);
        c.file_offset = 941;
        refuse(&g, &c, ERR_LIMIT_EXCEEDED, "more than 1000 bytes");
        c.file_offset = 0;
        refuse(&g, &c, ERR_LIMIT_EXCEEDED, "100 bytes of data");
        c.data_size = 40;
        assert_int_equal(gate_check(&g, &c, NULL), 0);
        c.data_size = 1;
        refuse(&g, &c, ERR_LIMIT_EXCEEDED, "100 bytes of data");
        assert_int_equal(g.subvol.bytes, 100);

        c = command(CMD_TRUNCATE, HAS(SIZE), "f");
        c.size = 1000;
        assert_int_equal(gate_check(&g, &c, NULL), 0);
        c.size = 1001;
        refuse(&g, &c, ERR_LIMIT_EXCEEDED, "more than 1000");

        c = command(CMD_MKDIR, HAS(INO), "d");
        assert_int_equal(gate_check(&g, &c, NULL), 0);
        assert_int_equal(gate_check(&g, &c, NULL), 0);
        refuse(&g, &c, ERR_LIMIT_EXCEEDED, "more than 2 inodes");

        g.open = false;
        c = command(CMD_SUBVOL, HAS(UUID), "t");
        refuse(&g, &c, ERR_LIMIT_EXCEEDED, "more than 1 subvolumes");
}

static void no_sum_overflows(void **state _unused_) {
        static const uint64_t edges[] = {
                        INT64_MAX, (uint64_t) INT64_MAX + 1, UINT64_MAX - 1, UINT64_MAX};

        for (size_t i = 0; i < ARRAY_SIZE(edges); i++) {
                Gate g = begun(NULL);
                Command c = command(CMD_WRITE, HAS(FILE_OFFSET) | HAS(DATA), "f");

                c.file_offset = edges[i];
                c.data_size = 1;
                refuse(&g, &c, ERR_LIMIT_EXCEEDED, "a file of more than");
                c = command(CMD_CLONE, HAS(FILE_OFFSET) | HAS(CLONE_LEN) | HAS(CLONE_PATH), "f");
                strcpy(c.path_to, "g");
                c.clone_len = edges[i];
                c.clone_offset = 1;
                refuse(&g, &c, ERR_BAD_STREAM, "source range");
                c.clone_offset = edges[i];
                c.clone_len = edges[i];
                c.file_offset = edges[i];
                refuse(&g, &c, ERR_BAD_STREAM, "source range");
                c = command(CMD_FALLOCATE, HAS(FILE_OFFSET) | HAS(SIZE), "f");
                c.file_offset = c.size = edges[i];
                refuse(&g, &c, ERR_LIMIT_EXCEEDED, "a file of more than");
        }
}

static void the_policy_decides(void **state _unused_) {
        StreamLimits limits = {
                        .forbid_devices = true, .forbid_setuid = true, .forbid_xattrs = true};
        Gate strict = begun(&limits), open = begun(NULL);
        Command c = command(CMD_MKNOD, HAS(MODE) | HAS(RDEV) | HAS(INO), "n");

        c.mode = S_IFCHR | 0600;
        assert_int_equal(gate_check(&open, &c, NULL), 0);
        refuse(&strict, &c, ERR_FORBIDDEN_CONTENT, "device node");
        c.mode = S_IFREG | 0600;
        refuse(&open, &c, ERR_BAD_STREAM, "not that of a device");

        c = command(CMD_CHMOD, HAS(MODE), "f");
        for (c.mode = 0; c.mode <= 010000; c.mode++) {
                bool special = c.mode & 06000;

                if (c.mode > 07777) {
                        refuse(&open, &c, ERR_BAD_STREAM, "out of range");
                        continue;
                }
                assert_int_equal(gate_check(&open, &c, NULL), 0);
                if (special)
                        refuse(&strict, &c, ERR_FORBIDDEN_CONTENT, "setuid");
                else
                        assert_int_equal(gate_check(&strict, &c, NULL), 0);
        }

        c = command(CMD_SET_XATTR, HAS(XATTR_NAME) | HAS(XATTR_DATA), "f");
        static const struct {
                const char *name;
                bool known, strict;
        } names[] = {
                        {"user.a", true, true},
                        {"btrfs.compression", true, true},
                        {"system.posix_acl_access", true, true},
                        {"security.capability", true, false},
                        {"security.selinux", true, false},
                        {"trusted.x", true, false},
                        {"trusted.", false, false},
                        {"user", false, false},
                        {"", false, false},
                        {"xuser.a", false, false},
        };
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                strcpy(c.xattr_name, names[i].name);
                assert_int_equal(gate_check(&open, &c, NULL) == 0, names[i].known);
                assert_int_equal(gate_check(&strict, &c, NULL) == 0, names[i].strict);
        }
}

static void names_and_kinds_must_fit(void **state _unused_) {
        static const struct {
                CommandKind kind;
                mode_t right;
                const char *why;
        } kinds[] = {
                        {CMD_MKFIFO, S_IFIFO, "not that of a fifo"},
                        {CMD_MKSOCK, S_IFSOCK, "not that of a socket"},
                        {CMD_MKNOD, S_IFBLK, "not that of a device"},
        };
        Gate g = begun(NULL);
        Command c = command(CMD_SUBVOL, HAS(UUID) | HAS(CTRANSID), "t");

        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
                c = command(kinds[i].kind, HAS(MODE) | HAS(RDEV) | HAS(INO), "n");
                c.mode = kinds[i].right | 0600;
                assert_int_equal(gate_check(&g, &c, NULL), 0);
                c.mode = S_IFDIR | 0600;
                refuse(&g, &c, ERR_BAD_STREAM, kinds[i].why);
                c.mode = UINT64_C(1) << 32 | kinds[i].right;
                refuse(&g, &c, ERR_BAD_STREAM, "out of range");
        }

        c = command(CMD_CHOWN, HAS(UID) | HAS(GID), "f");
        c.uid = UINT32_MAX;
        refuse(&g, &c, ERR_BAD_STREAM, "owner is out of range");
        c.uid = 0;
        c.gid = UINT32_MAX;
        refuse(&g, &c, ERR_BAD_STREAM, "owner is out of range");

        g.open = false;
        c = command(CMD_SUBVOL, HAS(UUID) | HAS(CTRANSID), "t");
        memset(c.uuid, 0, sizeof(c.uuid));
        refuse(&g, &c, ERR_BAD_STREAM, "no UUID");
        c = command(CMD_SUBVOL, HAS(UUID) | HAS(CTRANSID), "t/u");
        refuse(&g, &c, ERR_UNSAFE_PATH, "more than one component");
}

static void encoded_data_must_fit(void **state _unused_) {
        static const struct {
                uint32_t compression, data;
                uint64_t file_len, len, offset;
                const char *why; /* NULL: good */
        } cases[] = {
                        {2, 100, 4096, 4096, 0, NULL},
                        {2, 131072, 131072, 131072, 0, NULL},
                        {2, 100, 96, 4096, 4000, NULL},
                        {0, 100, 4096, 4096, 0, "compression 0"},
                        {8, 100, 4096, 4096, 0, "compression 8"},
                        {2, 0, 4096, 4096, 0, "0 bytes"},
                        {2, 131073, 4096, 4096, 0, "131073 bytes"},
                        {2, 100, 4096, 0, 0, "contradict"},
                        {2, 100, 4096, 131073, 0, "contradict"},
                        {2, 100, 1, 4096, 4096, "contradict"},
                        {2, 100, 0, 4096, 0, "contradict"},
                        {2, 100, 97, 4096, 4000, "contradict"},
                        {2, 100, UINT64_MAX, 4096, 1, "contradict"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                Gate g = begun(NULL);
                Command c = command(CMD_ENCODED_WRITE, HAS(COMPRESSION) | HAS(ENCRYPTION), "f");

                c.compression = cases[i].compression;
                c.data_size = cases[i].data;
                c.unencoded_file_len = cases[i].file_len;
                c.unencoded_len = cases[i].len;
                c.unencoded_offset = cases[i].offset;
                if (cases[i].why) {
                        refuse(&g, &c, ERR_BAD_STREAM, cases[i].why);
                        continue;
                }
                assert_int_equal(gate_check(&g, &c, NULL), 0);
                assert_int_equal(g.bytes, cases[i].file_len);
                c.encryption = 1;
                refuse(&g, &c, ERR_NOT_SUPPORTED, "encrypted");
                c.attrs = HAS(PATH);
                refuse(&g, &c, ERR_BAD_STREAM, "compression 0");
        }
}

static void room_is_counted_where_it_is_taken(void **state _unused_) {
        static const uint32_t keep = FALLOC_FL_KEEP_SIZE;
        static const struct {
                uint32_t mode;
                bool known, counted;
        } modes[] = {
                        {0, true, true},
                        {keep, true, true},
                        {FALLOC_FL_ZERO_RANGE, true, true},
                        {FALLOC_FL_ZERO_RANGE | keep, true, true},
                        {FALLOC_FL_PUNCH_HOLE | keep, true, false},
                        {FALLOC_FL_PUNCH_HOLE, false, false},
                        {FALLOC_FL_COLLAPSE_RANGE, false, false},
        };

        for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
                Gate g = begun(NULL);
                Command c = command(CMD_FALLOCATE, HAS(FILE_OFFSET) | HAS(SIZE), "f");

                c.fallocate_mode = modes[i].mode;
                c.size = 5000;
                if (!modes[i].known) {
                        refuse(&g, &c, ERR_BAD_STREAM, "fallocate mode");
                        continue;
                }
                assert_int_equal(gate_check(&g, &c, NULL), 0);
                assert_int_equal(g.bytes, modes[i].counted ? 5000 : 0);
                c.size = 0;
                refuse(&g, &c, ERR_BAD_STREAM, "allocates nothing");
        }
}

/* To take capabilities away is no matter of policy. */
static void capabilities_may_go(void **state _unused_) {
        StreamLimits limits = {.forbid_setuid = true};
        Gate g = begun(&limits);
        Command c = command(CMD_REMOVE_XATTR, HAS(XATTR_NAME), "f");

        strcpy(c.xattr_name, "security.capability");
        assert_int_equal(gate_check(&g, &c, NULL), 0);
        c.kind = CMD_SET_XATTR;
        refuse(&g, &c, ERR_FORBIDDEN_CONTENT, "capabilities");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(paths_stay_below),
                        CASE(targets_are_free),
                        CASE(the_root_takes_metadata_only),
                        CASE(order_matters),
                        CASE(limits_hold),
                        CASE(no_sum_overflows),
                        CASE(the_policy_decides),
                        CASE(names_and_kinds_must_fit),
                        CASE(encoded_data_must_fit),
                        CASE(room_is_counted_where_it_is_taken),
                        CASE(capabilities_may_go),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
