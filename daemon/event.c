/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

#include "base/log.h"
#include "daemon/event.h"

#define FIELDS_MAX 10

typedef struct Event {
        const char *id;
        int priority;
        char *fields[FIELDS_MAX];
        size_t n;
} Event;

static void event_done(Event *e) {
        for (size_t i = 0; i < e->n; i++)
                free(e->fields[i]);
}

static void add(Event *e, const char *key, const char *value) {
        char *field;

        if (!value || !*value || e->n == FIELDS_MAX)
                return;
        field = str_printf("%s=%s", key, value);
        if (field)
                e->fields[e->n++] = field;
}

static void add_job(Event *e, const Job *j, uid_t uid) {
        char id[32];

        (void) snprintf(id, sizeof(id), "%" PRIu64, j->id);
        add(e, "ABUPDATE_JOB", id);
        add(e, "ABUPDATE_TYPE", job_type_to_string(j->type));
        add(e, "ABUPDATE_SLOT", j->slot);
        (void) snprintf(id, sizeof(id), "%u", uid);
        add(e, "ABUPDATE_UID", id);
}

static void add_slot(Event *e, const WorldSlot *s) {
        add(e, "ABUPDATE_SLOT", s->id);
        add(e, "ABUPDATE_VERSION", s->version);
}

/* To the journal; to stderr where that is not the journal anyway. Takes the fields of @e and @text. */
static void send_event(Event *e, char *text) {
        _cleanup_(freep) char *message = text ? str_printable(text) : NULL;
        struct iovec iov[FIELDS_MAX];
        char priority[16];
        size_t n = 0;

        free(text);
        if (!message)
                return;
        (void) snprintf(priority, sizeof(priority), "%i", e->priority);
        add(e, "MESSAGE_ID", e->id);
        add(e, "PRIORITY", priority);
        add(e, "MESSAGE", message);

        for (size_t i = 0; i < e->n; i++)
                iov[n++] = (struct iovec){e->fields[i], strlen(e->fields[i])};
        (void) sd_journal_sendv(iov, (int) n);
        if (!getenv("JOURNAL_STREAM"))
                log_message(e->priority, "%s", message);
}

void event_daemon_started(void) {
        _cleanup_(event_done) Event e = {.id = EVENT_DAEMON_STARTED, .priority = LOG_INFO};

        add(&e, "ABUPDATE_VERSION", ABUPDATE_VERSION);
        send_event(&e, str_printf("abupdated %s has started", ABUPDATE_VERSION));
}

/* Looking at the machine is no news. */
static int job_priority(const Job *j, int level) {
        return j->type == JOB_RECOVER || j->type == JOB_CHECK || j->type == JOB_INSPECT ? LOG_DEBUG
                                                                                        : level;
}

void event_job_started(const Job *j, uid_t uid) {
        _cleanup_(event_done)
                        Event e = {.id = EVENT_JOB_STARTED, .priority = job_priority(j, LOG_INFO)};

        add_job(&e, j, uid);
        send_event(&e, str_printf("Job %" PRIu64 " (%s) has started", j->id,
                                       job_type_to_string(j->type)));
}

void event_job_ended(const Job *j, uid_t uid) {
        const char *type = job_type_to_string(j->type), *text = str_or(j->result.text, "");
        _cleanup_(event_done) Event e = {0};

        add_job(&e, j, uid);
        if (j->result.code == 0) {
                e.id = EVENT_JOB_FINISHED;
                e.priority = job_priority(j, LOG_NOTICE);
                send_event(&e, str_printf("Job %" PRIu64 " (%s) has finished: %s", j->id, type,
                                               text));
        } else {
                e.id = j->result.kind == ERR_WORKER_DIED ? EVENT_WORKER_DIED : EVENT_JOB_FAILED;
                e.priority = j->result.kind == ERR_CANCELLED ? LOG_NOTICE : LOG_ERR;
                if (j->type == JOB_INSPECT) /* anybody may hand in anything */
                        e.priority = LOG_DEBUG;
                add(&e, "ABUPDATE_ERROR", err_kind_name(j->result.kind));
                send_event(&e, str_printf("Job %" PRIu64 " (%s) has failed: %s", j->id, type,
                                               text));
        }

        if (j->result.code == 0 && j->type == JOB_ROLLBACK) {
                _cleanup_(event_done) Event back = {.id = EVENT_ROLLBACK, .priority = LOG_NOTICE};

                add_job(&back, j, uid);
                send_event(&back, str_printf("The system was rolled back: %s", text));
        }
}

static void slot_event(const char *id, int priority, const WorldSlot *s, const char *what) {
        _cleanup_(event_done) Event e = {.id = id, .priority = priority};

        add_slot(&e, s);
        send_event(&e, str_printf("Slot %s (version %s) %s", s->id, str_or(s->version, "unknown"),
                                       what));
}

static bool became(const WorldSlot *o, const WorldSlot *s, const char *state) {
        return str_eq(s->state, state) && (!o || !str_eq(o->state, state));
}

static void fallback_event(const World *w) {
        _cleanup_(event_done) Event e = {.id = EVENT_FALLBACK, .priority = LOG_WARNING};
        const WorldSlot *s = world_slot(w, w->booted);

        if (s)
                add_slot(&e, s);
        send_event(&e, str_printf("The machine runs its fallback: %s",
                                       str_or(w->reason, "the reason is not known")));
}

void event_world(const World *old, const World *fresh) {
        const WorldSlot *next;

        if (str_eq(fresh->state, "fallback") && (!old || !str_eq(old->state, "fallback")))
                fallback_event(fresh);
        if (!old)
                return;

        for (size_t i = 0; i < fresh->n_slots; i++) {
                const WorldSlot *s = &fresh->slots[i], *o = world_slot(old, s->id);

                if (became(o, s, "staged"))
                        slot_event(EVENT_SLOT_STAGED, LOG_NOTICE, s, "is staged");
                if (became(o, s, "good") && o)
                        slot_event(EVENT_SLOT_BLESSED, LOG_NOTICE, s, "has proved itself: good");
                if (became(o, s, "bad"))
                        slot_event(EVENT_SLOT_CONDEMNED, LOG_WARNING, s, "is condemned: bad");
        }

        next = world_slot(fresh, fresh->next);
        if (next && !str_eq(old->next, fresh->next))
                slot_event(EVENT_SLOT_ARMED, LOG_NOTICE, next, "is what the next boot takes");
}
