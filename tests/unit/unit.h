/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/unit.h - what every unit test includes: cmocka with what it needs, and a folder that
 * goes away by itself. */
#pragma once

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/err.h"

#define CASE(f) cmocka_unit_test(f)

/* A new empty folder below $TMPDIR or /tmp, as a descriptor; its path goes to @ret_path. */
int temp_dir_make(char ret_path[static 64]);

/* Takes it away with everything in it. */
void temp_dir_remove(const char *path);

/* Writes @text to @path below @dir_fd; makes the folders on the way. */
void put_file(int dir_fd, const char *path, const char *text);

/* The whole file, new string; NULL where there is none. */
char *get_file(int dir_fd, const char *path);

/* Is the text of @e one in which @part occurs? Frees the error and leaves NULL behind. */
void assert_story(Err **e, ErrKind kind, const char *part);
