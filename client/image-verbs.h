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

/* Signs @text with every --key=; new string. */
int image_sign_text(Client *c, const char *text, size_t size, char **ret, Err **reterr);

/* The passphrase that --passphrase-file names, or NULL; new string. */
int image_passphrase(Client *c, char **ret, Err **reterr);

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

/* Replaces @path by @size bytes of @data. */
int image_write_file(const char *path, const void *data, size_t size, Err **reterr);
