/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/unit.h"
#include "update/plan.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* An image of 16 MiB wants 16 MiB of data and 5 of metadata: a sixteenth, and 4 for a start. */
static void space_is_counted_in_bytes(void **state _unused_) {
        static const struct {
                const char *what;
                uint64_t data_free, metadata_free, unallocated;
                unsigned data_copies, metadata_copies;
                uint64_t image, min_free, short_of;
        } table[] = {
                        {"all in chunks that are there", 16 * MIB, 5 * MIB, 0, 1, 1, 16 * MIB, 0,
                                        0},
                        {"one byte of data short", 16 * MIB - 1, 5 * MIB, 0, 1, 1, 16 * MIB, 0, 1},
                        {"one byte of metadata short", 16 * MIB, 5 * MIB - 1, 0, 1, 1, 16 * MIB, 0,
                                        1},
                        {"metadata twice on disk", 16 * MIB, 5 * MIB - 1, 0, 1, 2, 16 * MIB, 0, 2},
                        {"metadata four times", 16 * MIB, 5 * MIB - 1, 3, 1, 4, 16 * MIB, 0, 1},
                        {"all from unallocated space", 0, 0, 26 * MIB, 1, 2, 16 * MIB, 0, 0},
                        {"one byte less of it", 0, 0, 26 * MIB - 1, 1, 2, 16 * MIB, 0, 1},
                        {"data twice on disk", 0, 5 * MIB, 32 * MIB - 1, 2, 2, 16 * MIB, 0, 1},
                        {"both take from the same", 8 * MIB, 3 * MIB, 10 * MIB, 1, 1, 16 * MIB, 0,
                                        0},
                        {"both take from too little", 8 * MIB, 3 * MIB, 9 * MIB, 1, 1, 16 * MIB, 0,
                                        MIB},
                        {"what must stay free", 16 * MIB, 5 * MIB, 0, 1, 1, 16 * MIB, 5, 5},
                        {"what must stay free is", 20 * MIB, 5 * MIB, 0, 1, 1, 16 * MIB, 4 * MIB,
                                        0},
                        {"an image of no known size", 0, 4 * MIB, 0, 1, 1, 0, 0, 0},
                        {"much room is no negative need", UINT64_MAX, UINT64_MAX, 0, 1, 1, GIB, GIB,
                                        0},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                FsSpace s = {.data_free = table[i].data_free,
                                .metadata_free = table[i].metadata_free,
                                .unallocated = table[i].unallocated,
                                .data_copies = table[i].data_copies,
                                .metadata_copies = table[i].metadata_copies};
                SpaceNeed n = plan_space(&s, table[i].image, table[i].min_free);

                if (n.short_of != table[i].short_of)
                        fail_msg("%s: %" PRIu64 " are short", table[i].what, n.short_of);
        }
}

static void no_size_wraps_round(void **state _unused_) {
        static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - 1, UINT64_MAX / 2 + 1,
                        UINT64_MAX / 2, UINT64_MAX / 3, UINT64_MAX / 4 + 1, UINT64_MAX / 4,
                        UINT64_C(1) << 62, UINT64_C(1) << 60};

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
                for (unsigned copies = 1; copies <= 4; copies++) {
                        FsSpace s = {.unallocated = 1024 * GIB,
                                        .data_copies = copies,
                                        .metadata_copies = copies};

                        assert_true(plan_space(&s, sizes[i], 0).short_of > GIB);
                        assert_true(plan_space(&s, sizes[i], GIB).short_of > GIB);
                        assert_true(plan_space(&s, GIB, sizes[i]).short_of > GIB);
                }
}

static void numbers_only_rise(void **state _unused_) {
        Slot slots[] = {{.id = (char *) "3"}, {.id = (char *) "12"}, {.id = (char *) "odd"}};
        SlotList none = {0}, some = {3, slots};

        assert_int_equal(plan_slot_number(&none, 0), 1);
        assert_int_equal(plan_slot_number(&none, 41), 42);
        assert_int_equal(plan_slot_number(&some, 0), 13);
        assert_int_equal(plan_slot_number(&some, 12), 13);
        assert_int_equal(plan_slot_number(&some, 40), 41);
}

/* Slots 1 (good, boots and runs), 2 (bad), 3 (incomplete), 4 (staged). */
typedef struct World4 {
        Slot slots[4];
        SlotList list;
        Facts facts;
        Config config;
        FsSpace space;
        UpdateOptions options;
        ImageFacts image;
        const char *exclusive;
} World4;

static void world_make(World4 *w) {
        *w = (World4){
                        .slots = {{.id = (char *) "1",
                                                  .version = (char *) "1.0",
                                                  .state = SLOT_GOOD,
                                                  .booted = true,
                                                  .blessed = 1},
                                        {.id = (char *) "2",
                                                        .version = (char *) "2.0",
                                                        .state = SLOT_BAD},
                                        {.id = (char *) "3",
                                                        .version = (char *) "?",
                                                        .state = SLOT_INCOMPLETE},
                                        {.id = (char *) "4",
                                                        .version = (char *) "4.0",
                                                        .state = SLOT_STAGED}},
                        .config = {.tries = 3, .min_free = GIB},
                        .space = {.unallocated = 100 * GIB, .data_copies = 1, .metadata_copies = 2},
                        .options = {.name = "os.send",
                                        .version = "5.0",
                                        .size = 2 * GIB,
                                        .arm = true},
                        .image = {.subvolume = "os-5"},
                        .exclusive = "",
        };
        w->list = (SlotList){4, w->slots};
        w->facts = (Facts){.slots = &w->list, .boot = {.next = (char *) "1", .tries_left = -1}};
        w->facts.refused = json_tokener_parse(
                        "[{\"version\":\"0.9\",\"reason\":\"crashed\"},{\"version\":\"x\"}]");
}

static int world_plan(World4 *w, Plan *ret, Err **reterr) {
        int r = plan_update(&w->config, &w->facts, 0, &w->space, w->exclusive, &w->image,
                        &w->options, ret, reterr);

        json_object_put(w->facts.refused);
        return r;
}

static void the_plan_says_what_happens(void **state _unused_) {
        _cleanup_(plan_done) Plan p = {0};
        World4 w;

        world_make(&w);
        assert_int_equal(world_plan(&w, &p, NULL), 0);
        assert_string_equal(p.slot, "5");
        assert_string_equal(p.version, "5.0");
        assert_string_equal(p.fallback, "1");
        assert_string_equal(p.next, "1");
        assert_int_equal(p.n_steps, 5);
        assert_string_equal(p.steps[1].text,
                        "receive os.send (full, subvolume os-5) into the quarantine");
        assert_int_equal(p.steps[1].bytes, 2 * GIB);
        assert_int_equal(p.steps[3].phase, PHASE_PLACE);
        assert_string_equal(
                        p.steps[4].text, "make slot 5 the next boot, 3 tries, then back to slot 1");
}

static void the_plan_follows_the_facts(void **state _unused_) {
        _cleanup_(plan_done) Plan p = {0}, q = {0};
        World4 w;

        world_make(&w);
        w.options.arm = false;
        w.options.version = NULL;
        w.image.incremental = true;
        w.config.read_only = true;
        assert_int_equal(world_plan(&w, &p, NULL), 0);
        assert_int_equal(p.n_steps, 4);
        assert_null(p.version);
        assert_non_null(strstr(p.steps[1].text, "incremental"));
        assert_non_null(strstr(p.steps[3].text, "read-only root"));
        assert_non_null(strstr(p.steps[3].text, "as its os-release says"));

        /* a machine that runs from no slot, with nothing proven */
        world_make(&w);
        w.slots[0].booted = false;
        w.slots[0].state = SLOT_STAGED;
        w.facts.boot.next = NULL;
        assert_int_equal(world_plan(&w, &q, NULL), 0);
        assert_null(q.fallback);
        assert_null(q.next);
        assert_non_null(strstr(q.steps[4].text, "then back to what boots now"));
}

static void what_is_refused_says_why(void **state _unused_) {
        static const struct {
                const char *version, *accept, *exclusive, *story;
                uint64_t size;
                ErrKind kind;
                SlotState booted;
                bool reinstall, transaction;
        } table[] = {
                        {"1.0", NULL, "", "slot 1, which is running", 0, ERR_ALREADY_INSTALLED,
                                        SLOT_GOOD, false, false},
                        {"4.0", NULL, "", "slot 4", 0, ERR_ALREADY_INSTALLED, SLOT_GOOD, false,
                                        false},
                        {"4.0", NULL, "", NULL, 0, 0, SLOT_GOOD, true, false},
                        {"2.0", NULL, "", NULL, 0, 0, SLOT_GOOD, false, false}, /* here, but bad */
                        {"?", NULL, "", NULL, 0, 0, SLOT_GOOD, false,
                                        false}, /* here, but incomplete */
                        {"0.9", NULL, "", "crashed", 0, ERR_REFUSED, SLOT_GOOD, false, false},
                        {"0.9", NULL, "", "--accept=0.9", 0, ERR_REFUSED, SLOT_GOOD, true, false},
                        {"0.9", "0.8", "", "crashed", 0, ERR_REFUSED, SLOT_GOOD, false, false},
                        {"0.9", "0.9", "", NULL, 0, 0, SLOT_GOOD, false, false},
                        {"x", NULL, "", "no reason given", 0, ERR_REFUSED, SLOT_GOOD, false, false},
                        {"5.0", NULL, "balance", "busy with 'balance'", 0, ERR_BUSY, SLOT_GOOD,
                                        false, false},
                        {"5.0", NULL, "", "on trial", 0, ERR_CONFLICT, SLOT_STAGED, false, false},
                        {"5.0", NULL, "", NULL, 0, 0, SLOT_BAD, false, false},
                        {"5.0", NULL, "", "transaction t7", 0, ERR_TRANSACTION_OPEN, SLOT_GOOD,
                                        false, true},
                        {"5.0", NULL, "", "bytes (", 200 * GIB, ERR_NO_SPACE, SLOT_GOOD, false,
                                        false},
                        {"5.0", NULL, "", "are short", 200 * GIB, ERR_NO_SPACE, SLOT_GOOD, false,
                                        false},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(plan_done) Plan p = {0};
                Err *e = NULL;
                World4 w;
                int r;

                world_make(&w);
                w.slots[0].state = table[i].booted;
                w.slots[0].transaction = (char *) (table[i].transaction ? "t7" : NULL);
                w.options.version = table[i].version;
                w.options.accept = table[i].accept;
                w.options.reinstall = table[i].reinstall;
                w.options.size = table[i].size;
                w.exclusive = table[i].exclusive;
                r = world_plan(&w, &p, &e);
                if ((r < 0) != (table[i].story != NULL))
                        fail_msg("row %zu: %s", i, r < 0 ? err_text(e) : "taken");
                if (r < 0) {
                        assert_story(&e, table[i].kind, table[i].story);
                        assert_null(p.slot);
                }
        }
}

static void a_version_cannot_write_on_the_terminal(void **state _unused_) {
        _cleanup_(plan_done) Plan p = {0};
        World4 w;

        world_make(&w);
        w.options.version = "5.0\x1b[2J";
        assert_int_equal(world_plan(&w, &p, NULL), 0);
        assert_string_equal(p.version, "5.0\\x1b[2J");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(space_is_counted_in_bytes),
                        CASE(no_size_wraps_round),
                        CASE(numbers_only_rise),
                        CASE(the_plan_says_what_happens),
                        CASE(the_plan_follows_the_facts),
                        CASE(what_is_refused_says_why),
                        CASE(a_version_cannot_write_on_the_terminal),
        };

        return cmocka_run_group_tests_name("update/plan", tests, NULL, NULL);
}
