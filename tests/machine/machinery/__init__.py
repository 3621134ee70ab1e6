# SPDX-License-Identifier: LGPL-2.1-or-later
"""A whole A/B machine in a folder: real Btrfs on loop devices, a real bus, the real daemon.

machine.Machine is the door; the other modules each know one thing and do not know each other
beyond what they import.
"""
