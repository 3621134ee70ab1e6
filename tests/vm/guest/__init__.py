# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real machines under QEMU: a Debian with this build in it, and hands to drive it."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "machine"))
