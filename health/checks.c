/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "health/checks.h"
#include "os/file.h"

#define RESULT_MAX (64 * 1024)

extern char **environ;

/* A kind of checks: the vendor's folder, and the administrator's that overrides it by name. */
typedef struct Kind {
        const char *usr, *etc;
        bool required;
} Kind;

static const Kind kinds[] = {
                {"usr/lib/abupdate/check.d", "etc/abupdate/check.d", true},
                {"usr/lib/greenboot/check/required.d", "etc/greenboot/check/required.d", true},
                {"usr/lib/greenboot/check/wanted.d", "etc/greenboot/check/wanted.d", false},
};

typedef struct Checks {
        const char *root;
        uint64_t limit_usec;
        FILE *result;
        int n_run, n_failed;
} Checks;

/* Waits for the end of @pid, at most @limit_usec. 1: it ended, 0: it takes too long. */
static int wait_for(pid_t pid, uint64_t limit_usec, Err **reterr) {
        _cleanup_(fd_closep) int fd = pidfd_open(pid, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t end = now_monotonic() + limit_usec;

        if (fd < 0)
                return err_sys(reterr, errno, "watch a check");
        for (;;) {
                uint64_t now = now_monotonic();
                int r;

                if (limit_usec > 0 && now >= end)
                        return 0;
                r = poll(&p, 1, limit_usec > 0 ? (int) ((end - now) / 1000 + 1) : -1);
                if (r > 0)
                        return 1;
                if (r < 0 && errno != EINTR)
                        return err_sys(reterr, errno, "wait for a check");
        }
}

static int start(const char *path, pid_t *ret) {
        posix_spawnattr_t attributes;
        int r = posix_spawnattr_init(&attributes);

        if (r != 0)
                abort(); /* glibc's cannot fail */
        r = posix_spawnattr_setpgroup(&attributes, 0);
        if (r == 0)
                r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
        if (r == 0)
                r = posix_spawn(ret, path, NULL, &attributes, (char *[]){(char *) path, NULL},
                                environ);
        posix_spawnattr_destroy(&attributes);
        return -r;
}

/* Why the check did not pass; NULL: it did. -ENOMEM or an error of the system. */
static int run_check(const Checks *c, const char *path, char **ret, Err **reterr) {
        int status, r;
        pid_t pid;

        r = start(path, &pid);
        if (r < 0)
                *ret = str_printf("could not be started: %s", strerror(-r));
        if (r < 0)
                return *ret ? 0 : -ENOMEM;
        r = wait_for(pid, c->limit_usec, reterr);
        if (r <= 0)
                (void) kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return err_sys(reterr, errno, "wait for %s", path);
        if (r < 0)
                return r;
        if (r == 0)
                *ret = str_printf("took more than %" PRIu64 " s", c->limit_usec / USEC_PER_SEC);
        else if (WIFSIGNALED(status))
                *ret = str_printf("was killed by signal %i", WTERMSIG(status));
        else if (WEXITSTATUS(status) != 0)
                *ret = str_printf("failed with status %i", WEXITSTATUS(status));
        else
                return 0;
        return *ret ? 0 : err_new(reterr, ENOMEM, "out of memory");
}

static int judge(Checks *c, const Kind *kind, const char *folder, const char *name, Err **reterr) {
        _cleanup_(freep) char *path = str_printf("%s/%s/%s", c->root, folder, name), *why = NULL,
                              *shown = str_printable(name);
        struct stat st;
        int r;

        if (!path || !shown)
                return err_new(reterr, ENOMEM, "out of memory");
        if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0)
                return 0;
        r = run_check(c, path, &why, reterr);
        if (r < 0)
                return r;
        c->n_run++;
        if (!why) {
                log_info("%s/%s passed", folder, shown);
                return 0;
        }
        c->n_failed += kind->required;
        log_message(kind->required ? LOG_ERR : LOG_WARNING, "%s/%s %s", folder, shown, why);
        fprintf(c->result, "%s the check /%s/%s %s\n", kind->required ? "error" : "warning", folder,
                        shown, why);
        return 0;
}

/* The names in a folder; none where there is no such folder. */
static int names_in(int root_fd, const char *folder, char ***ret, Err **reterr) {
        _cleanup_(fd_closep) int fd =
                        openat(root_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);

        *ret = NULL;
        if (fd < 0)
                return errno == ENOENT || errno == ENOTDIR
                                       ? 0
                                       : err_sys(reterr, errno, "open %s", folder);
        return dir_names(fd, ret, reterr);
}

static bool in_list(char *const *names, const char *name) {
        for (; names && *names; names++)
                if (str_eq(*names, name))
                        return true;
        return false;
}

static int run_kind(Checks *c, int root_fd, const Kind *kind, Err **reterr) {
        _cleanup_(strv_freep) char **usr = NULL, **etc = NULL;
        int r = names_in(root_fd, kind->usr, &usr, reterr);

        if (r >= 0)
                r = names_in(root_fd, kind->etc, &etc, reterr);
        for (char **n = usr; r >= 0 && n && *n; n++)
                if (!in_list(etc, *n))
                        r = judge(c, kind, kind->usr, *n, reterr);
        for (char **n = etc; r >= 0 && n && *n; n++)
                r = judge(c, kind, kind->etc, *n, reterr);
        return r;
}

int checks_run(const char *root, uint64_t limit_usec, Err **reterr) {
        _cleanup_(fd_closep) int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(freep) char *text = NULL;
        _cleanup_(fclosep) FILE *result = NULL;
        Checks c = {root, limit_usec, NULL, 0, 0};
        size_t size;
        int r = 0;

        if (root_fd < 0)
                return err_sys(reterr, errno, "open %s", root);
        result = open_memstream(&text, &size);
        if (!result)
                return err_new(reterr, ENOMEM, "out of memory");
        c.result = result;
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(kinds); i++)
                r = run_kind(&c, root_fd, &kinds[i], reterr);
        if (r >= 0)
                r = dir_make_at(root_fd, "run/abupdate", 0755, reterr);
        if (r < 0)
                return r;
        if (fflush(result) != 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = file_write_at(root_fd, CHECKS_RESULT, text, size, reterr);
        log_info("%i checks run, %i required ones failed", c.n_run, c.n_failed);
        return r < 0 ? r : c.n_failed;
}

char *checks_failure(int root_fd) {
        _cleanup_(freep) char *text = NULL;
        char *save = NULL;

        if (file_read_if_at(root_fd, CHECKS_RESULT, RESULT_MAX, &text, NULL, NULL) <= 0)
                return NULL;
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                const char *sentence = str_after(line, "error ");

                if (sentence)
                        return strdup(sentence);
        }
        return NULL;
}
