/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What kernels are known to do to seeds, by their version: nothing of it can be tried without harm. */
#include <sys/utsname.h>

#include "backends/seed.h"
#include "os/file.h"

/* Versions are those of Linus's kernels: a distribution may have the cure in an earlier one, so only
 * what loses something is refused. */
static const struct {
        const char *fixed;
        Hazard hazard;
} hazards[] = {
                {"5.13", {"seed-trimmed", "fstrim on a sprout writes to its seed",
                                         "boot Linux 5.14 or later", true}},
                {"5.14", {"removal-unstoppable",
                                         "a merge cannot be stopped, and keeps the machine "
                                         "from going down",
                                         "boot Linux 5.14 or later", true}},
                {"6.13", {"cleaner-asleep",
                                         "after changes in place the space of deleted "
                                         "subvolumes does not come back before a reboot",
                                         "reboot after 'abctl commit' or 'abctl abort', "
                                         "before a merge",
                                         false}},
};

static int read_release(Seed *s, char **ret, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        struct utsname name;
        int r = file_read_if_at(
                        s->world->root_fd, "proc/sys/kernel/osrelease", 256, &text, NULL, reterr);

        if (r < 0)
                return r;
        if (!text && uname(&name) == 0)
                text = strdup(name.release);
        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        text[strcspn(text, "\n")] = '\0';
        *ret = MOVE(text);
        return 0;
}

int seed_hazard(SlotBackend *b, unsigned nth, Hazard *ret, Err **reterr) {
        _cleanup_(freep) char *release = NULL;
        int r = read_release(to_seed(b), &release, reterr);

        if (r < 0)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(hazards); i++)
                if (strverscmp(release, hazards[i].fixed) < 0 && nth-- == 0) {
                        *ret = hazards[i].hazard;
                        return 1;
                }
        return 0;
}

int seed_check_kernel(Seed *s, Err **reterr) {
        Hazard h;
        int r;

        for (unsigned i = 0; (r = seed_hazard(&s->base, i, &h, reterr)) > 0; i++)
                if (h.refused)
                        return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                        "this kernel damages seeds (%s: %s): %s", h.name, h.text,
                                        h.advice);
        return r;
}
