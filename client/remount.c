/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/mount.h>

#include "client/remount.h"

#define MOUNTINFO "/proc/self/mountinfo"

typedef struct Mount {
        char *device; /* "0:31": one for all mounts of a Btrfs, whatever their subvolumes */
        char *path;
        char *options;
} Mount;

static bool is_octal(const char *s, size_t n) {
        return strspn(s, "01234567") >= n;
}

/* The kernel writes blanks in paths as "\040". In place. */
static void unescape(char *s) {
        char *to = s;

        for (; *s; s++)
                if (*s == '\\' && is_octal(s + 1, 3)) {
                        *to++ = (char) ((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
                        s += 3;
                } else
                        *to++ = *s;
        *to = '\0';
}

/* proc_pid_mountinfo(5); points into @line. */
static bool parse(char *line, Mount *ret) {
        char *rest = NULL, *words[6];

        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
                words[i] = strtok_r(i == 0 ? line : NULL, " \n", &rest);
                if (!words[i])
                        return false;
        }
        *ret = (Mount){.device = words[2], .path = words[4], .options = words[5]};
        unescape(ret->path);
        return true;
}

/* Calls @each for every mount; what it counts is summed up. */
static int for_each_mount(int (*each)(const Mount *m, void *userdata, Err **reterr), void *userdata,
                size_t *ret_count, Err **reterr) {
        FILE *f = fopen(MOUNTINFO, "re");
        char *line = NULL;
        size_t size = 0, count = 0;
        int r = 0;

        if (!f)
                return err_sys(reterr, errno, "Cannot read " MOUNTINFO);
        while (r >= 0 && getline(&line, &size, f) >= 0) {
                Mount m;

                if (!parse(line, &m))
                        continue;
                r = each(&m, userdata, reterr);
                count += r > 0;
        }
        free(line);
        fclose(f);
        *ret_count = count;
        return r < 0 ? r : 0;
}

typedef struct Root {
        const char *path;
        char device[24];
} Root;

/* The last one mounted there is the one that is seen. */
static int find_root(const Mount *m, void *userdata, Err **reterr _unused_) {
        Root *root = userdata;

        if (str_eq(m->path, root->path))
                snprintf(root->device, sizeof(root->device), "%s", m->device);
        return 0;
}

static int make_writable(const Mount *m, void *userdata, Err **reterr) {
        const Root *root = userdata;
        struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};

        if (!str_eq(m->device, root->device) ||
                        !(str_eq(m->options, "ro") || str_after(m->options, "ro,")))
                return 0;
        if (mount_setattr(AT_FDCWD, m->path, AT_SYMLINK_NOFOLLOW, &attr, sizeof(attr)) < 0)
                return err_sys(reterr, errno, "Cannot make the mount at %s writable", m->path);
        return 1;
}

int remount_writable(const char *root, size_t *ret_count, Err **reterr) {
        _cleanup_(freep) char *path = realpath(*root ? root : "/", NULL);
        Root of = {.path = path};
        size_t n;
        int r;

        *ret_count = 0;
        if (!path)
                return err_sys(reterr, errno, "Cannot find %s", root);
        r = for_each_mount(find_root, &of, &n, reterr);
        return r < 0 ? r : for_each_mount(make_writable, &of, ret_count, reterr);
}
