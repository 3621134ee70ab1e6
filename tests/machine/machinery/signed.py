# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makers of signed images, and machines that trust them."""

import hashlib
import os
import subprocess

CHECKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "image",
                       "check-manifest.py")
ASK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ask.py")
CHANGE = "sed -i s/Verification=none/Verification=signature/ etc/abupdate/abupdated.conf" \
         " && mkdir -p etc/abupdate/keys.d && cp {key}.pub etc/abupdate/keys.d/maker.pem"


class Maker:
    """Somebody with a key who makes images for one machine."""

    def __init__(self, case, it, name="maker"):
        self.case, self.it = case, it
        self.abctl = it.programs()["abctl"]
        self.key = f"{case.tmp}/{name}.key"
        self.run("keygen", self.key)

    def run(self, *args):
        """abctl image ARGS, on the maker's side."""
        subprocess.run([self.abctl, "image", *args], check=True, stdout=subprocess.DEVNULL)

    def image(self, version, *args, base=None, compatible="test-machine", key=None,
              change="true", **options):
        """A signed image; the independent checker agrees with its manifest."""
        create = [self.abctl, "-q", "image", "create", f"--compatible={compatible}",
                  "--allow=devices,setuid,xattrs", *args]
        if key != "none":
            create.append(f"--key={key or self.key}")
        path = self.case.image(self.it, version, base=base, create=create,
                               change=f"{CHANGE.format(key=self.key)} && {change}", **options)
        check = [CHECKER, f"--image={path}", path + ".manifest"]
        subprocess.run(check + ([] if key == "none" else [f"--key={key or self.key}.pub"]),
                       check=True, stdout=subprocess.DEVNULL)
        return path

    def again(self, path, old, new):
        """The manifest with another field, signed again: a maker who is wrong, or lies."""
        name = path + ".manifest"
        with open(name, encoding="utf-8") as file:
            head, chunks, _ = file.read().split("\n\n")
        lines = [new if line.startswith(old) else line for line in head.split("\n")]
        with open(name, "w", encoding="utf-8") as file:
            file.write("\n".join(sorted(lines)) + "\n\n" + chunks + "\n")
        self.run("sign", f"--key={self.key}", name)

    def vouch(self, path, like, **fields):
        """Signs whatever is at @path, under the fields of the manifest of @like and these (_ for .)."""
        with open(path, "rb") as file:
            data = file.read()
        with open(like + ".manifest", encoding="utf-8") as file:
            known = dict(line.split("=", 1) for line in file.read().split("\n\n")[0].split("\n"))
        known.update({"PayloadSize": len(data), "StreamSize": len(data)})
        known.update({key.replace("_", "."): value for key, value in fields.items()})
        chunks = [hashlib.sha256(data[at:at + (1 << 20)]).hexdigest()
                  for at in range(0, len(data), 1 << 20)]
        with open(path + ".manifest", "w", encoding="utf-8") as file:
            file.write("\n".join(f"{key}={known[key]}" for key in sorted(known)) + "\n\n" +
                       "\n".join(chunks) + "\n")
        self.run("sign", f"--key={self.key}", path + ".manifest")


def trusting(case, keys=True, **options):
    """A machine that asks for signatures, and a maker whom it trusts."""
    it = case.machine(**options)
    maker = Maker(case, it)
    it.run("sed", "-i", "s/Verification=none/Verification=signature/",
           f"{it.root}/etc/abupdate/abupdated.conf")
    if keys:
        it.run("mkdir", "-p", f"{it.root}/etc/abupdate/keys.d")
        it.run("cp", f"{maker.key}.pub", f"{it.root}/etc/abupdate/keys.d/maker.pem")
    return it, maker


def flip(path, at):
    """Turn one bit of a file round."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 4]))
