/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "client/agent.h"

#define AGENT_PATIENCE_MSEC 5000

static pid_t agent;

static _Noreturn void agent_exec(int notify_fd, pid_t parent) {
        char fd[16];

        if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
                _exit(EXIT_FAILURE);
        snprintf(fd, sizeof(fd), "%d", notify_fd);
        /* it talks to /dev/tty; what the caller reads from us must stay clean */
        if (fcntl(notify_fd, F_SETFD, 0) >= 0 && freopen("/dev/null", "w", stdout))
                execlp("pkttyagent", "pkttyagent", "--notify-fd", fd, "--fallback", NULL);
        _exit(EXIT_FAILURE);
}

void agent_open(void) {
        pid_t self = getpid();
        int fds[2];

        if (agent > 0 || geteuid() == 0 || !isatty(STDIN_FILENO))
                return;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        agent = fork();
        if (agent == 0)
                agent_exec(fds[1], self);
        close(fds[1]);
        /* it closes the pipe when it is registered; a call before that would be refused without a question */
        if (agent > 0)
                (void) poll(&(struct pollfd){.fd = fds[0], .events = POLLIN}, 1,
                                AGENT_PATIENCE_MSEC);
        close(fds[0]);
}

void agent_close(void) {
        if (agent <= 0)
                return;
        (void) kill(agent, SIGTERM);
        (void) kill(agent, SIGCONT);
        (void) waitpid(agent, NULL, 0);
        agent = 0;
}
