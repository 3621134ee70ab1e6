/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "client/progress.h"
#include "client/worker.h"
#include "dbus/worker-api.h"

#define WORKER_PROGRAM  "abupdated"
#define FD_OUT_OF_REACH 10 /* above the descriptors that the worker is given */
#define TICK_USEC       (USEC_PER_SEC / 5)
#define WORLD_MAX       (64 * 1024 * 1024)

typedef struct Run {
        Client *client;
        Progress *progress;
        Download *download;
        sd_event *event;
        ProgressFacts facts;
        char *phase;
        WorkerEnd end;
        Err *why; /* what broke the job from this side */
        pid_t worker;
        int fd;
        unsigned signals;
        bool left;
} Run;

void worker_end_done(WorkerEnd *end) {
        end->world = json_unref(end->world);
        end->result = json_unref(end->result);
}

static void run_done(Run *run) {
        run->progress = progress_free(run->progress);
        run->event = sd_event_unref(run->event);
        run->fd = fd_close(run->fd);
        run->why = err_free(run->why);
        worker_end_done(&run->end);
        free(run->phase);
}

/* In the child. Beside abctl's folder is a build tree, else it is where it was installed. */
static _Noreturn void exec_worker(
                const Client *c, int socket, int image, int manifest, pid_t parent) {
        _cleanup_(freep) char *root = str_printf("--root=%s", c->opt.root ? c->opt.root : "/");
        char path[4096];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
        sigset_t none;
        char *slash;

        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) signal(SIGPIPE, SIG_DFL);
        /* a session of its own: Ctrl-C is ours to pass on */
        if (!root || prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent || setsid() < 0 ||
                        dup2(socket, WORKER_SOCKET_FD) < 0 ||
                        (image >= 0 && dup2(image, WORKER_IMAGE_FD) < 0) ||
                        (manifest >= 0 && dup2(manifest, WORKER_MANIFEST_FD) < 0))
                _exit(EXIT_FAILURE);
        path[n > 0 ? n : 0] = '\0';
        slash = strrchr(path, '/');
        if (slash) {
                snprintf(slash, 64, "/../daemon/" WORKER_PROGRAM);
                execl(path, WORKER_PROGRAM, "--worker", root, NULL);
        }
        execl(ABUPDATE_LIBEXECDIR "/" WORKER_PROGRAM, WORKER_PROGRAM, "--worker", root, NULL);
        _exit(127);
}

static int far(int fd) {
        return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FD_OUT_OF_REACH);
}

static int start_worker(Run *run, json_object *order, const Image *image, Err **reterr) {
        _cleanup_(fd_closep) int socket = -1, image_fd = image ? far(image->fd) : -1,
                                 manifest_fd = image && image->manifest > 0 ? far(image->manifest)
                                                                            : -1;
        const char *text = json_object_to_json_string_ext(order, JSON_C_TO_STRING_PLAIN);
        pid_t self = getpid();
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return err_sys(reterr, errno, "Cannot start a worker");
        socket = far(fds[1]);
        run->fd = far(fds[0]);
        close(fds[0]);
        close(fds[1]);
        if (run->fd < 0 || socket < 0 || (image && image_fd < 0) || !text)
                return err_sys(reterr, errno, "Cannot start a worker");
        run->worker = fork();
        if (run->worker < 0)
                return err_sys(reterr, errno, "Cannot start a worker");
        if (run->worker == 0)
                exec_worker(run->client, socket, image_fd, manifest_fd, self);
        if (send(run->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
                return err_sys(reterr, errno, "Cannot talk to the worker");
        return 0;
}

/* The world comes as a memfd. */
static json_object *read_world(int fd) {
        _cleanup_(freep) char *text = NULL;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > WORLD_MAX)
                return NULL;
        text = calloc(1, (size_t) st.st_size + 1);
        if (!text || pread(fd, text, (size_t) st.st_size, 0) != st.st_size)
                return NULL;
        return json_tokener_parse(text);
}

static void take_progress(Run *run, json_object *o) {
        if (str_set(&run->phase, jstr(o, "phase")) < 0)
                return;
        run->facts.phase = run->phase;
        run->facts.done = ju64(o, "done");
        run->facts.total = ju64(o, "total");
        run->facts.fraction = -1;
        progress_update(run->progress, &run->facts);
}

static void take_packet(Run *run, const char *text, int fd) {
        _cleanup_(json_unrefp) json_object *o = json_tokener_parse(text);
        const char *msg = jstr(o, "msg");

        if (str_eq(msg, "progress"))
                take_progress(run, o);
        else if (str_eq(msg, "point-of-no-return"))
                run->facts.no_return = true;
        else if (str_eq(msg, "world")) {
                json_object_put(run->end.world);
                run->end.world = read_world(fd);
        } else if (str_eq(msg, "result")) {
                json_object_put(run->end.result);
                run->end.result = json_object_get(o);
        }
}

static int on_packet(
                sd_event_source *s _unused_, int fd, uint32_t revents _unused_, void *userdata) {
        Run *run = userdata;
        static char text[WORKER_PACKET_MAX + 1];
        union {
                struct cmsghdr align;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iov = {.iov_base = text, .iov_len = WORKER_PACKET_MAX};
        struct msghdr m = {
                        .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof(control),
        };
        _cleanup_(fd_closep) int passed = -1;
        ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
        struct cmsghdr *h;

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return 0;
        if (n <= 0) {
                run->left = true;
                return 0;
        }
        for (h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
                if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
                        memcpy(&passed, CMSG_DATA(h), sizeof(passed));
        text[n] = '\0';
        take_packet(run, text, passed);
        return 0;
}

static int on_signal(sd_event_source *s _unused_, const struct signalfd_siginfo *si _unused_,
                void *userdata) {
        Run *run = userdata;

        run->signals++;
        if (run->signals == 1)
                progress_note(run->progress, "%s",
                                run->facts.no_return ? "It is too late to cancel: the job goes on."
                                                     : "Cancelling. Press Ctrl-C again to leave "
                                                       "without waiting.");
        if (run->signals > 1) {
                (void) err_kind(&run->why, ERR_CANCELLED, ECANCELED,
                                "Left while the job was stopping: 'abctl --offline status' shows "
                                "how the machine stands");
                run->left = true;
        } else if (!run->facts.no_return)
                (void) sigqueue(run->worker, SIGTERM, (union sigval){.sival_int = WORKER_BY_HAND});
        return 0;
}

static int on_tick(sd_event_source *s, uint64_t usec _unused_, void *userdata) {
        Run *run = userdata;
        int r;

        progress_tick(run->progress);
        r = sd_event_source_set_time_relative(s, TICK_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int on_download(
                sd_event_source *s, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        Run *run = userdata;
        _cleanup_(freep) char *note = NULL;
        DownloadStep step = download_step(run->download, &note, &run->why);

        if (note)
                progress_note(run->progress, "%s", note);
        if (step == DOWNLOAD_FAILED)
                (void) kill(run->worker, SIGTERM);
        return step == DOWNLOAD_GOES_ON ? 0 : sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

static int loop(Run *run) {
        sigset_t set;
        int r;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGTERM);
        (void) signal(SIGPIPE, SIG_IGN);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        r = sd_event_new(&run->event);
        if (r >= 0)
                r = sd_event_add_signal(run->event, NULL, SIGINT, on_signal, run);
        if (r >= 0)
                r = sd_event_add_signal(run->event, NULL, SIGTERM, on_signal, run);
        if (r >= 0)
                r = sd_event_add_io(run->event, NULL, run->fd, EPOLLIN, on_packet, run);
        if (r >= 0 && run->download)
                r = sd_event_add_io(run->event, NULL, download_fd(run->download), EPOLLIN,
                                on_download, run);
        if (r >= 0)
                r = sd_event_add_time_relative(
                                run->event, NULL, CLOCK_MONOTONIC, TICK_USEC, 0, on_tick, run);
        while (r >= 0 && !run->left)
                r = sd_event_run(run->event, UINT64_MAX);
        return r;
}

/* Whoever is left behind by a second Ctrl-C stops by itself: it was told to, and it is in another session. */
static int reap(const Run *run) {
        int status;

        if (run->signals > 1 || waitpid(run->worker, &status, 0) < 0)
                return 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int judge(Run *run, int status, Err **reterr) {
        json_object *result = run->end.result;
        ErrKind kind;

        if (run->why) {
                int r = err_code(run->why);

                *reterr = err_free(*reterr);
                *reterr = MOVE(run->why);
                return r;
        }
        if (!result && status == 127)
                return err_kind(reterr, ERR_NO_DAEMON, ENOENT,
                                "--offline needs the program " ABUPDATE_LIBEXECDIR
                                "/" WORKER_PROGRAM ", and it does not start");
        if (!result)
                return err_kind(reterr, ERR_WORKER_DIED, EPIPE,
                                "The worker died without a result; run the command again");
        if (!*jstr(result, "kind"))
                return 0;
        kind = err_kind_from_name(jstr(result, "kind"));
        return err_kind(reterr, kind >= 0 ? kind : ERR_FAILED, EIO, "%s", jstr(result, "text"));
}

int worker_run(Client *c, json_object *order, const Image *image, WorkerEnd *ret, Err **reterr) {
        _cleanup_(run_done) Run run = {.client = c, .fd = -1, .facts.fraction = -1};
        int r = progress_new(c, &run.progress, reterr);

        if (r < 0)
                return r;
        run.download = image ? image->download : NULL;
        r = start_worker(&run, order, image, reterr);
        if (r < 0)
                return r;
        r = loop(&run);
        if (r < 0)
                return err_sys(reterr, r, "Cannot follow the worker");
        r = judge(&run, reap(&run), reterr);
        progress_end(run.progress, r >= 0);
        *ret = run.end;
        run.end = (WorkerEnd){0};
        return r;
}
