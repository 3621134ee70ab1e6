/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/agent.h - polkit's own text agent, so that a call from a terminal can ask for a password. */
#pragma once

#include "base/util.h"

/* Starts pkttyagent where somebody could type; else, or where it is not installed, does nothing. */
void agent_open(void);
void agent_close(void);
