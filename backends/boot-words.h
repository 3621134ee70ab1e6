/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* backends/boot-words.h - what a version brings along for the command line of its kernel: a file in
 * its tree, read as kernel-install(8) reads it. Knows no slots, and no loader's words. */
#pragma once

#include "base/err.h"

/* The words for the kernel of the tree: /etc/kernel/cmdline, else /usr/lib/kernel/cmdline, its lines
 * joined by blanks, without lines that begin with '#'. *@ret: NULL where neither is there, "" where
 * the first that is has no words. ERR_WRONG_LAYOUT: as words_check(). Changes nothing. */
int words_read(int root_fd, char **ret, Err **reterr);

/* Does the tree bring something else than @before_fd, to the byte? 1 or 0. */
int words_differ(int root_fd, int before_fd, Err **reterr);

/* Is @line, which is from @where, the same to the kernel whatever loader passes it on, and short
 * enough beside what names a root? ERR_WRONG_LAYOUT says what is wrong. */
int words_check(const char *line, const char *where, Err **reterr);

/* Is the whole line, with what names the root, short enough for the kernel? */
bool words_fit(const char *line);

/* What only one slot can be told. */
extern const char *const words_of_a_slot[];

/* Is the word one of @words? Those with '=' or '.' in them are beginnings of words. */
bool word_among(const char *word, const char *const words[]);
