/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process dies at every call of a job, and then at every call of the recovery after it; with
 * the machine going on, and with the machine going down. Afterwards it is the old one or the new
 * one. */
#include "os/file.h"
#include "tests/unit/scenario.h"

static Fake *fake;

/* What a disk holds, to go back to it. */
typedef struct Image {
        FakeDisk disk;
        char *journal, *history, *refused;
        char **quarantines;
} Image;

static void image_done(Image *i) {
        free(i->journal);
        free(i->history);
        free(i->refused);
        strv_free(i->quarantines);
}

static char *read_state(const char *name) {
        _cleanup_(freep) char *text = NULL;
        char *copy;
        size_t size = 0;

        /* the journal holds zeros: keep the size in front */
        if (file_read_if_at(fake->state_fd, name, 1 << 20, &text, &size, NULL) <= 0)
                return NULL;
        copy = malloc(sizeof(size) + size);
        assert_non_null(copy);
        memcpy(copy, &size, sizeof(size));
        memcpy(copy + sizeof(size), text, size);
        return copy;
}

static void write_state(const char *name, const char *from) {
        size_t size;

        if (!from)
                return;
        memcpy(&size, from, sizeof(size));
        assert_int_equal(file_write_at(fake->state_fd, name, from + sizeof(size), size, NULL), 0);
}

static void image_take(Image *i) {
        i->disk = *fake->disk;
        i->journal = read_state("journal");
        i->history = read_state("history");
        i->refused = read_state("refused");
        assert_int_equal(dir_names(fake->staging_fd, &i->quarantines, NULL), 0);
}

static void image_put(const Image *i) {
        fake_reset(fake);
        *fake->disk = i->disk;
        write_state("journal", i->journal);
        write_state("history", i->history);
        write_state("refused", i->refused);
        for (char **q = i->quarantines; *q; q++) {
                char path[300];

                snprintf(path, sizeof(path), "%s/image/x", *q);
                put_file(fake->staging_fd, path, "half of it");
        }
}

/* What dies frees nothing. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) {
        return 1;
}

/* Runs @what, which is dead at call @k: nothing after that happens, as if its process were gone.
 * Was there such a call? */
static bool die_at(int (*what)(const Scenario *s), const Scenario *s, unsigned k) {
        int first_fd = dup(fake->dir_fd);

        close(first_fd);
        fake_break(fake, FAULT_DIE, k);
        if (setjmp(fake->grave) == 0) {
                (void) what(s);
                return false;
        }
        /* the lowest number that was free: every one above is of the dead */
        assert_int_equal(close_range((unsigned) first_fd, ~0U, 0), 0);
        return true;
}

static int the_job(const Scenario *s) {
        return scenario_run(fake, s, NULL);
}

static int the_recovery(const Scenario *s _unused_) {
        return scenario_recover(fake, NULL);
}

typedef struct Ends {
        char *texts[3]; /* old, new, old but down meanwhile */
} Ends;

static void ends_done(Ends *e) {
        for (size_t i = 0; i < ARRAY_SIZE(e->texts); i++)
                free(e->texts[i]);
}

static char *settled(const Scenario *s, bool reboot) {
        _cleanup_(err_freep) Err *err = NULL;

        if (reboot)
                fake_reboot(fake);
        fake_heal(fake);
        if (scenario_recover(fake, &err) < 0)
                fail_msg("%s: %s", s->name, err_text(err));
        return fake_dump(fake, /* reasons= */ false);
}

static Ends ends_of(const Scenario *s, bool reboot) {
        Ends e = {0};

        scenario_begin(fake, s);
        e.texts[0] = settled(s, reboot);
        scenario_begin(fake, s);
        e.texts[2] = settled(s, false);
        scenario_begin(fake, s);
        assert_int_equal(scenario_run(fake, s, NULL), 0);
        e.texts[1] = settled(s, reboot);
        return e;
}

static void assert_settled(const Scenario *s, const Ends *ends, bool recorded, const char *now,
                unsigned k, unsigned m) {
        bool known = false;

        for (size_t i = 0; i < ARRAY_SIZE(ends->texts); i++)
                known = known || same_dump(s, now, ends->texts[i], ends->texts[1]);
        if (!known)
                fail_msg("%s: dead at call %u, at %u in recovery: neither old\n%snor "
                         "new\n%sbut\n%s",
                                s->name, k, m, ends->texts[0], ends->texts[1], now);
        assert_true(fake_journal_idle(fake));
        assert_int_equal(fake_quarantines(fake), 0);
        assert_int_equal(fake_history_count(fake, fake->job, s->type, NULL), recorded);
        fake_assert_bootable(fake);
}

/* Dead; then recovery comes through, perhaps after it died itself at call @m. Was there such a
 * call? */
static bool recover_from(const Scenario *s, const Ends *ends, bool reboot, const Image *dead,
                unsigned k, unsigned m) {
        _cleanup_(freep) char *now = NULL, *again = NULL;
        bool recorded, died = true;

        image_put(dead);
        fake_assert_bootable(fake);
        recorded = dead->history || !fake_journal_idle(fake);
        if (reboot)
                fake_reboot(fake);
        if (m > 0)
                died = die_at(the_recovery, s, m);
        fake_assert_bootable(fake);
        now = settled(s, false);
        assert_settled(s, ends, recorded, now, k, m);
        again = settled(s, false);
        assert_string_equal(now, again);
        assert_int_equal(fake_history_count(fake, fake->job, s->type, NULL), recorded);
        return died;
}

static void dies(const Scenario *s, bool reboot) {
        _cleanup_(ends_done) Ends ends = ends_of(s, reboot);

        /* before call k: that is behind call k - 1, too */
        for (unsigned k = 1;; k++) {
                _cleanup_(image_done) Image dead = {0};

                scenario_begin(fake, s);
                if (!die_at(the_job, s, k)) {
                        assert_true(k > 3);
                        return;
                }
                image_take(&dead);
                for (unsigned m = 0; recover_from(s, &ends, reboot, &dead, k, m);)
                        m++;
        }
}

static void the_worker_dies(void **state) {
        dies(*state, false);
}

static void the_machine_goes_down(void **state) {
        dies(*state, true);
}

int main(void) {
        static const Treatment treatments[] = {
                        {"the worker dies before every call", the_worker_dies},
                        {"the machine goes down before every call", the_machine_goes_down},
        };
        int r;

        fake = fake_new();
        r = scenario_tests(treatments, ARRAY_SIZE(treatments));
        fake_free(fake);
        return r;
}
