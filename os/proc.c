/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libmount.h>

#include "os/file.h"
#include "os/proc.h"

static void tablep(struct libmnt_table **t) {
        mnt_unref_table(*t);
}

int proc_boot_id(int root_fd, char **ret, Err **reterr) {
        _cleanup_(freep) char *id = NULL;
        int r = file_read_at(root_fd, "proc/sys/kernel/random/boot_id", 64, &id, NULL, reterr);

        if (r < 0)
                return err_add(reterr, r, "read the id of this boot");
        id[strcspn(id, "\n")] = '\0';
        if (strlen(id) != UUID_TEXT_SIZE - 1)
                return err_new(reterr, EBADMSG, "read the id of this boot: '%s' is none", id);
        *ret = MOVE(id);
        return 0;
}

int proc_cmdline_get(int root_fd, const char *key, char **ret, Err **reterr) {
        _cleanup_(freep) char *line = NULL, *value = NULL;
        char *word, *save = NULL;
        size_t n = strlen(key);
        int r;

        r = file_read_at(root_fd, "proc/cmdline", 64 * 1024, &line, NULL, reterr);
        if (r < 0)
                return err_add(reterr, r, "read the kernel command line");
        for (word = strtok_r(line, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save)) {
                if (strncmp(word, key, n) != 0 || (word[n] != '=' && word[n] != '\0'))
                        continue;
                r = str_set(&value, word[n] ? word + n + 1 : "");
                if (r < 0)
                        return err_new(reterr, r, "out of memory");
        }
        *ret = MOVE(value);
        return 0;
}

int mount_option_get(const char *options, const char *name, char **ret) {
        char *value = NULL;
        size_t size = 0;
        int r = mnt_optstr_get_option(options, name, &value, &size);

        *ret = NULL;
        if (r < 0)
                return r;
        if (r == 0) {
                *ret = strndup(value ? value : "", size);
                if (!*ret)
                        return -ENOMEM;
        }
        return 0;
}

int mount_names_subvol(const char *options, char **ret) {
        int r = mount_option_get(options, "subvol", ret);

        if (r >= 0 && !*ret)
                r = mount_option_get(options, "subvolid", ret);
        return r < 0 ? r : *ret != NULL;
}

int mount_option_drop(char **options, const char *name) {
        int r = 0;

        while (r == 0)
                r = mnt_optstr_remove_option(options, name);
        return r < 0 ? r : 0;
}

int fstab_options(int root_fd, const char *target, char **ret, Err **reterr) {
        _cleanup_(tablep) struct libmnt_table *table = mnt_new_table();
        _cleanup_(freep) char *text = NULL;
        _cleanup_(fclosep) FILE *f = NULL;
        struct libmnt_fs *fs = NULL;
        const char *options = NULL;
        size_t size = 0;
        int r;

        r = file_read_if_at(root_fd, "etc/fstab", 1024 * 1024, &text, &size, reterr);
        if (r < 0)
                return r;
        if (size > 0) {
                f = fmemopen(text, size, "r");
                if (!f || !table || mnt_table_parse_stream(table, f, "fstab") < 0)
                        return err_new(reterr, ENOMEM, "read etc/fstab");
                fs = mnt_table_find_target(table, target, MNT_ITER_FORWARD);
                options = fs ? mnt_fs_get_options(fs) : NULL;
        }
        *ret = strdup(options ? options : "");
        return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
}
