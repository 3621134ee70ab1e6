/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "backends/boot-words.h"
#include "os/btrfs.h"
#include "os/file.h"
#include "update/jobs.h"
#include "update/kept.h"
#include "update/records.h"
#include "update/trust.h"

enum { FINDINGS_TOLD = 100 };

void finding_list_done(FindingList *l) {
        for (size_t i = 0; i < l->n; i++) {
                free(l->findings[i].subject);
                free(l->findings[i].problem);
                free(l->findings[i].advice);
        }
        free(l->findings);
        *l = (FindingList){0};
}

_printf_(5, 0) static int put(FindingList *l, const char *severity, const char *subject,
                const char *advice, const char *fmt, va_list ap) {
        Finding *more = reallocarray(l->findings, l->n + 1, sizeof(*more)), *f;

        if (!more)
                return -ENOMEM;
        l->findings = more;
        f = &l->findings[l->n++];
        *f = (Finding){severity, strdup(subject), NULL, strdup(advice)};
        if (vasprintf(&f->problem, fmt, ap) < 0)
                f->problem = NULL;
        return f->subject && f->problem && f->advice ? 0 : -ENOMEM;
}

/* Who has so many has one cause for most of them, and neither a packet nor a person takes in more. */
static int add(FindingList *l, const char *severity, const char *subject, const char *advice,
                const char *fmt, ...) _printf_(5, 6);
static int add(FindingList *l, const char *severity, const char *subject, const char *advice,
                const char *fmt, ...) {
        va_list ap;
        int r = 0;

        va_start(ap, fmt);
        if (l->n + 1 < FINDINGS_TOLD)
                r = put(l, severity, subject, advice, fmt, ap);
        else if (l->n < FINDINGS_TOLD)
                r = put(l, "warning", "abupdate", "put these right first, then look again",
                                "there is more than is told here", ap);
        va_end(ap);
        return r;
}

static int check_configuration(const Machine *m, FindingList *l) {
        _cleanup_(freep) char *trust = trust_problem(m);
        int r = 0;

        for (char **w = m->config->warnings; r >= 0 && w && *w; w++)
                r = add(l, "warning", "configuration", "correct or remove the line", "%s", *w);
        if (r >= 0 && m->config->verification == VERIFICATION_NONE)
                r = add(l, "warning", "configuration",
                                "set Verification=signature in [Update] and install keys",
                                "Verification=none: images are installed without a signature");
        if (r >= 0 && trust)
                r = add(l, "error", "configuration",
                                "put the maker's key into /etc/abupdate/keys.d/NAME.pem and say "
                                "what this machine is with Compatible= in [Update]",
                                "%s", trust);
        return r;
}

static int check_boot(const Facts *f, FindingList *l) {
        const Slot *next = facts_next(f);
        int r = 0;

        if (f->boot.problem)
                r = add(l, "error", "boot", "see the problem", "%s", f->boot.problem);
        if (r >= 0 && !f->boot.next_known)
                r = add(l, "error", "boot", "install an image, or roll back to a slot",
                                "what boots next is not in a slot");
        if (r >= 0 && !facts_booted(f))
                r = add(l, "warning", "boot", "install an image: it becomes the first slot",
                                "the running system is not in a slot");
        if (r >= 0 && next && (next->state == SLOT_BAD || next->state == SLOT_INCOMPLETE))
                r = add(l, "error", "boot", "'abctl rollback' to a good slot",
                                "slot %s boots next and is %s", next->id,
                                slot_state_to_string(next->state));
        return r;
}

/* As it would be refused in an image that was made of this system, and in a transaction that changes it. */
static int check_words(const Machine *m, FindingList *l) {
        _cleanup_(freep) char *words = NULL;
        _cleanup_(err_freep) Err *why = NULL;

        if (!m->boot->ops->cmdline || m->config->cmdline ||
                        words_read(m->root_fd, &words, &why) >= 0)
                return 0;
        return add(l, "warning", "boot", "correct the file, or set Cmdline= in [Boot]", "%s",
                        err_text(why));
}

/* What there is to do about a slot that holds no whole version. */
static char *slot_advice(const Slot *s) {
        if (str_eq(s->device_kind, "foreign"))
                return str_printf("'wipefs --all %s', if nobody needs what is on it",
                                str_or(s->device, "DEVICE"));
        if (str_eq(s->device_kind, "missing"))
                return strdup("connect the device, or correct Slots= in [Seed]");
        return strdup("'abctl discard' it");
}

static int check_slots(const Facts *f, FindingList *l) {
        int r = 0;

        slots_foreach (s, f->slots) {
                _cleanup_(freep) char *subject = str_printf("slot %s", s->id);
                _cleanup_(freep) char *advice = slot_advice(s);

                if (r >= 0 && subject && advice && s->state == SLOT_INCOMPLETE)
                        r = add(l, "error", subject, advice, "it is incomplete: %s",
                                        str_or(s->reason, "?"));
                if (r >= 0 && subject && s->changed && !s->transaction && s == facts_next(f))
                        r = add(l, "warning", subject, "reboot",
                                        "the running system is not what is in it: it was changed "
                                        "in a transaction that is over");
        }
        return r;
}

/* What was put right, by this worker or by one before it since when nothing else has happened. */
static int find_repair(const Machine *m, char **ret) {
        _cleanup_(json_freep) json_object *history = NULL;
        json_object *last = NULL;
        size_t n = 0;

        if (!m->healed && history_read(m->state_fd, &history, NULL) >= 0)
                n = json_object_array_length(history);
        if (n > 0)
                last = json_object_array_get_idx(history, n - 1);
        return str_set(ret, m->healed                                   ? m->healed
                            : str_eq(json_text(last, "type"), "repair") ? json_text(last, "message")
                                                                        : NULL);
}

/* Recovery has put right what can be. */
static int check_devices(Machine *m, FindingList *l) {
        _cleanup_(freep) char *text = NULL, *repair = NULL;
        _cleanup_(err_freep) Err *why = NULL;
        int r = find_repair(m, &repair);

        if (r >= 0 && repair)
                r = add(l, "info", "devices", "nothing to do: it is put right", "%s", repair);
        if (r < 0)
                return r;
        if (!m->slots->ops->heal || m->slots->ops->heal(m->slots, &text, &why) >= 0)
                return 0;
        return add(l, "error", "devices",
                        "'abctl merge' before the next reboot; without it abupdate-initrd tries "
                        "again at the next boot",
                        "%s", err_text(why));
}

static int check_kernel(Machine *m, FindingList *l) {
        Hazard h;
        int r = 0;

        if (!m->slots->ops->hazard)
                return 0;
        for (unsigned i = 0; r >= 0 && m->slots->ops->hazard(m->slots, i, &h, NULL) > 0; i++)
                r = add(l, h.refused ? "error" : "info", "kernel", h.advice,
                                "by its version it has '%s': %s", h.name, h.text);
        return r;
}

static int check_space(Machine *m, FindingList *l) {
        _cleanup_(freep) char *exclusive = NULL;
        FsSpace space;
        SpaceNeed need;
        char text[16];

        if (!m->slots->ops->space ||
                        m->slots->ops->space(m->slots, false, &space, &exclusive, NULL) < 0)
                return 0;
        need = plan_space(&space, 0, m->config->min_free);
        return need.short_of == 0
                               ? 0
                               : add(l, "warning", "file system", "'abctl prune', or discard slots",
                                                 "less than MinFree= is left: %s are short",
                                                 format_bytes(text, need.short_of));
}

/* What the checks of this boot said (abupdate-health). */
static int check_health(const Machine *m, FindingList *l) {
        _cleanup_(freep) char *text = NULL;
        char *save = NULL;
        int r = 0;

        if (file_read_if_at(m->root_fd, "run/abupdate/health", 64 * 1024, &text, NULL, NULL) <= 0)
                return 0;
        for (char *line = strtok_r(text, "\n", &save); r >= 0 && line;
                        line = strtok_r(NULL, "\n", &save)) {
                const char *error = str_after(line, "error "),
                           *sentence = str_or(error, str_after(line, "warning "));

                if (sentence)
                        r = add(l, error ? "error" : "warning", "health",
                                        "'journalctl -b -u abupdate-health-check' shows more", "%s",
                                        sentence);
        }
        return r;
}

static int check_kept(Machine *m, FindingList *l) {
        _cleanup_(freep) char *version = NULL;
        uint64_t bytes;
        char text[16];

        return kept_tell(m, &version, &bytes)
                               ? add(l, "info", "update",
                                                 "'abctl update' with the same image goes on "
                                                 "there; "
                                                 "'abctl prune' gives it up",
                                                 "an update to version %s was cut off; %s of its "
                                                 "files are kept",
                                                 version, format_bytes(text, bytes))
                               : 0;
}

int machine_check(Machine *m, const Facts *f, FindingList *ret, Err **reterr) {
        _cleanup_(finding_list_done) FindingList l = {0};
        int r = check_configuration(m, &l);

        if (r >= 0)
                r = check_boot(f, &l);
        if (r >= 0)
                r = check_words(m, &l);
        if (r >= 0)
                r = check_slots(f, &l);
        if (r >= 0)
                r = check_devices(m, &l);
        if (r >= 0)
                r = check_kernel(m, &l);
        if (r >= 0)
                r = check_space(m, &l);
        if (r >= 0)
                r = check_health(m, &l);
        if (r >= 0)
                r = check_kept(m, &l);
        if (r < 0)
                return err_new(reterr, r, "out of memory");
        *ret = l;
        l = (FindingList){0};
        return 0;
}
