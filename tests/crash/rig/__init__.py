# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the crash tests share: machines without a bus, their stages and jobs, what must hold.

facts looks at a file system, power attaches and boots a disk image, stages prepares machines,
flows says which jobs are interrupted, checks says what must hold afterwards, report counts.
"""
