/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In front of what the procedure calls beside its backends (ld --wrap): files of the state
 * directory, stream, subvolumes. The first are real and numbered; the last two would need Btrfs. */
#include "os/btrfs.h"
#include "stream/receive.h"
#include "tests/unit/fake.h"
#include "update/records.h"

int __real_journal_write(Journal *j, Err **reterr);
int __wrap_journal_write(Journal *j, Err **reterr);
int __wrap_journal_write(Journal *j, Err **reterr) {
        int r = fake_before("journal_write", reterr);

        if (r >= 0)
                r = __real_journal_write(j, reterr);
        return r < 0 ? r : fake_after(reterr);
}

int __real_history_add(int dir_fd, json_object *entry, Err **reterr);
int __wrap_history_add(int dir_fd, json_object *entry, Err **reterr);
int __wrap_history_add(int dir_fd, json_object *entry, Err **reterr) {
        int r = fake_before("history_add", reterr);

        if (r >= 0)
                r = __real_history_add(dir_fd, entry, reterr);
        return r < 0 ? r : fake_after(reterr);
}

int __real_refused_add(int dir_fd, const char *version, const char *reason, Err **reterr);
int __wrap_refused_add(int dir_fd, const char *version, const char *reason, Err **reterr);
int __wrap_refused_add(int dir_fd, const char *version, const char *reason, Err **reterr) {
        int r = fake_before("refused_add", reterr);

        if (r >= 0)
                r = __real_refused_add(dir_fd, version, reason, reterr);
        return r < 0 ? r : fake_after(reterr);
}

int __real_refused_remove(int dir_fd, const char *version, Err **reterr);
int __wrap_refused_remove(int dir_fd, const char *version, Err **reterr);
int __wrap_refused_remove(int dir_fd, const char *version, Err **reterr) {
        int r = fake_before("refused_remove", reterr);

        if (r >= 0)
                r = __real_refused_remove(dir_fd, version, reterr);
        return r < 0 ? r : fake_after(reterr);
}

int __wrap_fs_sync(int fd, Err **reterr);
int __wrap_fs_sync(int fd, Err **reterr) {
        assert_true(fcntl(fd, F_GETFD) >= 0);
        return fake_before("fs_sync", reterr);
}

static const uint8_t image_uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

int __wrap_subvol_info(int fd, SubvolInfo *ret, Err **reterr);
int __wrap_subvol_info(int fd, SubvolInfo *ret, Err **reterr) {
        int r = fake_before("subvol_info", reterr);

        assert_true(fcntl(fd, F_GETFD) >= 0);
        *ret = (SubvolInfo){.read_only = true};
        memcpy(ret->received_uuid, image_uuid, 16);
        ret->received_uuid[0] += the_fake->image.wrong_uuid;
        return r;
}

struct Stream {
        StreamArgs args;
        StreamSubvol first;
};

int __wrap_stream_open(const StreamArgs *args, Stream **ret, Err **reterr);
int __wrap_stream_open(const StreamArgs *args, Stream **ret, Err **reterr) {
        int r = fake_before("stream_open", reterr);
        Stream *s;

        if (r < 0)
                return r;
        s = calloc(1, sizeof(*s));
        if (!s)
                return err_new(reterr, ENOMEM, "out of memory");
        s->args = *args;
        s->first.incremental = the_fake->image.incremental;
        snprintf(s->first.name, sizeof(s->first.name), "%s", the_fake->image.name);
        memcpy(s->first.uuid, image_uuid, 16);
        *ret = s;
        return 0;
}

const StreamSubvol *__wrap_stream_first(const Stream *s);
const StreamSubvol *__wrap_stream_first(const Stream *s) {
        return &s->first;
}

Stream *__wrap_stream_free(Stream *s);
Stream *__wrap_stream_free(Stream *s) {
        free(s);
        return NULL;
}

static int receive_one(Stream *s, const StreamSubvol *sub, int dest_fd, Err **reterr) {
        char path[320], text[64];
        int r = s->args.subvol_begin(s->args.userdata, sub, reterr);

        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "%s/etc/os-release", sub->name);
        snprintf(text, sizeof(text), "%s%s\n", the_fake->image.version ? "VERSION_ID=" : "ID=fake",
                        str_or(the_fake->image.version, ""));
        put_file(dest_fd, path, text);
        if (s->args.progress(s->args.userdata, 1000))
                return err_kind(reterr, ERR_CANCELLED, ECANCELED, "the job was cancelled");
        r = fake_before("stream, half of it received", reterr);
        return r < 0 ? r : s->args.subvol_done(s->args.userdata, sub, reterr);
}

int __wrap_stream_receive(Stream *s, int dest_fd, Err **reterr);
int __wrap_stream_receive(Stream *s, int dest_fd, Err **reterr) {
        int r = fake_before("stream_receive", reterr);

        if (r >= 0)
                r = receive_one(s, &s->first, dest_fd, reterr);
        if (r >= 0 && the_fake->image.second) {
                StreamSubvol sub = s->first;

                snprintf(sub.name, sizeof(sub.name), "%s", the_fake->image.second);
                r = receive_one(s, &sub, dest_fd, reterr);
        }
        return r < 0 ? r : fake_after(reterr);
}
