/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <isa-l/crc.h>

#include "tests/unit/stream-build.h"

void build_raw(Build *b, const void *data, size_t size) {
        b->data = realloc(b->data, b->size + size + 1);
        if (!b->data)
                abort();
        if (size > 0)
                memcpy(b->data + b->size, data, size);
        b->size += size;
}

static void build_le(Build *b, uint64_t v, size_t size) {
        v = htole64(v);
        build_raw(b, &v, size);
}

void build_header(Build *b, uint32_t version) {
        build_raw(b, "btrfs-stream", 13);
        build_le(b, version, 4);
        b->version = version;
}

void build_begin(Build *b, uint16_t number) {
        b->command = b->size;
        build_le(b, 0, 4);
        build_le(b, number, 2);
        build_le(b, 0, 4);
}

void build_attr(Build *b, uint16_t attr, const void *data, size_t size) {
        build_le(b, attr, 2);
        if (attr != ATTR_DATA || b->version < 2)
                build_le(b, size, 2);
        build_raw(b, data, size);
}

void build_text(Build *b, uint16_t attr, const char *text) {
        build_attr(b, attr, text, strlen(text));
}

void build_u64(Build *b, uint16_t attr, uint64_t v) {
        v = htole64(v);
        build_attr(b, attr, &v, sizeof(v));
}

void build_finish(Build *b) {
        uint8_t *p = b->data + b->command;
        uint32_t size = htole32((uint32_t) (b->size - b->command - 10)), crc;

        memcpy(p, &size, sizeof(size));
        memset(p + 6, 0, 4);
        crc = htole32(crc32_iscsi(p, (int) (b->size - b->command), 0));
        memcpy(p + 6, &crc, sizeof(crc));
}

void build_done(Build *b) {
        free(b->data);
        *b = (Build){0};
}

void build_subvol(Build *b, const char *name) {
        build_begin(b, CMD_SUBVOL);
        build_text(b, ATTR_PATH, name);
        build_attr(b, ATTR_UUID, "0123456789abcdef", 16);
        build_u64(b, ATTR_CTRANSID, 7);
        build_finish(b);
}

void build_path(Build *b, CommandKind kind, const char *path) {
        build_begin(b, (uint16_t) kind);
        build_text(b, ATTR_PATH, path);
        if (kind == CMD_MKFILE || kind == CMD_MKDIR)
                build_u64(b, ATTR_INO, 257);
        build_finish(b);
}

void build_write(Build *b, const char *path, uint64_t offset, const void *data, size_t size) {
        build_begin(b, CMD_WRITE);
        build_text(b, ATTR_PATH, path);
        build_u64(b, ATTR_FILE_OFFSET, offset);
        build_attr(b, ATTR_DATA, data, size);
        build_finish(b);
}

void build_end(Build *b) {
        build_begin(b, CMD_END);
        build_finish(b);
}

void feed_init(Feed *f, const void *data, size_t size, size_t step) {
        *f = (Feed){.data = data, .size = size, .step = step};
        for (int i = 0; i < 2; i++) {
                f->buffers[i] = malloc(INPUT_HEADROOM + step);
                if (!f->buffers[i])
                        abort();
                f->blocks[i].data = f->buffers[i] + INPUT_HEADROOM;
        }
}

void feed_again(Feed *f, const void *data, size_t size) {
        f->data = data;
        f->size = size;
}

void feed_done(Feed *f) {
        free(f->buffers[0]);
        free(f->buffers[1]);
}

int feed_next(void *userdata, Block **ret, Err **reterr) {
        Feed *f = userdata;
        Block *b = &f->blocks[f->turn++ % 2];
        size_t n = f->size < f->step ? f->size : f->step;

        (void) reterr;
        if (n == 0)
                return 0;
        if (atomic_load(&b->refs) != 0)
                abort(); /* the reader holds more than two blocks */
        memcpy(b->data, f->data, n);
        b->size = n;
        atomic_store(&b->refs, 1);
        f->data += n;
        f->size -= n;
        *ret = b;
        return 1;
}
