/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/install.h - one update, from the descriptors that were handed in to what its steps need. Between install.c and
 * install-open.c. */
#pragma once

#include "update/incoming.h"
#include "update/job.h"
#include "update/kept.h"
#include "update/plan.h"

typedef struct Install {
        Job *job;
        UpdateOptions options;
        bool dry_run;
        Manifest *manifest; /* NULL: the image has none, and needs none */
        Kept kept;
        bool reading; /* the image itself was looked at */
        bool scrub;   /* what it stands on is read first */
        Stream *stream;
        Plan plan;
        char quarantine[32];
        char *slot, *note; /* the slot backend's choice, where it has one */
        int image_fd;      /* directory in the quarantine that takes the subvolumes */
        Incoming incoming;
} Install;

/* Everything before the first step: who signed it, whether it may come, the head of the image, where it will go. Changes
 * nothing, but that it gives up what was kept of another image. */
int install_open(Install *in, int image_fd, int manifest_fd, Err **reterr);
