/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/image-verbs.h - the verbs of abctl-image, and what they share. No daemon, no bus. */
#pragma once

#include "client/client.h"
#include "stream/keys.h"
#include "stream/signer.h"

int verb_create(Client *c, int argc, char *argv[], Err **reterr);
int verb_sign(Client *c, int argc, char *argv[], Err **reterr);
int verb_info(Client *c, int argc, char *argv[], Err **reterr);
int verb_verify(Client *c, int argc, char *argv[], Err **reterr);
int verb_keygen(Client *c, int argc, char *argv[], Err **reterr);

/* Every --key=, opened: what is wrong with one, and what has to be asked for, comes before long work. */
typedef struct ImageSigners {
        Signer signers[OPTION_LIST_MAX];
        size_t n;
} ImageSigners;

int image_signers(Client *c, ImageSigners *ret, Err **reterr);
void image_signers_done(ImageSigners *s);

/* Signs @text with each of them; new string. */
int image_sign_text(const ImageSigners *s, const char *text, char **ret, Err **reterr);

/* Whom to believe, and when that is. */
typedef struct ImageTrust {
        Keyring *ring;
        unsigned threshold;
        uint64_t now;
} ImageTrust;

/* What the options say, else what a machine has: its keys and its Threshold=. */
int image_trust(Client *c, ImageTrust *ret, Err **reterr);
void image_trust_done(ImageTrust *t);
int image_trust_verify(const ImageTrust *t, const SignedText *text, Err **reterr);

/* image-file.c: a draft, PATH.new, is whole on the disk before it takes the place of @path. Each returns when what it did
 * outlasts a power cut; all may be repeated. */
int image_write_draft(const char *path, const void *data, size_t size, Err **reterr);
int image_take_draft(const char *path, Err **reterr);
int image_remove(const char *path, Err **reterr);
void image_drop_draft(const char *path);

/* What names are in the directory of @path. */
int image_sync_names(const char *path, Err **reterr);
