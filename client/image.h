/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/image.h - IMAGE|-|URL as a descriptor for the daemon, with what can be told about it here. */
#pragma once

#include "client/client.h"
#include "client/download.h"

typedef struct Image {
        int fd;             /* opened for reading; -1 when closed */
        int manifest;       /* another descriptor; at most 0: there is none */
        char *name;         /* what people call it: the last component */
        uint64_t size;      /* bytes, 0: not known */
        uint64_t offset;    /* of the byte that fd begins with */
        Download *download; /* what feeds fd, NULL where fd is the image itself */
} Image;

/* Looks at what can be seen from here: there, readable, not a directory, not empty. */
int image_open(const char *where, unsigned retries, Image *ret, Err **reterr);
void image_done(Image *i);

/* resume.c: where @image is a download and the machine holds its beginning, loads the rest alone. */
int image_resume(Client *c, const char *url, unsigned retries, Image *image, Err **reterr);

/* update.c: do the options fit each other, and is there an image where one is wanted? */
int update_check_use(const Options *o, int argc, Err **reterr);

/* update.c: the options of update judged, then image_open(). */
int update_open(Client *c, const char *where, Image *ret, Err **reterr);
