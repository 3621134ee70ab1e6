# SPDX-License-Identifier: LGPL-2.1-or-later
"""A token in software that keeps the key of a maker: SoftHSM, behind OpenSSL's provider for PKCS#11."""

import glob
import os
import shutil
import subprocess

PIN = "1234"
CONF = """openssl_conf = init
[init]
providers = provider_sections
[provider_sections]
default = default_section
pkcs11 = pkcs11_section
[default_section]
activate = 1
[pkcs11_section]
module = {provider}
pkcs11-module-path = {library}
activate = 1
"""


def provider():
    """The provider's file, of the distribution or from $PKCS11_PROVIDER, and SoftHSM's library; None where one is missing."""
    found = [f for p in ("/usr/lib*", "/usr/lib/*") for f in glob.glob(f"{p}/ossl-modules/pkcs11.so")]
    library = [f for p in ("/usr/lib*", "/usr/lib/*") for f in glob.glob(f"{p}/softhsm/libsofthsm2.so")]
    file = os.environ.get("PKCS11_PROVIDER") or (found[0] if found else None)
    return (file, library[0]) if file and library and shutil.which("softhsm2-util") else None


class Token:
    """@key, a private key in PEM, on a token of its own; .uri names it there, .environment opens it."""

    def __init__(self, folder, key):
        os.makedirs(f"{folder}/tokens")
        file, library = provider()
        with open(f"{folder}/softhsm2.conf", "w", encoding="utf-8") as conf:
            conf.write(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
        with open(f"{folder}/openssl.cnf", "w", encoding="utf-8") as conf:
            conf.write(CONF.format(provider=file, library=library))
        with open(f"{folder}/pin", "w", encoding="utf-8") as pin:
            pin.write(f"{PIN}\n")
        self.pin = f"{folder}/pin"
        self.uri = "pkcs11:token=maker;object=release"
        self.environment = {**os.environ, "SOFTHSM2_CONF": f"{folder}/softhsm2.conf",
                            "OPENSSL_CONF": f"{folder}/openssl.cnf"}
        self._softhsm("--init-token", "--free", "--so-pin", PIN)
        self._softhsm("--import", key, "--id", "01")

    def _softhsm(self, *args):
        label = "maker" if "--init-token" in args else "release"
        token = [] if "--init-token" in args else ["--token", "maker"]
        plain = {k: v for k, v in self.environment.items() if k != "OPENSSL_CONF"}
        subprocess.run(["softhsm2-util", *args, *token, "--label", label, "--pin", PIN], check=True,
                       env=plain, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
