/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/client/fake.h - a service that looks like abupdated on the bus and does as its arguments say. Touches nothing. */
#pragma once

#include <inttypes.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/util.h"

#define FAKE_SLOTS_MAX 2000

typedef struct FakeOptions {
        unsigned slots;    /* --slots=N; the last is the booted one, two before it is pinned */
        const char *state; /* --state=WORD */
        const char *verification;
        const char *transaction;
        const char *problem;   /* --problem=TEXT */
        const char *fail;      /* --fail=METHOD=ERROR=MESSAGE: this method answers so */
        const char *job_error; /* --job-error=KIND=MESSAGE: a job ends so after its last phase */
        const char *findings;  /* --findings=N */
        const char *seed;      /* --seed=STATE: slots are devices, b in this state on its seed a */
        const char *sink;      /* --sink=FILE: gets the image */
        const char *log;       /* --log=FILE: gets a line for each call */
        uint64_t rate;      /* --rate=BYTES a second read from the image; 0: as fast as it comes */
        uint64_t step_msec; /* --step=MSEC that each phase lasts */
        bool reboot_required; /* --reboot-required, and after each job --reboot-after */
        bool reboot_after;
        bool evil;        /* --evil: names with escape sequences */
        bool no_cancel;   /* --no-cancel: NotCancellable, past the point of no return */
        bool slow_cancel; /* --slow-cancel: accepted, but nothing happens */
        bool die;         /* --die: exits in the middle of a job */
        bool silent;      /* --silent: no method is ever answered */
} FakeOptions;

typedef struct FakeSlot {
        char id[16], state[16], version[64], reason[80];
        int pinned, read_only, tries_left, tries;
        uint64_t created, size, exclusive;
        const char *device, *kind, *depends; /* NULL: slots are no devices */
        uint64_t device_size, to_merge;
} FakeSlot;

typedef struct Fake {
        FakeOptions opt;
        sd_bus *bus;
        sd_event *event;
        FakeSlot slots[FAKE_SLOTS_MAX];
        FILE *log;

        /* the one job */
        uint64_t job; /* 0: none */
        char path[64];
        const char *type;
        size_t phase;
        bool has_image, image_over;
        int image_fd, sink_fd;
        uint64_t done, total, phase_end, started;
        sd_event_source *timer;
        sd_bus_slot *job_slot;
        sd_bus_track *caller; /* whoever leaves takes his job with him */
        bool detached;
} Fake;

extern const sd_bus_vtable fake_manager_vtable[], fake_slot_vtable[], fake_job_vtable[];

int fake_slot_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
                sd_bus_error *e);
int fake_slot_enumerate(
                sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *e);
char *fake_slot_path(const FakeSlot *s);

/* fake-job.c: begins the one job; @image_fd -1: none, else it is eaten. Answers @m. */
int fake_job_begin(Fake *f, sd_bus_message *m, const char *type, int image_fd, uint64_t size);

void fake_log(Fake *f, const char *fmt, ...) _printf_(2, 3);
