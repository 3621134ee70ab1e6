/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/fetch-response.h"

static const char *header(const Fetch *f, const char *name) {
        struct curl_header *h;

        if (curl_easy_header(f->curl, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
                return NULL;
        return h->value;
}

long fetch_status(const Fetch *f) {
        long code = 0;

        (void) curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &code);
        return code;
}

int fetch_changed(Fetch *f) {
        return err_kind(&f->why, ERR_BAD_INPUT, ESTALE,
                        "%s changed on the server while it was loaded: start again", f->url);
}

/* The last component of the URL, without its query. */
static char *url_name(const char *url) {
        CURLU *u = curl_url();
        char *path = NULL, *name = NULL;
        const char *slash;

        if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                        curl_url_get(u, CURLUPART_PATH, &path, CURLU_URLDECODE) == CURLUE_OK) {
                slash = strrchr(path, '/');
                name = strdup(slash ? slash + 1 : path);
        }
        curl_free(path);
        curl_url_cleanup(u);
        return name;
}

static int first_response(Fetch *f) {
        _cleanup_(freep) char *name = url_name(f->url);
        const char *etag = header(f, "ETag"), *source = NULL;
        curl_off_t length = -1;

        (void) curl_easy_getinfo(f->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        (void) curl_easy_getinfo(f->curl, CURLINFO_EFFECTIVE_URL, &source);
        f->total = length > 0 ? (uint64_t) length : 0;
        if (f->done > 0 && f->local)
                f->total = 0; /* it says what is left */
        /* a weak tag promises the same meaning, not the same bytes */
        if (etag && *etag == '"' && str_set(&f->etag, etag) < 0)
                return -ENOMEM;
        if (str_set(&f->modified, header(f, "Last-Modified")) < 0 ||
                        str_set(&f->source, source) < 0)
                return -ENOMEM;
        f->started = true;
        return str_set(&f->name, name && *name ? name : "download");
}

/* A number and the character behind it; returns what follows, or NULL. */
static const char *take_number(const char *s, char behind, uint64_t *ret) {
        char *end = NULL;

        if (!s || *s < '0' || *s > '9')
                return NULL;
        errno = 0;
        *ret = strtoull(s, &end, 10);
        return errno == 0 && *end == behind ? end + (behind ? 1 : 0) : NULL;
}

/* "bytes 100-199/200", or "bytes 100-199/" with a star, must begin where we stand and speak of the same file. */
static int continued_response(Fetch *f) {
        const char *range = header(f, "Content-Range"), *etag = header(f, "ETag"),
                   *modified = header(f, "Last-Modified");
        uint64_t from = 0, to, total;

        range = take_number(range ? str_after(range, "bytes ") : NULL, '-', &from);
        range = take_number(range, '/', &to);
        if (!range)
                return err_kind(&f->why, ERR_BAD_INPUT, EBADMSG,
                                "The server of %s does not say which range it sends", f->url);
        if (!take_number(range, '\0', &total))
                total = f->total;
        if (f->total == 0)
                f->total = total;
        if (from != f->done || total != f->total)
                return fetch_changed(f);
        if ((f->etag && etag && !str_eq(etag, f->etag)) ||
                        (f->modified && modified && !str_eq(modified, f->modified)))
                return fetch_changed(f);
        return 0;
}

/* The first thing that is wanted is not the first byte. */
static int first_range(Fetch *f) {
        int r = first_response(f);

        if (r < 0)
                return r;
        f->total = 0; /* that was the length of the rest */
        return continued_response(f);
}

/* The whole file although we asked for its rest: either it is another one, or the server knows no ranges. */
static int whole_again(Fetch *f) {
        const char *etag = header(f, "ETag"), *modified = header(f, "Last-Modified");
        curl_off_t length = -1;

        (void) curl_easy_getinfo(f->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        if ((f->etag && !str_eq(etag, f->etag)) ||
                        (f->modified && !str_eq(modified, f->modified)) ||
                        (f->total > 0 && length > 0 && (uint64_t) length != f->total))
                return fetch_changed(f);
        return err_kind(&f->why, ERR_BAD_INPUT, ENOTSUP,
                        "The connection broke, and the server of %s cannot continue a file (it "
                        "knows no ranges): load the file first, then run 'abctl update FILE'",
                        f->url);
}

int fetch_check_response(Fetch *f) {
        long code = f->local ? HTTP_OK : fetch_status(f);

        if (f->checked)
                return 0;
        if (code == HTTP_OK && !f->started) {
                f->checked = true;
                f->skip = f->local ? 0 : f->done; /* a server that knows no ranges */
                return first_response(f);
        }
        if (code == HTTP_PARTIAL && !f->started && f->done > 0) {
                f->checked = true;
                return first_range(f);
        }
        if (code == HTTP_OK && f->done > 0)
                return whole_again(f);
        if (code == HTTP_PARTIAL && f->started) {
                f->checked = true;
                return continued_response(f);
        }
        return -EBADMSG; /* the page of an error; judge() reads the code */
}
