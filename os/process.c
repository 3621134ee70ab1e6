/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "os/process.h"

extern char **environ;

static void actions_donep(posix_spawn_file_actions_t *a) {
        posix_spawn_file_actions_destroy(a);
}

/* The last line that the program wrote to @fd. */
static void last_line(int fd, char *buf, size_t size) {
        off_t end = lseek(fd, 0, SEEK_END);
        ssize_t n = pread(fd, buf, size - 1, end > (off_t) size - 1 ? end - (off_t) size + 1 : 0);
        char *nl;

        buf[n > 0 ? n : 0] = '\0';
        while ((nl = strrchr(buf, '\n'))) {
                *nl = '\0';
                if (nl[1]) {
                        memmove(buf, nl + 1, strlen(nl + 1) + 1);
                        return;
                }
        }
}

/* @out: where standard output goes; -1 drops it. 0, the exit status, or a negative errno. */
static int run_status(const char *const argv[], const int *fds, int out, Err **reterr) {
        _cleanup_(actions_donep) posix_spawn_file_actions_t actions;
        _cleanup_(fd_closep) int output = memfd_create("output", MFD_CLOEXEC);
        char line[256];
        int r, status;
        pid_t pid;

        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                abort(); /* glibc's cannot fail */
        if (output < 0)
                return err_sys(reterr, errno, "run %s", argv[0]);
        r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = out >= 0 ? posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO)
                             : posix_spawn_file_actions_addopen(
                                               &actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
        for (; r == 0 && fds && *fds >= 0; fds++)
                r = posix_spawn_file_actions_adddup2(
                                &actions, *fds, *fds); /* takes close-on-exec off */
        if (r == 0)
                r = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *) argv, environ);
        if (r != 0)
                return err_sys(reterr, r, "run %s", argv[0]);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return err_sys(reterr, errno, "wait for %s", argv[0]);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        last_line(output, line, sizeof(line));
        if (WIFSIGNALED(status))
                return err_new(reterr, ECHILD, "%s was killed by signal %i", argv[0],
                                WTERMSIG(status));
        (void) err_new(reterr, ECHILD, "%s failed with status %i: %s", argv[0], WEXITSTATUS(status),
                        line);
        return WEXITSTATUS(status);
}

static int run(const char *const argv[], const int *fds, int out, Err **reterr) {
        int r = run_status(argv, fds, out, reterr);

        return r > 0 ? -ECHILD : r;
}

int program_status(const char *const argv[], Err **reterr) {
        return run_status(argv, NULL, -1, reterr);
}

int program_run(const char *const argv[], const int *fds, Err **reterr) {
        return run(argv, fds, -1, reterr);
}

int program_read(const char *const argv[], const int *fds, size_t max, char **ret, Err **reterr) {
        _cleanup_(fd_closep) int out = memfd_create("output", MFD_CLOEXEC);
        _cleanup_(freep) char *text = NULL;
        struct stat st;
        int r;

        if (out < 0)
                return err_sys(reterr, errno, "run %s", argv[0]);
        r = run(argv, fds, out, reterr);
        if (r < 0)
                return r;
        if (fstat(out, &st) < 0)
                return err_sys(reterr, errno, "read what %s said", argv[0]);
        if ((uint64_t) st.st_size > max)
                return err_new(reterr, EFBIG, "%s said more than %zu bytes", argv[0], max);
        text = calloc(1, (size_t) st.st_size + 1);
        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        if (pread(out, text, (size_t) st.st_size, 0) != st.st_size)
                return err_sys(reterr, EIO, "read what %s said", argv[0]);
        *ret = MOVE(text);
        return 0;
}
