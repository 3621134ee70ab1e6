/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/after.c - what happens when a job has changed the machine: the last word, and the reboot. */
#include <sys/wait.h>

#include "client/facts.h"
#include "client/job.h"
#include "client/out.h"

/* systemctl asks logind, which asks polkit and the inhibitors: all of that is not ours to do again. */
static int reboot_now(const Client *c, Err **reterr) {
        const char *argv[] = {"systemctl", "reboot", NULL, NULL, NULL};
        pid_t child;
        int status;

        if (c->opt.host) {
                argv[2] = "--host";
                argv[3] = c->opt.host;
        }
        fflush(stdout);
        child = fork();
        if (child < 0)
                return err_sys(reterr, errno, "Cannot start systemctl");
        if (child == 0) {
                execvp(argv[0], (char *const *) argv);
                _exit(127);
        }
        if (waitpid(child, &status, 0) < 0)
                return err_sys(reterr, errno, "Cannot wait for systemctl");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return err_new(reterr, EIO,
                                "The job is done, but 'systemctl reboot' failed: reboot by hand");
        return 0;
}

static int end_as_json(const Client *c, const JobEnd *end, bool reboot, Err **reterr) {
        _cleanup_(json_unrefp) json_object *o = json_object_new_object();
        int r = c->progress == PROGRESS_JSON ? jset_str(o, "event", "result") : 0;

        if (r >= 0)
                r = jset_u64(o, "job", end->id);
        if (r >= 0)
                r = jset_str(o, "result", end->detached ? "running" : "done");
        if (r >= 0)
                r = jset_str(o, "message", end->message);
        if (r >= 0)
                r = jset_bool(o, "reboot-required", reboot);
        if (r < 0)
                return err_sys(reterr, r, "Cannot print the result");
        if (c->progress == PROGRESS_JSON)
                out_json_line(o);
        else if (c->json != JSON_OFF)
                out_json(c, o);
        return 0;
}

/* "version 2 is installed" -> "Version 2 is installed." New string or NULL. */
static char *sentence(const char *text) {
        size_t n = strlen(text);
        char *s = str_printf("%s%s", text, n > 0 && text[n - 1] == '.' ? "" : ".");

        if (s && *s >= 'a' && *s <= 'z')
                *s = (char) (*s - 'a' + 'A');
        return s;
}

static void end_as_text(const Client *c, const JobEnd *end, bool reboot) {
        _cleanup_(freep) char *message = NULL;

        if (end->detached) {
                say(c,
                                "Job %" PRIu64
                                " runs on its own: 'abctl monitor' follows it, 'abctl "
                                "cancel %" PRIu64 "' stops it.",
                                end->id, end->id);
                return;
        }
        message = sentence(end->message && *end->message ? end->message : "Done");
        say(c, "%s", str_or(message, ""));
        if (reboot && !c->opt.reboot && !(message && strcasestr(message, "reboot")))
                say(c, "Reboot to start it.");
}

int job_after(Client *c, const JobEnd *end, bool reboot, Err **reterr) {
        int r = end_as_json(c, end, reboot, reterr);

        if (r < 0)
                return r;
        end_as_text(c, end, reboot);
        if (reboot && c->opt.reboot) {
                r = reboot_now(c, reterr);
                if (r < 0)
                        return r;
        }
        return reboot && c->opt.exit_code ? EXIT_REBOOT : EXIT_DONE;
}

int job_finish(Client *c, const JobEnd *end, Err **reterr) {
        _cleanup_(json_unrefp) json_object *machine = NULL;

        /* the job is done whatever becomes of this question */
        if (!end->detached)
                (void) facts_machine(c, &machine, NULL);
        return job_after(c, end, jbool(machine, "reboot-required"), reterr);
}

int job_verb(Client *c, sd_bus_message *call, Download *download, Err **reterr) {
        _cleanup_(job_end_done) JobEnd end = {0};
        int r = job_run(c, call, download, &end, reterr);

        return r < 0 ? r : job_finish(c, &end, reterr);
}
