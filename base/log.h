/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/log.h - what the two edges (daemon and worker, client) say to people. Lower layers never
 * log. */
#pragma once

#include <syslog.h>

#include "base/util.h"

/* To the journal where stderr is connected to it (sd-daemon prefix), else to stderr. @level as
 * in syslog(3). */
void log_message(int level, const char *fmt, ...) _printf_(2, 3);

/* Messages above this level are dropped. Default LOG_INFO; $ABUPDATE_LOG_LEVEL=0..7 at
 * log_open(). */
void log_open(const char *program);

#define log_error(...)   log_message(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_message(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_message(LOG_DEBUG, __VA_ARGS__)
