/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/certificate.h - authorities and signers for tests of signatures with certificates. */
#pragma once

#include "tests/unit/signed-image.h"

#define CERT_NOW 1750000000 /* what open_manifest() takes for now */
#define DAY      86400

typedef struct Cert {
        EVP_PKEY *key;
        X509 *x509;
} Cert;

/* Valid @from and @to seconds after CERT_NOW. @key: taken; NULL: a new one. @issuer NULL: its own. @usage: extended key
 * usage, may be empty; NULL: an authority. */
Cert make_cert(EVP_PKEY *key, const char *name, const Cert *issuer, const char *usage, long from,
                long to);
void cert_done(Cert *c);

/* A keyring with this anchor only. */
Keyring *trust_anchor(X509 *anchor);
