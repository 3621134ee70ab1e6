/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/packet.h - one packet of a worker, read strictly (dbus/worker-api.h says what they mean). */
#pragma once

#include "daemon/fields.h"

typedef enum PacketType {
        PACKET_READY,
        PACKET_PROGRESS,
        PACKET_SLOT,
        PACKET_POINT_OF_NO_RETURN,
        PACKET_WORLD,
        PACKET_RESULT,
        _PACKET_TYPE_MAX,
        _PACKET_TYPE_INVALID = -EINVAL,
} PacketType;

/* Strings are NULL where empty. */
typedef struct ResultStep {
        char *phase, *text;
        uint64_t bytes;
} ResultStep;

typedef struct ResultFinding {
        char *severity, *subject, *problem, *advice;
} ResultFinding;

/* A manifest, and why it would be refused. */
typedef struct ResultImage {
        char *version, *version_text, *compatible, *min_daemon, *compression, *error, *message;
        uint64_t epoch, build_time, valid_until, size, bytes, inodes, kept;
        char **places, **bases;
} ResultImage;

/* What the bus says of it. */
extern const Field image_fields[];
extern const size_t n_image_fields;

typedef struct Result {
        int code; /* 0 or -errno */
        ErrKind kind;
        char *text, *transaction, *slot;
        ResultStep *steps;
        size_t n_steps;
        ResultFinding *findings;
        size_t n_findings;
        ResultImage image;
} Result;

typedef struct Packet {
        PacketType type;
        char *phase, *slot;
        uint64_t done, total;
        Result result;
} Packet;

/* @ret is written only on success; packet_done() it. -EBADMSG where it is no packet, -ENOMEM. */
int packet_parse(const char *data, size_t size, Packet *ret, Err **reterr);
void packet_done(Packet *p);
void result_done(Result *r);

/* Makes @r the failure that @e tells. */
void result_set(Result *r, const Err *e);
