/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/download.h - a URL as a pipe: a child process without privileges (abctl-fetch) loads it and continues where a
 * connection broke. The root daemon never sees the network, and this process never sees the bytes. */
#pragma once

#include "base/err.h"

typedef struct Download Download;

typedef enum DownloadStep {
        DOWNLOAD_GOES_ON,
        DOWNLOAD_ENDED, /* every byte is in the pipe and the pipe is at its end, or its reader has left */
        DOWNLOAD_FAILED, /* the pipe is not at its end: its reader still waits */
} DownloadStep;

/* Starts to load @url (http, https, file), from byte @offset on, and waits until the first byte is there. A broken
 * connection is continued @retries times in a row at most; the count begins anew with each byte. */
int download_start(
                const char *url, unsigned retries, uint64_t offset, Download **ret, Err **reterr);

/* Ends the child where it still runs. After DOWNLOAD_FAILED this is what ends the pipe. */
Download *download_free(Download *d);
DEFINE_CLEANUP(Download, download_free)

/* The reading end, for the daemon; once. The caller closes it. */
int download_take_pipe(Download *d);
/* Bytes as the server announced them, 0: it did not; and the last component of the URL. */
uint64_t download_size(const Download *d);
const char *download_name(const Download *d);

/* Readable when there is news; then download_step() takes one piece of it. A note is a new string for people. */
int download_fd(const Download *d);
DownloadStep download_step(Download *d, char **ret_note, Err **reterr);
