/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "client/command.h"

extern char **environ;

static bool can_run(const char *folder, size_t size, const char *name) {
        _cleanup_(freep) char *path = str_printf("%.*s/%s", (int) size, folder, name);

        return path && access(path, X_OK) >= 0;
}

int command_find(const char *name, Err **reterr) {
        const char *path = str_or(getenv("PATH"), "/usr/sbin:/usr/bin:/sbin:/bin");
        bool found = strchr(name, '/') && access(name, X_OK) >= 0;

        while (!found && !strchr(name, '/') && *path) {
                size_t size = strcspn(path, ":");

                found = can_run(path, size, name);
                path += size + (path[size] == ':');
        }
        return found ? 0
                     : err_kind(reterr, ERR_INVALID_ARGUMENT, ENOENT,
                                       "There is no program '%s'. Nothing was changed", name);
}

/* As it would be without us: with all signals, and ended by a pipe that nobody reads. */
static int spawn(char *argv[], pid_t *ret) {
        posix_spawnattr_t attr;
        sigset_t none, all;
        int r = posix_spawnattr_init(&attr);

        if (r != 0)
                return -r;
        (void) sigemptyset(&none);
        (void) sigfillset(&all);
        (void) posix_spawnattr_setsigmask(&attr, &none);
        (void) posix_spawnattr_setsigdefault(&attr, &all);
        (void) posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        r = posix_spawnp(ret, argv[0], NULL, &attr, argv, environ);
        (void) posix_spawnattr_destroy(&attr);
        return -r;
}

/* What was pressed while the command ran was meant for the command. */
static void forget_signals(const sigset_t *set) {
        static const struct timespec now = {0};

        while (sigtimedwait(set, NULL, &now) >= 0)
                ;
}

int command_run(char *argv[], Err **reterr) {
        sigset_t set, before;
        pid_t pid = 0;
        int r, status = 0;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGINT);
        (void) sigprocmask(SIG_BLOCK, &set, &before);
        fflush(stdout);
        r = spawn(argv, &pid);
        while (r >= 0 && waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        r = -errno;
        forget_signals(&set);
        (void) sigprocmask(SIG_SETMASK, &before, NULL);
        if (r < 0)
                return err_sys(reterr, r, "Cannot run %s", argv[0]);
        if (WIFSIGNALED(status))
                return err_kind(reterr, ERR_FAILED, EIO, "%s was killed by signal %i (%s)", argv[0],
                                WTERMSIG(status), strsignal(WTERMSIG(status)));
        return WEXITSTATUS(status) == 0
                               ? 0
                               : err_kind(reterr, ERR_FAILED, EIO, "%s ended with status %i",
                                                 argv[0], WEXITSTATUS(status));
}
