/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "base/err.h"

struct Err {
        int code;
        ErrKind kind;
        char *text; /* NULL: memory was short */
};

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOTHING = 3, EXIT_BUSY = 5, EXIT_REFUSED = 6 };

static const struct {
        const char *name;
        int exit;
} kinds[_ERR_KIND_MAX] = {
                [ERR_FAILED] = {"Failed", EXIT_FAILED},
                [ERR_INVALID_ARGUMENT] = {"InvalidArgument", EXIT_USAGE},
                [ERR_NOT_SUPPORTED] = {"NotSupported", EXIT_FAILED},
                [ERR_BAD_CONFIG] = {"BadConfig", EXIT_FAILED},
                [ERR_NOT_BTRFS] = {"NotBtrfs", EXIT_FAILED},
                [ERR_WRONG_LAYOUT] = {"WrongLayout", EXIT_FAILED},
                [ERR_READ_ONLY] = {"ReadOnlyFileSystem", EXIT_FAILED},
                [ERR_BAD_INPUT] = {"BadInput", EXIT_FAILED},
                [ERR_BAD_STREAM] = {"BadStream", EXIT_FAILED},
                [ERR_TRUNCATED] = {"Truncated", EXIT_FAILED},
                [ERR_STALLED] = {"Stalled", EXIT_FAILED},
                [ERR_UNSAFE_PATH] = {"UnsafePath", EXIT_FAILED},
                [ERR_FORBIDDEN_CONTENT] = {"ForbiddenContent", EXIT_REFUSED},
                [ERR_LIMIT_EXCEEDED] = {"LimitExceeded", EXIT_FAILED},
                [ERR_PARENT_MISSING] = {"ParentMissing", EXIT_FAILED},
                [ERR_UNKNOWN_SUBVOLUME] = {"UnknownSubvolume", EXIT_FAILED},
                [ERR_NOT_SIGNED] = {"NotSigned", EXIT_REFUSED},
                [ERR_VERIFY_FAILED] = {"VerifyFailed", EXIT_FAILED},
                [ERR_ALREADY_INSTALLED] = {"AlreadyInstalled", EXIT_NOTHING},
                [ERR_REFUSED] = {"Refused", EXIT_REFUSED},
                [ERR_NO_SPACE] = {"NoSpace", EXIT_FAILED},
                [ERR_QUOTA] = {"QuotaExceeded", EXIT_FAILED},
                [ERR_BUSY] = {"Busy", EXIT_BUSY},
                [ERR_CONFLICT] = {"Conflict", EXIT_FAILED},
                [ERR_UNKNOWN_SLOT] = {"UnknownSlot", EXIT_FAILED},
                [ERR_UNKNOWN_JOB] = {"UnknownJob", EXIT_FAILED},
                [ERR_SLOT_IN_USE] = {"SlotInUse", EXIT_FAILED},
                [ERR_SLOT_PINNED] = {"SlotPinned", EXIT_FAILED},
                [ERR_NO_FALLBACK] = {"NoFallback", EXIT_FAILED},
                [ERR_NOTHING_TO_DO] = {"NothingToDo", EXIT_NOTHING},
                [ERR_TRANSACTION_OPEN] = {"TransactionOpen", EXIT_BUSY},
                [ERR_NO_TRANSACTION] = {"NoTransaction", EXIT_FAILED},
                [ERR_CANCELLED] = {"Cancelled", EXIT_FAILED},
                [ERR_NOT_CANCELLABLE] = {"NotCancellable", EXIT_FAILED},
                [ERR_WORKER_DIED] = {"WorkerDied", EXIT_FAILED},
                [ERR_NO_MEMORY] = {"NoMemory", EXIT_FAILED},
                [ERR_ACCESS_DENIED] = {"AccessDenied", EXIT_REFUSED},
                [ERR_NO_DAEMON] = {"NoDaemon", EXIT_FAILED},
                [ERR_BAD_MANIFEST] = {"BadManifest", EXIT_REFUSED},
                [ERR_BAD_SIGNATURE] = {"BadSignature", EXIT_REFUSED},
                [ERR_UNKNOWN_KEY] = {"UnknownKey", EXIT_REFUSED},
                [ERR_REVOKED_KEY] = {"RevokedKey", EXIT_REFUSED},
                [ERR_NO_KEYS] = {"NoKeys", EXIT_REFUSED},
                [ERR_BAD_IMAGE] = {"BadImage", EXIT_REFUSED},
                [ERR_NOT_COMPATIBLE] = {"NotCompatible", EXIT_REFUSED},
                [ERR_DOWNGRADE] = {"Downgrade", EXIT_REFUSED},
                [ERR_EXPIRED] = {"Expired", EXIT_REFUSED},
                [ERR_BAD_DEVICE] = {"BadDevice", EXIT_FAILED},
                [ERR_AMBIGUOUS_DEVICE] = {"AmbiguousDevice", EXIT_FAILED},
                [ERR_NOT_SEALED] = {"NotSealed", EXIT_FAILED},
};

static ErrKind kind_of_code(int code) {
        switch (-code) {
        case ENOSPC: return ERR_NO_SPACE;
        case EDQUOT: return ERR_QUOTA;
        case EROFS: return ERR_READ_ONLY;
        case ENOMEM: return ERR_NO_MEMORY;
        case EBUSY: return ERR_BUSY;
        case ECANCELED: return ERR_CANCELLED;
        default: return ERR_FAILED;
        }
}

_printf_(5, 0) static int err_make(
                Err **reterr, ErrKind kind, int code, bool sys, const char *fmt, va_list ap) {
        _cleanup_(freep) char *text = NULL;
        Err *e;

        code = code > 0 ? -code : code;
        if (!reterr)
                return code;

        e = calloc(1, sizeof(*e));
        if (e) {
                *e = (Err){.code = code, .kind = kind};
                if (vasprintf(&text, fmt, ap) < 0)
                        text = NULL;
                if (text && sys)
                        e->text = str_printf("%s: %s", text, strerror(-code));
                else
                        e->text = MOVE(text);
        }
        err_free(*reterr);
        *reterr = e;
        return code;
}

int err_new(Err **reterr, int code, const char *fmt, ...) {
        va_list ap;
        int r;

        va_start(ap, fmt);
        r = err_make(reterr, kind_of_code(code > 0 ? -code : code), code, /* sys= */ false, fmt,
                        ap);
        va_end(ap);
        return r;
}

int err_kind(Err **reterr, ErrKind kind, int code, const char *fmt, ...) {
        va_list ap;
        int r;

        va_start(ap, fmt);
        r = err_make(reterr, kind, code, /* sys= */ false, fmt, ap);
        va_end(ap);
        return r;
}

int err_sys(Err **reterr, int code, const char *fmt, ...) {
        va_list ap;
        int r;

        va_start(ap, fmt);
        r = err_make(reterr, kind_of_code(code > 0 ? -code : code), code, /* sys= */ true, fmt, ap);
        va_end(ap);
        return r;
}

int err_add(Err **reterr, int r, const char *fmt, ...) {
        _cleanup_(freep) char *clause = NULL;
        char *text;
        va_list ap;
        int n;

        if (!reterr)
                return r;

        va_start(ap, fmt);
        n = vasprintf(&clause, fmt, ap);
        va_end(ap);
        if (n < 0) {
                clause = NULL;
                return r;
        }

        if (!*reterr)
                return err_sys(reterr, r, "%s", clause);
        text = str_printf("%s: %s", clause, err_text(*reterr));
        if (text) {
                free((*reterr)->text);
                (*reterr)->text = text;
        }
        return r;
}

const char *err_text(const Err *e) {
        return e && e->text ? e->text : "out of memory";
}

ErrKind err_kind_of(const Err *e) {
        return e ? e->kind : ERR_NO_MEMORY;
}

int err_code(const Err *e) {
        return e ? e->code : -ENOMEM;
}

Err *err_free(Err *e) {
        if (e) {
                free(e->text);
                free(e);
        }
        return NULL;
}

const char *err_kind_name(ErrKind kind) {
        return kind >= 0 && kind < _ERR_KIND_MAX ? kinds[kind].name : kinds[ERR_FAILED].name;
}

ErrKind err_kind_from_name(const char *name) {
        for (int i = 0; i < _ERR_KIND_MAX; i++)
                if (str_eq(kinds[i].name, name))
                        return (ErrKind) i;
        return _ERR_KIND_INVALID;
}

int err_kind_exit(ErrKind kind) {
        return kind >= 0 && kind < _ERR_KIND_MAX ? kinds[kind].exit : EXIT_FAILED;
}
