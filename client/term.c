/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <langinfo.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "client/term.h"

static bool is_tty, has_colours;
static pid_t pager;

void term_open(void) {
        const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

        is_tty = isatty(STDOUT_FILENO);
        has_colours = is_tty && !(no_color && *no_color) && !(term && str_eq(term, "dumb"));
}

bool term_is_tty(void) {
        return is_tty;
}

bool term_utf8(void) {
        return str_eq(nl_langinfo(CODESET), "UTF-8");
}

size_t term_width(void) {
        const char *columns = getenv("COLUMNS");
        struct winsize ws;
        uint64_t v;

        if (columns && parse_u64(columns, &v) >= 0 && v > 0 && v < 10000)
                return (size_t) v;
        /* stdout may be the pager by now */
        for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
                if (ioctl(fd, TIOCGWINSZ, &ws) >= 0 && ws.ws_col > 0)
                        return ws.ws_col;
        return 80;
}

static const char *const paints[_PAINT_MAX] = {
                [PAINT_PLAIN] = "\033[0m",
                [PAINT_BOLD] = "\033[1m",
                [PAINT_DIM] = "\033[2m",
                [PAINT_GREEN] = "\033[32m",
                [PAINT_YELLOW] = "\033[33m",
                [PAINT_RED] = "\033[1;31m",
};

const char *paint(Paint p) {
        return has_colours ? paints[p] : "";
}

static _Noreturn void pager_exec(int input_fd) {
        const char *own = getenv("ABUPDATE_PAGER"), *any = getenv("PAGER");

        if (dup2(input_fd, STDIN_FILENO) < 0)
                _exit(EXIT_FAILURE);
        (void) setenv("LESS", "FRSXMK", /* overwrite= */ 0);
        (void) setenv("LESSCHARSET", term_utf8() ? "utf-8" : "iso8859", /* overwrite= */ 0);
        /* somebody who may run abctl by sudo need not be somebody who may run a shell */
        if (getenv("SUDO_UID") || getenv("PKEXEC_UID"))
                (void) setenv("LESSSECURE", "1", /* overwrite= */ 1);
        if (own ? *own : any && *any)
                execlp("sh", "sh", "-c", own ? own : any, NULL);
        execlp("less", "less", NULL);
        execlp("more", "more", NULL);
        execlp("cat", "cat", NULL);
        _exit(EXIT_FAILURE);
}

void term_page(const Client *c) {
        const char *own = getenv("ABUPDATE_PAGER"), *any = getenv("PAGER");
        const char *wish = own ? own : any;
        int fds[2];

        if (c->opt.no_pager || pager > 0 || !isatty(STDOUT_FILENO))
                return;
        if (wish && (!*wish || str_eq(wish, "cat")))
                return;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        fflush(stdout);
        pager = fork();
        if (pager == 0)
                pager_exec(fds[0]);
        if (pager > 0) {
                /* what does not fit is for the pager to say, not for us to die of */
                (void) signal(SIGPIPE, SIG_IGN);
                (void) signal(SIGINT, SIG_IGN);
                (void) dup2(fds[1], STDOUT_FILENO);
        }
        close(fds[0]);
        close(fds[1]);
}

void term_close(void) {
        fflush(stdout);
        if (pager <= 0)
                return;
        (void) dup2(STDERR_FILENO,
                        STDOUT_FILENO); /* the last writer leaves: the pager sees the end */
        (void) waitpid(pager, NULL, 0);
        pager = 0;
}
