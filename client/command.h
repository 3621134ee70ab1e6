/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/command.h - a command of the person's choice, run with our terminal. */
#pragma once

#include "client/client.h"

/* Is there such a program, in $PATH or as a path? ERR_INVALID_ARGUMENT. */
int command_find(const char *name, Err **reterr);

/* Runs @argv and waits. Ctrl-C is the command's affair meanwhile. 0 where it ended with status 0, else ERR_FAILED, which
 * says how it ended. */
int command_run(char *argv[], Err **reterr);
