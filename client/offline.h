/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client/offline.h - the verbs without daemon and bus, for an initrd, a rescue shell, or a machine in a folder. */
#pragma once

#include "client/client.h"

int offline_status(Client *c, int argc, char *argv[], Err **reterr);
int offline_list(Client *c, int argc, char *argv[], Err **reterr);
int offline_history(Client *c, int argc, char *argv[], Err **reterr);
int offline_check(Client *c, int argc, char *argv[], Err **reterr);
int offline_update(Client *c, int argc, char *argv[], Err **reterr);
int offline_rollback(Client *c, int argc, char *argv[], Err **reterr);
int offline_mark(Client *c, int argc, char *argv[], Err **reterr);
int offline_prune(Client *c, int argc, char *argv[], Err **reterr);
int offline_merge(Client *c, int argc, char *argv[], Err **reterr);
int offline_device(Client *c, int argc, char *argv[], Err **reterr);
int offline_discard(Client *c, int argc, char *argv[], Err **reterr);
int offline_pin(Client *c, int argc, char *argv[], Err **reterr);
int offline_unpin(Client *c, int argc, char *argv[], Err **reterr);
int offline_begin(Client *c, int argc, char *argv[], Err **reterr);
int offline_commit(Client *c, int argc, char *argv[], Err **reterr);
int offline_abort(Client *c, int argc, char *argv[], Err **reterr);
