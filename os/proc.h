/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* os/proc.h - what the kernel says of this boot, below the machine's root. */
#pragma once

#include "base/err.h"

/* The id of this boot, 36 characters. */
int proc_boot_id(int root_fd, char **ret, Err **reterr);

/* The value of the last @key= on the kernel command line, "" for a bare @key, NULL where it is
 * absent. */
int proc_cmdline_get(int root_fd, const char *key, char **ret, Err **reterr);

/* The value of option @name in a comma-separated mount option list, e.g. "subvol" of
 * "rw,subvol=@". NULL where absent. */
int mount_option_get(const char *options, const char *name, char **ret);

/* "subvol=" or "subvolid=", which beat the default subvolume. 1 and its value where one is there. */
int mount_names_subvol(const char *options, char **ret);

/* Takes every option of that name out of *@options. */
int mount_option_drop(char **options, const char *name);

/* The mount options of the line for @target in the fstab below @dir_fd (etc/fstab), "" where
 * there is no line. */
int fstab_options(int root_fd, const char *target, char **ret, Err **reterr);
