/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/image-main.c - abctl-image, which "abctl image" becomes: what needs libcrypto and the stream engine, so that abctl
 * need not load them to print a status. */
#include "client/cli.h"
#include "client/image-verbs.h"
#include "client/options.h"

#define OPT_FILE                                                                                   \
        OPT_ARG(0, "passphrase-file", passphrase_file, "FILE",                                     \
                        "The passphrase of the key is its first line")
#define OPT_SIGN  OPT_MANY(0, "key", key, "FILE|URI", "The private key")
#define OPT_CERT  OPT_ARG(0, "cert", cert, "FILE", "Sign as CMS, with this certificate of the key")
#define OPT_CHAIN OPT_ARG(0, "chain", chain, "FILE", "Certificates above that one")
#define OPT_TRUST                                                                                  \
        OPT_MANY(0, "key", key, "FILE",                                                            \
                        "Trust this public key or certificate, not those of the machine")

static const Option global_options[] = {
                OPT('h', "help", help, "Show this help, or that of a verb"),
                OPT_ARG(0, "json", json, "MODE", "Print JSON: short, pretty or off"),
                OPT('j', NULL, json_auto, "Print JSON: pretty on a terminal, else short"),
                OPT('q', "quiet", quiet, "Print errors only"),
                OPT(0, "no-pager", no_pager, "Do not page long output"),
                {0},
};

static const Option keygen_options[] = {
                OPT(0, "passphrase", passphrase, "Ask for a passphrase"), OPT_FILE, {0}};
static const Option sign_options[] = {OPT_SIGN, OPT_CERT, OPT_CHAIN, OPT_FILE, {0}};
#define OPT_THRESHOLD                                                                              \
        OPT_ARG(0, "threshold", threshold, "N",                                                    \
                        "So many keys must have signed (Threshold= of the machine; 1)")
#define OPT_ROOT                                                                                   \
        OPT_ARG(0, "root", root, "DIR", "The machine whose keys and configuration count (/)")
static const Option info_options[] = {OPT_TRUST, OPT_THRESHOLD, OPT_ROOT, {0}};
static const Option verify_options[] = {
                OPT_TRUST,
                OPT_THRESHOLD,
                OPT_ROOT,
                OPT_ARG(0, "manifest", manifest, "FILE", "Not IMAGE.manifest, but this"),
                {0},
};
static const Option create_options[] = {
                OPT_MANY(0, "from", from, "SUBVOL[:PATH]",
                                "A read-only subvolume, and its place (/)"),
                OPT_MANY(0, "parent", parent, "SUBVOL", "What that one builds on"),
                OPT_ARG('o', "output", output, "FILE", "The image; FILE.manifest lies beside it"),
                OPT_ARG(0, "compress", compress, "zstd[:LEVEL]", "Pack the image"),
                OPT_ARG(0, "version", image_version, "VERSION", "Its version"),
                OPT_ARG(0, "version-text", version_text, "TEXT", "Its version, for people"),
                OPT_ARG(0, "compatible", compatible, "NAME", "The kind of machine it is for"),
                OPT_ARG(0, "epoch", epoch, "N", "Once proven, nothing of an earlier one (0)"),
                OPT_ARG(0, "valid-until", valid_until, "TIME", "DATE, DATE TIME (UTC) or @SECONDS"),
                OPT_ARG(0, "allow", allow, "WORDS", "devices, setuid, xattrs, with commas"),
                OPT_ARG(0, "min-daemon", min_daemon, "VERSION", "The abupdate that it needs"),
                OPT_SIGN,
                OPT_CERT,
                OPT_CHAIN,
                OPT_FILE,
                {0},
};

static const Verb verbs[] = {
                {"Make", "keygen", "FILE", "Make a key: FILE, and FILE.pub for the machines", 1, 1,
                                keygen_options, verb_keygen, NULL},
                {NULL, "create", "", "Make an image of subvolumes, and its manifest", 0, 0,
                                create_options, verb_create, NULL},
                {NULL, "sign", "MANIFEST", "Add a signature to a manifest", 1, 1, sign_options,
                                verb_sign, NULL},
                {"Look", "info", "IMAGE|MANIFEST", "Show a manifest, and whether it is trusted", 1,
                                1, info_options, verb_info, verb_info},
                {NULL, "verify", "IMAGE|-", "Check signature and every byte, as a machine would", 1,
                                1, verify_options, verb_verify, verb_verify},
                {0},
};

int main(int argc, char *argv[]) {
        int r = cli_main(
                        &(Cli){
                                        .name = "abctl image",
                                        .about = "Make images, sign them, and look at them. Needs "
                                                 "no daemon.",
                                        .verbs = verbs,
                                        .options = global_options,
                        },
                        argc, argv);

        signer_end();
        return r;
}
