/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/sandbox.h - what a process that handles images gives up before it looks at one. */
#pragma once

#include "base/err.h"

/* Gives up, for this process and all it starts, for good: new privileges by exec, every capability
 * but those that writing a file system takes, system calls that no job makes (network, modules,
 * tracing, mounts in sight, clocks, reboot), and a mount namespace that others see. Before any
 * thread is started. What the kernel or a container does not let us give up is no error. */
int sandbox_enter(Err **reterr);
