/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <inttypes.h>

#include "base/enum.h"
#include "stream/command.h"

typedef enum AttrType { T_U32, T_U64, T_UUID, T_TIME, T_TEXT, T_DATA } AttrType;

/* Where the value goes; for text the room, NUL included. T_DATA goes to data and data_size. */
static const struct {
        const char *name;
        AttrType type;
        size_t at, room;
} attrs[_ATTR_MAX] = {
#define U32(field)        T_U32, offsetof(Command, field), 4
#define U64(field)        T_U64, offsetof(Command, field), 8
#define UUID(field)       T_UUID, offsetof(Command, field), 16
#define TIME(field)       T_TIME, offsetof(Command, field), 12
#define TEXT(field, size) T_TEXT, offsetof(Command, field), size
                [ATTR_UUID] = {"uuid", UUID(uuid)},
                [ATTR_CTRANSID] = {"ctransid", U64(ctransid)},
                [ATTR_INO] = {"ino", U64(ino)},
                [ATTR_SIZE] = {"size", U64(size)},
                [ATTR_MODE] = {"mode", U64(mode)},
                [ATTR_UID] = {"uid", U64(uid)},
                [ATTR_GID] = {"gid", U64(gid)},
                [ATTR_RDEV] = {"rdev", U64(rdev)},
                [ATTR_CTIME] = {"ctime", TIME(ctime)},
                [ATTR_MTIME] = {"mtime", TIME(mtime)},
                [ATTR_ATIME] = {"atime", TIME(atime)},
                [ATTR_OTIME] = {"otime", TIME(otime)},
                [ATTR_XATTR_NAME] = {"xattr-name", TEXT(xattr_name, 256)},
                [ATTR_XATTR_DATA] = {"xattr-data", T_DATA, 0, 0},
                [ATTR_PATH] = {"path", TEXT(path, PATH_MAX)},
                [ATTR_PATH_TO] = {"path-to", TEXT(path_to, PATH_MAX)},
                [ATTR_PATH_LINK] = {"path-link", TEXT(path_to, PATH_MAX)},
                [ATTR_FILE_OFFSET] = {"file-offset", U64(file_offset)},
                [ATTR_DATA] = {"data", T_DATA, 0, 0},
                [ATTR_CLONE_UUID] = {"clone-uuid", UUID(clone_uuid)},
                [ATTR_CLONE_CTRANSID] = {"clone-ctransid", U64(clone_ctransid)},
                [ATTR_CLONE_PATH] = {"clone-path", TEXT(path_to, PATH_MAX)},
                [ATTR_CLONE_OFFSET] = {"clone-offset", U64(clone_offset)},
                [ATTR_CLONE_LEN] = {"clone-len", U64(clone_len)},
                [ATTR_FALLOCATE_MODE] = {"fallocate-mode", U32(fallocate_mode)},
                [ATTR_FILEATTR] = {"fileattr", U64(fileattr)},
                [ATTR_UNENCODED_FILE_LEN] = {"unencoded-file-len", U64(unencoded_file_len)},
                [ATTR_UNENCODED_LEN] = {"unencoded-len", U64(unencoded_len)},
                [ATTR_UNENCODED_OFFSET] = {"unencoded-offset", U64(unencoded_offset)},
                [ATTR_COMPRESSION] = {"compression", U32(compression)},
                [ATTR_ENCRYPTION] = {"encryption", U32(encryption)},
#undef U32
#undef U64
#undef UUID
#undef TIME
#undef TEXT
};

#define A(name) (1u << ATTR_##name)

/* Exactly the required attributes, each once; of the optional ones each at most once; no other. */
static const struct {
        uint32_t required, optional, version;
} commands[_CMD_MAX] = {
                [CMD_SUBVOL] = {A(PATH) | A(UUID) | A(CTRANSID), 0, 1},
                [CMD_SNAPSHOT] = {A(PATH) | A(UUID) | A(CTRANSID) | A(CLONE_UUID) |
                                                  A(CLONE_CTRANSID),
                                0, 1},
                [CMD_MKFILE] = {A(PATH) | A(INO), 0, 1},
                [CMD_MKDIR] = {A(PATH) | A(INO), 0, 1},
                [CMD_MKNOD] = {A(PATH) | A(INO) | A(RDEV) | A(MODE), 0, 1},
                [CMD_MKFIFO] = {A(PATH) | A(INO) | A(RDEV) | A(MODE), 0, 1},
                [CMD_MKSOCK] = {A(PATH) | A(INO) | A(RDEV) | A(MODE), 0, 1},
                [CMD_SYMLINK] = {A(PATH) | A(INO) | A(PATH_LINK), 0, 1},
                [CMD_RENAME] = {A(PATH) | A(PATH_TO), 0, 1},
                [CMD_LINK] = {A(PATH) | A(PATH_LINK), 0, 1},
                [CMD_UNLINK] = {A(PATH), 0, 1},
                [CMD_RMDIR] = {A(PATH), 0, 1},
                [CMD_SET_XATTR] = {A(PATH) | A(XATTR_NAME) | A(XATTR_DATA), 0, 1},
                [CMD_REMOVE_XATTR] = {A(PATH) | A(XATTR_NAME), 0, 1},
                [CMD_WRITE] = {A(PATH) | A(FILE_OFFSET) | A(DATA), 0, 1},
                [CMD_CLONE] = {A(PATH) | A(FILE_OFFSET) | A(CLONE_LEN) | A(CLONE_UUID) |
                                                A(CLONE_CTRANSID) | A(CLONE_PATH) | A(CLONE_OFFSET),
                                0, 1},
                [CMD_TRUNCATE] = {A(PATH) | A(SIZE), 0, 1},
                [CMD_CHMOD] = {A(PATH) | A(MODE), 0, 1},
                [CMD_CHOWN] = {A(PATH) | A(UID) | A(GID), 0, 1},
                [CMD_UTIMES] = {A(PATH) | A(ATIME) | A(MTIME) | A(CTIME), A(OTIME), 1},
                [CMD_END] = {0, 0, 1},
                [CMD_UPDATE_EXTENT] = {A(PATH) | A(FILE_OFFSET) | A(SIZE), 0, 1},
                [CMD_FALLOCATE] = {A(PATH) | A(FALLOCATE_MODE) | A(FILE_OFFSET) | A(SIZE), 0, 2},
                [CMD_FILEATTR] = {A(PATH) | A(FILEATTR), 0, 2},
                [CMD_ENCODED_WRITE] = {A(PATH) | A(FILE_OFFSET) | A(UNENCODED_FILE_LEN) |
                                                       A(UNENCODED_LEN) | A(UNENCODED_OFFSET) |
                                                       A(DATA),
                                A(COMPRESSION) | A(ENCRYPTION), 2},
                [CMD_ENABLE_VERITY] = {0, 0, 3},
};

#undef A

static const char *const command_names[_CMD_MAX] = {
                [CMD_SUBVOL] = "subvol",
                [CMD_SNAPSHOT] = "snapshot",
                [CMD_MKFILE] = "mkfile",
                [CMD_MKDIR] = "mkdir",
                [CMD_MKNOD] = "mknod",
                [CMD_MKFIFO] = "mkfifo",
                [CMD_MKSOCK] = "mksock",
                [CMD_SYMLINK] = "symlink",
                [CMD_RENAME] = "rename",
                [CMD_LINK] = "link",
                [CMD_UNLINK] = "unlink",
                [CMD_RMDIR] = "rmdir",
                [CMD_SET_XATTR] = "set_xattr",
                [CMD_REMOVE_XATTR] = "remove_xattr",
                [CMD_WRITE] = "write",
                [CMD_CLONE] = "clone",
                [CMD_TRUNCATE] = "truncate",
                [CMD_CHMOD] = "chmod",
                [CMD_CHOWN] = "chown",
                [CMD_UTIMES] = "utimes",
                [CMD_END] = "end",
                [CMD_UPDATE_EXTENT] = "update_extent",
                [CMD_FALLOCATE] = "fallocate",
                [CMD_FILEATTR] = "fileattr",
                [CMD_ENCODED_WRITE] = "encoded_write",
                [CMD_ENABLE_VERITY] = "enable_verity",
};
DEFINE_ENUM(command, CommandKind, command_names, _CMD_MAX, _CMD_INVALID)

static uint16_t get_le16(const uint8_t *p) {
        return (uint16_t) (p[0] | p[1] << 8);
}

static uint32_t get_le32(const uint8_t *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return le32toh(v);
}

static uint64_t get_le64(const uint8_t *p) {
        uint64_t v;

        memcpy(&v, p, sizeof(v));
        return le64toh(v);
}

#define BAD(...) err_kind(reterr, ERR_BAD_STREAM, -EBADMSG, __VA_ARGS__)

static int store(Command *c, unsigned attr, const uint8_t *value, uint32_t size, Err **reterr) {
        void *at = (uint8_t *) c + attrs[attr].at;
        struct timespec *ts = at;

        switch (attrs[attr].type) {
        case T_TEXT:
                if (size >= attrs[attr].room || memchr(value, '\0', size))
                        return err_kind(reterr, ERR_UNSAFE_PATH, -EBADMSG, "its %s %s",
                                        attrs[attr].name,
                                        size >= attrs[attr].room ? "is too long" : "contains NUL");
                memcpy(at, value, size);
                ((char *) at)[size] = '\0';
                return 0;
        case T_DATA:
                c->data = value;
                c->data_size = size;
                return 0;
        default: break;
        }

        if (size != attrs[attr].room)
                return BAD("its %s has %u bytes instead of %zu", attrs[attr].name, size,
                                attrs[attr].room);
        switch (attrs[attr].type) {
        case T_U32: *(uint32_t *) at = get_le32(value); break;
        case T_U64: *(uint64_t *) at = get_le64(value); break;
        case T_UUID: memcpy(at, value, 16); break;
        default:
                ts->tv_sec = (time_t) get_le64(value);
                ts->tv_nsec = (long) get_le32(value + 8);
                if (ts->tv_nsec > 999999999)
                        return BAD("its %s has too many nanoseconds", attrs[attr].name);
        }
        return 0;
}

static int parse_attrs(const RawCommand *raw, Command *c, Err **reterr) {
        uint32_t allowed = commands[c->kind].required | commands[c->kind].optional, missing;
        const uint8_t *p = raw->data, *end = raw->data + raw->size;
        int r;

        while (p < end) {
                uint32_t type, size;

                if (end - p < 2)
                        return BAD("it ends inside an attribute");
                type = get_le16(p);
                p += 2;
                if (type == 0 || type >= _ATTR_MAX)
                        return BAD("it has the unknown attribute %u", type);
                if (!(allowed >> type & 1))
                        return BAD("it may not have the attribute %s", attrs[type].name);
                if (c->attrs >> type & 1)
                        return BAD("it has the attribute %s twice", attrs[type].name);

                /* From version 2 on data is the last attribute and as long as what is left. */
                if (type == ATTR_DATA && raw->version >= 2)
                        size = (uint32_t) (end - p);
                else {
                        if (end - p < 2)
                                return BAD("it ends inside an attribute");
                        size = get_le16(p);
                        p += 2;
                }
                if (size > (size_t) (end - p))
                        return BAD("its attribute %s is longer than the command", attrs[type].name);
                r = store(c, type, p, size, reterr);
                if (r < 0)
                        return r;
                c->attrs |= 1u << type;
                p += size;
        }

        missing = commands[c->kind].required & ~c->attrs;
        if (missing)
                return BAD("its attribute %s is missing", attrs[__builtin_ctz(missing)].name);
        return 0;
}

int command_parse(const RawCommand *raw, Command *ret, Err **reterr) {
        int r;

        ret->offset = raw->offset;
        ret->block = raw->block;
        ret->attrs = 0;
        if (raw->number == 0 || raw->number >= _CMD_MAX)
                return BAD("Byte %" PRIu64 " of the stream: unknown command %u", raw->offset,
                                raw->number);
        ret->kind = (CommandKind) raw->number;
        if (ret->kind == CMD_ENABLE_VERITY)
                return err_kind(reterr, ERR_NOT_SUPPORTED, -EOPNOTSUPP,
                                "Byte %" PRIu64 " of the stream: fs-verity files (stream version "
                                "3) are not supported; send with --proto 2",
                                raw->offset);
        if (commands[ret->kind].version > raw->version)
                return BAD("Byte %" PRIu64 " of the stream: the command %s does not exist in "
                           "version %u",
                                raw->offset, command_names[ret->kind], raw->version);

        r = parse_attrs(raw, ret, reterr);
        if (r < 0)
                return err_add(reterr, r, "Byte %" PRIu64 " of the stream: command %s", raw->offset,
                                command_names[ret->kind]);
        return 0;
}
