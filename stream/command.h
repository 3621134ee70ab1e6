/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/command.h - the commands of a send stream as data: one table of attributes, one of commands, and the parser
 * that follows them. Whether a command may be obeyed is not decided here: see gate.h. */
#pragma once

#include <limits.h>
#include <time.h>

#include "base/err.h"

/* The numbers of the format. */
typedef enum CommandKind {
        CMD_SUBVOL = 1,
        CMD_SNAPSHOT,
        CMD_MKFILE,
        CMD_MKDIR,
        CMD_MKNOD,
        CMD_MKFIFO,
        CMD_MKSOCK,
        CMD_SYMLINK,
        CMD_RENAME,
        CMD_LINK,
        CMD_UNLINK,
        CMD_RMDIR,
        CMD_SET_XATTR,
        CMD_REMOVE_XATTR,
        CMD_WRITE,
        CMD_CLONE,
        CMD_TRUNCATE,
        CMD_CHMOD,
        CMD_CHOWN,
        CMD_UTIMES,
        CMD_END,
        CMD_UPDATE_EXTENT,
        CMD_FALLOCATE, /* version 2 */
        CMD_FILEATTR,
        CMD_ENCODED_WRITE,
        CMD_ENABLE_VERITY, /* version 3 */
        _CMD_MAX,
        _CMD_INVALID = -EINVAL,
} CommandKind;

const char *command_to_string(CommandKind kind);
CommandKind command_from_string(const char *s);

typedef enum Attr {
        ATTR_UUID = 1,
        ATTR_CTRANSID,
        ATTR_INO,
        ATTR_SIZE,
        ATTR_MODE,
        ATTR_UID,
        ATTR_GID,
        ATTR_RDEV,
        ATTR_CTIME,
        ATTR_MTIME,
        ATTR_ATIME,
        ATTR_OTIME,
        ATTR_XATTR_NAME,
        ATTR_XATTR_DATA,
        ATTR_PATH,
        ATTR_PATH_TO,
        ATTR_PATH_LINK,
        ATTR_FILE_OFFSET,
        ATTR_DATA,
        ATTR_CLONE_UUID,
        ATTR_CLONE_CTRANSID,
        ATTR_CLONE_PATH,
        ATTR_CLONE_OFFSET,
        ATTR_CLONE_LEN,
        ATTR_FALLOCATE_MODE, /* version 2 */
        ATTR_FILEATTR,
        ATTR_UNENCODED_FILE_LEN,
        ATTR_UNENCODED_LEN,
        ATTR_UNENCODED_OFFSET,
        ATTR_COMPRESSION,
        ATTR_ENCRYPTION,
        _ATTR_MAX,
} Attr;

#define STREAM_VERSION_MAX 2

typedef struct Block Block;

/* A whole command as it stands in the stream, checksum already compared. */
typedef struct RawCommand {
        uint64_t offset; /* of its header in the unpacked stream */
        uint32_t version;
        uint16_t number;
        const uint8_t *data; /* the attributes */
        uint32_t size;
        Block *block; /* holds them: with a reference of its own one may keep @data, see input.h */
} RawCommand;

/* Text attributes are copied and end with a NUL; they hold no other. Data points into the raw command. */
typedef struct Command {
        uint64_t offset;
        CommandKind kind;
        uint32_t attrs; /* bit n: attribute n is there */

        char path[PATH_MAX];
        char path_to[PATH_MAX]; /* also PATH_LINK and CLONE_PATH: no command has two of the three */
        char xattr_name[256];
        const uint8_t *data; /* also XATTR_DATA */
        uint32_t data_size;
        Block *block; /* holds @data */

        uint8_t uuid[16], clone_uuid[16];
        uint64_t ctransid, clone_ctransid;
        uint64_t ino, size, mode, uid, gid, rdev;
        uint64_t file_offset, clone_offset, clone_len;
        uint64_t fileattr, unencoded_file_len, unencoded_len, unencoded_offset;
        uint32_t fallocate_mode, compression, encryption;
        struct timespec atime, mtime, ctime, otime;
} Command;

static inline bool command_has(const Command *c, Attr a) {
        return c->attrs >> a & 1;
}

/* Fills *@ret (only what the command has; the rest is stale). Errors: -EBADMSG, mostly ERR_BAD_STREAM, ERR_UNSAFE_PATH
 * for text with a NUL or too long, ERR_NOT_SUPPORTED for what a later version of the format brings. */
int command_parse(const RawCommand *raw, Command *ret, Err **reterr);
