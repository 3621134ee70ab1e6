/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream/gate.h - may this command reach the file system? Decides from the command and from what came before alone:
 * no system call, no look at the disk. What the gate lets through, the applier still treats as hostile. */
#pragma once

#include "stream/command.h"
#include "stream/receive.h"

typedef struct Gate {
        StreamLimits limits;
        StreamSubvol subvol; /* the one that is open, or was last */
        bool open;           /* between SUBVOL or SNAPSHOT and END */
        uint64_t subvols, bytes, inodes;
} Gate;

void gate_init(Gate *g, const StreamLimits *limits);

/* Goes on where another gate was. */
void gate_resume(Gate *g, const StreamPosition *p);

/* 0, or the refusal: -EBADMSG (ERR_BAD_STREAM), -EPERM (ERR_UNSAFE_PATH, ERR_FORBIDDEN_CONTENT), -EFBIG
 * (ERR_LIMIT_EXCEEDED), -EOPNOTSUPP (ERR_NOT_SUPPORTED). The story names the byte of the stream. */
int gate_check(Gate *g, const Command *c, Err **reterr);
