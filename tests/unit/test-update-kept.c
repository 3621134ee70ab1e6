/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The record of what is kept: comes back as it was, is of one image only, and never leads out of what was signed. */
#include "tests/unit/unit.h"
#include "update/kept-record.h"

static char root[] = "root", usr[] = "usr", top[] = "/", place[] = "/usr", version_2[] = "2.0";

static ManifestSubvol subvols[] = {
                {.name = root, .path = top, .uuid = {1}, .bytes = 1000000, .inodes = 100},
                {.name = usr,
                                .path = place,
                                .uuid = {2},
                                .incremental = true,
                                .parent = {3},
                                .bytes = 3000000,
                                .inodes = 10},
};

static const Manifest manifest = {
                .id = {7},
                .version = version_2,
                .payload_size = 5000000,
                .stream_size = 5000000,
                .stream_version = 2,
                .n_subvols = 2,
                .subvols = subvols,
};

static const StreamPosition there = {
                .restart = {3 << 20, 3 << 20},
                .offset = 3500000,
                .version = 1,
                .subvol = {.ctransid = 11, .parent_ctransid = 12, .bytes = 2000000, .inodes = 5},
                .subvols = 2,
                .bytes = 3000000,
                .inodes = 105,
                .root_known = true,
                .root = {{-7, 8}, {1700000000, 999999999}},
};

static char *record(const StreamPosition *p) {
        char *text;

        assert_int_equal(kept_format(&manifest, 3, p, &text), 0);
        return text;
}

static void comes_back(void **state _unused_) {
        _cleanup_(freep) char *text = record(&there), *version = NULL;
        StreamPosition p;
        uint64_t n;

        assert_int_equal(kept_parse(text, strlen(text), &manifest, &n, &p), 0);
        assert_int_equal(n, 3);
        assert_string_equal(p.subvol.name, "usr");
        assert_memory_equal(p.subvol.uuid, subvols[1].uuid, 16);
        assert_true(p.subvol.incremental && p.subvol.parent_uuid[0] == 3);
        assert_int_equal(p.subvol.ctransid, 11);
        assert_int_equal(p.subvol.parent_ctransid, 12);
        assert_int_equal(p.subvol.bytes, 2000000);
        assert_int_equal(p.subvol.inodes, 5);
        assert_int_equal(p.restart.input, 3 << 20);
        assert_int_equal(p.offset, 3500000);
        assert_int_equal(p.bytes, 3000000);
        assert_int_equal(p.inodes, 105);
        assert_true(p.root_known);
        assert_memory_equal(p.root, there.root, sizeof(p.root));
        assert_int_equal(kept_summary(text, strlen(text), &version, &n), 0);
        assert_string_equal(version, "2.0");
        assert_int_equal(n, 3000000);
}

static void is_of_one_image(void **state _unused_) {
        _cleanup_(freep) char *text = record(&there);
        Manifest other = manifest;
        StreamPosition p;
        uint64_t n;

        other.id[31] = 1;
        assert_int_equal(kept_parse(text, strlen(text), &other, &n, &p), -EBADMSG);
}

static void lies_are_refused(void **state _unused_) {
        StreamPosition lies[8];

        for (size_t i = 0; i < ARRAY_SIZE(lies); i++)
                lies[i] = there;
        lies[0].offset = manifest.stream_size;
        lies[1].offset = (3 << 20) - 1; /* before what can be read again */
        lies[2].restart.input = lies[2].restart.plain = UINT64_MAX;
        lies[3].subvols = 3;
        lies[4].subvols = 0;
        lies[5].bytes = 4000001;
        lies[6].version = 3;
        lies[7].restart.plain = 2 << 20; /* the image is not packed */
        for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
                _cleanup_(freep) char *text = record(&lies[i]);
                StreamPosition p;
                uint64_t n;

                assert_int_equal(kept_parse(text, strlen(text), &manifest, &n, &p), -EBADMSG);
        }
}

/* Every byte, with every bit: refused, or still within the image. */
static void damage_leads_nowhere(void **state _unused_) {
        _cleanup_(freep) char *text = record(&there);
        size_t size = strlen(text);

        for (size_t at = 0; at < 8 * size; at++) {
                StreamPosition p;
                uint64_t n;

                text[at / 8] ^= (char) (1 << at % 8);
                if (kept_parse(text, size, &manifest, &n, &p) >= 0) {
                        assert_true(p.offset < manifest.stream_size);
                        assert_true(p.restart.plain <= p.offset);
                        assert_in_range(p.subvols, 1, 2);
                        assert_true(p.bytes <= manifest_bytes(&manifest));
                }
                text[at / 8] ^= (char) (1 << at % 8);
        }
        for (size_t cut = 0; cut < size; cut++) {
                StreamPosition p;
                uint64_t n;

                assert_int_equal(kept_parse(text, cut, &manifest, &n, &p), -EBADMSG);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test(comes_back),
                        cmocka_unit_test(is_of_one_image),
                        cmocka_unit_test(lies_are_refused),
                        cmocka_unit_test(damage_leads_nowhere),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
