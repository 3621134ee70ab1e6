/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/enum.h"
#include "daemon/job.h"
#include "daemon/spawn.h"
#include "dbus/worker-api.h"

/* How long a worker may take to end after its last word, and how many packets are read before others get their turn. */
#define END_GRACE     (5 * USEC_PER_SEC)
#define PACKETS_A_RUN 16

static const char *const job_type_names[_JOB_TYPE_MAX] = {
                [JOB_RECOVER] = "recover",
                [JOB_CHECK] = "check",
                [JOB_INSPECT] = "inspect",
                [JOB_PLAN] = "plan",
                [JOB_UPDATE] = "update",
                [JOB_BEGIN] = "begin",
                [JOB_COMMIT] = "commit",
                [JOB_ABORT] = "abort",
                [JOB_ROLLBACK] = "rollback",
                [JOB_MARK] = "mark",
                [JOB_PRUNE] = "prune",
                [JOB_MERGE] = "merge",
                [JOB_EXPORT] = "export",
                [JOB_RESTORE] = "restore",
                [JOB_DISCARD] = "discard",
                [JOB_PIN] = "pin",
};

DEFINE_ENUM(job_type, JobType, job_type_names, _JOB_TYPE_MAX, _JOB_TYPE_INVALID)

/* The whole group; and the process itself, which may not lead it yet. */
static void kill_worker(const Job *j) {
        (void) kill(-j->pid, SIGKILL);
        (void) kill(j->pid, SIGKILL);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        Job *j = userdata;

        (void) s, (void) usec;
        kill_worker(j);
        return 0;
}

/* Kill the worker @usec from now, unless that is going to happen anyway. */
static void arm_kill(Job *j, uint64_t usec) {
        if (j->timer)
                return;
        if (sd_event_add_time_relative(sd_event_source_get_event(j->child), &j->timer,
                            CLOCK_MONOTONIC, usec, /* accuracy= */ USEC_PER_SEC / 10, on_timer,
                            j) < 0)
                kill_worker(j);
}

static void worker_broke(Job *j, const Err *why) {
        _cleanup_(err_freep) Err *e = NULL;

        if (j->has_result || j->broken)
                return;
        j->broken = true;
        err_kind(&e, ERR_WORKER_DIED, ECONNRESET, "the worker of job %" PRIu64 " (%s) broke: %s",
                        j->id, job_type_to_string(j->type), err_text(why));
        result_set(&j->result, e);
        (void) kill(j->pid, SIGTERM);
        arm_kill(j, JOB_STOP_GRACE);
}

static void take_progress(Job *j, Packet *p) {
        uint64_t remaining;

        if (!str_eq(j->phase, p->phase)) {
                free(j->phase);
                j->phase = MOVE(p->phase);
                j->rate = (Rate){0};
        }
        j->bytes_done = p->done;
        j->bytes_total = p->total;
        j->progress = -1.0;
        if (p->total > 0)
                j->progress = p->done < p->total ? (double) p->done / (double) p->total : 1.0;

        rate_sample(&j->rate, now_monotonic(), p->done);
        remaining = rate_remaining(&j->rate, p->done, p->total);
        j->completion = remaining == UINT64_MAX ? 0 : now_realtime() + remaining;
}

static void become_ready(Job *j) {
        if (j->ready)
                return;
        j->ready = true;
        j->ops->ready(j, j->userdata);
}

static void take_packet(Job *j, Packet *p, int fd) {
        switch (p->type) {
        case PACKET_READY: become_ready(j); return;
        case PACKET_PROGRESS: take_progress(j, p); break;
        case PACKET_SLOT:
                free(j->slot);
                j->slot = MOVE(p->slot);
                break;
        case PACKET_POINT_OF_NO_RETURN:
                j->point_of_no_return = true;
                j->cancellable = false;
                /* A cancel that came too late to stop it must not kill it either. */
                j->timer = sd_event_source_disable_unref(j->timer);
                break;
        case PACKET_WORLD:
                if (fd >= 0)
                        j->ops->world(j, fd, j->userdata);
                return;
        case PACKET_RESULT:
                j->result = p->result;
                p->result = (Result){0};
                j->has_result = true;
                j->timer = sd_event_source_disable_unref(j->timer);
                arm_kill(j, END_GRACE);
                if (j->result.code == 0)
                        become_ready(j);
                return;
        default: abort();
        }
        j->ops->changed(j, j->userdata);
}

/* One packet. Returns 1 if there was one, 0 if there is none now or any more. */
static int receive_packet(Job *j) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec iov = {.iov_base = j->packet, .iov_len = WORKER_PACKET_MAX};
        struct msghdr mh = {
                        .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        /* CMSG_SPACE() would have room for two */
                        .msg_controllen = CMSG_LEN(sizeof(int)),
        };
        _cleanup_(fd_closep) int fd = -1;
        _cleanup_(err_freep) Err *e = NULL;
        _cleanup_(packet_done) Packet p = {0};
        struct cmsghdr *c;
        ssize_t n;

        n = recvmsg(j->socket, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0) {
                j->closed = true;
                return 0;
        }

        c = CMSG_FIRSTHDR(&mh);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
                        c->cmsg_len == CMSG_LEN(sizeof(int)))
                memcpy(&fd, CMSG_DATA(c), sizeof(int));

        if (j->broken || j->has_result)
                return 1; /* its last word has been said */
        if (mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
                err_new(&e, EBADMSG, "packet that is too big");
        else if (packet_parse(j->packet, (size_t) n, &p, &e) >= 0) {
                take_packet(j, &p, fd);
                return 1;
        }
        worker_broke(j, e);
        return 1;
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Job *j = userdata;
        int n = PACKETS_A_RUN;

        (void) s, (void) fd, (void) revents;
        while (n-- > 0 && receive_packet(j) > 0)
                ;
        if (j->closed) {
                j->io = sd_event_source_disable_unref(j->io);
                arm_kill(j, END_GRACE);
        }
        return 0;
}

static int died(const Job *j, const siginfo_t *si, Err **reterr) {
        const char *type = job_type_to_string(j->type);

        if (j->cancelled)
                return err_kind(reterr, ERR_CANCELLED, ECANCELED,
                                "job %" PRIu64 " (%s) was cancelled: its worker was stopped, the "
                                "next one cleans up",
                                j->id, type);
        if (si->si_code == CLD_EXITED)
                return err_kind(reterr, ERR_WORKER_DIED, ECONNRESET,
                                "the worker of job %" PRIu64 " (%s) ended without a result, exit "
                                "status %i",
                                j->id, type, si->si_status);
        return err_kind(reterr, ERR_WORKER_DIED, ECONNRESET,
                        "the worker of job %" PRIu64 " (%s) was killed by signal %i (%s)", j->id,
                        type, si->si_status, strsignal(si->si_status));
}

static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata) {
        _cleanup_(err_freep) Err *e = NULL;
        Job *j = userdata;

        (void) s;
        while (receive_packet(j) > 0)
                ;
        /* Helpers that it left behind. It is a zombie still: the number is not anybody else's. */
        (void) kill(-j->pid, SIGKILL);

        j->died = !j->has_result;
        if (j->died && !j->broken) {
                died(j, si, &e);
                result_set(&j->result, e);
        }
        j->io = sd_event_source_disable_unref(j->io);
        j->timer = sd_event_source_disable_unref(j->timer);
        j->ops->ended(j, j->userdata);
        return 0;
}

static int send_order(int fd, const JobSpec *spec, Err **reterr) {
        _cleanup_(json_putp) json_object *o = NULL;
        const char *text;
        size_t n;

        if (spec->order)
                (void) json_object_deep_copy(spec->order, &o, NULL);
        else
                o = json_object_new_object();
        if (!o ||
                        json_object_object_add(o, "type",
                                        json_object_new_string(job_type_to_string(spec->type))) <
                                        0 ||
                        json_object_object_add(o, "job", json_object_new_uint64(spec->id)) < 0)
                return err_sys(reterr, ENOMEM, "write the order");

        text = json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &n);
        if (!text)
                return err_sys(reterr, ENOMEM, "write the order");
        if (n > WORKER_PACKET_MAX)
                return err_kind(reterr, ERR_INVALID_ARGUMENT, E2BIG, "the order is too long");
        return send(fd, text, n, MSG_NOSIGNAL) < 0 ? err_sys(reterr, errno, "send the order") : 0;
}

static int watch_worker(sd_event *event, Job *j) {
        int r;

        r = sd_event_add_child(event, &j->child, j->pid, WEXITED, on_child, j);
        if (r < 0)
                return r;
        r = sd_event_source_set_child_process_own(j->child, true);
        if (r < 0)
                return r;
        /* What it said is heard before that it ended. */
        r = sd_event_source_set_priority(j->child, SD_EVENT_PRIORITY_NORMAL + 1);
        if (r < 0)
                return r;
        return sd_event_add_io(event, &j->io, j->socket, EPOLLIN, on_io, j);
}

int job_start(sd_event *event, const JobSpec *spec, const JobOps *ops, void *userdata, Job **ret,
                Err **reterr) {
        _cleanup_(job_freep) Job *j = calloc(1, sizeof(*j));
        _cleanup_(fd_closep) int theirs = -1;
        int pair[2], r;

        if (!j || !(j->packet = malloc(WORKER_PACKET_MAX)))
                return err_sys(reterr, ENOMEM, "start a job");
        j->id = spec->id;
        j->type = spec->type;
        j->progress = -1.0;
        j->cancellable = true;
        j->ops = ops;
        j->userdata = userdata;
        j->socket = -1;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(reterr, errno, "start a job");
        j->socket = pair[0];
        theirs = pair[1];
        r = send_order(j->socket, spec, reterr);
        if (r >= 0)
                r = spawn_worker(spec->program, spec->root, theirs, spec->image_fd,
                                spec->manifest_fd, &j->pid, reterr);
        if (r < 0)
                return r;
        r = watch_worker(event, j);
        if (r < 0)
                return err_sys(reterr, r, "watch the worker");

        *ret = MOVE(j);
        return 0;
}

int job_cancel(Job *j, bool by_hand, Err **reterr) {
        if (j->has_result)
                return 0;
        if (j->point_of_no_return)
                return err_kind(reterr, ERR_NOT_CANCELLABLE, EBUSY,
                                "job %" PRIu64 " (%s) is past its point of no return and ends by "
                                "itself soon",
                                j->id, job_type_to_string(j->type));
        j->cancelled = true;
        if (by_hand)
                (void) sigqueue(j->pid, SIGTERM, (union sigval){.sival_int = WORKER_BY_HAND});
        else
                (void) kill(j->pid, SIGTERM);
        arm_kill(j, JOB_STOP_GRACE);
        return 0;
}

int job_pause(Job *j, bool pause, Err **reterr) {
        if (j->has_result)
                return 0;
        if (j->type != JOB_MERGE || !j->ready) /* before that the signal would kill it */
                return err_kind(reterr, ERR_NOT_SUPPORTED, EOPNOTSUPP,
                                "job %" PRIu64 " (%s) cannot be paused; a merge can", j->id,
                                job_type_to_string(j->type));
        if (j->point_of_no_return)
                return err_kind(reterr, ERR_NOT_CANCELLABLE, EBUSY,
                                "job %" PRIu64 " (%s) ends by itself soon", j->id,
                                job_type_to_string(j->type));
        (void) kill(j->pid, pause ? SIGUSR1 : SIGUSR2);
        j->paused = pause;
        return 0;
}

Job *job_free(Job *j) {
        if (j) {
                if (j->pid > 0 && !j->child) { /* it could not be watched */
                        kill_worker(j);
                        (void) waitpid(j->pid, NULL, 0);
                }
                sd_event_source_disable_unref(j->io);
                sd_event_source_disable_unref(j->timer);
                sd_event_source_disable_unref(j->child);
                fd_close(j->socket);
                result_done(&j->result);
                free(j->slot);
                free(j->phase);
                free(j->packet);
                free(j);
        }
        return NULL;
}
