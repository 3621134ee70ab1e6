/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/update.c - a new version: from a file, a pipe or a URL into a slot. */
#include "base/log.h"
#include "client/image.h"
#include "client/job.h"
#include "client/manifest.h"
#include "client/out.h"
#include "client/persist.h"
#include "client/show.h"
#include "client/text.h"
#include "client/verbs.h"

#define RETRIES_DEFAULT 5
#define RETRIES_MAX     100

static int wrong_use(Err **reterr, const char *what) {
        return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL, "%s", what);
}

static int check_options(const Options *o, const char *image, uint64_t *ret_retries, Err **reterr) {
        *ret_retries = RETRIES_DEFAULT;
        if (o->retries && (parse_u64(o->retries, ret_retries) < 0 || *ret_retries > RETRIES_MAX))
                return wrong_use(reterr, "--retries= wants a number from 0 to 100");
        if (o->detach && strstr(image, "://"))
                return wrong_use(reterr,
                                "--detach cannot go with a URL, which abctl itself loads: use "
                                "'systemd-run abctl update URL'");
        if (o->detach && o->reboot)
                return wrong_use(reterr, "--reboot waits for the end and --detach does not: "
                                         "choose one");
        if (o->no_arm && o->reboot)
                return wrong_use(reterr, "--reboot would start the old version again with "
                                         "--no-arm: choose one");
        if (o->dry_run && (o->detach || o->reboot))
                return wrong_use(reterr, "--dry-run changes nothing: leave --reboot and --detach "
                                         "out");
        return 0;
}

int update_check_use(const Options *o, int argc, Err **reterr) {
        bool lasts = o->persist || o->go_on || o->forget;

        if (o->persist + o->go_on + o->forget > 1)
                return wrong_use(reterr, "--persist, --continue and --forget: choose one");
        if (argc > 0 && (o->go_on || o->forget))
                return wrong_use(reterr, "--continue and --forget take no image: it was named with "
                                         "--persist");
        if (argc == 0 && !o->go_on && !o->forget)
                return wrong_use(reterr,
                                "'abctl update' needs IMAGE|-|URL: see 'abctl update --help'");
        if (lasts && (o->dry_run || o->detach))
                return wrong_use(reterr, "--persist, --continue and --forget cannot go with "
                                         "--dry-run or --detach");
        if (lasts && (o->offline || o->host))
                return wrong_use(reterr, "--persist, --continue and --forget are for the daemon of "
                                         "this machine: leave --offline and --host out");
        return 0;
}

/* The bus at the other end of ssh agrees to take descriptors, and then they are lost on the way. */
static int check_host(const Client *c, const char *image, Err **reterr) {
        if (!c->opt.host)
                return 0;
        if (strstr(image, "://"))
                return err_kind(reterr, ERR_NOT_SUPPORTED, ENOTSUP,
                                "An image cannot be handed over ssh: run 'ssh %s abctl update %s'",
                                c->opt.host, image);
        return err_kind(reterr, ERR_NOT_SUPPORTED, ENOTSUP,
                        "An open file cannot travel over ssh: run 'ssh %s abctl update - <%s'",
                        c->opt.host, image);
}

static int append_string(sd_bus_message *m, const char *key, const char *value) {
        return value ? sd_bus_message_append(m, "{sv}", key, "s", value) : 0;
}

static int append_flag(sd_bus_message *m, const char *key, bool value) {
        return value ? sd_bus_message_append(m, "{sv}", key, "b", 1) : 0;
}

/* Only what was asked for goes into the options: a daemon refuses what it does not know. */
static int append_options(sd_bus_message *m, const Options *o, const Image *image) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0 && o->no_arm)
                r = sd_bus_message_append(m, "{sv}", "arm", "b", 0);
        if (r >= 0)
                r = append_string(m, "version", o->as);
        if (r >= 0)
                r = append_string(m, "accept", o->accept);
        if (r >= 0)
                r = append_flag(m, "reinstall", o->reinstall);
        if (r >= 0)
                r = append_flag(m, "allow-downgrade", o->allow_downgrade);
        if (r >= 0)
                r = append_flag(m, "detach", o->detach);
        if (r >= 0 && image->manifest > 0)
                r = sd_bus_message_append(m, "{sv}", "manifest", "h", image->manifest);
        if (r >= 0 && image->size > 0)
                r = sd_bus_message_append(m, "{sv}", "size", "t", image->size);
        if (r >= 0 && image->offset > 0)
                r = sd_bus_message_append(m, "{sv}", "offset", "t", image->offset);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int read_steps(sd_bus_message *m, json_object **ret) {
        _cleanup_(json_unrefp) json_object *steps = json_object_new_array();
        const char *phase, *text;
        uint64_t bytes;
        int r = steps ? sd_bus_message_enter_container(m, 'a', "(sst)") : -ENOMEM;

        while (r >= 0 && (r = sd_bus_message_read(m, "(sst)", &phase, &text, &bytes)) > 0) {
                json_object *o = json_object_new_object();

                r = jset_str(o, "phase", phase);
                if (r >= 0)
                        r = jset_str(o, "text", text);
                if (r >= 0)
                        r = jset_u64(o, "bytes", bytes);
                if (r >= 0)
                        r = jappend(steps, o);
                else
                        json_object_put(o);
        }
        if (r < 0)
                return r;
        *ret = MOVE(steps);
        return 0;
}

int show_steps(Client *c, json_object *steps, Err **reterr) {
        static const Column columns[] = {
                        {"PHASE", 0}, {"SIZE", SCOLS_FL_RIGHT}, {"STEP", SCOLS_FL_WRAP}};
        _cleanup_(table_freep) struct libscols_table *t = NULL;
        char size[16];
        int r;

        if (c->progress == PROGRESS_JSON) {
                out_json_line(steps);
                return EXIT_DONE;
        }
        if (c->json != JSON_OFF) {
                out_json(c, steps);
                return EXIT_DONE;
        }
        r = table_new(columns, ARRAY_SIZE(columns), &t, reterr);
        if (r < 0)
                return r;
        for (size_t i = 0; i < json_object_array_length(steps); i++) {
                json_object *o = json_object_array_get_idx(steps, i);
                struct libscols_line *line = table_line(t);
                uint64_t bytes = ju64(o, "bytes");

                table_cell(line, 0, jstr(o, "phase"), PAINT_PLAIN);
                table_cell(line, 1, bytes > 0 ? format_bytes(size, bytes) : "", PAINT_PLAIN);
                table_cell(line, 2, jstr(o, "text"), PAINT_PLAIN);
        }
        r = table_print(t, reterr);
        if (r < 0)
                return r;
        printf("\nNothing was changed.\n");
        return EXIT_DONE;
}

static int plan(Client *c, sd_bus_message *m, const Image *image, Err **reterr) {
        _cleanup_(json_unrefp) json_object *steps = NULL;
        _cleanup_(job_end_done) JobEnd end = {0};
        int r = job_run(c, m, image->download, &end, reterr);

        if (r < 0)
                return r;
        r = end.reply ? read_steps(end.reply, &steps) : -EBADMSG;
        return r < 0 ? bus_broken(r, reterr) : show_steps(c, steps, reterr);
}

/* Looks at the options and opens the image: all that comes before anybody else is asked. */
int update_open(Client *c, const char *where, Image *ret, Err **reterr) {
        _cleanup_(image_done) Image image = {.fd = -1};
        _cleanup_(fd_closep) int manifest = -1;
        uint64_t retries;
        int r = check_options(&c->opt, where, &retries, reterr);

        if (r >= 0)
                r = check_host(c, where, reterr);
        /* before anything is loaded from far away */
        if (r >= 0 && !c->opt.offline)
                r = bus_open(c, reterr);
        /* the image first: where it cannot be had, it says why, and nobody waits twice */
        if (r >= 0)
                r = image_open(where, (unsigned) retries, &image, reterr);
        if (r >= 0)
                r = manifest_open(where, c->opt.manifest, (unsigned) retries, &manifest, reterr);
        if (r < 0)
                return r;
        image.manifest = MOVE_FD(manifest);
        if (image.download && !c->opt.offline && !c->opt.dry_run)
                r = image_resume(c, where, (unsigned) retries, &image, reterr);
        if (r < 0)
                return r;
        *ret = image;
        image = (Image){.fd = -1};
        return 0;
}

/* Asks for the plan, or for the update and waits for its end. */
static int order(Client *c, const char *where, JobEnd *ret, Err **reterr) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(image_done) Image image = {.fd = -1};
        int r;

        r = update_open(c, where, &image, reterr);
        if (r >= 0)
                r = bus_method(c, c->opt.dry_run ? "Plan" : "Update", &m, reterr);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "hs", image.fd, image.name);
        if (r >= 0)
                r = append_options(m, &c->opt, &image);
        if (r < 0)
                return bus_broken(r, reterr);
        image.fd = fd_close(image.fd); /* the message has one of its own */
        return c->opt.dry_run ? plan(c, m, &image, reterr)
                              : job_run(c, m, image.download, ret, reterr);
}

/* Forgets what is done or refused, before a reboot; anything else may end better the next time. */
static int settle(int r, Err **error, Err **reterr) {
        int q = 0;

        if (persist_is_settled(r, *error))
                q = persist_drop(r < 0 ? NULL : reterr);
        else
                log_notice("The next start goes on with it, or 'abctl update --continue'; 'abctl "
                           "update --forget' gives it up.");
        if (r < 0)
                *reterr = MOVE(*error);
        return r < 0 ? r : q;
}

static int order_until_done(Client *c, const char *where, JobEnd *ret, Err **reterr) {
        _cleanup_(err_freep) Err *error = NULL;
        _cleanup_(kv_freep) Kv *kept = NULL;
        int r = c->opt.go_on ? persist_read(&c->opt, &kept, &where, reterr)
                             : persist_write(&c->opt, where, reterr);

        return r < 0 ? r : settle(order(c, where, ret, &error), &error, reterr);
}

int verb_update(Client *c, int argc, char *argv[], Err **reterr) {
        _cleanup_(job_end_done) JobEnd end = {0};
        int r = update_check_use(&c->opt, argc, reterr);

        if (r < 0)
                return r;
        if (c->opt.forget) {
                r = persist_drop(reterr);
                return r < 0 ? r : EXIT_DONE;
        }
        r = (c->opt.persist || c->opt.go_on ? order_until_done : order)(c, argv[0], &end, reterr);
        if (r < 0 || c->opt.dry_run)
                return r;
        return job_finish(c, &end, reterr);
}
