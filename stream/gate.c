/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include "stream/gate.h"

#define FILE_END_MAX    ((uint64_t) INT64_MAX) /* what off_t can say */
#define ENCODED_LEN_MAX (128u << 10)

#define BAD(...)       err_kind(reterr, ERR_BAD_STREAM, -EBADMSG, __VA_ARGS__)
#define UNSAFE(...)    err_kind(reterr, ERR_UNSAFE_PATH, -EPERM, __VA_ARGS__)
#define FORBIDDEN(...) err_kind(reterr, ERR_FORBIDDEN_CONTENT, -EPERM, __VA_ARGS__)
#define TOO_MUCH(...)  err_kind(reterr, ERR_LIMIT_EXCEEDED, -EFBIG, __VA_ARGS__)

void gate_init(Gate *g, const StreamLimits *limits) {
        *g = (Gate){.limits = *limits};
}

void gate_resume(Gate *g, const StreamPosition *p) {
        g->subvol = p->subvol;
        g->open = true;
        g->subvols = p->subvols;
        g->bytes = p->bytes;
        g->inodes = p->inodes;
}

/* Relative, no empty, "." or ".." component, each at most 255 bytes. The length was bounded by the parser. */
static int check_path(const char *path, const char *what, Err **reterr) {
        if (path[0] == '\0')
                return UNSAFE("its %s is empty", what);
        if (path[0] == '/')
                return UNSAFE("its %s is absolute", what);

        for (const char *p = path;;) {
                size_t n = strcspn(p, "/");

                if (n == 0)
                        return UNSAFE("its %s has an empty component", what);
                if (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.')))
                        return UNSAFE("its %s has the component %.*s", what, (int) n, p);
                if (n > NAME_MAX)
                        return UNSAFE("its %s has a name of more than %d bytes", what, NAME_MAX);
                if (p[n] == '\0')
                        return 0;
                p += n + 1;
        }
}

static int check_order(const Gate *g, const Command *c, Err **reterr) {
        bool begins = c->kind == CMD_SUBVOL || c->kind == CMD_SNAPSHOT;

        if (begins && g->open)
                return BAD("a second subvolume begins before the END of the first (btrfs send -e "
                           "makes such streams; send each on its own)");
        if (!begins && !g->open)
                return BAD("it comes before any subvolume");
        return 0;
}

static int check_begin(Gate *g, const Command *c, Err **reterr) {
        StreamSubvol s = {.ctransid = c->ctransid, .incremental = c->kind == CMD_SNAPSHOT};

        if (strchr(c->path, '/'))
                return UNSAFE("the name of its subvolume has more than one component");
        if (uuid_is_null(c->uuid))
                return BAD("its subvolume has no UUID");
        if (g->limits.subvols && g->subvols >= g->limits.subvols)
                return TOO_MUCH("more than %" PRIu64 " subvolumes", g->limits.subvols);

        memcpy(s.name, c->path, strlen(c->path) + 1);
        memcpy(s.uuid, c->uuid, sizeof(s.uuid));
        if (s.incremental) {
                memcpy(s.parent_uuid, c->clone_uuid, sizeof(s.parent_uuid));
                s.parent_ctransid = c->clone_ctransid;
        }
        g->subvol = s;
        g->subvols++;
        g->open = true;
        return 0;
}

/* A new inode of any kind. */
static int check_create(Gate *g, const Command *c, Err **reterr) {
        mode_t type = c->mode & S_IFMT;
        size_t n;

        switch (c->kind) {
        case CMD_SYMLINK:
                n = strlen(c->path_to);
                if (n == 0)
                        return BAD("its link points nowhere");
                break;
        case CMD_MKFIFO:
                if (type != S_IFIFO)
                        return BAD("its mode %" PRIo64 " is not that of a fifo", c->mode);
                break;
        case CMD_MKSOCK:
                if (type != S_IFSOCK)
                        return BAD("its mode %" PRIo64 " is not that of a socket", c->mode);
                break;
        case CMD_MKNOD:
                if (type != S_IFCHR && type != S_IFBLK)
                        return BAD("its mode %" PRIo64 " is not that of a device", c->mode);
                if (g->limits.forbid_devices)
                        return FORBIDDEN("a device node, which is not allowed here");
                break;
        default: break;
        }

        if (g->limits.inodes && g->inodes >= g->limits.inodes)
                return TOO_MUCH("more than %" PRIu64 " inodes", g->limits.inodes);
        g->inodes++;
        g->subvol.inodes++;
        return 0;
}

static int check_mode(const Gate *g, const Command *c, Err **reterr) {
        if (c->mode > UINT32_MAX || (c->kind == CMD_CHMOD && c->mode > 07777))
                return BAD("its mode %" PRIo64 " is out of range", c->mode);
        if (g->limits.forbid_setuid && c->mode & (S_ISUID | S_ISGID))
                return FORBIDDEN("mode %04" PRIo64 ": setuid and setgid are not allowed here",
                                c->mode & 07777);
        return 0;
}

/* [offset, offset + size) of a file, and @data bytes of it that take room. */
static int check_range(Gate *g, uint64_t offset, uint64_t size, uint64_t data, Err **reterr) {
        if (offset > FILE_END_MAX || size > FILE_END_MAX - offset)
                return TOO_MUCH("a file of more than %" PRIu64 " bytes", FILE_END_MAX);
        if (g->limits.file_size && offset + size > g->limits.file_size)
                return TOO_MUCH("a file of more than %" PRIu64 " bytes", g->limits.file_size);
        if (g->limits.bytes && (data > g->limits.bytes || g->bytes > g->limits.bytes - data))
                return TOO_MUCH("more than %" PRIu64 " bytes of data", g->limits.bytes);
        g->bytes += data;
        g->subvol.bytes += data;
        return 0;
}

static int check_encoded(Gate *g, const Command *c, Err **reterr) {
        uint32_t compression = command_has(c, ATTR_COMPRESSION) ? c->compression : 0;

        if (command_has(c, ATTR_ENCRYPTION) && c->encryption != BTRFS_ENCODED_IO_ENCRYPTION_NONE)
                return err_kind(reterr, ERR_NOT_SUPPORTED, -EOPNOTSUPP,
                                "encrypted data is not supported");
        if (compression == BTRFS_ENCODED_IO_COMPRESSION_NONE ||
                        compression >= BTRFS_ENCODED_IO_COMPRESSION_TYPES)
                return BAD("its compression %u is unknown", compression);
        if (c->data_size == 0 || c->data_size > ENCODED_LEN_MAX)
                return BAD("%u bytes of compressed data", c->data_size);
        if (c->unencoded_len == 0 || c->unencoded_len > ENCODED_LEN_MAX ||
                        c->unencoded_offset >= c->unencoded_len || c->unencoded_file_len == 0 ||
                        c->unencoded_file_len > c->unencoded_len - c->unencoded_offset)
                return BAD("its lengths contradict each other");
        return check_range(g, c->file_offset, c->unencoded_file_len, c->unencoded_file_len, reterr);
}

static int check_fallocate(Gate *g, const Command *c, Err **reterr) {
        uint64_t data = c->size;

        switch (c->fallocate_mode) {
        case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE: data = 0; break;
        case 0:
        case FALLOC_FL_KEEP_SIZE:
        case FALLOC_FL_ZERO_RANGE:
        case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE: break;
        default: return BAD("its fallocate mode %#x is unknown", c->fallocate_mode);
        }
        if (c->size == 0)
                return BAD("it allocates nothing");
        return check_range(g, c->file_offset, c->size, data, reterr);
}

static int check_xattr(const Gate *g, const Command *c, Err **reterr) {
        static const char *const spaces[] = {"user.", "trusted.", "security.", "system.", "btrfs."};
        bool known = false;

        for (size_t i = 0; i < ARRAY_SIZE(spaces); i++) {
                const char *rest = str_after(c->xattr_name, spaces[i]);

                known = known || (rest && *rest);
        }
        if (!known)
                return BAD("an extended attribute of an unknown kind");

        if (str_eq(c->xattr_name, "security.capability")) {
                if (g->limits.forbid_setuid && c->kind == CMD_SET_XATTR)
                        return FORBIDDEN("file capabilities, which are not allowed here");
        } else if (g->limits.forbid_xattrs && (str_after(c->xattr_name, "security.") ||
                                                              str_after(c->xattr_name, "trusted.")))
                return FORBIDDEN("an extended attribute security.* or trusted.*, which is not "
                                 "allowed here");
        return 0;
}

static int check_paths(const Command *c, Err **reterr) {
        bool on_root_too = c->kind == CMD_CHMOD || c->kind == CMD_CHOWN || c->kind == CMD_UTIMES ||
                           c->kind == CMD_SET_XATTR || c->kind == CMD_REMOVE_XATTR ||
                           c->kind == CMD_FILEATTR;
        int r = 0;

        if (command_has(c, ATTR_PATH) && !(on_root_too && c->path[0] == '\0'))
                r = check_path(c->path, "path", reterr);
        if (r == 0 && command_has(c, ATTR_PATH_TO))
                r = check_path(c->path_to, "new path", reterr);
        if (r == 0 && command_has(c, ATTR_CLONE_PATH))
                r = check_path(c->path_to, "source path", reterr);
        if (r == 0 && c->kind == CMD_LINK)
                r = check_path(c->path_to, "other path", reterr);
        return r;
}

static int check(Gate *g, const Command *c, Err **reterr) {
        int r;

        r = check_order(g, c, reterr);
        if (r < 0)
                return r;
        r = check_paths(c, reterr);
        if (r < 0)
                return r;
        if (command_has(c, ATTR_MODE)) {
                r = check_mode(g, c, reterr);
                if (r < 0)
                        return r;
        }

        switch (c->kind) {
        case CMD_SUBVOL:
        case CMD_SNAPSHOT: return check_begin(g, c, reterr);
        case CMD_MKFILE:
        case CMD_MKDIR:
        case CMD_MKNOD:
        case CMD_MKFIFO:
        case CMD_MKSOCK:
        case CMD_SYMLINK: return check_create(g, c, reterr);
        case CMD_SET_XATTR:
        case CMD_REMOVE_XATTR: return check_xattr(g, c, reterr);
        case CMD_CHOWN:
                /* (uid_t) -1 would mean "leave alone" */
                if (c->uid >= UINT32_MAX || c->gid >= UINT32_MAX)
                        return BAD("its owner is out of range");
                return 0;
        case CMD_WRITE: return check_range(g, c->file_offset, c->data_size, c->data_size, reterr);
        case CMD_CLONE:
                if (c->clone_len == 0 || c->clone_offset > FILE_END_MAX ||
                                c->clone_len > FILE_END_MAX - c->clone_offset)
                        return BAD("its source range is impossible");
                return check_range(g, c->file_offset, c->clone_len, 0, reterr);
        case CMD_TRUNCATE: return check_range(g, 0, c->size, 0, reterr);
        case CMD_FALLOCATE: return check_fallocate(g, c, reterr);
        case CMD_ENCODED_WRITE: return check_encoded(g, c, reterr);
        case CMD_UPDATE_EXTENT:
                return err_kind(reterr, ERR_NOT_SUPPORTED, -EOPNOTSUPP,
                                "the stream was made with --no-data: it holds no file contents");
        case CMD_END: g->open = false; return 0;
        default: return 0;
        }
}

int gate_check(Gate *g, const Command *c, Err **reterr) {
        int r;

        r = check(g, c, reterr);
        if (r < 0) {
                _cleanup_(freep) char *path = str_printable(c->path);
                bool named = command_has(c, ATTR_PATH) && c->path[0] && path;

                return err_add(reterr, r, "Byte %" PRIu64 " of the stream: %s%s%s", c->offset,
                                command_to_string(c->kind), named ? " " : "", named ? path : "");
        }
        return 0;
}
