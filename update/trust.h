/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* update/trust.h - a manifest as it came from anybody becomes one that this machine's keys vouch for. */
#pragma once

#include "stream/manifest.h"
#include "update/machine.h"

typedef struct TrustArgs {
        Machine *m;
        int fd;      /* of the manifest; read whole, once */
        bool always; /* signed it must be, with Verification=none too */
        void *userdata;
        bool (*cancelled)(void *userdata); /* also while nothing comes */
} TrustArgs;

/* With Verification=none, unless @always, the signatures are not looked at; everything else is. Errors: those of
 * keyring_load(), signed_text_split(), keyring_verify(), manifest_parse(), ERR_STALLED, ERR_BAD_INPUT, ERR_CANCELLED. */
int trust_read(const TrustArgs *args, Manifest **ret, Err **reterr);

/* Could anything be installed? NULL, or why not as a sentence, new string. */
char *trust_problem(const Machine *m);
