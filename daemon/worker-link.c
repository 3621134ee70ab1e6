/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/mman.h>
#include <sys/socket.h>

#include "daemon/worker-link.h"
#include "dbus/worker-api.h"

#define PROGRESS_INTERVAL (USEC_PER_SEC / 20)

int worker_link_order(WorkerLink *l, json_object **ret, Err **reterr) {
        _cleanup_(freep) char *text = malloc(WORKER_PACKET_MAX + 1);
        json_object *o;
        ssize_t n;

        if (!text)
                return err_new(reterr, ENOMEM, "out of memory");
        do
                n = recv(l->fd, text, WORKER_PACKET_MAX, 0);
        while (n < 0 && errno == EINTR);
        if (n <= 0)
                return err_sys(reterr, n < 0 ? errno : EPIPE, "wait for the order");
        text[n] = '\0';
        o = json_tokener_parse(text);
        if (!json_object_is_type(o, json_type_object)) {
                json_object_put(o);
                return err_new(reterr, EBADMSG, "the order is not a JSON object");
        }
        *ret = o;
        return 0;
}

json_object *worker_packet(const char *msg) {
        json_object *o = json_object_new_object();

        if (o)
                json_object_object_add(o, "msg", json_object_new_string(msg));
        return o;
}

/* Texts come from file names, configuration and other programs too, in whatever encoding. One that the
 * daemon does not take would hide the whole machine from it, for as long as the history keeps it. */
static int make_plain(json_object *o) {
        _cleanup_(freep) char *text = NULL;
        const char *old;
        int r = 0;

        switch (json_object_get_type(o)) {
        case json_type_string:
                old = json_object_get_string(o);
                text = str_told(old, WORKER_STRING_MAX);
                if (!text)
                        return -ENOMEM;
                if (str_eq(text, old) && strlen(old) == (size_t) json_object_get_string_len(o))
                        return 0;
                return json_object_set_string(o, text) ? 0 : -ENOMEM;
        case json_type_array:
                for (size_t i = 0; r >= 0 && i < json_object_array_length(o); i++)
                        r = make_plain(json_object_array_get_idx(o, i));
                return r;
        case json_type_object: {
                json_object_object_foreach(o, key, value) {
                        (void) key;
                        if (r >= 0)
                                r = make_plain(value);
                }
                return r;
        }
        default: return 0;
        }
}

void worker_link_send(WorkerLink *l, json_object *packet, int fd) {
        union {
                char room[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control = {0};
        struct iovec iov = {0};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        if (!packet)
                return;
        if (make_plain(packet) < 0) {
                json_object_put(packet);
                return;
        }
        iov.iov_base = (char *) json_object_to_json_string_length(
                        packet, JSON_C_TO_STRING_PLAIN, &iov.iov_len);
        if (fd >= 0) {
                struct cmsghdr *c;

                m.msg_control = &control;
                m.msg_controllen = sizeof(control.room);
                c = CMSG_FIRSTHDR(&m);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &fd, sizeof(int));
        }
        do
                n = sendmsg(l->fd, &m, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        json_object_put(packet);
}

void worker_link_progress(WorkerLink *l, const char *phase, uint64_t done, uint64_t total) {
        uint64_t now = now_monotonic();
        json_object *o;

        if (str_eq(phase, l->last_phase) && now < l->next_progress)
                return;
        l->last_phase = phase;
        l->next_progress = now + PROGRESS_INTERVAL;
        o = worker_packet("progress");
        if (o) {
                json_object_object_add(o, "phase", json_object_new_string(phase));
                json_object_object_add(o, "done", json_object_new_uint64(done));
                json_object_object_add(o, "total", json_object_new_uint64(total));
        }
        worker_link_send(l, o, -1);
}

void worker_link_world(WorkerLink *l, json_object *world) {
        _cleanup_(fd_closep) int fd = memfd_create("world", MFD_CLOEXEC);
        size_t size = 0;
        const char *text = make_plain(world) < 0 ? NULL
                                                 : json_object_to_json_string_length(world,
                                                                   JSON_C_TO_STRING_PLAIN, &size);

        if (fd < 0 || !text)
                return;
        while (size > 0) {
                ssize_t n = write(fd, text, size);

                if (n < 0)
                        return;
                text += n;
                size -= (size_t) n;
        }
        if (lseek(fd, 0, SEEK_SET) == 0)
                worker_link_send(l, worker_packet("world"), fd);
}
