/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/fake-memory.h - memory that runs out at allocation number n: malloc() and what builds
 * on it, as our code and json-c's callers see it (ld --wrap). What the fake itself needs is always
 * there. */
#pragma once

#include <stdbool.h>

/* From the next allocation on: number @at fails, and with @from every later one too. 0: none. */
void memory_break(unsigned at, bool from);

/* Heals it. Did an allocation fail? */
bool memory_heal(void);
