/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CMS with X.509: for makers who have certificates already. Every signer in it must be trusted: the chain ends at an
 * installed anchor, no installed list revokes a part of it, the certificate is for signing code, its time has not run out. */
#include <openssl/cms.h>
#include <openssl/x509v3.h>

#include "stream/keys.h"

static int bad(const Signature *s, const char *why, Err **reterr) {
        return err_kind(reterr, ERR_BAD_SIGNATURE, -EBADMSG,
                        "the CMS signature of key %s is not valid: %s", s->signer, why);
}

typedef struct Judging {
        const Keyring *ring;
        bool revoked; /* a key of the chain is on a list of fingerprints, that of the anchor among them */
        int error; /* what is wrong with the chain */
} Judging;

static bool revoked(const Keyring *ring, X509 *cert) {
        EVP_PKEY *key = cert ? X509_get0_pubkey(cert) : NULL;
        char fingerprint[FINGERPRINT_SIZE];

        return !key || fingerprint_of(key, fingerprint) < 0 || keyring_revokes(ring, fingerprint);
}

/* Called for every certificate of the chain, from the anchor down, and for what is wrong with it. No list of an issuer is
 * installed: then there is nothing to ask. A list that is too old refuses. */
static int on_certificate(int ok, X509_STORE_CTX *ctx) {
        Judging *j = X509_STORE_get_ex_data(X509_STORE_CTX_get0_store(ctx), /* app data */ 0);

        if (ok)
                j->revoked = j->revoked || revoked(j->ring, X509_STORE_CTX_get_current_cert(ctx));
        if (ok || X509_STORE_CTX_get_error(ctx) == X509_V_ERR_UNABLE_TO_GET_CRL)
                return 1;
        j->error = X509_STORE_CTX_get_error(ctx);
        return 0;
}

/* The chain does not lead to anybody who is trusted: then nobody claims trust. */
static bool is_stranger(int error) {
        switch (error) {
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN: return true;
        default: return false;
        }
}

/* The purposes that CMS_verify() would ask for are those of mail; code signing is asked for in check_signer(). */
static void set_rules(X509_STORE *store, uint64_t now, Judging *j) {
        X509_VERIFY_PARAM *p = X509_STORE_get0_param(store);

        X509_VERIFY_PARAM_set_purpose(p, X509_PURPOSE_ANY);
        X509_VERIFY_PARAM_set_auth_level(p, 2);
        X509_VERIFY_PARAM_set_time(p, (time_t) now);
        X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL |
                                                       X509_V_FLAG_X509_STRICT);
        X509_STORE_set_verify_cb(store, on_certificate);
        X509_STORE_set_ex_data(store, /* app data */ 0, j);
}

static const char *check_signer(X509 *cert) {
        uint32_t flags = X509_get_extension_flags(cert);

        if (!(flags & EXFLAG_XKUSAGE) || !(X509_get_extended_key_usage(cert) & XKU_CODE_SIGN))
                return "its certificate is not for signing code";
        if ((flags & EXFLAG_KUSAGE) && !(X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE))
                return "its certificate is not for signatures";
        return NULL;
}

static const char *check_digest(CMS_SignerInfo *si) {
        X509_ALGOR *digest = NULL;
        const ASN1_OBJECT *oid = NULL;

        CMS_SignerInfo_get0_algs(si, NULL, NULL, &digest, NULL);
        X509_ALGOR_get0(&oid, NULL, NULL, digest);
        switch (OBJ_obj2nid(oid)) {
        case NID_sha256:
        case NID_sha384:
        case NID_sha512: return NULL;
        default: return "its digest is not SHA-256, SHA-384 or SHA-512";
        }
}

/* Of the one signer that the line names: 0 or why not. */
static const char *check_signers(CMS_ContentInfo *cms, const Signature *s) {
        STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(cms);
        char fingerprint[FINGERPRINT_SIZE];
        const char *why;
        X509 *cert = NULL;

        if (sk_CMS_SignerInfo_num(infos) != 1)
                return "it has not exactly one signer; sign once for each";
        CMS_SignerInfo_get0_algs(sk_CMS_SignerInfo_value(infos, 0), NULL, &cert, NULL, NULL);
        if (!cert)
                return "the certificate of its signer is missing";
        if (fingerprint_of(X509_get0_pubkey(cert), fingerprint) < 0 ||
                        !str_eq(fingerprint, s->signer))
                return "another key has made it";
        if (CMS_unsigned_get_attr_count(sk_CMS_SignerInfo_value(infos, 0)) > 0)
                return "something in it is not signed";
        why = check_digest(sk_CMS_SignerInfo_value(infos, 0));
        return why ? why : check_signer(cert);
}

/* Is it by somebody whom an anchor vouches for? A chain that ends nowhere is an unknown key; every other fault is a
 * signature that claims trust and does not earn it. */
static int judge(const Keyring *ring, CMS_ContentInfo *cms, const Signature *s, const char *text,
                size_t size, uint64_t now, Err **reterr) {
        BIO *content = BIO_new_mem_buf(text, (int) size), *filter = BIO_new(BIO_f_null());
        Judging j = {.ring = ring, .error = X509_V_OK};
        const char *why;
        int ok;

        if (!content || !filter) {
                BIO_free(content);
                BIO_free(filter);
                return err_new(reterr, ENOMEM, "out of memory");
        }
        /* of a plain memory BIO CMS_verify() makes a copy, and leaks it where it does not know a digest */
        content = BIO_push(filter, content);
        set_rules(ring->store, now, &j);
        ok = CMS_verify(cms, NULL, ring->store, content, NULL, CMS_BINARY | CMS_NOCRL) == 1;
        BIO_free_all(content);
        X509_STORE_set_ex_data(ring->store, /* app data */ 0, NULL);
        if (!ok && is_stranger(j.error))
                return SIGNATURE_UNKNOWN;
        if (!ok)
                return bad(s,
                                j.error != X509_V_OK ? X509_verify_cert_error_string(j.error)
                                                     : crypto_error(),
                                reterr);
        why = check_signers(cms, s);
        if (why)
                return bad(s, why, reterr);
        return j.revoked ? SIGNATURE_REVOKED : SIGNATURE_VALID;
}

/* One encoding only, signed data only, nothing but what a verifier looks at. */
static bool well_formed(CMS_ContentInfo *cms, const Signature *s) {
        uint8_t *again = NULL;
        int n = i2d_CMS_ContentInfo(cms, &again);
        bool same = n >= 0 && (size_t) n == s->size && memcmp(again, s->data, s->size) == 0;

        OPENSSL_free(again);
        return same && OBJ_obj2nid(CMS_get0_type(cms)) == NID_pkcs7_signed &&
               OBJ_obj2nid(CMS_get0_eContentType(cms)) == NID_pkcs7_data &&
               CMS_is_detached(cms) == 1;
}

/* Whoever stole a key would bring one from before that was known. */
static bool holds_list(CMS_ContentInfo *cms) {
        STACK_OF(X509_CRL) *lists = CMS_get1_crls(cms);
        bool found = sk_X509_CRL_num(lists) > 0;

        sk_X509_CRL_pop_free(lists, X509_CRL_free);
        return found;
}

static int cms_verify(const Keyring *ring, const Signature *s, const char *text, size_t size,
                uint64_t now, Err **reterr) {
        const uint8_t *at = s->data;
        CMS_ContentInfo *cms;
        int r;

        if (ring->n_anchors == 0)
                return SIGNATURE_UNKNOWN;
        cms = d2i_CMS_ContentInfo(NULL, &at, (long) s->size);
        if (!cms)
                return bad(s, crypto_error(), reterr);
        if (!well_formed(cms, s))
                r = bad(s, "it is not a detached signature in DER", reterr);
        else if (holds_list(cms))
                r = bad(s, "it holds a revocation list; only what is installed here is asked",
                                reterr);
        else
                r = judge(ring, cms, s, text, size, now, reterr);
        CMS_ContentInfo_free(cms);
        (void) crypto_error();
        return r;
}

static int cms_sign(
                const Signer *who, const char *text, size_t size, Signature *ret, Err **reterr) {
        Signature s = {.method = "cms"};
        BIO *content = BIO_new_mem_buf(text, (int) size);
        CMS_ContentInfo *cms = NULL;
        int n = -1;

        if (who->cert && X509_check_private_key(who->cert, who->key) != 1) {
                BIO_free(content);
                return err_kind(reterr, ERR_INVALID_ARGUMENT, EINVAL,
                                "key and certificate do not belong together: %s", crypto_error());
        }
        if (content && who->cert && fingerprint_of(who->key, s.signer) >= 0)
                cms = CMS_sign(NULL, NULL, who->chain, NULL,
                                CMS_BINARY | CMS_DETACHED | CMS_PARTIAL);
        if (cms &&
                        CMS_add1_signer(cms, who->cert, who->key, EVP_sha256(),
                                        CMS_BINARY | CMS_NOSMIMECAP) &&
                        CMS_final(cms, content, NULL, CMS_BINARY | CMS_DETACHED) == 1)
                n = i2d_CMS_ContentInfo(cms, &s.data);
        CMS_ContentInfo_free(cms);
        BIO_free(content);
        if (n < 0)
                return err_new(reterr, EIO, "cannot sign: %s", crypto_error());
        s.size = (size_t) n;
        if (s.size > SIGNATURE_SIZE_MAX)
                return err_kind(reterr, ERR_LIMIT_EXCEEDED, E2BIG,
                                "the signature with its certificates takes %zu bytes; %u are "
                                "allowed",
                                s.size, SIGNATURE_SIZE_MAX);
        *ret = s;
        return 0;
}

const SignatureOps cms_signature_ops = {
                .method = "cms",
                .verify = cms_verify,
                .sign = cms_sign,
};
