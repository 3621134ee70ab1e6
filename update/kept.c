/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/kept.h"
#include "os/file.h"
#include "update/kept-record.h"

#define RECORD   "record"
#define PART_MAX 48

void kept_done(Kept *k) {
        k->dir_fd = fd_close(k->dir_fd);
}

/* One of the subvolumes of the image: whole, or at checkpoint @number. */
static void part_name(char ret[static PART_MAX], size_t i, uint64_t number) {
        if (number == 0)
                snprintf(ret, PART_MAX, "%02zu-whole", i);
        else
                snprintf(ret, PART_MAX, "%02zu-%" PRIu64, i, number);
}

/* The number of the checkpoint that part @i of what is kept belongs to. */
static uint64_t part_number(const Kept *k, const StreamPosition *p, size_t i) {
        return i + 1 < p->subvols ? 0 : k->number;
}

static bool parts_are_there(const Kept *k) {
        for (size_t i = 0; i < k->position.subvols; i++) {
                char name[PART_MAX];

                part_name(name, i, part_number(k, &k->position, i));
                if (subvol_is_at(k->dir_fd, name) <= 0)
                        return false;
        }
        return true;
}

static int open_dir(Machine *m, bool make, int *ret_fd, Err **reterr) {
        *ret_fd = -1;
        return m->slots->ops->kept ? m->slots->ops->kept(m->slots, make, ret_fd, reterr) : -ENOENT;
}

void kept_open(Machine *m, const Manifest *manifest, Kept *ret) {
        _cleanup_(kept_done) Kept k = {.m = m, .manifest = manifest, .dir_fd = -1};
        _cleanup_(freep) char *text = NULL;
        size_t size;

        *ret = KEPT_NONE;
        if (!m->config->resume_updates || !m->slots->ops->kept)
                return;
        if (open_dir(m, /* make= */ false, &k.dir_fd, NULL) >= 0 &&
                        file_read_at(k.dir_fd, RECORD, KEPT_RECORD_MAX, &text, &size, NULL) >= 0 &&
                        (kept_parse(text, size, manifest, &k.number, &k.position) < 0 ||
                                        !parts_are_there(&k)))
                k.number = 0;
        *ret = k;
        k = KEPT_NONE;
}

bool kept_wanted(const Kept *k) {
        return k->m;
}

const StreamPosition *kept_position(const Kept *k) {
        return k->number > 0 ? &k->position : NULL;
}

uint64_t kept_bytes(const Kept *k) {
        return k->number > 0 ? k->position.restart.input / MANIFEST_CHUNK_SIZE * MANIFEST_CHUNK_SIZE
                             : 0;
}

static int copy_part(int from_fd, const char *from, int to_fd, const char *to, bool read_only,
                Err **reterr) {
        _cleanup_(fd_closep) int fd = dir_open_at(from_fd, from, reterr);

        return fd < 0 ? fd : subvol_snapshot(fd, to_fd, to, read_only, reterr);
}

int kept_restore(const Kept *k, int image_fd, Err **reterr) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < k->position.subvols; i++) {
                uint64_t number = part_number(k, &k->position, i);
                char name[PART_MAX];

                part_name(name, i, number);
                r = copy_part(k->dir_fd, name, image_fd, k->manifest->subvols[i].name,
                                /* read_only= */ number == 0, reterr);
        }
        return r < 0 ? err_add(reterr, r, "go on with what was received before") : 0;
}

/* Everything but the record and the parts of checkpoint @k->number; with @k NULL everything. */
static int sweep(int dir_fd, const Kept *k, bool *ret_any, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_names(dir_fd, &names, reterr);

        for (char **n = names; r >= 0 && *n; n++) {
                bool keep = k && str_eq(*n, RECORD);

                for (size_t i = 0; k && !keep && i < k->position.subvols; i++) {
                        char name[PART_MAX];

                        part_name(name, i, part_number(k, &k->position, i));
                        keep = str_eq(*n, name);
                }
                if (keep)
                        continue;
                if (ret_any)
                        *ret_any = true;
                if (unlinkat(dir_fd, *n, 0) < 0)
                        r = errno == EISDIR ? subvol_delete_at(dir_fd, *n, reterr)
                                            : err_sys(reterr, errno, "remove %s", *n);
        }
        return r;
}

static int save_parts(Kept *k, const StreamPosition *p, int image_fd, Err **reterr) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < p->subvols; i++) {
                char name[PART_MAX];

                part_name(name, i, part_number(k, p, i));
                r = subvol_is_at(k->dir_fd, name);
                if (r > 0 && i + 1 < p->subvols)
                        continue;
                if (r > 0)
                        r = subvol_delete_at(k->dir_fd, name, reterr);
                if (r >= 0)
                        r = copy_part(image_fd, k->manifest->subvols[i].name, k->dir_fd, name,
                                        /* read_only= */ true, reterr);
        }
        return r < 0 ? r : fs_sync(k->dir_fd, reterr);
}

static int save(Kept *k, const StreamPosition *p, int image_fd, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        int r;

        r = k->dir_fd < 0 ? open_dir(k->m, /* make= */ true, &k->dir_fd, reterr) : 0;
        if (r < 0)
                return r;
        k->number++;
        /* what the record of before names stays until there is another */
        r = save_parts(k, p, image_fd, reterr);
        if (r >= 0)
                r = kept_format(k->manifest, k->number, p, &text);
        if (r >= 0)
                r = file_write_at(k->dir_fd, RECORD, text, strlen(text), reterr);
        if (r < 0)
                return r;
        k->position = *p;
        return sweep(k->dir_fd, k, NULL, reterr);
}

void kept_save(Kept *k, const StreamPosition *p, int image_fd) {
        if (!k->m || save(k, p, image_fd, NULL) >= 0)
                return;
        (void) kept_drop(k->m, NULL, NULL);
        kept_done(k);
        *k = KEPT_NONE;
}

int kept_drop(Machine *m, bool *ret_any, Err **reterr) {
        _cleanup_(fd_closep) int fd = -1;
        int r;

        if (ret_any)
                *ret_any = false;
        r = open_dir(m, /* make= */ false, &fd, reterr);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        /* the record first: without it the rest means nothing */
        if (unlinkat(fd, RECORD, 0) >= 0) {
                if (ret_any)
                        *ret_any = true;
        } else if (errno != ENOENT)
                return err_sys(reterr, errno, "give up what was received before");
        r = sweep(fd, NULL, ret_any, reterr);
        return r < 0 ? err_add(reterr, r, "give up what was received before") : 0;
}

bool kept_tell(Machine *m, char **ret_version, uint64_t *ret_bytes) {
        _cleanup_(fd_closep) int fd = -1;
        _cleanup_(freep) char *text = NULL;
        size_t size;

        return open_dir(m, /* make= */ false, &fd, NULL) >= 0 &&
               file_read_at(fd, RECORD, KEPT_RECORD_MAX, &text, &size, NULL) >= 0 &&
               kept_summary(text, size, ret_version, ret_bytes) >= 0;
}
