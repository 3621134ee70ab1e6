/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/scenario.h - every job on a fake machine that it makes sense on; the tests below it
 * break each in every way. */
#pragma once

#include "tests/unit/fake.h"

typedef struct Scenario {
        const char *name;
        const char *type; /* of the job */
        void (*arrange)(Fake *f);
        int (*run)(Job *j, Err **reterr);
        bool deletes;     /* slots; where that stops half-way the rest is deleted the next time */
        const char *done; /* what the dump says afterwards: it did what it is for */
} Scenario;

extern const Scenario scenarios[];
extern const size_t n_scenarios;

/* fake_reset() and arrange. */
void scenario_begin(Fake *f, const Scenario *s);

/* As a worker does it, without recovery before it: opens the machine, reads the facts, runs the
 * job, closes all. */
int scenario_run(Fake *f, const Scenario *s, Err **reterr);

/* recover() on a machine opened anew. */
int scenario_recover(Fake *f, Err **reterr);

/* What is done to each scenario, with its name. */
typedef struct Treatment {
        const char *name;
        CMUnitTestFunction run;
} Treatment;

/* One test for each treatment of each scenario, named after both, as one group: a program has one
 * plan. Returns what main() does. */
int scenario_tests(const Treatment *treatments, size_t n);

/* Is the machine the same? @after is the one that the job leads to: of a job that deletes, what is
 * gone there may be here. */
bool same_dump(const Scenario *s, const char *a, const char *b, const char *after);

/* Fails with both texts where they are not; @where says after what. */
void assert_dump(const Scenario *s, const char *got, const char *want, const char *after,
                const char *where, unsigned k, const char *call);
