/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/packet.h"
#include "base/enum.h"

#define STEPS_MAX    4096u
#define FINDINGS_MAX 4096u

static const char *const packet_names[_PACKET_TYPE_MAX] = {
                [PACKET_READY] = "ready",
                [PACKET_PROGRESS] = "progress",
                [PACKET_SLOT] = "slot",
                [PACKET_POINT_OF_NO_RETURN] = "point-of-no-return",
                [PACKET_WORLD] = "world",
                [PACKET_RESULT] = "result",
};

static PacketType packet_type_from_string(const char *s) {
        for (int i = 0; i < _PACKET_TYPE_MAX; i++)
                if (str_eq(packet_names[i], s))
                        return (PacketType) i;
        return _PACKET_TYPE_INVALID;
}

static const Field packet_fields[] = {
                {"phase", FIELD_NAME, offsetof(Packet, phase), NULL},
                {"done", FIELD_U64, offsetof(Packet, done), NULL},
                {"total", FIELD_U64, offsetof(Packet, total), NULL},
                {"slot", FIELD_NAME, offsetof(Packet, slot), NULL},
};

static const Field result_fields[] = {
                {"code", FIELD_INT, offsetof(Result, code), NULL},
                {"text", FIELD_STRING, offsetof(Result, text), NULL},
                {"transaction", FIELD_STRING, offsetof(Result, transaction), NULL},
                {"slot", FIELD_NAME, offsetof(Result, slot), NULL},
};

static const Field step_fields[] = {
                {"phase", FIELD_STRING, offsetof(ResultStep, phase), NULL},
                {"text", FIELD_STRING, offsetof(ResultStep, text), NULL},
                {"bytes", FIELD_U64, offsetof(ResultStep, bytes), NULL},
};

static const Field finding_fields[] = {
                {"severity", FIELD_STRING, offsetof(ResultFinding, severity), NULL},
                {"subject", FIELD_STRING, offsetof(ResultFinding, subject), NULL},
                {"problem", FIELD_STRING, offsetof(ResultFinding, problem), NULL},
                {"advice", FIELD_STRING, offsetof(ResultFinding, advice), NULL},
};

const Field image_fields[] = {
                {"version", FIELD_STRING, offsetof(ResultImage, version), NULL},
                {"version-text", FIELD_STRING, offsetof(ResultImage, version_text), NULL},
                {"compatible", FIELD_STRING, offsetof(ResultImage, compatible), NULL},
                {"min-daemon", FIELD_STRING, offsetof(ResultImage, min_daemon), NULL},
                {"compression", FIELD_STRING, offsetof(ResultImage, compression), NULL},
                {"epoch", FIELD_U64, offsetof(ResultImage, epoch), NULL},
                {"build-time", FIELD_U64, offsetof(ResultImage, build_time), NULL},
                {"valid-until", FIELD_U64, offsetof(ResultImage, valid_until), NULL},
                {"size", FIELD_U64, offsetof(ResultImage, size), NULL},
                {"bytes", FIELD_U64, offsetof(ResultImage, bytes), NULL},
                {"inodes", FIELD_U64, offsetof(ResultImage, inodes), NULL},
                {"kept", FIELD_U64, offsetof(ResultImage, kept), NULL},
                {"places", FIELD_STRINGS, offsetof(ResultImage, places), NULL},
                {"bases", FIELD_STRINGS, offsetof(ResultImage, bases), NULL},
                {"error", FIELD_STRING, offsetof(ResultImage, error), NULL},
                {"message", FIELD_STRING, offsetof(ResultImage, message), NULL},
};
const size_t n_image_fields = ARRAY_SIZE(image_fields);

static int read_steps(json_object *o, Result *res, Err **reterr) {
        json_object *list;
        int r;

        r = json_array(o, "steps", STEPS_MAX, &list, reterr);
        if (r < 0 || !list || json_object_array_length(list) == 0)
                return r;

        res->steps = calloc(json_object_array_length(list), sizeof(*res->steps));
        if (!res->steps)
                return err_sys(reterr, ENOMEM, "read \"steps\"");
        for (size_t i = 0; i < json_object_array_length(list) && r >= 0; i++)
                r = fields_read(json_object_array_get_idx(list, i), step_fields,
                                ARRAY_SIZE(step_fields), &res->steps[res->n_steps++], reterr);
        return r;
}

static int read_findings(json_object *o, Result *res, Err **reterr) {
        json_object *list;
        int r;

        r = json_array(o, "findings", FINDINGS_MAX, &list, reterr);
        if (r < 0 || !list || json_object_array_length(list) == 0)
                return r;

        res->findings = calloc(json_object_array_length(list), sizeof(*res->findings));
        if (!res->findings)
                return err_sys(reterr, ENOMEM, "read \"findings\"");
        for (size_t i = 0; i < json_object_array_length(list) && r >= 0; i++)
                r = fields_read(json_object_array_get_idx(list, i), finding_fields,
                                ARRAY_SIZE(finding_fields), &res->findings[res->n_findings++],
                                reterr);
        return r;
}

static int read_result(json_object *o, Result *res, Err **reterr) {
        json_object *kind, *image;
        int r;

        r = fields_read(o, result_fields, ARRAY_SIZE(result_fields), res, reterr);
        if (r < 0)
                return r;
        if (!json_object_object_get_ex(o, "code", &kind) || res->code > 0 || res->code < -4095)
                return err_new(reterr, EBADMSG, "result without a valid code");
        if (res->code < 0) {
                res->kind = _ERR_KIND_INVALID;
                if (json_object_object_get_ex(o, "kind", &kind) &&
                                json_object_is_type(kind, json_type_string))
                        res->kind = err_kind_from_name(json_object_get_string(kind));
                if (res->kind == _ERR_KIND_INVALID)
                        return err_new(reterr, EBADMSG, "failure without a known kind");
        }

        r = read_steps(o, res, reterr);
        if (r >= 0)
                r = read_findings(o, res, reterr);
        if (r >= 0 && json_object_object_get_ex(o, "image", &image))
                r = fields_read(image, image_fields, n_image_fields, &res->image, reterr);
        return r;
}

int packet_parse(const char *data, size_t size, Packet *ret, Err **reterr) {
        _cleanup_(json_putp) json_object *o = NULL;
        _cleanup_(packet_done) Packet p = {0};
        json_object *msg;
        int r;

        r = json_parse_object(data, size, /* depth= */ 6, &o, reterr);
        if (r < 0)
                return r;

        if (!json_object_object_get_ex(o, "msg", &msg) ||
                        !json_object_is_type(msg, json_type_string))
                return err_new(reterr, EBADMSG, "packet without \"msg\"");
        p.type = packet_type_from_string(json_object_get_string(msg));
        if (p.type == _PACKET_TYPE_INVALID)
                return err_new(reterr, EBADMSG, "packet of an unknown type");

        if (p.type == PACKET_RESULT)
                r = read_result(o, &p.result, reterr);
        else
                r = fields_read(o, packet_fields, ARRAY_SIZE(packet_fields), &p, reterr);
        if (r < 0)
                return err_add(reterr, r, "packet \"%s\"", packet_names[p.type]);

        *ret = p;
        p = (Packet){0};
        return 0;
}

void result_done(Result *r) {
        for (size_t i = 0; i < r->n_steps; i++)
                fields_done(step_fields, ARRAY_SIZE(step_fields), &r->steps[i]);
        for (size_t i = 0; i < r->n_findings; i++)
                fields_done(finding_fields, ARRAY_SIZE(finding_fields), &r->findings[i]);
        free(r->steps);
        free(r->findings);
        fields_done(image_fields, n_image_fields, &r->image);
        fields_done(result_fields, ARRAY_SIZE(result_fields), r);
        *r = (Result){0};
}

void packet_done(Packet *p) {
        fields_done(packet_fields, ARRAY_SIZE(packet_fields), p);
        result_done(&p->result);
}

void result_set(Result *r, const Err *e) {
        result_done(r);
        r->code = err_code(e);
        r->kind = err_kind_of(e);
        r->text = strdup(err_text(e));
}
