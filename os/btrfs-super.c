/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <fcntl.h>
#include <isa-l/crc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "os/block-holders.h"
#include "os/btrfs-super.h"
#include "os/file.h"

enum { COPIES = SUPER_COPIES };

#define MAGIC         UINT64_C(0x4D5F53665248425F) /* "_BHRfS_M" */
#define FLAG_SEED     (UINT64_C(1) << 32)
#define INCOMPAT_FSID (UINT64_C(1) << 10)
#define CSUM_SIZE     32

/* Past the first superblock and what loaders embed, before the first MiB ends, below which the kernel
 * allocates and trims nothing. */
#define STASH_AT (512 << 10)

static const uint64_t offsets[COPIES] = {64 << 10, 64 << 20, UINT64_C(256) << 30};

/* ctree.h of the kernel, struct btrfs_super_block: little endian, packed. */
enum {
        AT_FSID = 32,
        AT_BYTENR = 48,
        AT_FLAGS = 56,
        AT_MAGIC = 64,
        AT_GENERATION = 72,
        AT_LOG_ROOT = 96,
        AT_TOTAL = 112,
        AT_USED = 120,
        AT_NUM_DEVICES = 136,
        AT_INCOMPAT = 188,
        AT_CSUM_TYPE = 196,
        AT_DEVICE_ID = 201,
        AT_DEVICE_UUID = 267,
        AT_LABEL = 299,
};

typedef struct Block {
        uint8_t bytes[SUPER_SIZE];
} Block;

static uint64_t get(const Block *b, size_t at) {
        uint64_t v;

        memcpy(&v, b->bytes + at, sizeof(v));
        return le64toh(v);
}

static uint32_t checksum(Block *b) {
        return ~crc32_iscsi(b->bytes + CSUM_SIZE, SUPER_SIZE - CSUM_SIZE, UINT32_MAX);
}

static uint16_t csum_type(const Block *b) {
        return (uint16_t) (b->bytes[AT_CSUM_TYPE] | b->bytes[AT_CSUM_TYPE + 1] << 8);
}

/* Other checksums than CRC-32C are the kernel's to check. */
static bool valid(Block *b, unsigned copy) {
        uint32_t sum;

        memcpy(&sum, b->bytes, sizeof(sum));
        return get(b, AT_MAGIC) == MAGIC && get(b, AT_BYTENR) == offsets[copy] &&
               (csum_type(b) != 0 || le32toh(sum) == checksum(b));
}

/* 1 and the copy, or 0 where the device is too small for it or has none. */
static int read_copy(int fd, unsigned copy, Block *ret) {
        ssize_t n = pread(fd, ret->bytes, SUPER_SIZE, (off_t) offsets[copy]);

        if (n < 0)
                return -errno;
        return n == SUPER_SIZE && valid(ret, copy);
}

static int write_copy(int fd, unsigned copy, const Block *b) {
        ssize_t n = pwrite(fd, b->bytes, SUPER_SIZE, (off_t) offsets[copy]);

        return n < 0 ? -errno : n == SUPER_SIZE ? 0 : -EIO;
}

static int open_device(const char *device, int flags, Err **reterr) {
        int fd = open(device, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

        return fd < 0 ? err_sys(reterr, errno, "open %s", device) : fd;
}

/* What was written by the kernel or another program is in another cache than what we read. */
static int open_fresh(const char *device, Err **reterr) {
        int fd = open_device(device, O_RDONLY, reterr);

        if (fd >= 0)
                for (unsigned i = 0; i < COPIES; i++)
                        (void) posix_fadvise(
                                        fd, (off_t) offsets[i], SUPER_SIZE, POSIX_FADV_DONTNEED);
        return fd;
}

uint64_t super_offset(unsigned copy) {
        return offsets[copy];
}

static void describe(const Block *b, BtrfsSuper *ret) {
        *ret = (BtrfsSuper){
                        .device_id = get(b, AT_DEVICE_ID),
                        .num_devices = get(b, AT_NUM_DEVICES),
                        .generation = get(b, AT_GENERATION),
                        .total_bytes = get(b, AT_TOTAL),
                        .used_bytes = get(b, AT_USED),
                        .seed = get(b, AT_FLAGS) & FLAG_SEED,
                        .log_tree = get(b, AT_LOG_ROOT) != 0,
                        .renamed_fsid = get(b, AT_INCOMPAT) & INCOMPAT_FSID,
                        .csum_type = csum_type(b),
        };
        memcpy(ret->fsid, b->bytes + AT_FSID, 16);
        memcpy(ret->device_uuid, b->bytes + AT_DEVICE_UUID, 16);
        memcpy(ret->label, b->bytes + AT_LABEL, sizeof(ret->label) - 1);
}

int super_parse(const uint8_t *block, BtrfsSuper *ret, Err **reterr) {
        Block b;

        memcpy(b.bytes, block, SUPER_SIZE);
        if (!valid(&b, 0))
                return err_new(reterr, ENODATA, "there is no valid Btrfs superblock in it");
        describe(&b, ret);
        return 0;
}

int super_read(const char *device, BtrfsSuper *ret, Err **reterr) {
        _cleanup_(fd_closep) int fd = open_fresh(device, reterr);
        Block b;
        int r;

        if (fd < 0)
                return fd;
        r = read_copy(fd, 0, &b);
        if (r < 0)
                return err_sys(reterr, r, "read the superblock of %s", device);
        if (r == 0)
                return err_new(reterr, ENODATA, "%s has no valid Btrfs superblock", device);
        describe(&b, ret);
        return 0;
}

int super_copies_read(const char *device, SuperCopies *ret, Err **reterr) {
        _cleanup_(fd_closep) int fd = open_fresh(device, reterr);
        SuperCopies c = {0};

        if (fd < 0)
                return fd;
        for (unsigned i = 0; i < COPIES; i++) {
                Block b;
                int r = read_copy(fd, i, &b);

                if (r < 0)
                        return err_sys(reterr, r, "read the superblocks of %s", device);
                if (r > 0)
                        memcpy(c.blocks[c.n++], b.bytes, SUPER_SIZE);
        }
        if (c.n == 0)
                return err_new(reterr, ENODATA, "%s has no valid Btrfs superblock", device);
        *ret = c;
        return 0;
}

int super_save(const char *device, int dir_fd, const char *name, Err **reterr) {
        SuperCopies c;
        int r = super_copies_read(device, &c, reterr);

        if (r >= 0)
                r = file_write_at(dir_fd, name, c.blocks, c.n * SUPER_SIZE, reterr);
        return r < 0 ? err_add(reterr, r, "save the superblocks of %s", device) : 0;
}

/* Which copy it is; COPIES where it is none. */
static unsigned which_copy(Block *b) {
        unsigned copy = 0;

        while (copy < COPIES && !valid(b, copy))
                copy++;
        return copy;
}

int super_copies_write(const char *device, const SuperCopies *c, Err **reterr) {
        _cleanup_(fd_closep) int fd = -1;
        BtrfsSuper now;
        int r = super_read(device, &now, reterr);

        if (r >= 0)
                fd = r = open_device(device, O_RDWR, reterr);
        for (size_t i = 0; r >= 0 && i < c->n; i++) {
                unsigned copy;
                Block b;

                memcpy(b.bytes, c->blocks[i], SUPER_SIZE);
                copy = which_copy(&b);
                if (copy == COPIES || memcmp(b.bytes + AT_FSID, now.fsid, 16) != 0 ||
                                get(&b, AT_DEVICE_ID) != now.device_id)
                        return err_new(reterr, EBADMSG,
                                        "the saved superblocks are not of the file system on %s",
                                        device);
                r = write_copy(fd, copy, &b);
                if (r < 0)
                        (void) err_sys(reterr, r, "write");
        }
        if (r >= 0 && fdatasync(fd) < 0)
                r = err_sys(reterr, errno, "write");
        return r < 0 ? err_add(reterr, r, "restore the superblocks of %s", device) : 0;
}

int super_stash(const char *device, const SuperCopies *c, Err **reterr) {
        _cleanup_(fd_closep) int fd = open_device(device, O_RDWR | O_EXCL, reterr);
        SuperCopies padded = {0};
        ssize_t n;

        if (fd < 0)
                return fd;
        memcpy(padded.blocks, c->blocks, c->n * SUPER_SIZE);
        n = pwrite(fd, padded.blocks, sizeof(padded.blocks), STASH_AT);
        if (n != (ssize_t) sizeof(padded.blocks) || fdatasync(fd) < 0)
                return err_sys(reterr, n < 0 ? errno : EIO, "keep superblocks on %s", device);
        return 0;
}

int super_stash_read(const char *device, SuperCopies *ret, Err **reterr) {
        _cleanup_(fd_closep) int fd = open_device(device, O_RDONLY, reterr);
        SuperCopies c = {0};

        if (fd < 0)
                return fd;
        for (unsigned i = 0; i < COPIES; i++) {
                Block b;
                ssize_t n = pread(fd, b.bytes, SUPER_SIZE, STASH_AT + (off_t) i * SUPER_SIZE);

                if (n < 0)
                        return err_sys(reterr, errno, "read %s", device);
                if (n == SUPER_SIZE && which_copy(&b) != COPIES)
                        memcpy(c.blocks[c.n++], b.bytes, SUPER_SIZE);
        }
        if (c.n == 0)
                return err_new(reterr, ENODATA, "%s keeps no superblocks of another device",
                                device);
        *ret = c;
        return 0;
}

static void sign(Block *b) {
        uint32_t sum = htole32(checksum(b));

        memset(b->bytes, 0, CSUM_SIZE);
        memcpy(b->bytes, &sum, sizeof(sum));
}

static int flip(Block *b, bool seed) {
        uint64_t flags = get(b, AT_FLAGS);

        if (csum_type(b) != 0)
                return -EOPNOTSUPP;
        flags = htole64(seed ? flags | FLAG_SEED : flags & ~FLAG_SEED);
        memcpy(b->bytes + AT_FLAGS, &flags, sizeof(flags));
        sign(b);
        return 0;
}

int super_first_of(const uint8_t *copy, uint8_t *ret, Err **reterr) {
        uint64_t at = htole64(offsets[0]);
        Block b;

        memcpy(b.bytes, copy, SUPER_SIZE);
        if (which_copy(&b) == COPIES)
                return err_new(reterr, ENODATA, "there is no valid Btrfs superblock in it");
        if (csum_type(&b) != 0)
                return err_new(reterr, EOPNOTSUPP, "its checksum is not CRC-32C");
        memcpy(b.bytes + AT_BYTENR, &at, sizeof(at));
        sign(&b);
        memcpy(ret, b.bytes, SUPER_SIZE);
        return 0;
}

int super_set_seed(const char *device, bool seed, Err **reterr) {
        _cleanup_(fd_closep) int fd = open_device(device, O_RDWR | O_EXCL, reterr);
        BtrfsSuper super;
        Block b;
        int r;

        if (fd < 0)
                return err_add(reterr, fd, "%s %s", seed ? "seal" : "unseal", device);
        r = super_read(device, &super, reterr);
        if (r < 0)
                return r;
        if (super.log_tree)
                return err_new(reterr, EBUSY,
                                "%s %s: a log waits to be replayed; mount it once, writable",
                                seed ? "seal" : "unseal", device);
        /* the first copy last: it is the one that counts */
        for (unsigned i = COPIES; r >= 0 && i-- > 0;) {
                r = read_copy(fd, i, &b);
                if (r > 0)
                        r = flip(&b, seed);
                else
                        continue;
                if (r >= 0)
                        r = write_copy(fd, i, &b);
        }
        if (r >= 0 && fdatasync(fd) < 0)
                r = -errno;
        return r < 0 ? err_sys(reterr, r, "%s %s", seed ? "seal" : "unseal", device) : 0;
}

int super_wipe(int fd, Err **reterr) {
        static const Block zero;
        uint64_t size = 0;
        struct stat st;

        if (ioctl(fd, BLKGETSIZE64, &size) < 0 && fstat(fd, &st) >= 0)
                size = (uint64_t) st.st_size;
        for (unsigned i = COPIES; i-- > 0;) {
                int r = offsets[i] + SUPER_SIZE <= size ? write_copy(fd, i, &zero) : 0;

                if (r < 0)
                        return err_sys(reterr, r, "overwrite a superblock");
        }
        return 0;
}

typedef bool Match(const char *path, const BtrfsSuper *super, const BtrfsSuper *wanted);

static bool is_part(const char *path _unused_, const BtrfsSuper *super, const BtrfsSuper *wanted) {
        return memcmp(super->fsid, wanted->fsid, 16) == 0;
}

static bool is_twin(const char *path, const BtrfsSuper *super, const BtrfsSuper *wanted) {
        return is_part(path, super, wanted) && super->device_id == wanted->device_id;
}

/* A merged one counts itself only; what it keeps is of the past. */
static bool is_sprout(const char *path, const BtrfsSuper *super, const BtrfsSuper *wanted) {
        SuperCopies kept;
        BtrfsSuper seed;

        return super->num_devices == 2 && !is_part(path, super, wanted) &&
               super_stash_read(path, &kept, NULL) >= 0 &&
               super_parse(kept.blocks[0], &seed, NULL) >= 0 && is_twin(path, &seed, wanted) &&
               memcmp(seed.device_uuid, wanted->device_uuid, 16) == 0 &&
               seed.generation == wanted->generation;
}

static int find_other(const BtrfsSuper *wanted, Match *match, dev_t device, char **ret_path,
                Err **reterr) {
        _cleanup_(fd_closep) int fd = dir_open_at(AT_FDCWD, "/sys/class/block", reterr);
        _cleanup_(fd_closep) int sys_fd = dir_open_at(AT_FDCWD, BLOCK_BY_NUMBER, NULL);
        _cleanup_(strv_freep) char **names = NULL;
        int r = fd < 0 ? fd : dir_names(fd, &names, reterr);

        if (r < 0)
                return err_add(reterr, r, "list block devices");
        for (char **n = names; *n; n++) {
                _cleanup_(freep) char *path = str_printf("/dev/%s", *n);
                BtrfsSuper other;
                struct stat st;

                if (!path)
                        return err_new(reterr, ENOMEM, "out of memory");
                if (stat(path, &st) < 0 || !S_ISBLK(st.st_mode) || st.st_rdev == device ||
                                block_is_part(sys_fd, st.st_rdev) ||
                                super_read(path, &other, NULL) < 0)
                        continue;
                if (match(path, &other, wanted)) {
                        *ret_path = MOVE(path);
                        return 1;
                }
        }
        return 0;
}

int super_find_twin(const BtrfsSuper *super, dev_t device, char **ret_path, Err **reterr) {
        return find_other(super, is_twin, device, ret_path, reterr);
}

int super_find_fsid(const uint8_t fsid[16], dev_t device, char **ret_path, Err **reterr) {
        BtrfsSuper wanted = {0};

        memcpy(wanted.fsid, fsid, 16);
        return find_other(&wanted, is_part, device, ret_path, reterr);
}

int super_find_sprout(const BtrfsSuper *seed, dev_t device, char **ret_path, Err **reterr) {
        return find_other(seed, is_sprout, device, ret_path, reterr);
}
