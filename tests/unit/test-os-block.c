/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What lies on a device, read and changed past the kernel: on image files, which do as well. */
#include <sys/sysmacros.h>

#include "tests/unit/unit.h"

#include "os/block-holders.h"
#include "os/block.h"
#include "os/btrfs-device.h"
#include "os/btrfs-super.h"
#include "os/process.h"

typedef struct Folder {
        char path[64];
        int fd;
        char *image;
} Folder;

static int setup(void **state) {
        Folder *f = calloc(1, sizeof(*f));
        _cleanup_(fd_closep) int fd = -1;

        f->fd = temp_dir_make(f->path);
        f->image = str_printf("%s/image", f->path);
        fd = openat(f->fd, "image", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(ftruncate(fd, 200 << 20), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Folder *f = *state;

        temp_dir_remove(f->path);
        close(f->fd);
        free(f->image);
        free(f);
        return 0;
}

static void make(const Folder *f, const char *program, const char *option) {
        assert_int_equal(program_run((const char *const[]){program, "-q", option, f->image, NULL},
                                         NULL, NULL),
                        0);
}

static void corrupt(const Folder *f, off_t at) {
        _cleanup_(fd_closep) int fd = openat(f->fd, "image", O_WRONLY | O_CLOEXEC);

        assert_int_equal(pwrite(fd, "corrupt", 7, at), 7);
}

static void content(void **state) {
        Folder *f = *state;
        char *found;

        assert_int_equal(block_content(f->image, &found, NULL), 0);
        assert_null(found);
        make(f, "mkfs.ext4", "-F");
        assert_int_equal(block_content(f->image, &found, NULL), 0);
        assert_string_equal(found, "ext4");
        free(found);
        assert_int_equal(block_wipe(f->image, NULL), 0);
        assert_int_equal(block_content(f->image, &found, NULL), 0);
        assert_null(found);
}

static bool unchanged(const Folder *f, const SuperCopies *saved) {
        SuperCopies now;

        assert_int_equal(super_copies_read(f->image, &now, NULL), 0);
        return now.n == saved->n && memcmp(now.blocks, saved->blocks, now.n * SUPER_SIZE) == 0;
}

static void wiped(void **state) {
        Folder *f = *state;
        SuperCopies copies;
        BtrfsSuper super;
        Err *err = NULL;
        char *found;

        make(f, "mkfs.btrfs", "-f");
        assert_int_equal(block_content(f->image, &found, NULL), 0);
        assert_string_equal(found, "btrfs");
        free(found);
        assert_int_equal(block_wipe(f->image, NULL), 0);
        assert_int_equal(super_read(f->image, &super, &err), -ENODATA);
        assert_story(&err, ERR_FAILED, "no valid Btrfs superblock");
        /* the second copy is gone, too */
        assert_int_equal(super_copies_read(f->image, &copies, NULL), -ENODATA);
}

static void reads_superblock(void **state) {
        Folder *f = *state;
        BtrfsSuper super;

        make(f, "mkfs.btrfs", "-Lmachine");
        assert_int_equal(super_read(f->image, &super, NULL), 0);
        assert_string_equal(super.label, "machine");
        assert_int_equal(super.total_bytes, 200 << 20);
        assert_int_equal(super.device_id, 1);
        assert_int_equal(super.num_devices, 1);
        assert_false(super.seed || super.log_tree || super.renamed_fsid);
        assert_true(super.used_bytes > 0 && super.generation > 0 && super.csum_type == 0);
        corrupt(f, (64 << 10) + 2000);
        assert_int_equal(super_read(f->image, &super, NULL), -ENODATA);
}

/* btrfstune must see the flag as its own, and the generation must stay. */
static void seals(void **state) {
        Folder *f = *state;
        BtrfsSuper before, after;
        SuperCopies saved;

        make(f, "mkfs.btrfs", "-f");
        assert_int_equal(super_read(f->image, &before, NULL), 0);
        assert_int_equal(super_copies_read(f->image, &saved, NULL), 0);
        assert_int_equal(super_set_seed(f->image, true, NULL), 0);
        assert_int_equal(super_read(f->image, &after, NULL), 0);
        assert_true(after.seed);
        assert_int_equal(after.generation, before.generation);
        assert_true(program_run((const char *const[]){"btrfstune", "-S", "1", f->image, NULL}, NULL,
                                    NULL) < 0);
        assert_int_equal(program_run((const char *const[]){"btrfs", "check", f->image, NULL}, NULL,
                                         NULL),
                        0);
        assert_false(unchanged(f, &saved));
        assert_int_equal(super_set_seed(f->image, false, NULL), 0);
        assert_true(unchanged(f, &saved));
}

static void restores(void **state) {
        Folder *f = *state;
        uint8_t first[SUPER_SIZE];
        SuperCopies saved;
        BtrfsSuper super;
        Err *err = NULL;

        make(f, "mkfs.btrfs", "-f");
        assert_int_equal(super_copies_read(f->image, &saved, NULL), 0);
        assert_int_equal(super_save(f->image, f->fd, "saved", NULL), 0);
        assert_int_equal(program_run((const char *const[]){"btrfs", "filesystem", "label", f->image,
                                                     "other", NULL},
                                         NULL, NULL),
                        0);
        assert_false(unchanged(f, &saved));
        assert_int_equal(super_copies_write(f->image, &saved, NULL), 0);
        assert_true(unchanged(f, &saved));
        assert_int_equal(super_read(f->image, &super, NULL), 0);
        assert_string_equal(super.label, "");

        assert_int_equal(saved.n, 2);
        assert_int_equal(super_first_of(saved.blocks[1], first, NULL), 0);
        assert_memory_equal(first, saved.blocks[0], SUPER_SIZE);
        memset(first, 0, sizeof(first));
        assert_int_equal(super_first_of(first, first, NULL), -ENODATA);

        make(f, "mkfs.btrfs", "-f");
        assert_int_equal(super_copies_write(f->image, &saved, &err), -EBADMSG);
        assert_story(&err, ERR_FAILED, "not of the file system");
        saved.blocks[0][SUPER_SIZE - 1]++;
        assert_int_equal(super_copies_write(f->image, &saved, NULL), -EBADMSG);
}

static void other_checksums(void **state) {
        Folder *f = *state;
        BtrfsSuper super;

        make(f, "mkfs.btrfs", "--csum=xxhash");
        assert_int_equal(super_read(f->image, &super, NULL), 0);
        assert_int_equal(super.csum_type, 1);
        assert_int_equal(super_set_seed(f->image, true, NULL), -EOPNOTSUPP);
}

static void finds(void **state) {
        Folder *f = *state;
        BlockDevice d;

        assert_int_equal(block_find(f->fd, "PARTLABEL=os-a", &d, NULL), -ENOENT);
        put_file(f->fd, "dev/disk/by-partlabel/os-a", "");
        assert_int_equal(block_find(f->fd, "PARTLABEL=os-a", &d, NULL), -ENOTBLK);
        assert_int_equal(block_find(f->fd, "/dev/sda7", &d, NULL), -ENOENT);
}

/* As sysfs has it: two paths with a map on them, a partition of one, a disk that nobody holds. */
static void holders(void **state) {
        static const char *const links[][2] = {{"../devices/sda", "n/8:0"},
                        {"../devices/sda/sda1", "n/8:1"}, {"../devices/sdb", "n/8:16"},
                        {"../devices/sdc", "n/8:32"}, {"../devices/sdc/sdc1", "n/8:33"},
                        {"../devices/dm-0", "n/253:0"}, {"../devices/sdd", "n/8:48"},
                        {"../../dm-0", "devices/sda/holders/dm-0"},
                        {"../../dm-0", "devices/sdb/holders/dm-0"},
                        {"../../md0", "devices/sdd/holders/md0"}};
        static const char *const files[] = {"devices/sda/sda1/partition",
                        "devices/sda/sda1/holders/.keep", "devices/sdb/holders/.keep",
                        "devices/sdc/holders/.keep", "devices/sdc/sdc1/partition",
                        "devices/sda/holders/.keep", "devices/sdd/holders/.keep", "n/.keep"};
        _cleanup_(fd_closep) int fd = -1;
        Folder *f = *state;

        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                put_file(f->fd, files[i], "1\n");
                if (strstr(files[i], ".keep"))
                        assert_int_equal(unlinkat(f->fd, files[i], 0), 0);
        }
        put_file(f->fd, "devices/dm-0/dm/uuid", "mpath-35000c500\n");
        put_file(f->fd, "devices/dm-0/dev", "253:0\n");
        put_file(f->fd, "devices/md0/dev", "9:0\n");
        for (size_t i = 0; i < ARRAY_SIZE(links); i++)
                assert_int_equal(symlinkat(links[i][0], f->fd, links[i][1]), 0);
        fd = openat(f->fd, "n", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);

        assert_true(block_is_part(fd, makedev(8, 0)));
        assert_true(block_is_part(fd, makedev(8, 1)));
        assert_true(block_is_part(fd, makedev(8, 48)));
        assert_false(block_is_part(fd, makedev(8, 32)));
        assert_false(block_is_part(fd, makedev(8, 33)));
        assert_false(block_is_part(fd, makedev(253, 0)));
        assert_false(block_is_part(-1, makedev(8, 0)));

        assert_true(block_map_of(fd, makedev(8, 0)) == makedev(253, 0));
        assert_true(block_map_of(fd, makedev(8, 16)) == makedev(253, 0));
        assert_true(block_map_of(fd, makedev(8, 32)) == 0);
        assert_true(block_map_of(fd, makedev(8, 48)) == 0);
        assert_true(block_map_of(fd, makedev(253, 0)) == 0);
        put_file(f->fd, "devices/dm-0/dm/uuid", "LVM-abc\n");
        assert_true(block_map_of(fd, makedev(8, 0)) == 0);
}

static void names(void **state _unused_) {
        static const char *const good[] = {"PARTLABEL=os-a", "PARTUUID=1234-56", "/dev/sda"};
        static const char *const bad[] = {"", "/", "sda", "LABEL=x", "PARTLABEL=", "PARTLABEL=a/b",
                        "PARTUUID=..", "/dev/../x", "/dev/a,b", "UUID=1"};

        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                assert_true(block_spec_ok(good[i]));
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_false(block_spec_ok(bad[i]));
}

/* As /sys/fs/btrfs is: a seed by itself, and below the sprout of somebody else. */
static void held_seeds(void **state) {
        Folder *f = *state;
        uint8_t own[16] = {0xaa};
        char *uuid = NULL;

        put_file(f->fd, "features/default_subvol", "0\n");
        put_file(f->fd, "aa000000-0000-0000-0000-000000000000/devices/loop3/dev", "7:3\n");
        put_file(f->fd, "bb000000-0000-0000-0000-000000000000/devices/loop33/dev", "7:33\n");
        assert_int_equal(fs_find_holder(f->fd, makedev(7, 3), own, &uuid, NULL), 0);
        put_file(f->fd, "cc000000-0000-0000-0000-000000000000/devices/loop4/dev", "7:4\n");
        put_file(f->fd, "cc000000-0000-0000-0000-000000000000/devices/loop3/dev", "7:3\n");
        assert_int_equal(fs_find_holder(f->fd, makedev(7, 3), own, &uuid, NULL), 1);
        assert_string_equal(uuid, "cc000000-0000-0000-0000-000000000000");
        free(uuid);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(held_seeds, setup, teardown),
                        cmocka_unit_test_setup_teardown(content, setup, teardown),
                        cmocka_unit_test_setup_teardown(wiped, setup, teardown),
                        cmocka_unit_test_setup_teardown(reads_superblock, setup, teardown),
                        cmocka_unit_test_setup_teardown(seals, setup, teardown),
                        cmocka_unit_test_setup_teardown(restores, setup, teardown),
                        cmocka_unit_test_setup_teardown(other_checksums, setup, teardown),
                        cmocka_unit_test_setup_teardown(finds, setup, teardown),
                        cmocka_unit_test_setup_teardown(holders, setup, teardown),
                        CASE(names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
