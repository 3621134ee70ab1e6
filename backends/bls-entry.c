/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/bls.h"
#include "os/file.h"

enum { ENTRY_MAX = 64 * 1024, RANK_MAX = 99999999 };

void bls_entry_done(BlsEntry *e) {
        free(e->file);
        free(e->id);
        free(e->slot);
        free(e->title);
        free(e->version);
        free(e->sort_key);
        free(e->machine_id);
        free(e->linux_path);
        free(e->initrd);
        free(e->options);
        *e = (BlsEntry){0};
}

void bls_list_done(BlsList *l) {
        for (size_t i = 0; i < l->n; i++)
                bls_entry_done(&l->entries[i]);
        free(l->entries);
        *l = (BlsList){0};
}

BlsEntry *bls_find(const BlsList *l, const char *slot) {
        for (size_t i = 0; i < l->n; i++)
                if (slot && str_eq(l->entries[i].slot, slot))
                        return &l->entries[i];
        return NULL;
}

static int parse_counter(const char *text, size_t n, int *ret) {
        _cleanup_(freep) char *digits = strndup(text, n);
        uint64_t number;

        if (!digits)
                return -ENOMEM;
        if (parse_u64(digits, &number) < 0 || number > 9999)
                return -EINVAL;
        *ret = (int) number;
        return 0;
}

/* "abupdate-b+3-1.conf": what comes behind the last '+', where it is what it looks like. */
static int parse_name(BlsEntry *e) {
        size_t n = strlen(e->file) - strlen(".conf");
        const char *plus = memrchr(e->file, '+', n), *minus, *end = e->file + n;
        int left, done = 0, r = 0;

        e->left = -1;
        if (plus) {
                minus = memchr(plus, '-', (size_t) (end - plus));
                r = parse_counter(plus + 1, (size_t) ((minus ? minus : end) - plus - 1), &left);
                if (r >= 0 && minus)
                        r = parse_counter(minus + 1, (size_t) (end - minus - 1), &done);
                if (r == -ENOMEM)
                        return r;
                if (r >= 0) {
                        e->left = left;
                        e->done = done;
                        n = (size_t) (plus - e->file);
                }
        }
        e->id = strndup(e->file, n);
        return e->id ? 0 : -ENOMEM;
}

static int take_line(BlsEntry *e, char *line) {
        const struct {
                const char *key;
                char **value;
        } keys[] = {
                        {"title", &e->title},
                        {"version", &e->version},
                        {"sort-key", &e->sort_key},
                        {"machine-id", &e->machine_id},
                        {"linux", &e->linux_path},
                        {"initrd", &e->initrd},
                        {"options", &e->options},
        };
        char *value;

        line += strspn(line, " \t");
        value = line + strcspn(line, " \t");
        if (*line == '#' || !*value)
                return 0;
        *value++ = '\0';
        value += strspn(value, " \t");
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                if (str_eq(keys[i].key, line))
                        return str_set(keys[i].value, value);
        return 0;
}

static int read_entry(int entries_fd, const char *file, const char *prefix, BlsEntry *ret) {
        _cleanup_(bls_entry_done) BlsEntry e = {0};
        _cleanup_(freep) char *text = NULL;
        const char *slot;
        char *save = NULL;
        int r = file_read_at(entries_fd, file, ENTRY_MAX, &text, NULL, NULL);

        if (r >= 0)
                r = str_set(&e.file, file);
        if (r >= 0)
                r = parse_name(&e);
        for (char *line = r >= 0 ? strtok_r(text, "\r\n", &save) : NULL; r >= 0 && line;
                        line = strtok_r(NULL, "\r\n", &save))
                r = take_line(&e, line);
        if (r < 0)
                return r;
        slot = str_after(e.id, prefix);
        if (slot && slot[0] == '-' && str_set(&e.slot, slot + 1) < 0)
                return -ENOMEM;
        *ret = e;
        e = (BlsEntry){0};
        return 0;
}

/* config_entry_compare() of systemd-boot: exhausted ones last, those with a sort key first. */
static int compare(const void *one, const void *two) {
        const BlsEntry *a = one, *b = two;
        int r = (a->left == 0) - (b->left == 0);

        if (r == 0)
                r = !a->sort_key - !b->sort_key;
        if (r == 0 && a->sort_key && b->sort_key) {
                r = strcmp(a->sort_key, b->sort_key);
                if (r == 0)
                        r = strcmp(str_or(a->machine_id, ""), str_or(b->machine_id, ""));
                if (r == 0)
                        r = -strverscmp(str_or(a->version, ""), str_or(b->version, ""));
        }
        if (r == 0)
                r = -strverscmp(a->id, b->id);
        return r ? r : b->left - a->left;
}

int bls_remove_drafts(int entries_fd, const char *prefix, Err **reterr) {
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_names(entries_fd, &names, reterr);

        for (char **name = names; r >= 0 && *name; name++) {
                size_t length = strlen(*name);
                const char *rest = str_after(*name, prefix);

                if (!rest || *rest != '-' || length <= 9 ||
                                !str_eq(*name + length - 9, ".conf.new"))
                        continue;
                (*name)[length - 4] = '\0';
                r = file_drop_draft_at(entries_fd, *name, reterr);
        }
        return r < 0 ? err_add(reterr, r, "clean the boot entries") : 0;
}

int bls_list(int entries_fd, const char *prefix, BlsList *ret, Err **reterr) {
        _cleanup_(bls_list_done) BlsList l = {0};
        _cleanup_(strv_freep) char **names = NULL;
        size_t n = 0;
        int r = dir_names(entries_fd, &names, reterr);

        if (r < 0)
                return err_add(reterr, r, "read the boot entries");
        while (names[n])
                n++;
        l.entries = calloc(n + 1, sizeof(*l.entries));
        if (!l.entries)
                return err_new(reterr, ENOMEM, "out of memory");
        for (char **name = names; *name; name++) {
                size_t length = strlen(*name);

                if (length <= 5 || !str_eq(*name + length - 5, ".conf"))
                        continue;
                r = read_entry(entries_fd, *name, prefix, &l.entries[l.n]);
                if (r == -ENOMEM)
                        return err_new(reterr, r, "out of memory");
                if (r >= 0)
                        l.n++;
        }
        qsort(l.entries, l.n, sizeof(*l.entries), compare);
        *ret = l;
        l = (BlsList){0};
        return 0;
}

unsigned bls_rank(const BlsEntry *e, const char *prefix) {
        const char *digits = e->sort_key ? str_after(e->sort_key, prefix) : NULL;
        uint64_t down;

        if (!digits || *digits != '-' || parse_u64(digits + 1, &down) < 0 || down > RANK_MAX)
                return 0;
        return (unsigned) (RANK_MAX - down);
}

/* The loader takes what sorts first, so the number counts down. */
char *bls_sort_key(const char *prefix, unsigned rank) {
        return str_printf("%s-%08u", prefix, RANK_MAX - rank);
}

static void put(FILE *f, const char *key, const char *value) {
        if (value && *value)
                fprintf(f, "%s %s\n", key, value);
}

char *bls_file_name(const char *prefix, const BlsEntry *e) {
        return e->left < 0    ? str_printf("%s-%s.conf", prefix, e->slot)
               : e->done == 0 ? str_printf("%s-%s+%i.conf", prefix, e->slot, e->left)
                              : str_printf("%s-%s+%i-%i.conf", prefix, e->slot, e->left, e->done);
}

int bls_write(int entries_fd, const char *prefix, BlsEntry *e, Err **reterr) {
        _cleanup_(freep) char *text = NULL, *file = bls_file_name(prefix, e);
        _cleanup_(fclosep) FILE *f = NULL;
        size_t size = 0;
        int r;

        f = open_memstream(&text, &size);
        if (!file || !f)
                return err_new(reterr, ENOMEM, "out of memory");
        put(f, "title", e->title);
        put(f, "version", e->version);
        put(f, "sort-key", e->sort_key);
        put(f, "machine-id", e->machine_id);
        put(f, "linux", e->linux_path);
        put(f, "initrd", e->initrd);
        put(f, "options", e->options);
        if (fflush(f) != 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = file_write_at(entries_fd, file, text, size, reterr);
        if (r < 0)
                return err_add(reterr, r, "write boot entry %s", file);
        free(e->file);
        e->file = MOVE(file);
        return 0;
}
