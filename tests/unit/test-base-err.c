/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/unit.h"

/* Names are a contract: append only. Whoever changes one of these lines breaks somebody's script.
 */
static const struct {
        const char *name;
        ErrKind kind;
        int exit;
} contract[] = {
                {"Failed", ERR_FAILED, 1},
                {"InvalidArgument", ERR_INVALID_ARGUMENT, 2},
                {"NotSupported", ERR_NOT_SUPPORTED, 1},
                {"BadConfig", ERR_BAD_CONFIG, 1},
                {"NotBtrfs", ERR_NOT_BTRFS, 1},
                {"WrongLayout", ERR_WRONG_LAYOUT, 1},
                {"ReadOnlyFileSystem", ERR_READ_ONLY, 1},
                {"BadInput", ERR_BAD_INPUT, 1},
                {"BadStream", ERR_BAD_STREAM, 1},
                {"Truncated", ERR_TRUNCATED, 1},
                {"Stalled", ERR_STALLED, 1},
                {"UnsafePath", ERR_UNSAFE_PATH, 1},
                {"ForbiddenContent", ERR_FORBIDDEN_CONTENT, 6},
                {"LimitExceeded", ERR_LIMIT_EXCEEDED, 1},
                {"ParentMissing", ERR_PARENT_MISSING, 1},
                {"UnknownSubvolume", ERR_UNKNOWN_SUBVOLUME, 1},
                {"NotSigned", ERR_NOT_SIGNED, 6},
                {"VerifyFailed", ERR_VERIFY_FAILED, 1},
                {"AlreadyInstalled", ERR_ALREADY_INSTALLED, 3},
                {"Refused", ERR_REFUSED, 6},
                {"NoSpace", ERR_NO_SPACE, 1},
                {"QuotaExceeded", ERR_QUOTA, 1},
                {"Busy", ERR_BUSY, 5},
                {"Conflict", ERR_CONFLICT, 1},
                {"UnknownSlot", ERR_UNKNOWN_SLOT, 1},
                {"UnknownJob", ERR_UNKNOWN_JOB, 1},
                {"SlotInUse", ERR_SLOT_IN_USE, 1},
                {"SlotPinned", ERR_SLOT_PINNED, 1},
                {"NoFallback", ERR_NO_FALLBACK, 1},
                {"NothingToDo", ERR_NOTHING_TO_DO, 3},
                {"TransactionOpen", ERR_TRANSACTION_OPEN, 5},
                {"NoTransaction", ERR_NO_TRANSACTION, 1},
                {"Cancelled", ERR_CANCELLED, 1},
                {"NotCancellable", ERR_NOT_CANCELLABLE, 1},
                {"WorkerDied", ERR_WORKER_DIED, 1},
                {"NoMemory", ERR_NO_MEMORY, 1},
};

static void names_and_exit_codes_are_the_contract(void **state _unused_) {
        for (size_t i = 0; i < ARRAY_SIZE(contract); i++) {
                assert_int_equal(contract[i].kind, i); /* append only */
                assert_string_equal(err_kind_name(contract[i].kind), contract[i].name);
                assert_int_equal(err_kind_exit(contract[i].kind), contract[i].exit);
        }
}

static void every_kind_has_a_name_of_its_own(void **state _unused_) {
        for (int i = 0; i < _ERR_KIND_MAX; i++) {
                const char *name = err_kind_name((ErrKind) i);

                assert_non_null(name);
                assert_int_equal(strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
                                              "yz"),
                                strlen(name));
                assert_int_equal(
                                err_kind_from_name(name), i); /* the first with this name: unique */
                assert_in_range(err_kind_exit((ErrKind) i), 1, 6);
        }
}

static void what_is_no_kind_is_failed(void **state _unused_) {
        assert_string_equal(err_kind_name(_ERR_KIND_MAX), "Failed");
        assert_string_equal(err_kind_name((ErrKind) -1), "Failed");
        assert_int_equal(err_kind_exit(_ERR_KIND_MAX), 1);
        assert_int_equal(err_kind_exit((ErrKind) -1), 1);
        assert_int_equal(err_kind_from_name("NoSuchKind"), _ERR_KIND_INVALID);
        assert_int_equal(err_kind_from_name("nospace"), _ERR_KIND_INVALID);
        assert_int_equal(err_kind_from_name(""), _ERR_KIND_INVALID);
        assert_int_equal(err_kind_from_name(NULL), _ERR_KIND_INVALID);
}

static void the_kind_follows_from_the_code(void **state _unused_) {
        static const struct {
                int code;
                ErrKind kind;
        } table[] = {{ENOSPC, ERR_NO_SPACE}, {EDQUOT, ERR_QUOTA}, {EROFS, ERR_READ_ONLY},
                        {ENOMEM, ERR_NO_MEMORY}, {EBUSY, ERR_BUSY}, {ECANCELED, ERR_CANCELLED},
                        {EIO, ERR_FAILED}, {ENOENT, ERR_FAILED}};

        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                for (int sign = -1; sign <= 1; sign += 2) {
                        _cleanup_(err_freep) Err *a = NULL, *b = NULL, *c = NULL;

                        assert_int_equal(err_new(&a, sign * table[i].code, "x"), -table[i].code);
                        assert_int_equal(err_sys(&b, sign * table[i].code, "x"), -table[i].code);
                        assert_int_equal(err_add(&c, -table[i].code, "x"), -table[i].code);
                        assert_int_equal(err_kind_of(a), table[i].kind);
                        assert_int_equal(err_kind_of(b), table[i].kind);
                        assert_int_equal(err_kind_of(c), table[i].kind);
                        assert_int_equal(err_code(a), -table[i].code);
                }
}

static void each_layer_adds_a_clause_in_front(void **state _unused_) {
        _cleanup_(err_freep) Err *e = NULL;

        assert_int_equal(err_kind(&e, ERR_VERIFY_FAILED, EIO, "digest of %s", "usr"), -EIO);
        assert_int_equal(err_add(&e, -EIO, "verify slot %u", 7u), -EIO);
        assert_int_equal(err_add(&e, -EIO, "update"), -EIO);
        assert_string_equal(err_text(e), "update: verify slot 7: digest of usr");
        assert_int_equal(err_kind_of(e), ERR_VERIFY_FAILED);
}

static void a_system_call_speaks_last(void **state _unused_) {
        _cleanup_(err_freep) Err *e = NULL;

        err_sys(&e, ENOSPC, "write %s", "journal");
        assert_string_equal(err_text(e), "write journal: No space left on device");
}

static void a_new_story_replaces_the_old(void **state _unused_) {
        _cleanup_(err_freep) Err *e = NULL;

        err_new(&e, EIO, "first");
        err_new(&e, ENOSPC, "second");
        assert_string_equal(err_text(e), "second");
        assert_int_equal(err_code(e), -ENOSPC);
}

static void without_a_place_only_the_code_comes_back(void **state _unused_) {
        assert_int_equal(err_new(NULL, EIO, "x"), -EIO);
        assert_int_equal(err_kind(NULL, ERR_BUSY, -EBUSY, "x"), -EBUSY);
        assert_int_equal(err_sys(NULL, EIO, "x"), -EIO);
        assert_int_equal(err_add(NULL, -EIO, "x"), -EIO);
}

static void no_error_object_means_no_memory(void **state _unused_) {
        assert_string_equal(err_text(NULL), "out of memory");
        assert_int_equal(err_kind_of(NULL), ERR_NO_MEMORY);
        assert_int_equal(err_code(NULL), -ENOMEM);
        assert_null(err_free(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                        CASE(names_and_exit_codes_are_the_contract),
                        CASE(every_kind_has_a_name_of_its_own),
                        CASE(what_is_no_kind_is_failed),
                        CASE(the_kind_follows_from_the_code),
                        CASE(each_layer_adds_a_clause_in_front),
                        CASE(a_system_call_speaks_last),
                        CASE(a_new_story_replaces_the_old),
                        CASE(without_a_place_only_the_code_comes_back),
                        CASE(no_error_object_means_no_memory),
        };

        return cmocka_run_group_tests_name("base/err", tests, NULL, NULL);
}
