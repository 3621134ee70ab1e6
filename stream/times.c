/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "stream/times.h"

#define SLOTS (2 * TIMES_MAX)

int times_init(Times *t) {
        *t = (Times){
                        .items = malloc(TIMES_MAX * sizeof(DirTime)),
                        .slots = calloc(SLOTS, sizeof(uint32_t)),
                        .text = malloc(TIMES_TEXT_MAX),
        };
        if (!t->items || !t->slots || !t->text) {
                times_done(t);
                return -ENOMEM;
        }
        return 0;
}

void times_done(Times *t) {
        free(t->items);
        free(t->slots);
        free(t->text);
        *t = (Times){0};
}

static uint32_t hash_of(const char *s) {
        uint32_t h = 2166136261u;

        for (; *s; s++)
                h = (h ^ (uint8_t) *s) * 16777619u;
        return h;
}

/* The slot of @path, or the free one where it would go. */
static uint32_t *find(const Times *t, const char *path, uint32_t hash) {
        for (uint32_t i = hash % SLOTS;; i = (i + 1) % SLOTS) {
                const DirTime *d;

                if (t->slots[i] == 0)
                        return &t->slots[i];
                d = &t->items[t->slots[i] - 1];
                if (d->hash == hash && str_eq(t->text + d->path, path))
                        return &t->slots[i];
        }
}

int times_update(Times *t, const char *path, const struct timespec times[static 2]) {
        uint32_t *slot;

        if (path[0] == '\0') {
                memcpy(t->root, times, sizeof(t->root));
                t->root_known = true;
                return 1;
        }
        slot = find(t, path, hash_of(path));
        if (*slot == 0)
                return 0;
        memcpy(t->items[*slot - 1].times, times, sizeof(t->root));
        return 1;
}

int times_add(Times *t, const char *path, const struct timespec times[static 2]) {
        size_t n = strlen(path) + 1;
        uint32_t hash = hash_of(path);
        DirTime *d;

        if (t->count >= TIMES_MAX || t->text_size + n > TIMES_TEXT_MAX)
                return -ENOSPC;
        d = &t->items[t->count];
        *d = (DirTime){.path = (uint32_t) t->text_size, .hash = hash};
        memcpy(d->times, times, sizeof(d->times));
        memcpy(t->text + t->text_size, path, n);
        t->text_size += n;
        *find(t, path, hash) = (uint32_t) ++t->count;
        return 0;
}

bool times_has_below(const Times *t, const char *path) {
        for (size_t i = 0; i < t->count; i++)
                if (path_is_below(t->text + t->items[i].path, path))
                        return true;
        return false;
}

int times_flush(Times *t, Tree *tree, const char **ret_path) {
        for (size_t i = 0; i < t->count; i++) {
                const char *path = t->text + t->items[i].path, *name;
                Dir *d;
                int r;

                r = tree_parent(tree, path, &d, &name);
                if (r == 0 && utimensat(d->fd, name, t->items[i].times, AT_SYMLINK_NOFOLLOW) < 0)
                        r = -errno;
                if (r < 0) {
                        *ret_path = path;
                        return r;
                }
        }
        memset(t->slots, 0, SLOTS * sizeof(uint32_t));
        t->count = t->text_size = 0;
        return 0;
}

int times_finish(Times *t, Tree *tree, const char **ret_path) {
        int r;

        r = times_flush(t, tree, ret_path);
        if (r < 0)
                return r;
        if (t->root_known && futimens(tree->root_fd, t->root) < 0) {
                *ret_path = "";
                return -errno;
        }
        t->root_known = false;
        return 0;
}
