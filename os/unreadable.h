/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/unreadable.h - which files the disk does not give back any more. Reads every one; knows neither the reason nor the
 * cure. */
#pragma once

#include <stdatomic.h>

#include "base/err.h"

/* The paths below @dir_fd of files and directories that end in EIO, the first @max, NULL-terminated; fewer where *@stop
 * becomes true. Looks into every subvolume below it and through no link; reads past the page cache, which may still have
 * what the disk has lost. What cannot be read for another reason, or is deleted meanwhile, is passed over. -ENOMEM. Changes
 * nothing, access times neither. */
int unreadable_files(int dir_fd, size_t max, const atomic_bool *stop, char ***ret, Err **reterr);
