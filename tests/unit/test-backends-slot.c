/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/boot-backend.h"
#include "backends/kernel.h"
#include "backends/parts.h"
#include "os/file.h"
#include "tests/unit/folder.h"

static void every_fact_comes_back(void **state _unused_) {
        static const SlotState on_disk[] = {SLOT_STAGED, SLOT_GOOD, SLOT_BAD};
        static const char *const words[] = {NULL, "", "a=\"b c\" d"};

        for (size_t i = 0; i < ARRAY_SIZE(on_disk); i++) {
                const Slot s = {.state = on_disk[i],
                                .version = (char *) "1.0 b=\xc3\xa4",
                                .reason = (char *) "why not",
                                .pinned = i == 1,
                                .created = UINT64_MAX,
                                .blessed = 3,
                                .size = 4,
                                .exclusive = 5,
                                .subvolumes = (char *) "a:/ b:/usr",
                                .kernel = (char *) "6.1.0",
                                .cmdline = (char *) words[i],
                                .transaction = (char *) "t1",
                                .fallback = (char *) "2"};
                _cleanup_(slot_done) Slot back = {0};
                _cleanup_(freep) char *text = NULL, *again = NULL;

                assert_int_equal(slot_format(&s, &text), 0);
                assert_int_equal(slot_parse(text, strlen(text), &back, NULL), 0);
                assert_int_equal(slot_format(&back, &again), 0);
                assert_string_equal(text, again);
                assert_int_equal(back.state, on_disk[i]);
                assert_int_equal(back.pinned, i == 1);
                assert_true(back.created == UINT64_MAX);
                assert_string_equal(back.fallback, "2");
                assert_true(str_eq(back.cmdline, words[i]));
                assert_null(back.id); /* the folder's name, not the file's */
        }
}

static void the_least_is_state_and_version(void **state _unused_) {
        static const char text[] = "State=good\nVersion=1\nFromTheFuture=x\n";
        _cleanup_(slot_done) Slot s = {0};

        assert_int_equal(slot_parse(text, strlen(text), &s, NULL), 0);
        assert_int_equal(s.state, SLOT_GOOD);
        assert_int_equal(s.blessed, 0);
        assert_null(s.reason);
}

static void a_bad_slot_conf_is_refused(void **state _unused_) {
        static const struct {
                const char *text, *story;
        } table[] = {
                        {"", "State= is not"},
                        {"Version=1\n", "State= is not"},
                        {"State=trial\nVersion=1\n", "State=trial is not staged, good or bad"},
                        {"State=incomplete\nVersion=1\n", "State=incomplete"},
                        {"State=Good\nVersion=1\n", "State=Good"},
                        {"State=good\n", "no Version="},
                        {"State=good\nVersion=1\nPinned=maybe\n", "neither yes nor no"},
                        {"State=good\nVersion=1\nBlessed=-1\n", "Blessed=-1 is not a number"},
                        {"State=good\nVersion=1\nCreated=now\n", "Created=now"},
                        {"State=good\nVersion=1\nSize=1K\n", "Size=1K"},
                        {"State=good\nVersion=1\nExclusive=\n", "Exclusive= is not"},
                        {"State=good\nVersion=1\nVersion=2\n", "line 3"},
                        {"State=good\nVersion=1", "no end"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                Err *e = NULL;
                Slot s = {0};

                assert_int_equal(
                                slot_parse(table[i].text, strlen(table[i].text), &s, &e), -EBADMSG);
                assert_story(&e, ERR_FAILED, table[i].story);
                assert_null(s.version);
        }
}

static void states_have_words(void **state _unused_) {
        static const char *const words[] = {
                        "empty", "incomplete", "staged", "trial", "good", "bad"};

        for (int i = 0; i < _SLOT_STATE_MAX; i++) {
                assert_string_equal(slot_state_to_string((SlotState) i), words[i]);
                assert_int_equal(slot_state_from_string(words[i]), i);
        }
        assert_null(slot_state_to_string(_SLOT_STATE_MAX));
        assert_int_equal(slot_state_from_string("fine"), _SLOT_STATE_INVALID);
}

static void slots_are_found(void **state _unused_) {
        Slot slots[] = {{.id = (char *) "1", .state = SLOT_GOOD, .blessed = 5},
                        {.id = (char *) "2", .state = SLOT_GOOD, .blessed = 7, .booted = true},
                        {.id = (char *) "3",
                                        .state = SLOT_GOOD,
                                        .blessed = 9,
                                        .transaction = (char *) "t",
                                        .fallback = (char *) "2"},
                        {.id = (char *) "4", .state = SLOT_STAGED}};
        SlotList l = {4, slots}, none = {0};

        assert_ptr_equal(slot_find(&l, "3"), &slots[2]);
        assert_null(slot_find(&l, "5"));
        assert_null(slot_find(&l, ""));
        assert_null(slot_find(&l, NULL));
        assert_null(slot_find(&none, "1"));
        assert_ptr_equal(slot_booted(&l), &slots[1]);
        assert_null(slot_booted(&none));
        assert_ptr_equal(slot_newest_good(&l, NULL), &slots[1]); /* 3 is being changed */
        assert_ptr_equal(slot_newest_good(&l, &slots[1]), &slots[0]);
        assert_null(slot_newest_good(&none, NULL));
        assert_false(slot_proven(&slots[2]));
        assert_false(slot_proven(&slots[3]));
        slots[2].fallback = NULL; /* what is changed is not what boots */
        assert_true(slot_proven(&slots[2]));
        assert_null(slot_list_free(NULL));
}

static void parts_are_sorted_by_place(void **state _unused_) {
        _cleanup_(part_list_done) PartList l = {0};

        assert_int_equal(part_list_parse("u:/usr x:/usr/lib r:/ h:/home", &l, NULL), 0);
        assert_int_equal(l.n, 4);
        assert_string_equal(l.parts[0].place, "/");
        assert_string_equal(l.parts[0].name, "r");
        assert_string_equal(l.parts[1].place, "/home");
        assert_string_equal(l.parts[2].place, "/usr");
        assert_string_equal(l.parts[3].place, "/usr/lib");
}

static void a_bad_part_list_is_refused(void **state _unused_) {
        static const struct {
                const char *text, *story;
        } table[] = {{"", "nothing is at /"}, {NULL, "nothing is at /"},
                        {"u:/usr", "nothing is at /"}, {"r:/ u:/usr v:/usr", "two at /usr"},
                        {"r:/ s:/", "two at /"}, {"r", "'r' is not name:/place"},
                        {"r:", "is not name:/place"}, {"r:/ u:usr", "'u:usr' is not name:/place"}};

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                PartList l = {0};
                Err *e = NULL;

                assert_int_equal(part_list_parse(table[i].text, &l, &e), -EBADMSG);
                assert_story(&e, ERR_FAILED, table[i].story);
                assert_int_equal(l.n, 0);
        }
}

static void kernels_are_found_in_the_tree(void **state _unused_) {
        _cleanup_(strv_freep) char **none = NULL, **some = NULL;

        assert_int_equal(kernel_versions(dir_fd, &none, NULL), 0);
        assert_null(none[0]);
        assert_false(kernel_image_inside(dir_fd));

        put_file(dir_fd, "usr/lib/modules/6.10.0/modules.dep", "");
        put_file(dir_fd, "usr/lib/modules/6.9.1/modules.dep", "");
        put_file(dir_fd, "usr/lib/modules/5.0-left-over/build", "");
        assert_int_equal(kernel_versions(dir_fd, &some, NULL), 0);
        assert_string_equal(some[0], "6.9.1");
        assert_string_equal(some[1], "6.10.0"); /* the newest last */
        assert_null(some[2]);
        assert_false(kernel_image_inside(dir_fd));
        put_file(dir_fd, "usr/lib/modules/6.9.1/vmlinuz", "");
        assert_true(kernel_image_inside(dir_fd));
}

/* By any name that a kernel has; what only looks like one is none. */
static void kernels_have_many_names(void **state _unused_) {
        static const struct {
                const char *path;
                bool version, inside;
        } table[] = {
                        {"usr/lib/modules/6.1/kernel/fs/x.ko", false, false},
                        {"usr/lib/modules/6.1/Image", true, true},
                        {"usr/lib/modules/6.1/Image.gz", true, true},
                        {"usr/lib/modules/6.1/zImage", true, true},
                        {"lib/modules/6.1/uImage", true, true},
                        {"usr/lib/modules/6.1/vmlinux", true, true},
                        {"usr/lib/modules/6.1/Image.txt", false, false},
                        {"usr/lib/modules/6.1/Image-6.1", false, false},
                        {"boot/vmlinuz.efi", false, true},
                        {"boot/Image", false, true},
                        {"boot/zImage-6.1", false, true},
                        {"boot/vmlinux-6.1", false, true},
                        {"boot/kernel-6.1", false, true},
                        {"boot/kernels", false, false},
                        {"boot/System.map-6.1", false, false},
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                _cleanup_(strv_freep) char **versions = NULL;
                _cleanup_(freep) char *name = str_printf("tree-%zu", i),
                                      *path = str_printf("%s/%s", name, table[i].path);
                _cleanup_(fd_closep) int root_fd = -1;

                put_file(dir_fd, path, "");
                root_fd = dir_open_at(dir_fd, name, NULL);
                assert_int_equal(kernel_versions(root_fd, &versions, NULL), 0);
                assert_int_equal(versions[0] != NULL, table[i].version);
                assert_int_equal(kernel_image_inside(root_fd), table[i].inside);
        }
}

static void lib_may_be_a_link_but_not_out_of_the_tree(void **state _unused_) {
        _cleanup_(strv_freep) char **in = NULL, **out = NULL;
        int root;

        put_file(dir_fd, "lib/modules/9.9/modules.dep", ""); /* of the host */
        put_file(dir_fd, "tree/real/modules/6.1/modules.dep", "");
        root = openat(dir_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(symlinkat("/real", root, "lib"), 0); /* absolute: of the tree */
        assert_int_equal(kernel_versions(root, &in, NULL), 0);
        assert_string_equal(in[0], "6.1");
        assert_int_equal(unlinkat(root, "lib", 0), 0);
        assert_int_equal(symlinkat("../lib", root, "lib"), 0);
        assert_int_equal(kernel_versions(root, &out, NULL), 0);
        assert_null(out[0]);
        close(root);
}

/* Backends by their words, and the two that do nothing. */
static void backends_have_words(void **state _unused_) {
        Config c = {.backend = (char *) "none", .boot = (char *) "none"};
        World w = {dir, dir_fd, &c};
        _cleanup_(slot_backend_closep) SlotBackend *s = NULL;
        _cleanup_(boot_backend_closep) BootBackend *b = NULL;
        _cleanup_(slot_list_freep) SlotList *l = NULL;
        _cleanup_(boot_facts_done) BootFacts f = {0};
        unsigned count = 7;
        Err *e = NULL;
        int fd = -1;

        assert_int_equal(slot_backend_open(&w, &s, NULL), 0);
        assert_int_equal(boot_backend_open(&w, &b, NULL), 0);
        assert_int_equal(s->ops->list(s, &l, NULL), 0);
        assert_int_equal(l->n, 0);
        assert_int_equal(b->ops->facts(b, l, &f, NULL), 0);
        assert_false(f.next_known);
        assert_int_equal(f.tries_left, -1);
        assert_int_equal(s->ops->clean(s, &count, NULL), 0);
        assert_int_equal(count, 0);
        assert_null(s->ops->prepare);
        assert_null(b->ops->arm);
        assert_true(s->ops->state_dir(s, &fd, &e) < 0);
        assert_story(&e, ERR_BAD_CONFIG, "StateDirectory=");
        c.state_directory = (char *) "var/state";
        assert_true(s->ops->state_dir(s, &fd, &e) < 0);
        assert_story(&e, ERR_FAILED, "StateDirectory=");
        put_file(dir_fd, "var/state/x", "");
        assert_int_equal(s->ops->state_dir(s, &fd, NULL), 0);
        close(fd);

        c.backend = c.boot = (char *) "floppy";
        assert_int_equal(slot_backend_open(&w, &s, &e), -EINVAL);
        assert_story(&e, ERR_BAD_CONFIG, "Backend=floppy");
        assert_int_equal(boot_backend_open(&w, &b, &e), -EINVAL);
        assert_story(&e, ERR_BAD_CONFIG, "Boot=floppy");
}

/* This folder is no Btrfs. */
static void real_backends_want_btrfs(void **state _unused_) {
        Config c = {.backend = (char *) "snapshot", .boot = (char *) "default-subvolume"};
        World w = {dir, dir_fd, &c};
        SlotBackend *s = NULL;
        BootBackend *b = NULL;
        Err *e = NULL;

        assert_true(slot_backend_open(&w, &s, &e) < 0);
        assert_story(&e, ERR_NOT_BTRFS, "is not Btrfs");
        assert_true(boot_backend_open(&w, &b, &e) < 0);
        assert_story(&e, ERR_NOT_BTRFS, "is not Btrfs");
        assert_null(s);
        assert_null(b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(every_fact_comes_back),
                        CASE(the_least_is_state_and_version),
                        CASE(a_bad_slot_conf_is_refused),
                        CASE(states_have_words),
                        CASE(slots_are_found),
                        CASE(parts_are_sorted_by_place),
                        CASE(a_bad_part_list_is_refused),
                        IN_FOLDER(kernels_are_found_in_the_tree),
                        IN_FOLDER(kernels_have_many_names),
                        IN_FOLDER(lib_may_be_a_link_but_not_out_of_the_tree),
                        IN_FOLDER(backends_have_words),
                        IN_FOLDER(real_backends_want_btrfs),
        };

        return cmocka_run_group_tests_name("backends/slot", tests, NULL, NULL);
}
