/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/folder.h - for tests each of whose cases has an empty folder of its own. */
#pragma once

#include "tests/unit/unit.h"

extern char dir[64];
extern int dir_fd;

int make_folder(void **state);
int remove_folder(void **state);

#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
