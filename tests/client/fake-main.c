/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>

#include "dbus/api.h"
#include "tests/client/fake.h"

#define FIRST_DAY  UINT64_C(1790000000) /* of slot 1; each next one is a day younger */
#define DAY_LENGTH UINT64_C(86400)
#define GIB        (UINT64_C(1) << 30)

static void make_slots(Fake *f) {
        for (unsigned i = 0; i < f->opt.slots; i++) {
                FakeSlot *s = &f->slots[i];

                snprintf(s->id, sizeof(s->id), "%u", i + 1);
                snprintf(s->state, sizeof(s->state), "%s", i % 4 == 3 ? "bad" : "good");
                snprintf(s->version, sizeof(s->version), "%u.0%s", i + 1,
                                f->opt.evil ? "\033[31mred\n" : "");
                snprintf(s->reason, sizeof(s->reason), "%s",
                                i % 4 == 3 ? "the health check failed" : "");
                s->pinned = i + 3 == f->opt.slots;
                s->read_only = 1;
                s->tries_left = -1;
                s->tries = -1;
                s->created = (FIRST_DAY + i * DAY_LENGTH) * USEC_PER_SEC;
                s->size = GIB + i * (GIB / 16);
                s->exclusive = GIB / 64;
        }
}

/* Two devices: the older version is sealed, the newer one its sprout. */
static void make_devices(Fake *f) {
        FakeSlot *seed = &f->slots[0], *sprout = &f->slots[1];

        f->opt.slots = 2;
        make_slots(f);
        strcpy(seed->id, "a");
        strcpy(sprout->id, "b");
        snprintf(sprout->state, sizeof(sprout->state), "%s", f->opt.seed);
        seed->device = "/dev/sda2";
        sprout->device = "/dev/sda3";
        seed->kind = "sealed";
        sprout->kind = "sprout";
        sprout->depends = "a";
        seed->device_size = 8 * GIB;
        sprout->device_size = 9 * GIB;
        sprout->to_merge = GIB + GIB / 2;
}

static int parse(int argc, char *argv[], FakeOptions *o) {
        enum {
                SLOTS = 256,
                STATE,
                VERIFICATION,
                TRANSACTION,
                PROBLEM,
                FAIL,
                JOB_ERROR,
                FINDINGS,
                SEED,
                SINK,
                LOG,
                RATE,
                STEP,
                REBOOT_REQUIRED,
                REBOOT_AFTER,
                EVIL,
                NO_CANCEL,
                SLOW_CANCEL,
                DIE,
                SILENT
        };
        static const struct option longs[] = {
                        {"slots", required_argument, NULL, SLOTS},
                        {"state", required_argument, NULL, STATE},
                        {"verification", required_argument, NULL, VERIFICATION},
                        {"transaction", required_argument, NULL, TRANSACTION},
                        {"problem", required_argument, NULL, PROBLEM},
                        {"fail", required_argument, NULL, FAIL},
                        {"job-error", required_argument, NULL, JOB_ERROR},
                        {"findings", required_argument, NULL, FINDINGS},
                        {"seed", required_argument, NULL, SEED},
                        {"sink", required_argument, NULL, SINK},
                        {"log", required_argument, NULL, LOG},
                        {"rate", required_argument, NULL, RATE},
                        {"step", required_argument, NULL, STEP},
                        {"reboot-required", no_argument, NULL, REBOOT_REQUIRED},
                        {"reboot-after", no_argument, NULL, REBOOT_AFTER},
                        {"evil", no_argument, NULL, EVIL},
                        {"no-cancel", no_argument, NULL, NO_CANCEL},
                        {"slow-cancel", no_argument, NULL, SLOW_CANCEL},
                        {"die", no_argument, NULL, DIE},
                        {"silent", no_argument, NULL, SILENT},
                        {0},
        };
        uint64_t n;
        int c;

        while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0)
                switch (c) {
                case SLOTS:
                        if (parse_u64(optarg, &n) < 0 || n > FAKE_SLOTS_MAX)
                                return -EINVAL;
                        o->slots = (unsigned) n;
                        break;
                case STATE: o->state = optarg; break;
                case VERIFICATION: o->verification = optarg; break;
                case TRANSACTION: o->transaction = optarg; break;
                case PROBLEM: o->problem = optarg; break;
                case FAIL: o->fail = optarg; break;
                case JOB_ERROR: o->job_error = optarg; break;
                case FINDINGS: o->findings = optarg; break;
                case SEED: o->seed = optarg; break;
                case SINK: o->sink = optarg; break;
                case LOG: o->log = optarg; break;
                case RATE:
                        if (parse_size(optarg, &o->rate) < 0)
                                return -EINVAL;
                        break;
                case STEP:
                        if (parse_u64(optarg, &o->step_msec) < 0)
                                return -EINVAL;
                        break;
                case REBOOT_REQUIRED: o->reboot_required = true; break;
                case REBOOT_AFTER: o->reboot_after = true; break;
                case EVIL: o->evil = true; break;
                case NO_CANCEL: o->no_cancel = true; break;
                case SLOW_CANCEL: o->slow_cancel = true; break;
                case DIE: o->die = true; break;
                case SILENT: o->silent = true; break;
                default: return -EINVAL;
                }
        return 0;
}

static int serve(Fake *f) {
        int r = sd_event_default(&f->event);

        if (r >= 0)
                r = sd_bus_open_system(&f->bus);
        if (r >= 0)
                r = sd_bus_add_object_manager(f->bus, NULL, API_PATH);
        if (r >= 0)
                r = sd_bus_add_object_vtable(f->bus, NULL, API_PATH, API_MANAGER_INTERFACE,
                                fake_manager_vtable, f);
        if (r >= 0)
                r = sd_bus_add_fallback_vtable(f->bus, NULL, API_SLOT_PATH, API_SLOT_INTERFACE,
                                fake_slot_vtable, fake_slot_find, f);
        if (r >= 0)
                r = sd_bus_add_node_enumerator(f->bus, NULL, API_SLOT_PATH, fake_slot_enumerate, f);
        if (r >= 0)
                r = sd_bus_request_name(f->bus, API_NAME, 0);
        if (r >= 0)
                r = sd_bus_attach_event(f->bus, f->event, 0);
        return r < 0 ? r : sd_event_loop(f->event);
}

int main(int argc, char *argv[]) {
        static Fake f = {
                        .opt = {.slots = 3,
                                        .state = "steady",
                                        .verification = "signature",
                                        .transaction = "",
                                        .step_msec = 40},
                        .image_fd = -1,
                        .sink_fd = -1,
        };
        int r = parse(argc, argv, &f.opt);

        if (r < 0)
                return 2;
        if (f.opt.log)
                f.log = fopen(f.opt.log, "we");
        if (f.opt.seed)
                make_devices(&f);
        else
                make_slots(&f);
        r = serve(&f);
        if (r < 0)
                fprintf(stderr, "fake: %s\n", strerror(-r));
        return r < 0;
}
