#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Versions that are devices: what fits, whose a device is, what a person may ask for."""

import sys

from machinery import harness

BIG = "echo $VERSION >etc/motd; head -c 400000000 /dev/urandom >usr/big"


def test_full_image_on_a_small_device(case):
    """Two versions that share nothing need not fit on one device: the old one goes before the merge."""
    it = case.pair(size=1280 << 20)
    case.merged(it, "2.0", base="1.0", change=BIG)
    it.reboot()
    seed = it.part_hash("b")
    case.refused(it, "update", case.image(it, "4.0", base="2.0", change=BIG), error="NoSpace")
    case.merged(it, "3.0", change=BIG)
    it.reboot()
    case.runs(it, "3.0", "a")
    case.equal(it.part_hash("b"), seed)


if __name__ == "__main__":
    sys.exit(harness.main(globals()))
