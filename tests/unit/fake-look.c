/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a test wants to know of the fake machine. */
#include "os/file.h"
#include "tests/unit/fake.h"
#include "update/records.h"

static const char *slot_of(Fake *f, uint64_t key) {
        for (FakeSlot *s = f->disk->slots; s < f->disk->slots + FAKE_SLOTS; s++)
                if (*s->id && s->key == key)
                        return s->id;
        return "-";
}

static void dump_slot(FILE *o, const FakeSlot *s, bool reasons) {
        fprintf(o, "slot %s: %s %s%s blessed %" PRIu64 " sub '%s' kernel '%s' ta '%s'>'%s'%s%s\n",
                        s->id, s->version, slot_state_to_string(s->state),
                        s->pinned ? " pinned" : "", s->blessed, s->subvolumes, s->kernel,
                        s->transaction, s->fallback, reasons ? ": " : "", reasons ? s->reason : "");
}

char *fake_dump(Fake *f, bool reasons) {
        _cleanup_(json_freep) json_object *refused = NULL;
        _cleanup_(strv_freep) char **names = NULL;
        const FakeDisk *d = f->disk;
        char *text = NULL;
        size_t size;
        FILE *o = open_memstream(&text, &size);

        assert_non_null(o);
        for (unsigned i = 0; i < FAKE_SLOTS; i++)
                if (*d->slots[i].id)
                        dump_slot(o, &d->slots[i], reasons);
        fprintf(o, "booted %s, next %s\n", slot_of(f, d->booted_key), slot_of(f, d->default_key));
        /* a record whose target is not the default means nothing, unless it says that a trial was
         * lost */
        if (d->trial.target_key == d->default_key || (*d->trial.target && d->trial.tries == 0))
                fprintf(o, "trial %s: %u tries, then %s\n", d->trial.target, d->trial.tries,
                                slot_of(f, d->trial.fallback_key));
        assert_int_equal(dir_names(f->staging_fd, &names, NULL), 0);
        for (char **n = names; *n; n++)
                fprintf(o, "quarantine %s\n", *n);
        assert_int_equal(refused_read(f->state_fd, &refused, NULL), 0);
        for (size_t i = 0; i < json_object_array_length(refused); i++) {
                json_object *e = json_object_array_get_idx(refused, i);

                fprintf(o, "refused %s%s%s\n", json_text(e, "version"), reasons ? ": " : "",
                                reasons ? json_text(e, "reason") : "");
        }
        fclose(o);
        return text;
}

void fake_assert_bootable(Fake *f) {
        const FakeDisk *d = f->disk;
        const FakeSlot *s = fake_slot(f, slot_of(f, d->default_key)), *back;

        if (!s)
                fail_msg("what boots next is no slot");
        if (s->state == SLOT_GOOD)
                return;
        if (s->state != SLOT_STAGED)
                fail_msg("slot %s boots next and is %s", s->id, slot_state_to_string(s->state));
        if (d->trial.target_key != s->key)
                fail_msg("slot %s boots next, was never proven, and nobody counts", s->id);
        back = fake_slot(f, slot_of(f, d->trial.fallback_key));
        if (!back || back->state != SLOT_GOOD)
                fail_msg("slot %s is on trial, and there is no good slot behind it", s->id);
}

unsigned fake_history_count(Fake *f, uint64_t job, const char *type, int *ret_status) {
        _cleanup_(json_freep) json_object *history = NULL;
        unsigned n = 0;

        assert_int_equal(history_read(f->state_fd, &history, NULL), 0);
        for (size_t i = 0; i < json_object_array_length(history); i++) {
                json_object *e = json_object_array_get_idx(history, i);

                if (json_object_get_uint64(json_object_object_get(e, "job")) != job ||
                                !str_eq(json_text(e, "type"), type))
                        continue;
                n++;
                if (ret_status)
                        *ret_status = json_object_get_int(json_object_object_get(e, "status"));
        }
        return n;
}

bool fake_journal_idle(Fake *f) {
        Journal *j = NULL;
        bool idle;

        assert_int_equal(journal_open(fcntl(f->state_fd, F_DUPFD_CLOEXEC, 3), &j, NULL), 0);
        idle = j->phase == PHASE_IDLE;
        journal_free(j);
        return idle;
}

unsigned fake_quarantines(Fake *f) {
        _cleanup_(strv_freep) char **names = NULL;
        unsigned n = 0;

        assert_int_equal(dir_names(f->staging_fd, &names, NULL), 0);
        while (names[n])
                n++;
        return n;
}
