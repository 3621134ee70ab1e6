/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text of a manifest: what is written is read back, everything else is refused. */
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/signed-image.h"

#define LATEST UINT64_C(253402300799) /* the last second of the year 9999 */

static char *text;
static size_t text_size;

static int make_text(void **state _unused_) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) uint8_t *payload = NULL;
        size_t size;

        payload = make_stream(1500000, &size);
        m = make_manifest(payload, size);
        m->version_text = strdup("Testing \xc3\xa4");
        m->allow_setuid = m->allow_xattrs = true;
        m->valid_until = 1800000000;
        assert_int_equal(manifest_format(m, &text, &text_size, NULL), 0);
        return 0;
}

static int free_text(void **state _unused_) {
        free(text);
        return 0;
}

/* The text with @from replaced by @to, once. */
static char *edit(const char *from, const char *to) {
        char *at = strstr(text, from), *out;

        assert_non_null(at);
        out = str_printf("%.*s%s%s", (int) (at - text), text, to, at + strlen(from));
        assert_non_null(out);
        return out;
}

static void refuse_text(const char *t, size_t size, ErrKind kind, const char *part) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        Err *e = NULL;

        assert_true(manifest_parse(t, size, &m, &e) < 0);
        assert_null(m);
        assert_story(&e, kind, part);
}

static void refuse_edit(const char *from, const char *to, const char *part) {
        _cleanup_(freep) char *t = edit(from, to);

        refuse_text(t, strlen(t), ERR_BAD_MANIFEST, part);
}

static void accept_edit(const char *from, const char *to) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) char *t = edit(from, to);
        _cleanup_(err_freep) Err *e = NULL;

        if (manifest_parse(t, strlen(t), &m, &e) < 0)
                fail_msg("%s", err_text(e));
}

static void round_trip(void **state _unused_) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        _cleanup_(freep) char *again = NULL;
        size_t size;

        assert_int_equal(manifest_parse(text, text_size, &m, NULL), 0);
        assert_string_equal(m->compatible, "test-board");
        assert_true(m->allow_setuid && m->allow_xattrs && !m->allow_devices);
        assert_int_equal(m->n_chunks, 2);
        assert_int_equal(manifest_format(m, &again, &size, NULL), 0);
        assert_int_equal(size, text_size);
        assert_memory_equal(again, text, size);
}

static void a10_duplicate_and_unsorted_fields(void **state _unused_) {
        refuse_edit("Epoch=3\n", "Epoch=3\nEpoch=3\n", "second time");
        refuse_edit("Epoch=3\nFormat=1\n", "Format=1\nEpoch=3\n", "sorted");
        refuse_edit("VersionText", "AVersion", "sorted");
}

static void a11_unknown_fields(void **state _unused_) {
        _cleanup_(freep) char *critical = NULL;

        accept_edit("Format=1\n", "Format=1\nFuture=x\n");
        accept_edit("Subvolume.00.UUID", "Subvolume.00.Q=1\nSubvolume.00.UUID");
        accept_edit("Epoch=3\n", "Critical=Version Epoch\nEpoch=3\n");
        refuse_edit("Epoch=3\n", "Critical=Absent\nEpoch=3\n", "not there");
        refuse_edit("Epoch=3\n", "Critical=Epoch  Version\nEpoch=3\n", "not there");
        critical = edit("Epoch=3\nFormat=1\n", "Critical=Future\nEpoch=3\nFormat=1\nFuture=x\n");
        refuse_text(critical, strlen(critical), ERR_NOT_SUPPORTED, "newer abupdate");
}

static void a12_too_large(void **state _unused_) {
        size_t size = MANIFEST_SIZE_MAX + 1;
        _cleanup_(freep) char *big = malloc(size), *head = malloc(MANIFEST_HEAD_MAX + 400);

        memset(big, 'A', size);
        refuse_text(big, size, ERR_BAD_MANIFEST, "more than");
        memset(big, '\n', size);
        refuse_text(big, MANIFEST_SIZE_MAX, ERR_BAD_MANIFEST, "");
        memset(big, '0', size);
        memcpy(big, "A=1\n\n", 5);
        refuse_text(big, MANIFEST_SIZE_MAX, ERR_BAD_MANIFEST, "");
        memset(head, 'A', MANIFEST_HEAD_MAX + 400);
        memcpy(head + MANIFEST_HEAD_MAX + 10, "\n\n", 2);
        refuse_text(head, MANIFEST_HEAD_MAX + 400, ERR_BAD_MANIFEST, "fields take");
}

#if !defined(__SANITIZE_ADDRESS__)
/* In a process of its own that can have 4 MiB more, and not a byte beyond. */
static int parse_in_4_mib(const char *t, size_t size) {
        unsigned long pages;
        int status;
        pid_t pid;

        fflush(NULL);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                Manifest *m;
                FILE *f = fopen("/proc/self/statm", "re");
                struct rlimit limit;
                char pages_text[128];

                if (!f || !fgets(pages_text, sizeof(pages_text), f))
                        _exit(100);
                pages = strtoul(pages_text, NULL, 10);
                malloc_trim(0);
                limit.rlim_cur = limit.rlim_max = pages * 4096 + (4u << 20);
                if (setrlimit(RLIMIT_AS, &limit) < 0)
                        _exit(101);
                _exit(-manifest_parse(t, size, &m, NULL));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}
#endif

/* 1 MiB of chunks and nearly 64 KiB of fields: the largest that is read at all. */
static void a12_memory_is_bounded(void **state _unused_) {
        size_t head = text_size - 2 * 65 - 1, size = 0, n = 0;
        _cleanup_(freep) char *big = malloc(MANIFEST_SIZE_MAX + 1);

        memcpy(big, text, head);
        for (size = head; size < MANIFEST_HEAD_MAX - 40; n++)
                size += (size_t) sprintf(big + size, "Z%04zu=%030d\n", n, 0);
        big[size++] = '\n';
        for (n = 0; size + 65 <= MANIFEST_SIZE_MAX; size += 65, n++)
                memcpy(big + size, text + head + 1, 65);
        refuse_text(big, size, ERR_BAD_MANIFEST, "chunks");
#if !defined(__SANITIZE_ADDRESS__) /* which reserves all there is */
        assert_int_equal(parse_in_4_mib(big, size), EBADMSG);
        assert_int_equal(parse_in_4_mib(text, text_size), 0);
#endif
}

static void a12_strange_characters(void **state _unused_) {
        _cleanup_(freep) char *nul = malloc(text_size), *long_value = NULL, *big = malloc(4200);

        memcpy(nul, text, text_size);
        nul[3] = '\0';
        refuse_text(nul, text_size, ERR_BAD_MANIFEST, "");
        refuse_edit("test-board", "test\x1b[2J", "plain text");
        refuse_edit("test-board", "test\xff", "plain text");
        refuse_edit("test-board", "test\r", "plain text");
        refuse_edit("test-board", "", "empty");
        memset(big, 'x', 4199);
        big[4199] = '\0';
        long_value = edit("test-board", big);
        refuse_text(long_value, strlen(long_value), ERR_BAD_MANIFEST, "too long");
        refuse_edit("Compatible=test-board", "Compatible", "no '='");
}

static void missing_fields(void **state _unused_) {
        static const char *const needed[] = {"BuildTime", "ChunkSize", "Compatible", "Compression",
                        "Epoch", "Format", "MaxFileSize", "PayloadSize", "StreamSize",
                        "StreamVersion", "Version", "Subvolume.00.Bytes", "Subvolume.00.Digest",
                        "Subvolume.00.Inodes", "Subvolume.00.Name", "Subvolume.00.Path",
                        "Subvolume.00.UUID"};

        for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
                _cleanup_(freep) char *key = str_printf("%s=", needed[i]), *line = NULL;
                const char *at = strstr(text, key);

                assert_non_null(at);
                line = strndup(at, strcspn(at, "\n") + 1);
                refuse_edit(line, "", needed[i]);
        }
}

/* Sizes at the borders of 31, 32, 63 and 64 bits: read exactly or refused, no overflow. */
static void size_of(const char *field, const char *value, bool ok) {
        _cleanup_(freep) char *to = str_printf("%s%s", field, value), *line = NULL;
        const char *at = strstr(text, field);

        assert_non_null(at);
        line = strndup(at, strcspn(at, "\n"));
        if (ok)
                accept_edit(line, to);
        else
                refuse_edit(line, to, "");
}

static void sizes_of(const char *field, uint64_t min, uint64_t max) {
        static const uint64_t sizes[] = {0, 1, INT32_MAX, UINT64_C(1) << 31, UINT32_MAX,
                        UINT64_C(1) << 32, LATEST, LATEST + 1, INT64_MAX, UINT64_C(1) << 63,
                        UINT64_MAX};
        static const char *const senseless[] = {"18446744073709551616", "36893488147419103233",
                        "-1", "+1", "01", "0x1", " 1", "1 ", "1.0", "1e3", "1K", ""};

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                char value[24];

                snprintf(value, sizeof(value), "%" PRIu64, sizes[i]);
                size_of(field, value, sizes[i] >= min && sizes[i] <= max);
        }
        for (size_t i = 0; i < ARRAY_SIZE(senseless); i++)
                size_of(field, senseless[i], false);
}

static void a19_sizes(void **state _unused_) {
        char *plain = text;
        _cleanup_(freep) char *packed = edit("Compression=none", "Compression=zstd");

        sizes_of("Epoch=", 0, INT64_MAX);
        sizes_of("MaxFileSize=", 0, INT64_MAX);
        sizes_of("Subvolume.00.Inodes=", 0, INT64_MAX);
        sizes_of("Subvolume.00.Bytes=", 0, INT64_MAX);
        sizes_of("StreamVersion=", 1, INT64_MAX);
        sizes_of("BuildTime=", 1, LATEST);
        sizes_of("ValidUntil=", 1, LATEST);
        /* one value is right */
        sizes_of("ChunkSize=", 1, 0);
        sizes_of("PayloadSize=", 1, 0);
        sizes_of("StreamSize=", 1, 0);
        text = packed;
        sizes_of("StreamSize=", 1, INT64_MAX);
        text = plain;
}

static void sums_do_not_overflow(void **state _unused_) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        Err *e = NULL;
        size_t size;
        char *out;

        assert_int_equal(manifest_parse(text, text_size, &m, NULL), 0);
        m->subvols = reallocarray(m->subvols, 2, sizeof(*m->subvols));
        m->subvols[1] = m->subvols[0];
        m->subvols[1].name = strdup("usr");
        m->subvols[1].path = strdup("/usr");
        m->subvols[1].uuid[0] ^= 1;
        m->n_subvols = 2;
        assert_int_equal(manifest_format(m, &out, &size, &e), 0);
        free(out);
        m->subvols[0].bytes = m->subvols[1].bytes = INT64_MAX;
        assert_true(manifest_format(m, &out, &size, &e) < 0);
        assert_story(&e, ERR_BAD_MANIFEST, "more bytes");
}

static void senseless_values(void **state _unused_) {
        refuse_edit("Subvolume.00.Path=/", "Subvolume.00.Path=/usr", "Path=/");
        refuse_edit("Subvolume.00.Path=/", "Subvolume.00.Path=/../x", "not a value");
        refuse_edit("Subvolume.00.Path=/", "Subvolume.00.Path=//", "not a value");
        refuse_edit("Subvolume.00.Name=root", "Subvolume.00.Name=../x", "not a value");
        refuse_edit("Subvolume.00.UUID=01", "Subvolume.00.UUID=0A", "not a value");
        refuse_edit("Subvolume.00.Digest=ab", "Subvolume.00.Digest=AB", "not a value");
        refuse_edit("Allow=setuid xattrs", "Allow=xattrs setuid", "not a value");
        refuse_edit("Allow=setuid xattrs", "Allow=setuid setuid", "not a value");
        refuse_edit("Allow=setuid xattrs", "Allow=everything", "not a value");
        refuse_edit("ChunkSize=1048576", "ChunkSize=1048577", "not a value");
        refuse_edit("Compression=none", "Compression=lz4", "not a value");
        refuse_edit("Compression=none", "Compression=None", "not a value");
        refuse_edit("StreamVersion=1", "StreamVersion=0", "StreamVersion");
        refuse_edit("BuildTime=17", "BuildTime=253402300800", "not a value");
        refuse_edit("\n\n", "\n", "");
}

/* A part of a subvolume that nobody sees is no field to be passed over. */
static void subvolumes_without_a_gap(void **state _unused_) {
        static const char last[] = "Subvolume.00.UUID=";
        static const char *const numbers[] = {"01", "02", "63", "64", "99"};
        static const char *const fields[] = {"Name", "Path", "UUID", "Future"};

        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
                for (size_t k = 0; k < ARRAY_SIZE(fields); k++) {
                        _cleanup_(freep) char *t = NULL, *to = NULL;
                        char *line = strndup(strstr(text, last), strcspn(strstr(text, last), "\n"));

                        /* a name alone makes a subvolume, which then lacks the rest */
                        to = str_printf("%s\nSubvolume.%s.%s=x", line, numbers[i], fields[k]);
                        t = edit(line, to);
                        refuse_text(t, strlen(t), ERR_BAD_MANIFEST, "");
                        free(line);
                }
        accept_edit("ValidUntil", "Subvolume.X=1\nValidUntil");
}

/* Different names and places, one UUID: which of them a clone means nobody could say. */
static void two_of_one_uuid(void **state _unused_) {
        _cleanup_(manifest_freep) Manifest *m = NULL;
        ManifestSubvol subvols[2];
        _cleanup_(freep) char *out = NULL;
        ManifestSubvol *was;
        Err *e = NULL;
        size_t size;

        assert_int_equal(manifest_parse(text, text_size, &m, NULL), 0);
        subvols[0] = subvols[1] = m->subvols[0];
        subvols[1].name = (char *) "usr";
        subvols[1].path = (char *) "/usr";
        was = m->subvols;
        m->subvols = subvols;
        m->n_subvols = 2;
        assert_true(manifest_format(m, &out, &size, &e) < 0);
        assert_story(&e, ERR_BAD_MANIFEST, "same name, path or UUID");
        subvols[1].uuid[0] ^= 1;
        assert_int_equal(manifest_format(m, &out, &size, NULL), 0);
        m->subvols = was;
        m->n_subvols = 1;
}

static void another_format(void **state _unused_) {
        _cleanup_(freep) char *t = edit("Format=1", "Format=2");

        refuse_text(t, strlen(t), ERR_NOT_SUPPORTED, "Format=2");
}

static void broken_chunk_lists(void **state _unused_) {
        _cleanup_(freep) char *t = strdup(text);

        refuse_text(text, text_size - 1, ERR_BAD_MANIFEST, "list of chunks");
        refuse_text(text, text_size - 65, ERR_BAD_MANIFEST, "needs 2 chunks");
        t[text_size - 10] = 'G';
        refuse_text(t, text_size, ERR_BAD_MANIFEST, "SHA-256");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(round_trip),
                        CASE(a10_duplicate_and_unsorted_fields),
                        CASE(a11_unknown_fields),
                        CASE(a12_too_large),
                        CASE(a12_memory_is_bounded),
                        CASE(a12_strange_characters),
                        CASE(missing_fields),
                        CASE(a19_sizes),
                        CASE(sums_do_not_overflow),
                        CASE(senseless_values),
                        CASE(subvolumes_without_a_gap),
                        CASE(two_of_one_uuid),
                        CASE(another_format),
                        CASE(broken_chunk_lists),
        };

        return cmocka_run_group_tests(tests, make_text, free_text);
}
