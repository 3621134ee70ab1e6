/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* abupdated: the daemon, and with --worker one job of it. */
#include <getopt.h>

#include "base/log.h"
#include "daemon/manager.h"
#include "daemon/worker.h"

#define IDLE_DEFAULT (60 * USEC_PER_SEC)
#define IDLE_MAX     (365u * 24 * 3600)

static void help(void) {
        (void) printf("abupdated [OPTION...]\n\n"
                      "A/B updates of a system on Btrfs, as a service on the system bus.\n\n"
                      "  --root=DIR            The machine is what is below DIR\n"
                      "  --idle-timeout=SEC    Exit after so long without work; \"infinity\": "
                      "never\n"
                      "                        (default: 60)\n"
                      "  --worker              Be one job; for abupdated itself and abctl "
                      "--offline\n"
                      "  --help                Show this\n"
                      "  --version             Show the version\n\n"
                      "See also abctl(1).\n");
}

static int parse_idle(const char *s, uint64_t *ret) {
        uint64_t v;

        if (str_eq(s, "infinity")) {
                *ret = UINT64_MAX;
                return 0;
        }
        if (parse_u64(s, &v) < 0 || v > IDLE_MAX)
                return -EINVAL;
        *ret = v * USEC_PER_SEC;
        return 0;
}

typedef struct Options {
        const char *root, *program;
        uint64_t idle_usec;
        bool worker;
} Options;

/* 1: go on, 0: done, negative: wrong use, which has been told. */
static int parse_options(int argc, char *argv[], Options *ret) {
        enum { OPT_ROOT = 0x100, OPT_IDLE, OPT_WORKER, OPT_PROGRAM, OPT_HELP, OPT_VERSION };
        static const struct option long_options[] = {
                        {"root", required_argument, NULL, OPT_ROOT},
                        {"idle-timeout", required_argument, NULL, OPT_IDLE},
                        {"worker", no_argument, NULL, OPT_WORKER},
                        {"worker-program", required_argument, NULL, OPT_PROGRAM}, /* for tests */
                        {"help", no_argument, NULL, OPT_HELP},
                        {"version", no_argument, NULL, OPT_VERSION},
                        {NULL, 0, NULL, 0},
        };
        Options o = {.program = "/proc/self/exe", .idle_usec = IDLE_DEFAULT};
        int c;

        while ((c = getopt_long(argc, argv, "", long_options, NULL)) >= 0)
                switch (c) {
                case OPT_ROOT: o.root = optarg; break;
                case OPT_IDLE:
                        if (parse_idle(optarg, &o.idle_usec) < 0) {
                                log_error("--idle-timeout= takes seconds or \"infinity\", not "
                                          "\"%s\"",
                                                optarg);
                                return -EINVAL;
                        }
                        break;
                case OPT_WORKER: o.worker = true; break;
                case OPT_PROGRAM: o.program = optarg; break;
                case OPT_HELP: help(); return 0;
                case OPT_VERSION: (void) puts("abupdated " ABUPDATE_VERSION); return 0;
                default: return -EINVAL;
                }
        if (optind < argc) {
                log_error("abupdated takes no arguments, only options");
                return -EINVAL;
        }
        *ret = o;
        return 1;
}

int main(int argc, char *argv[]) {
        Manager m = {0};
        Options o;
        int r;

        log_open("abupdated");
        r = parse_options(argc, argv, &o);
        if (r <= 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        if (o.worker)
                return worker_main(str_or(o.root, "/"));

        m.root = o.root;
        m.program = o.program;
        m.idle_usec = o.idle_usec;
        return manager_run(&m);
}
