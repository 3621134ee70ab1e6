/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/image-verbs.h - what "abctl image" can do; each takes the file that was named. No daemon, no bus. */
#pragma once

#include "client/client.h"
#include "stream/signer.h"

int image_create(Client *c, Err **reterr);
int image_sign(Client *c, const char *manifest, Err **reterr);
int image_info(Client *c, const char *manifest, Err **reterr);
int image_verify(Client *c, const char *image, Err **reterr);
int image_keygen(Client *c, const char *file, Err **reterr);

/* Signs @text with every --key=; new string. */
int image_sign_text(Client *c, const char *text, size_t size, char **ret, Err **reterr);

/* The passphrase that --passphrase-file names, or NULL; new string. */
int image_passphrase(Client *c, char **ret, Err **reterr);

/* Replaces @path by @size bytes of @data. */
int image_write_file(const char *path, const void *data, size_t size, Err **reterr);
