/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/fetch-response.h - whether what a server sends is the file, or the rest of the same file. Reads headers; moves no
 * byte. */
#pragma once

#include <curl/curl.h>

#include "base/err.h"

#define HTTP_OK           200
#define HTTP_PARTIAL      206
#define HTTP_TIMEOUT      408
#define HTTP_RANGE        416
#define HTTP_TOO_MANY     429
#define HTTP_SERVER_ERROR 500

typedef struct Fetch {
        CURL *curl;
        const char *url;
        bool local;     /* file: no server, no HTTP */
        uint64_t total; /* bytes of the file, 0: not known */
        uint64_t done;  /* the byte of the file that is written next */
        uint64_t skip;  /* bytes before it that the server sends all the same */
        bool started;   /* the head was reported */
        bool checked;   /* the response of this connection was looked at */
        bool closed;    /* the reader has left */
        char *source;   /* where redirections led to first: another mirror may have another file */
        char *name;     /* for people: the last component of the URL */
        char *etag;     /* strong; what proves that the file is the same later */
        char *modified;
        Err *why; /* what no retry will heal */
} Fetch;

/* The status of the last response, 0 where there was none. */
long fetch_status(const Fetch *f);

/* Looks at a response once, before its first byte is used; notes what the first one says of the file. Returns <0 when the
 * byte must not be used: with f->why when no retry will heal that. */
int fetch_check_response(Fetch *f);

/* The file is another one by now: fills f->why. */
int fetch_changed(Fetch *f);
