/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "daemon/spawn.h"
#include "dbus/worker-api.h"

/* What a service manager gave to the daemon alone. */
static const char *const private_environment[] = {
                "NOTIFY_SOCKET",
                "LISTEN_FDS",
                "LISTEN_PID",
                "LISTEN_FDNAMES",
                "WATCHDOG_PID",
                "WATCHDOG_USEC",
                "DBUS_STARTER_ADDRESS",
                "DBUS_STARTER_BUS_TYPE",
                "DBUS_SYSTEM_BUS_ADDRESS",
};

/* Moves *@socket, @image and @manifest to their numbers and closes everything else. All are moved out of the way first:
 * each may have the number of another. *@socket is where one can answer, at any time. */
static int arrange_fds(int *socket, int image, int manifest) {
        int null, fd, *const given[] = {&image, &manifest};
        static const int wanted[] = {WORKER_IMAGE_FD, WORKER_MANIFEST_FD};

        fd = fcntl(*socket, F_DUPFD, WORKER_MANIFEST_FD + 1);
        if (fd < 0)
                return -errno;
        *socket = fd;
        for (size_t i = 0; i < ARRAY_SIZE(given); i++)
                if (*given[i] >= 0) {
                        *given[i] = fcntl(*given[i], F_DUPFD, WORKER_MANIFEST_FD + 1);
                        if (*given[i] < 0)
                                return -errno;
                }

        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
                        dup2(*socket, WORKER_SOCKET_FD) < 0)
                return -errno;
        *socket = WORKER_SOCKET_FD;
        for (size_t i = 0; i < ARRAY_SIZE(given); i++)
                if (*given[i] < 0)
                        close(wanted[i]);
                else if (dup2(*given[i], wanted[i]) < 0)
                        return -errno;
        return close_range(WORKER_MANIFEST_FD + 1, ~0U, /* flags= */ 0) < 0 ? -errno : 0;
}

static int reset_signals(void) {
        sigset_t none;

        if (sigemptyset(&none) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0 ||
                        signal(SIGPIPE, SIG_DFL) == SIG_ERR)
                return -errno;
        return 0;
}

/* In the child; returns only when it failed. */
static int become_worker(const char *program, const char *root, int *socket, int image,
                int manifest, pid_t parent) {
        _cleanup_(freep) char *root_option = NULL;
        const char *argv[4] = {"abupdated", "--worker", NULL, NULL};
        int r;

        if (root) {
                root_option = str_printf("--root=%s", root);
                if (!root_option)
                        return -ENOMEM;
                argv[2] = root_option;
        }

        if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
                return -errno;
        if (getppid() != parent) /* it died before that */
                return -ESRCH;
        if (setsid() < 0)
                return -errno;

        for (size_t i = 0; i < ARRAY_SIZE(private_environment); i++)
                unsetenv(private_environment[i]);
        r = reset_signals();
        if (r >= 0)
                r = arrange_fds(socket, image, manifest);
        if (r < 0)
                return r;

        execv(program, (char **) argv);
        return -errno;
}

int spawn_worker(const char *program, const char *root, int socket, int image, int manifest,
                pid_t *ret, Err **reterr) {
        pid_t parent = getpid(), pid;
        char text[512];
        int r;

        pid = fork();
        if (pid < 0)
                return err_sys(reterr, errno, "start a worker");
        if (pid > 0) {
                *ret = pid;
                return 0;
        }

        r = become_worker(program, root, &socket, image, manifest, parent);
        (void) snprintf(text, sizeof(text),
                        "{\"msg\":\"result\",\"code\":%i,\"kind\":\"Failed\","
                        "\"text\":\"cannot run the worker: %s\"}",
                        r, strerror(-r));
        (void) send(socket, text, strlen(text), MSG_NOSIGNAL);
        _exit(EXIT_FAILURE);
}
