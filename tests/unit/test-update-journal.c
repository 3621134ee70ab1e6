/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/file.h"
#include "tests/unit/folder.h"
#include "update/journal.h"

enum { RECORD = 4096, SIZE = 2 * RECORD };

static Journal *open_it(void) {
        Journal *j = NULL;
        int fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);

        assert_int_equal(journal_open(fd, &j, NULL), 0);
        return j;
}

static void say(Phase phase, uint64_t job, const char *slot) {
        _cleanup_(journal_freep) Journal *j = open_it();

        j->phase = phase;
        j->job = job;
        j->started = 5;
        j->last_slot = 12;
        assert_int_equal(str_set(&j->slot, slot), 0);
        assert_int_equal(str_set(&j->type, "update"), 0);
        assert_int_equal(journal_write(j, NULL), 0);
}

static void assert_empty(void) {
        _cleanup_(journal_freep) Journal *j = open_it();

        assert_int_equal(j->phase, PHASE_IDLE);
        assert_int_equal(j->seq, 0);
        assert_int_equal(j->last_slot, 0);
        assert_null(j->type);
}

/* And whatever was in its place, the next record is written and read. */
static void assert_works(void) {
        _cleanup_(journal_freep) Journal *j = NULL;

        say(PHASE_ARM, 77, "9");
        j = open_it();
        assert_int_equal(j->phase, PHASE_ARM);
        assert_int_equal(j->job, 77);
        assert_string_equal(j->slot, "9");
}

static void every_field_comes_back(void **state _unused_) {
        _cleanup_(journal_freep) Journal *j = open_it(), *k = NULL;

        j->phase = PHASE_CONDEMN;
        j->job = UINT64_MAX;
        j->started = 1;
        j->last_slot = 2;
        assert_true(str_set(&j->type, "mark") + str_set(&j->boot_id, "b") + str_set(&j->slot, "s") +
                                        str_set(&j->from, "f") + str_set(&j->next, "n") +
                                        str_set(&j->version, "v 1") ==
                        0);
        assert_int_equal(journal_write(j, NULL), 0);
        k = open_it();
        assert_int_equal(k->phase, PHASE_CONDEMN);
        assert_true(k->job == UINT64_MAX);
        assert_int_equal(k->started, 1);
        assert_int_equal(k->last_slot, 2);
        assert_string_equal(k->type, "mark");
        assert_string_equal(k->boot_id, "b");
        assert_string_equal(k->slot, "s");
        assert_string_equal(k->from, "f");
        assert_string_equal(k->next, "n");
        assert_string_equal(k->version, "v 1");

        journal_reset(k);
        assert_int_equal(k->phase, PHASE_IDLE);
        assert_int_equal(k->last_slot, 2);
        assert_null(k->from);
        assert_null(k->next);
}

static void phases_have_words(void **state _unused_) {
        for (int p = 0; p < _PHASE_MAX; p++) {
                assert_non_null(phase_to_string((Phase) p));
                assert_int_equal(phase_from_string(phase_to_string((Phase) p)), p);
        }
        assert_null(phase_to_string(_PHASE_MAX));
        assert_int_equal(phase_from_string("armed"), _PHASE_INVALID);
        assert_int_equal(phase_from_string(NULL), _PHASE_INVALID);
}

static char *raw(void) {
        char *text = NULL;
        size_t size = 0;

        assert_int_equal(file_read_at(dir_fd, "journal", SIZE, &text, &size, NULL), 0);
        assert_int_equal(size, SIZE);
        return text;
}

static void records_take_turns(void **state _unused_) {
        for (unsigned i = 1; i <= 6; i++) {
                _cleanup_(freep) char *before = i > 1 ? raw() : NULL, *now = NULL;
                size_t other = i % 2 ? 0 : RECORD;

                say(PHASE_WRITE, i, "1");
                now = raw();
                /* the record that was the newest is not touched */
                if (before)
                        assert_memory_equal(now + other, before + other, RECORD);
        }
}

static void put_raw(const char *bytes, size_t size) {
        assert_int_equal(file_write_at(dir_fd, "journal", bytes, size, NULL), 0);
}

/* The device wrote the first n bytes of the new record, and of the old one the rest is there. */
static void a_torn_record_leaves_the_one_before(void **state _unused_) {
        _cleanup_(freep) char *two = NULL, *three = NULL;
        size_t at = RECORD, end;

        say(PHASE_PREPARE, 1, "4");
        say(PHASE_WRITE, 2, "5");
        two = raw();
        say(PHASE_PLACE, 3, "6");
        three = raw();
        assert_memory_equal(two, three, RECORD); /* 1 and 3 lie in the second half */
        end = at + strlen(three + at);
        for (size_t n = at; n < end; n++) {
                _cleanup_(freep) char *torn = malloc(SIZE);
                _cleanup_(journal_freep) Journal *j = NULL;

                memcpy(torn, two, SIZE);
                memcpy(torn + at, three + at, n - at);
                put_raw(torn, SIZE);
                j = open_it();
                if (memcmp(torn, three, SIZE) == 0)
                        continue;
                assert_true(j->job == 2 || j->job == 1);
                /* 1 would be wrong, had it been the newest: it never is */
                assert_int_equal(j->job, 2);
                assert_int_equal(j->phase, PHASE_WRITE);
        }
}

static void one_flipped_bit_is_noticed(void **state _unused_) {
        _cleanup_(freep) char *good = NULL;

        say(PHASE_WRITE, 1, "4");
        good = raw();
        for (size_t i = RECORD; good[i]; i++)
                for (int bit = 0; bit < 8; bit++) {
                        _cleanup_(freep) char *bad = malloc(SIZE);
                        _cleanup_(journal_freep) Journal *j = NULL;

                        memcpy(bad, good, SIZE);
                        bad[i] = (char) (bad[i] ^ 1 << bit);
                        put_raw(bad, SIZE);
                        j = open_it();
                        if (j->phase != PHASE_IDLE) /* a hex digit in the other case is the same */
                                assert_true(i < RECORD + 12 && bit == 5);
                }
}

static void what_is_no_journal_is_an_empty_one(void **state _unused_) {
        static const struct {
                const char *text;
                size_t size;
        } table[] = {{"", 0}, {"x", 1}, {"Crc=00000000\n", 13}, {"Crc=00000000\nSeq=1\n", SIZE},
                        {"Crc=00000000\n", SIZE}, {"\0\0\0\0", SIZE},
                        {"Crc=zzzzzzzz\nSeq=9\n", SIZE}};
        _cleanup_(freep) char *bytes = calloc(1, SIZE);

        assert_empty(); /* none */
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                memset(bytes, 0, SIZE);
                memcpy(bytes, table[i].text, strlen(table[i].text));
                put_raw(bytes, table[i].size);
                assert_empty();
                assert_works();
        }
        memset(bytes, 'C', SIZE);
        put_raw(bytes, SIZE);
        assert_empty();
        assert_works();
}

/* With a checksum that is right: what a newer version might have written. */
static void a_record_that_makes_no_sense_is_none(void **state _unused_) {
        static const char *const texts[] = {"Seq=1\nPhase=conquer\n", "Seq=1\n",
                        "Seq=one\nPhase=arm\n", "Seq=1\nPhase=arm\nJob=-1\n",
                        "Seq=1\nPhase=arm\nSeq=2\n", "Seq=1\nPhase=arm\nStarted=x\n",
                        "Seq=1\nPhase=arm\nLastSlot=x\n", "Seq=1\nPhase=arm"};
        static const uint32_t poly = 0xedb88320;

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                char bytes[SIZE] = "";
                uint32_t crc = ~0U;

                for (const char *c = texts[i]; *c; c++) {
                        crc ^= (unsigned char) *c;
                        for (int bit = 0; bit < 8; bit++)
                                crc = crc >> 1 ^ (crc & 1 ? poly : 0);
                }
                snprintf(bytes, sizeof(bytes), "Crc=%08x\n%s", ~crc, texts[i]);
                put_raw(bytes, SIZE);
                assert_empty();
        }
        assert_works();
}

static void unknown_fields_do_not_matter(void **state _unused_) {
        /* crc32 of the two lines, by zlib's own definition */
        char bytes[SIZE] = "Crc=d8e7c9a5\nSeq=4\nPhase=arm\nFromTheFuture=yes\n";
        _cleanup_(freep) char *text = NULL;
        _cleanup_(journal_freep) Journal *j = NULL;
        uint32_t crc = ~0U;

        for (const char *c = bytes + 13; *c; c++) {
                crc ^= (unsigned char) *c;
                for (int bit = 0; bit < 8; bit++)
                        crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
        text = str_printf("Crc=%08x", ~crc);
        memcpy(bytes, text, 12);
        put_raw(bytes, SIZE);
        j = open_it();
        assert_int_equal(j->phase, PHASE_ARM);
        assert_int_equal(j->seq, 4);
}

static void strange_things_in_its_place(void **state _unused_) {
        assert_int_equal(symlinkat("elsewhere", dir_fd, "journal"), 0);
        put_file(dir_fd, "elsewhere", "mine");
        assert_empty();
        assert_works();
        {
                _cleanup_(freep) char *text = get_file(dir_fd, "elsewhere");
                assert_string_equal(text, "mine"); /* not written through the link */
        }
        assert_int_equal(unlinkat(dir_fd, "journal", 0), 0);

        assert_int_equal(mkfifoat(dir_fd, "journal", 0600), 0);
        assert_empty();
        assert_works();
        assert_int_equal(unlinkat(dir_fd, "journal", 0), 0);

        assert_int_equal(mkdirat(dir_fd, "journal", 0700), 0);
        assert_empty();
        assert_works();
}

static void a_full_directory_in_its_place_is_an_error(void **state _unused_) {
        _cleanup_(journal_freep) Journal *j = NULL;
        Err *e = NULL;

        put_file(dir_fd, "journal/precious", "x");
        j = open_it();
        assert_true(journal_write(j, &e) < 0);
        assert_story(&e, ERR_FAILED, "in the place of the journal");
        assert_int_equal(unlinkat(dir_fd, "journal/precious", 0), 0);
        assert_int_equal(unlinkat(dir_fd, "journal", AT_REMOVEDIR), 0);
}

static void a_gigabyte_of_holes_is_not_read(void **state _unused_) {
        int fd = openat(dir_fd, "journal", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        struct stat st;

        assert_int_equal(ftruncate(fd, 1 << 30), 0);
        close(fd);
        assert_empty();
        assert_works();
        assert_int_equal(fstatat(dir_fd, "journal", &st, 0), 0);
        assert_int_equal(st.st_size, SIZE);
}

static void a_record_has_a_limit(void **state _unused_) {
        _cleanup_(journal_freep) Journal *j = open_it();
        char text[4000];
        Err *e = NULL;

        memset(text, 'v', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        assert_int_equal(str_set(&j->version, text), 0);
        assert_int_equal(str_set(&j->slot, text), 0);
        assert_int_equal(journal_write(j, &e), -E2BIG);
        assert_story(&e, ERR_FAILED, "write the journal");
        assert_int_equal(str_set(&j->version, "a\nSeq=9"), 0);
        assert_int_equal(journal_write(j, &e), -EINVAL); /* no field writes another */
        assert_story(&e, ERR_FAILED, "write the journal");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        IN_FOLDER(every_field_comes_back),
                        CASE(phases_have_words),
                        IN_FOLDER(records_take_turns),
                        IN_FOLDER(a_torn_record_leaves_the_one_before),
                        IN_FOLDER(one_flipped_bit_is_noticed),
                        IN_FOLDER(what_is_no_journal_is_an_empty_one),
                        IN_FOLDER(a_record_that_makes_no_sense_is_none),
                        IN_FOLDER(unknown_fields_do_not_matter),
                        IN_FOLDER(strange_things_in_its_place),
                        IN_FOLDER(a_full_directory_in_its_place_is_an_error),
                        IN_FOLDER(a_gigabyte_of_holes_is_not_read),
                        IN_FOLDER(a_record_has_a_limit),
        };

        return cmocka_run_group_tests_name("update/journal", tests, NULL, NULL);
}
