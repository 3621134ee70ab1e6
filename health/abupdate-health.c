/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* abupdate-health - the verdict on a boot: runs the checks, and tells the daemon that a slot on
 * trial has proven itself or has not. Called by units; where nothing is on trial it changes
 * nothing. */
#include <fcntl.h>
#include <getopt.h>
#include <time.h>

#include "base/log.h"
#include "health/checks.h"
#include "health/record.h"
#include "health/trial.h"
#include "health/units.h"
#include "os/config.h"
#include "os/file.h"
#include "os/process.h"

#define JUDGED "run/abupdate/judged"

/* Who runs a job meanwhile must not cost a sound version its trial, nor keep a sick one running. */
#define PATIENCE_GOOD (1800 * USEC_PER_SEC)
#define PATIENCE_BAD  (60 * USEC_PER_SEC)

typedef struct Health {
        const char *root;
        int root_fd;
        Config *config;
} Health;

static int verb_check(Health *h, Err **reterr) {
        int r = checks_run(h->root, h->config->check_usec, reterr);

        return r > 0 ? err_new(reterr, EPROTO, "%i required checks did not pass", r) : r;
}

/* A kernel that kexec started says so where there is such a word for loaders (x86): the loader has
 * not proven that it can boot this slot then. */
static bool came_by_kexec(int root_fd) {
        _cleanup_(freep) char *text = NULL;
        uint64_t type;

        if (file_read_if_at(root_fd, "proc/sys/kernel/bootloader_type", 32, &text, NULL, NULL) <= 0)
                return false;
        text[strcspn(text, "\n")] = '\0';
        return parse_u64(text, &type) >= 0 && type >> 4 == 0xd;
}

static void close_trial(const Health *h) {
        if (dir_make_at(h->root_fd, "run/abupdate", 0755, NULL) >= 0)
                (void) file_write_at(h->root_fd, JUDGED, "", 0, NULL);
}

/* Is there a trial to judge? A kernel is judged once: what comes by a soft reboot finds the mark in
 * /run, also that of a boot that was no trial. The loader did not start it, so it has proven
 * nothing. */
static int open_trial(const Health *h, Trial *ret, Err **reterr) {
        int r;

        if (faccessat(h->root_fd, JUDGED, F_OK, 0) == 0) {
                log_info("this boot has been judged already");
                return 0;
        }
        r = trial_read(ret, reterr);
        if (r < 0)
                return r;
        if (!ret->running) {
                log_info("nothing is on trial");
                close_trial(h);
        }
        return ret->running;
}

static int verb_success(Health *h, Err **reterr) {
        Trial trial = {0};
        int r;

        if (came_by_kexec(h->root_fd)) {
                log_notice("started by kexec: that is no proof of a boot, the slot stays on trial");
                return 0;
        }
        r = open_trial(h, &trial, reterr);
        if (r <= 0)
                return r;
        r = trial_mark("good", NULL, PATIENCE_GOOD, reterr);
        if (r >= 0)
                close_trial(h);
        return r;
}

static int reboot_now(Err **reterr) {
        static const char *const polite[] = {"systemctl", "--no-block", "reboot", NULL};
        static const char *const firm[] = {"systemctl", "--force", "reboot", NULL};

        return program_run(polite, NULL, NULL) < 0 ? program_run(firm, NULL, reterr) : 0;
}

/* Gives the slot up and leaves it. Where even that fails the reboot still uses up a try. */
static int condemn(const Health *h, const char *reason, Err **reterr) {
        _cleanup_(err_freep) Err *err = NULL;

        if (trial_mark("bad", reason, PATIENCE_BAD, &err) < 0)
                log_error("could not condemn the slot: %s", err_text(err));
        close_trial(h);
        return reboot_now(reterr);
}

/* Tries that were never taken off mean that nobody counts here. The number was given by another
 * version, whose configuration is not ours: that is asked only where no number was kept. */
static bool is_counted(const Health *h, const Trial *t) {
        return t->tries_left < (t->tries > 0 ? t->tries : (int) h->config->tries);
}

/* The boot did not complete. Another try where there is one and somebody counts, else back. */
static int verb_failed(Health *h, Err **reterr) {
        _cleanup_(freep) char *reason = checks_failure(h->root_fd);
        const char *why;
        Trial trial = {0};
        int r = open_trial(h, &trial, reterr);

        if (r <= 0)
                return r;
        if (!reason)
                reason = units_failure();
        why = str_or(reason, "the boot did not complete");
        if (trial.tries_left > 0 && is_counted(h, &trial)) {
                log_error("%s; %i tries left, rebooting", why, trial.tries_left);
                return reboot_now(reterr);
        }
        log_error("%s; no try is left, going back", why);
        return condemn(h, why, reterr);
}

static bool boot_completed(void) {
        static const char *const ask[] = {
                        "systemctl", "--quiet", "is-active", "boot-complete.target", NULL};

        return program_run(ask, NULL, NULL) >= 0;
}

/* Nobody can be told of a verdict, so that the loader has to count the tries. A slot that was proven is
 * left alone: what it lacks is for a person to find. So is a device, whose record is on the boot
 * partition: what lies in the device itself says for ever that it was staged. */
static int leave_unread(const Health *h, const char *why, const Err *unread, Err **reterr) {
        if (!str_eq(h->config->backend, "snapshot") || record_unproven(h->root_fd, NULL) <= 0)
                return err_new(reterr, err_code(unread), "%s", err_text(unread));
        log_error("%s, and no verdict can be given (%s): rebooting, which uses up a try", why,
                        err_text(unread));
        return reboot_now(reterr);
}

static int verb_deadline(Health *h, Err **reterr) {
        _cleanup_(err_freep) Err *unread = NULL;
        _cleanup_(freep) char *why = NULL;
        uint64_t seconds = h->config->health_usec / USEC_PER_SEC;
        struct timespec until = {.tv_sec = (time_t) seconds};
        Trial trial = {0};
        int r;

        if (seconds == 0)
                return 0;
        while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, NULL) == EINTR)
                ;
        if (boot_completed())
                return 0;
        why = str_printf("the boot was not complete after %" PRIu64 " s", seconds);
        if (!why)
                return err_new(reterr, ENOMEM, "out of memory");
        r = open_trial(h, &trial, &unread);
        if (r < 0)
                return leave_unread(h, why, unread, reterr);
        if (r == 0)
                return 0;
        log_error("%s, going back", why);
        return condemn(h, why, reterr);
}

static const struct {
        const char *name, *help;
        int (*run)(Health *h, Err **reterr);
} verbs[] = {
                {"check", "Run the checks of this boot", verb_check},
                {"success", "The boot is complete: mark the slot on trial good", verb_success},
                {"failed", "The boot has failed: try again, or condemn the slot", verb_failed},
                {"deadline", "Wait for Health.Timeout=, then give an incomplete boot up",
                                verb_deadline},
};

static int usage(FILE *f, int status) {
        fputs("abupdate-health [--root=DIR] VERB\n\n"
              "The verdict on this boot; called by units.\n\n",
                        f);
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
                fprintf(f, "  %-9s %s\n", verbs[i].name, verbs[i].help);
        return status;
}

static int run(Health *h, const char *verb) {
        _cleanup_(err_freep) Err *err = NULL;
        int r = config_load(h->root, &h->config, &err);

        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(verbs); i++)
                if (str_eq(verbs[i].name, verb))
                        r = verbs[i].run(h, &err);
        if (r < 0)
                log_error("%s: %s", verb, err_text(err));
        config_free(h->config);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                        {"root", required_argument, NULL, 'r'},
                        {"help", no_argument, NULL, 'h'},
                        {"version", no_argument, NULL, 'v'},
                        {0},
        };
        _cleanup_(fd_closep) int root_fd = -1;
        Health h = {.root = "/", .root_fd = -1};
        bool known = false;
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'r': h.root = optarg; break;
                case 'h': return usage(stdout, EXIT_SUCCESS);
                case 'v': puts("abupdate-health " ABUPDATE_VERSION); return EXIT_SUCCESS;
                default: return usage(stderr, 2);
                }
        for (size_t i = 0; optind + 1 == argc && i < ARRAY_SIZE(verbs); i++)
                known |= str_eq(verbs[i].name, argv[optind]);
        if (!known)
                return usage(stderr, 2);
        log_open("abupdate-health");
        root_fd = open(h.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root_fd < 0) {
                log_error("%s: %s", h.root, strerror(errno));
                return EXIT_FAILURE;
        }
        h.root_fd = root_fd;
        return run(&h, argv[optind]);
}
