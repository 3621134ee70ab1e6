/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/fetch.c - abctl-fetch: loads one URL into a pipe, and continues where a connection broke, or says why that would
 * not be safe. Runs as nobody where abctl runs as root. */
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <time.h>

#include "client/fetch-response.h"
#include "client/fetch.h"

#define NOBODY             65534
#define CONNECT_SECONDS    15L
#define STALL_SECONDS      30L
#define REDIRECTS_MAX      10L
#define WAIT_FIRST_SECONDS 1
#define WAIT_MAX_SECONDS   30
#define RETRIES_MAX        100

static void news(const char *fmt, ...) _printf_(1, 2);
static void news(const char *fmt, ...) {
        _cleanup_(freep) char *text = NULL, *line = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        line = n < 0 ? NULL : str_printable(text);
        if (n < 0)
                text = NULL;
        /* one write, so that the reader gets whole lines; without a reader there is nobody to tell */
        if (line)
                dprintf(FETCH_NEWS_FD, "%.*s\n", FETCH_LINE_MAX - 2, line);
}

static size_t on_bytes(char *data, size_t size, size_t n, void *userdata) {
        Fetch *f = userdata;
        size_t all = size * n, left = all;
        bool first = !f->started;

        if (fetch_check_response(f) < 0)
                return CURL_WRITEFUNC_ERROR;
        if (first)
                news("head %" PRIu64 " %s", f->total, f->name);
        if (f->skip > 0) {
                size_t k = f->skip < left ? (size_t) f->skip : left;

                f->skip -= k;
                data += k;
                left -= k;
        }
        while (left > 0) {
                ssize_t k = write(FETCH_OUT_FD, data, left);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0) {
                        f->closed = true;
                        return CURL_WRITEFUNC_ERROR;
                }
                data += k;
                left -= (size_t) k;
                f->done += (uint64_t) k;
        }
        return all;
}

/* Whether trying again may help. @code 0: the connection itself failed. */
static bool is_passing(const Fetch *f, CURLcode r, long code) {
        if (code == HTTP_TIMEOUT || code == HTTP_TOO_MANY || code >= HTTP_SERVER_ERROR)
                return true;
        switch (r) {
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_COULDNT_CONNECT: return f->started; /* else it is a typing error, more likely */
        case CURLE_PARTIAL_FILE:
        case CURLE_OPERATION_TIMEDOUT:
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_GOT_NOTHING:
        case CURLE_SEND_ERROR:
        case CURLE_RECV_ERROR:
        case CURLE_HTTP2:
        case CURLE_HTTP2_STREAM: return true;
        default: return false;
        }
}

/* After one connection: 1 the file is whole, 0 try again, <0 give up. */
static int judge(Fetch *f, CURLcode r, const char *detail) {
        long code = f->local ? 0 : fetch_status(f);
        char bytes[16];

        if (f->why)
                return err_code(f->why);
        if (f->closed)
                return -EPIPE;
        if (f->started && f->total > 0 && f->done == f->total)
                return 1;
        if (r == CURLE_OK && f->checked && (f->total == 0 || f->done >= f->total))
                return 1;
        if (r == CURLE_UNSUPPORTED_PROTOCOL && code >= 300 && code < 400)
                return err_kind(&f->why, ERR_BAD_INPUT, EPROTONOSUPPORT,
                                "The server of %s leads to an address that is not safe to follow: "
                                "%s",
                                f->url, detail);
        if (r == CURLE_UNSUPPORTED_PROTOCOL)
                return err_kind(&f->why, ERR_INVALID_ARGUMENT, EPROTONOSUPPORT,
                                "%s: only http, https and file are known here. Another program may "
                                "load it: 'PROGRAM | abctl update -'",
                                f->url);
        if (r == CURLE_URL_MALFORMAT)
                return err_kind(&f->why, ERR_INVALID_ARGUMENT, EINVAL, "%s is no URL", f->url);
        if (r == CURLE_OK && (code == HTTP_OK || f->local) && !f->started)
                return err_kind(&f->why, ERR_BAD_INPUT, ENODATA, "%s is empty", f->url);
        if (code == HTTP_RANGE && f->started)
                return fetch_changed(f);
        if (code >= 400 && !f->checked && !is_passing(f, r, code))
                return err_kind(&f->why, ERR_BAD_INPUT, ENOENT,
                                "The server refuses %s: HTTP status %ld%s", f->url, code,
                                code == 404                  ? ", no such file"
                                : code == 401 || code == 403 ? ", not allowed"
                                                             : "");
        if (!is_passing(f, r, f->checked ? 0 : code))
                return err_kind(&f->why, ERR_BAD_INPUT, EIO, "Cannot load %s: %s", f->url, detail);
        if (f->done > 0 && !f->etag && !f->modified)
                return err_kind(&f->why, ERR_BAD_INPUT, ENOTSUP,
                                "The connection broke after %s, and the server of %s gives neither "
                                "ETag nor Last-Modified to tell whether the rest belongs to it: "
                                "load the file first, then run 'abctl update FILE'",
                                format_bytes(bytes, f->done), f->url);
        return 0;
}

static CURLcode connect_once(Fetch *f, bool original, char detail[static CURL_ERROR_SIZE]) {
        _cleanup_(freep) char *range = NULL, *condition = NULL;
        struct curl_slist *headers = NULL;
        CURLcode r;

        f->checked = false;
        *detail = '\0';
        if (f->done > 0) {
                range = str_printf("%" PRIu64 "-", f->done);
                if (f->started) {
                        condition = str_printf("If-Range: %s", f->etag ? f->etag : f->modified);
                        headers = condition ? curl_slist_append(NULL, condition) : NULL;
                }
                if (!range || (f->started && !headers))
                        return CURLE_OUT_OF_MEMORY;
        }
        (void) curl_easy_setopt(f->curl, CURLOPT_URL, f->source && !original ? f->source : f->url);
        (void) curl_easy_setopt(f->curl, CURLOPT_RANGE, range);
        (void) curl_easy_setopt(f->curl, CURLOPT_HTTPHEADER, headers);
        (void) curl_easy_setopt(f->curl, CURLOPT_ERRORBUFFER, detail);
        r = curl_easy_perform(f->curl);
        (void) curl_easy_setopt(f->curl, CURLOPT_HTTPHEADER, NULL);
        curl_slist_free_all(headers);
        if (!*detail)
                snprintf(detail, CURL_ERROR_SIZE, "%s", curl_easy_strerror(r));
        return r;
}

/* Waits before the next attempt; returns early when the reader leaves. */
static void wait_before(const Fetch *f, unsigned attempt, const char *detail, unsigned retries) {
        curl_off_t wish = 0;
        char bytes[16];
        int seconds = attempt < 6 ? WAIT_FIRST_SECONDS << (attempt - 1) : WAIT_MAX_SECONDS;

        (void) curl_easy_getinfo(f->curl, CURLINFO_RETRY_AFTER, &wish);
        if (wish > seconds)
                seconds = wish > WAIT_MAX_SECONDS ? WAIT_MAX_SECONDS : (int) wish;
        news("note The connection broke after %s (%s): attempt %u of %u in %d s.",
                        format_bytes(bytes, f->done), detail, attempt, retries, seconds);
        (void) poll(&(struct pollfd){.fd = FETCH_OUT_FD}, 1, 1000 * seconds);
}

static int load(Fetch *f, unsigned retries) {
        char detail[CURL_ERROR_SIZE];
        bool original = false;
        unsigned attempt = 0;

        for (;;) {
                uint64_t before = f->done;
                CURLcode r = connect_once(f, original, detail);
                long code = fetch_status(f);
                int verdict;

                /* the address that a redirection gave may have been valid for a while only */
                if (!original && f->source && !str_eq(f->source, f->url) && code >= 400 &&
                                code < HTTP_SERVER_ERROR && code != HTTP_RANGE) {
                        original = true;
                        continue;
                }
                if (!f->checked && code >= 400)
                        snprintf(detail, sizeof(detail), "HTTP status %ld", code);
                verdict = judge(f, r, detail);
                if (verdict != 0)
                        return verdict;
                attempt = f->done > before ? 1 : attempt + 1;
                if (attempt > retries)
                        return err_kind(&f->why, ERR_BAD_INPUT, EIO,
                                        "Cannot load %s: %s, and %u attempts did not help", f->url,
                                        detail, retries);
                wait_before(f, attempt, detail, retries);
        }
}

static int set_up(Fetch *f) {
        const char *authorities = getenv("SSL_CERT_FILE"), *folder = getenv("SSL_CERT_DIR");
        bool secure = strncasecmp(f->url, "https:", 6) == 0;

        f->local = strncasecmp(f->url, "file:", 5) == 0;
        f->curl = curl_easy_init();
        if (!f->curl)
                return err_sys(&f->why, ENOMEM, "Cannot load %s", f->url);
        if (curl_easy_setopt(f->curl, CURLOPT_PROTOCOLS_STR, "http,https,file") != CURLE_OK ||
                        curl_easy_setopt(f->curl, CURLOPT_REDIR_PROTOCOLS_STR,
                                        secure ? "https" : "http,https") != CURLE_OK)
                return err_new(&f->why, EPROTONOSUPPORT, "This libcurl knows no HTTPS");
        /* where libcurl was built with a path of its own it does not ask for these */
        if (authorities && *authorities)
                (void) curl_easy_setopt(f->curl, CURLOPT_CAINFO, authorities);
        if (folder && *folder)
                (void) curl_easy_setopt(f->curl, CURLOPT_CAPATH, folder);
        (void) curl_easy_setopt(f->curl, CURLOPT_FOLLOWLOCATION, 1L);
        (void) curl_easy_setopt(f->curl, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
        (void) curl_easy_setopt(f->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
        (void) curl_easy_setopt(f->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        (void) curl_easy_setopt(f->curl, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
        (void) curl_easy_setopt(f->curl, CURLOPT_NOSIGNAL, 1L);
        (void) curl_easy_setopt(f->curl, CURLOPT_USERAGENT, "abctl/" ABUPDATE_VERSION);
        (void) curl_easy_setopt(f->curl, CURLOPT_WRITEFUNCTION, on_bytes);
        (void) curl_easy_setopt(f->curl, CURLOPT_WRITEDATA, f);
        return 0;
}

/* Whoever speaks with the network needs none of root's rights. A user namespace without nobody has no root to lose. */
static int drop_rights(Fetch *f) {
        pid_t parent = getppid();

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || chdir("/") < 0)
                return err_sys(&f->why, errno, "Cannot give up rights");
        if (geteuid() != 0 || f->local)
                return 0;
        if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                        setresuid(NOBODY, NOBODY, NOBODY) < 0)
                if (errno != EINVAL && errno != EPERM)
                        return err_sys(&f->why, errno, "Cannot become nobody");
        /* the kernel forgets this when the user changes */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                return err_new(&f->why, ESRCH, "abctl has gone");
        return 0;
}

int main(int argc, char *argv[]) {
        Fetch f = {0};
        uint64_t retries;
        int r;

        if (argc != 4 || parse_u64(argv[2], &retries) < 0 || retries > RETRIES_MAX ||
                        parse_u64(argv[3], &f.done) < 0) {
                fprintf(stderr, "abctl-fetch is a part of abctl: run 'abctl update URL'\n");
                return 2;
        }
        (void) signal(SIGPIPE, SIG_IGN);
        f.url = argv[1];
        r = set_up(&f);
        if (r >= 0)
                r = drop_rights(&f);
        if (r >= 0)
                r = load(&f, (unsigned) retries);
        if (r > 0)
                news("done");
        else if (f.closed)
                news("closed");
        else
                news("failed %s %s", err_kind_name(err_kind_of(f.why)), err_text(f.why));
        curl_easy_cleanup(f.curl);
        free(f.name);
        free(f.source);
        free(f.etag);
        free(f.modified);
        err_free(f.why);
        return r > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
