/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* abupdate-initrd - what must happen before the root is mounted: count a try of the slot on
 * trial where the loader cannot, and go back when none is left; make a device a seed, or a sprout
 * mountable again whose seed was written to. Never keeps a machine from
 * booting: on every error it says so and lets the boot go on. */
#include <fcntl.h>
#include <getopt.h>
#include <sys/reboot.h>

#include "backends/default-subvolume.h"
#include "backends/heal.h"
#include "backends/seal.h"
#include "os/proc.h"

/* The kernel log is the only one there is this early; one write is one line of it. stdio cannot write
 * there: it asks for the offset first, and the device has none. */
static void say(int level, const char *text) {
        _cleanup_(fd_closep) int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);
        _cleanup_(freep) char *line = str_printf("<%i>abupdate-initrd: %s\n", level, text);

        if (fd < 0 || !line || write(fd, line, strlen(line)) < 0)
                fprintf(stderr, "abupdate-initrd: %s\n", text);
}

/* As the root will be mounted: without a disk of its mirror, for one. */
static int count(const char *device, char **ret_text, Err **reterr) {
        _cleanup_(fd_closep) int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(freep) char *flags = NULL;

        if (root_fd >= 0)
                (void) proc_cmdline_get(root_fd, "rootflags", &flags, NULL);
        return default_subvolume_count(device, str_or(flags, ""), ret_text, reterr);
}

static int usage(FILE *f, int status) {
        fputs("abupdate-initrd --device=DEV [--seal|--unseal] [--reboot]\n\n"
              "Counts one try of the slot on trial, before the root file system on DEV is "
              "mounted.\n"
              "Where DEV needs another device that was written to, that is put right instead.\n"
              "With --seal the loader counts; DEV is made a seed instead, unless it is one.\n"
              "With --reboot the machine reboots where the slot that it goes back to has no "
              "modules\n"
              "for the kernel that runs.\n"
              "To be called once a boot by the initrd. Exit status 0 even where nothing could be\n"
              "counted: booting on is always right.\n"
              "\n"
              "With --unseal, which is for a person, DEV is no seed any more; nothing else is "
              "changed\n"
              "on it. Exit status 1 where that was not possible.\n",
                        f);
        return status;
}

/* On a terminal, by somebody who wants to know. */
static int unseal(const char *device) {
        _cleanup_(err_freep) Err *err = NULL;
        _cleanup_(freep) char *text = NULL;
        int r = seed_unseal(device, &text, &err);

        if (r < 0) {
                fprintf(stderr, "abupdate-initrd: %s\n", err_text(err));
                return EXIT_FAILURE;
        }
        if (r > 0)
                printf("%s.\n", text);
        else
                printf("%s is not sealed: nothing to do.\n", device);
        return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                        {"device", required_argument, NULL, 'd'},
                        {"seal", no_argument, NULL, 's'},
                        {"unseal", no_argument, NULL, 'u'},
                        {"reboot", no_argument, NULL, 'r'},
                        {"help", no_argument, NULL, 'h'},
                        {"version", no_argument, NULL, 'v'},
                        {0},
        };
        _cleanup_(err_freep) Err *err = NULL;
        _cleanup_(freep) char *text = NULL;
        const char *device = NULL;
        bool seal = false, back = false, may_reboot = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'd': device = optarg; break;
                case 's': seal = true; break;
                case 'u': back = true; break;
                case 'r': may_reboot = true; break;
                case 'h': return usage(stdout, EXIT_SUCCESS);
                case 'v': puts("abupdate-initrd " ABUPDATE_VERSION); return EXIT_SUCCESS;
                default: return usage(stderr, 2);
                }
        if (!device || optind < argc || (seal && back))
                return usage(stderr, 2);
        if (back)
                return unseal(device);

        r = seal ? seed_seal(device, &text, &err)
                 : sprout_heal(device, /* running_on= */ 0, &text, &err);
        if (!seal && r == 0)
                r = count(device, &text, &err);
        if (err)
                say(4, err_text(err));
        else if (text)
                say(5, text);
        if (!seal && !err && r == COUNT_OTHER_KERNEL && may_reboot && reboot(RB_AUTOBOOT) < 0)
                say(4, "cannot reboot");
        return EXIT_SUCCESS;
}
