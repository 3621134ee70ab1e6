/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/enum.h"
#include "base/kv.h"
#include "os/file.h"
#include "update/journal.h"

#define NAME "journal"

/* One block of every common device, so that a record is usually torn as a whole or not at all. */
enum { RECORD_SIZE = 4096, RECORDS = 2 };

static const char *const phase_names[_PHASE_MAX] = {
                [PHASE_IDLE] = "idle",
                [PHASE_CHECK] = "check",
                [PHASE_PREPARE] = "prepare",
                [PHASE_WRITE] = "write",
                [PHASE_VERIFY] = "verify",
                [PHASE_PLACE] = "place",
                [PHASE_ARM] = "arm",
                [PHASE_BLESS] = "bless",
                [PHASE_CONDEMN] = "condemn",
                [PHASE_PRUNE] = "prune",
                [PHASE_RECORD] = "record",
                [PHASE_MERGE] = "merge",
};
DEFINE_ENUM(phase, Phase, phase_names, _PHASE_MAX, _PHASE_INVALID)

static uint32_t checksum(const char *text, size_t size) {
        return (uint32_t) crc32_z(0, (const unsigned char *) text, size);
}

/* "Crc=%08x\n" over everything behind it, then the fields, then zeros. */
#define CRC_LINE      "Crc=%08x\n"
#define CRC_LINE_SIZE 13

static int record_parse(Journal *j, char *block) {
        _cleanup_(kv_freep) Kv *kv = NULL;
        size_t size = strnlen(block, RECORD_SIZE);
        const char *phase;
        char crc_line[CRC_LINE_SIZE + 1];
        int r;

        if (size <= CRC_LINE_SIZE || size == RECORD_SIZE)
                return -EBADMSG;
        sprintf(crc_line, CRC_LINE, checksum(block + CRC_LINE_SIZE, size - CRC_LINE_SIZE));
        if (strncmp(block, crc_line, CRC_LINE_SIZE) != 0)
                return -EBADMSG;
        r = kv_parse(block + CRC_LINE_SIZE, size - CRC_LINE_SIZE, &kv, NULL);
        if (r >= 0)
                r = kv_get_u64(kv, "Seq", 0, &j->seq, NULL);
        if (r >= 0)
                r = kv_get_u64(kv, "Job", 0, &j->job, NULL);
        if (r >= 0)
                r = kv_get_u64(kv, "Started", 0, &j->started, NULL);
        if (r >= 0)
                r = kv_get_u64(kv, "LastSlot", 0, &j->last_slot, NULL);
        if (r < 0)
                return r;
        phase = kv_get(kv, "Phase");
        j->phase = phase_from_string(phase);
        if (j->phase < 0)
                return -EBADMSG;
        r = str_set(&j->type, kv_get(kv, "Type"));
        if (r >= 0)
                r = str_set(&j->boot_id, kv_get(kv, "BootId"));
        if (r >= 0)
                r = str_set(&j->slot, kv_get(kv, "Slot"));
        if (r >= 0)
                r = str_set(&j->from, kv_get(kv, "From"));
        if (r >= 0)
                r = str_set(&j->next, kv_get(kv, "Next"));
        return r < 0 ? r : str_set(&j->version, kv_get(kv, "Version"));
}

static void clear_texts(Journal *j) {
        free(MOVE(j->type));
        free(MOVE(j->boot_id));
        free(MOVE(j->slot));
        free(MOVE(j->from));
        free(MOVE(j->next));
        free(MOVE(j->version));
}

void journal_reset(Journal *j) {
        clear_texts(j);
        j->phase = PHASE_IDLE;
        j->job = 0;
        j->started = 0;
}

static int read_newest(Journal *j) {
        _cleanup_(fd_closep) int fd =
                        openat(j->dir_fd, NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        _cleanup_(journal_freep) Journal *best = NULL;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return 0;
        for (int i = 0; i < RECORDS; i++) {
                _cleanup_(journal_freep) Journal *one = calloc(1, sizeof(*one));
                char block[RECORD_SIZE + 1] = "";
                int r;

                if (!one)
                        return -ENOMEM;
                one->dir_fd = -1;
                if (pread(fd, block, RECORD_SIZE, i * RECORD_SIZE) != RECORD_SIZE)
                        continue;
                r = record_parse(one, block);
                if (r == -ENOMEM)
                        return r;
                if (r >= 0 && (!best || one->seq > best->seq)) {
                        journal_free(best);
                        best = MOVE(one);
                }
        }
        if (best) {
                best->dir_fd = MOVE_FD(j->dir_fd);
                clear_texts(j);
                *j = *best;
                free(MOVE(best));
        }
        return 0;
}

int journal_open(int dir_fd, Journal **ret, Err **reterr) {
        _cleanup_(journal_freep) Journal *j = calloc(1, sizeof(*j));

        if (!j) {
                fd_close(dir_fd);
                return err_new(reterr, ENOMEM, "out of memory");
        }
        j->dir_fd = dir_fd;
        if (read_newest(j) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        *ret = MOVE(j);
        return 0;
}

Journal *journal_free(Journal *j) {
        if (j) {
                clear_texts(j);
                fd_close(j->dir_fd);
                free(j);
        }
        return NULL;
}

/* Our file, or a new one in the place of whatever is there. */
static int open_file(int dir_fd, Err **reterr) {
        _cleanup_(fd_closep) int fd =
                        openat(dir_fd, NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct stat st;

        if (fd >= 0 && fstat(fd, &st) >= 0 && S_ISREG(st.st_mode) &&
                        st.st_size == RECORD_SIZE * RECORDS)
                return MOVE_FD(fd);
        fd = fd_close(fd);
        if (unlinkat(dir_fd, NAME, 0) < 0 && errno != ENOENT &&
                        (errno != EISDIR || unlinkat(dir_fd, NAME, AT_REMOVEDIR) < 0))
                return err_sys(reterr, errno, "replace what stands in the place of the journal");
        fd = openat(dir_fd, NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, RECORD_SIZE * RECORDS) < 0 || fsync(fd) < 0 ||
                        fsync(dir_fd) < 0)
                return err_sys(reterr, errno, "create the journal");
        return MOVE_FD(fd);
}

static int record_format(const Journal *j, char block[static RECORD_SIZE]) {
        _cleanup_(kv_freep) Kv *kv = NULL;
        _cleanup_(freep) char *text = NULL;
        size_t size;
        int r = kv_new(&kv);

        if (r >= 0)
                r = kv_setf(kv, "Seq", "%" PRIu64, j->seq);
        if (r >= 0)
                r = kv_set(kv, "Phase", phase_to_string(j->phase));
        if (r >= 0)
                r = kv_setf(kv, "Job", "%" PRIu64, j->job);
        if (r >= 0)
                r = kv_setf(kv, "Started", "%" PRIu64, j->started);
        if (r >= 0)
                r = kv_setf(kv, "LastSlot", "%" PRIu64, j->last_slot);
        if (r >= 0)
                r = kv_set(kv, "Type", j->type);
        if (r >= 0)
                r = kv_set(kv, "BootId", j->boot_id);
        if (r >= 0)
                r = kv_set(kv, "Slot", j->slot);
        if (r >= 0)
                r = kv_set(kv, "From", j->from);
        if (r >= 0)
                r = kv_set(kv, "Next", j->next);
        if (r >= 0)
                r = kv_set(kv, "Version", j->version);
        if (r >= 0)
                r = kv_format(kv, &text);
        if (r < 0)
                return r;
        size = strlen(text);
        if (size + CRC_LINE_SIZE >= RECORD_SIZE)
                return -E2BIG;
        memset(block, 0, RECORD_SIZE);
        sprintf(block, CRC_LINE, checksum(text, size));
        memcpy(block + CRC_LINE_SIZE, text, size);
        return 0;
}

int journal_write(Journal *j, Err **reterr) {
        _cleanup_(fd_closep) int fd = -1;
        char block[RECORD_SIZE];
        int r;

        fd = open_file(j->dir_fd, reterr);
        if (fd < 0)
                return fd;
        j->seq++;
        r = record_format(j, block);
        if (r < 0)
                return err_sys(reterr, r, "write the journal");
        if (pwrite(fd, block, RECORD_SIZE, (off_t) (j->seq % RECORDS) * RECORD_SIZE) != RECORD_SIZE)
                return err_sys(reterr, errno ? errno : EIO, "write the journal");
        if (fdatasync(fd) < 0)
                return err_sys(reterr, errno, "write the journal");
        return 0;
}
