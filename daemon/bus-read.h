/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/bus-read.h - the half of org.abupdate1.Manager that only reads: getters of properties and lists. All are as
 * sd-bus calls them, with the Manager as userdata (bus_get_slot: a char * inside it). */
#pragma once

#include "daemon/manager.h"

#define BUS_GETTER(name)                                                                           \
        int name(sd_bus *bus, const char *path, const char *interface, const char *property,       \
                        sd_bus_message *reply, void *userdata, sd_bus_error *e)

BUS_GETTER(bus_get_version);
BUS_GETTER(bus_get_state);
BUS_GETTER(bus_get_slot);
BUS_GETTER(bus_get_problems);
BUS_GETTER(bus_get_refused);

int bus_list_slots(sd_bus_message *call, void *userdata, sd_bus_error *e);
int bus_list_jobs(sd_bus_message *call, void *userdata, sd_bus_error *e);
int bus_get_history(sd_bus_message *call, void *userdata, sd_bus_error *e);
