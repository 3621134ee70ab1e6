/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "client/persist.h"

#define NAME     "persistent-update"
#define NAME_NEW NAME ".new"
#define TEXT_MAX (32 * 1024)

/* Flags of the command, in the words of the file. */
static const struct {
        const char *key;
        size_t offset;
} flags[] =
                {
                                {"NoArm", offsetof(Options, no_arm)},
                                {"Reboot", offsetof(Options, reboot)},
                                {"Reinstall", offsetof(Options, reinstall)},
                                {"AllowDowngrade", offsetof(Options, allow_downgrade)},
},
  texts[] = {
                  {"As", offsetof(Options, as)},
                  {"Accept", offsetof(Options, accept)},
                  {"Retries", offsetof(Options, retries)},
};

static const char *state_dir(void) {
        return str_or(getenv("STATE_DIRECTORY"), "/var/lib/abupdate");
}

static int open_dir(Err **reterr) {
        int fd;

        if (mkdir(state_dir(), 0755) < 0 && errno != EEXIST)
                return err_sys(reterr, errno, "Cannot make %s", state_dir());
        fd = open(state_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? err_sys(reterr, errno, "Cannot open %s", state_dir()) : fd;
}

/* A name that still holds in another directory and at another time. */
static int lasting(const char *where, char **ret, Err **reterr) {
        if (str_eq(where, "-"))
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "--persist cannot go with '-': standard input is not there a "
                                "second time");
        *ret = strstr(where, "://") ? strdup(where) : realpath(where, NULL);
        return *ret ? 0 : err_sys(reterr, errno, "Cannot open %s", where);
}

static int set_name(Kv *kv, const char *key, const char *where, Err **reterr) {
        _cleanup_(freep) char *name = NULL;
        int r = lasting(where, &name, reterr);

        if (r < 0)
                return r;
        r = kv_set(kv, key, name);
        return r < 0 ? err_sys(reterr, r, "The name of %s cannot be written down", where) : 0;
}

static int describe(const Options *o, const char *where, char **ret, Err **reterr) {
        _cleanup_(kv_freep) Kv *kv = NULL;
        int r = kv_new(&kv);

        if (r < 0)
                return err_sys(reterr, r, "Cannot write the update down");
        r = set_name(kv, "Image", where, reterr);
        if (r >= 0 && o->manifest)
                r = set_name(kv, "Manifest", o->manifest, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(flags); i++)
                if (*(const bool *) ((const char *) o + flags[i].offset))
                        r = kv_set(kv, flags[i].key, "yes");
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(texts); i++)
                r = kv_set(kv, texts[i].key,
                                *(const char *const *) ((const char *) o + texts[i].offset));
        if (r >= 0)
                r = kv_format(kv, ret);
        return r < 0 ? err_sys(reterr, r, "Cannot write the update down") : 0;
}

static int write_new(int dir_fd, const char *text) {
        _cleanup_(fd_closep) int fd = openat(dir_fd, NAME_NEW,
                        O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        size_t size = strlen(text);
        ssize_t put;

        if (fd < 0)
                return -errno;
        put = write(fd, text, size);
        if (put < 0)
                return -errno;
        if ((size_t) put != size)
                return -ENOSPC;
        if (fsync(fd) < 0 || renameat(dir_fd, NAME_NEW, dir_fd, NAME) < 0 || fsync(dir_fd) < 0)
                return -errno;
        return 0;
}

int persist_write(const Options *o, const char *where, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(fd_closep) int dir_fd = -1;
        int r = describe(o, where, &text, reterr);

        if (r < 0)
                return r;
        dir_fd = open_dir(reterr);
        if (dir_fd < 0)
                return err_add(reterr, dir_fd, "Cannot write the update down");
        r = write_new(dir_fd, text);
        return r < 0 ? err_sys(reterr, r, "Cannot write the update down in %s/" NAME, state_dir())
                     : 0;
}

/* 0 where there is none. */
static ssize_t read_text(char *buffer, Err **reterr) {
        _cleanup_(freep) char *path = str_printf("%s/" NAME, state_dir());
        _cleanup_(fd_closep) int fd = -1;
        ssize_t got;

        if (!path)
                return err_sys(reterr, ENOMEM, "Cannot read what is to be gone on with");
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 0;
        got = fd < 0 ? -1 : read(fd, buffer, TEXT_MAX);
        return got < 0 ? err_sys(reterr, errno, "Cannot read %s", path) : got;
}

int persist_read(Options *o, Kv **ret, const char **ret_where, Err **reterr) {
        _cleanup_(freep) char *text = malloc(TEXT_MAX);
        _cleanup_(kv_freep) Kv *kv = NULL;
        const char *where;
        ssize_t size;
        int r = 0;

        if (!text)
                return err_sys(reterr, ENOMEM, "Cannot read what is to be gone on with");
        size = read_text(text, reterr);
        if (size < 0)
                return (int) size;
        if (size == 0)
                return err_kind(reterr, ERR_NOTHING_TO_DO, ENOENT,
                                "No update waits to be gone on with");
        r = kv_parse(text, (size_t) size, &kv, reterr);
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(flags); i++)
                r = kv_get_bool(kv, flags[i].key, /* fallback= */ false,
                                (bool *) ((char *) o + flags[i].offset), reterr);
        where = r < 0 ? NULL : kv_get(kv, "Image");
        if (r >= 0 && !where)
                r = err_new(reterr, -EBADMSG, "It names no image");
        if (r < 0)
                return err_add(reterr, r,
                                "%s/" NAME " cannot be read ('abctl update --forget' drops it)",
                                state_dir());
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                *(const char **) ((char *) o + texts[i].offset) = kv_get(kv, texts[i].key);
        o->manifest = kv_get(kv, "Manifest");
        *ret_where = where;
        *ret = MOVE(kv);
        return 0;
}

int persist_drop(Err **reterr) {
        _cleanup_(fd_closep) int dir_fd = open(state_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (dir_fd < 0 && errno == ENOENT)
                return 0;
        if (dir_fd < 0 || (unlinkat(dir_fd, NAME, 0) < 0 && errno != ENOENT) || fsync(dir_fd) < 0)
                return err_sys(reterr, errno, "Cannot forget the update in %s/" NAME, state_dir());
        return 0;
}

bool persist_is_settled(int r, const Err *e) {
        if (r >= 0)
                return true;
        switch (err_kind_exit(err_kind_of(e))) {
        case EXIT_WRONG_USE:
        case EXIT_NOTHING_TO_DO:
        case EXIT_REFUSED: return true;
        default: return false;
        }
}
