/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/verbs.h - the verbs, one file a group; the table that names them is in main.c. */
#pragma once

#include "client/client.h"

/* status.c, list.c */
int verb_status(Client *c, int argc, char *argv[], Err **reterr);
int verb_list(Client *c, int argc, char *argv[], Err **reterr);

/* update.c */
int verb_update(Client *c, int argc, char *argv[], Err **reterr);

/* slots.c */
int verb_rollback(Client *c, int argc, char *argv[], Err **reterr);
int verb_mark(Client *c, int argc, char *argv[], Err **reterr);
int verb_prune(Client *c, int argc, char *argv[], Err **reterr);
int verb_merge(Client *c, int argc, char *argv[], Err **reterr);
int verb_discard(Client *c, int argc, char *argv[], Err **reterr);
int verb_pin(Client *c, int argc, char *argv[], Err **reterr);
int verb_unpin(Client *c, int argc, char *argv[], Err **reterr);

/* device.c */
int verb_device(Client *c, int argc, char *argv[], Err **reterr);

/* transaction.c */
int verb_begin(Client *c, int argc, char *argv[], Err **reterr);
int verb_commit(Client *c, int argc, char *argv[], Err **reterr);
int verb_abort(Client *c, int argc, char *argv[], Err **reterr);
int verb_run(Client *c, int argc, char *argv[], Err **reterr);

/* jobs.c, monitor.c */
int verb_jobs(Client *c, int argc, char *argv[], Err **reterr);
int verb_cancel(Client *c, int argc, char *argv[], Err **reterr);
int verb_pause(Client *c, int argc, char *argv[], Err **reterr);
int verb_resume(Client *c, int argc, char *argv[], Err **reterr);
int verb_monitor(Client *c, int argc, char *argv[], Err **reterr);

/* history.c, check.c */
int verb_history(Client *c, int argc, char *argv[], Err **reterr);
int verb_check(Client *c, int argc, char *argv[], Err **reterr);
