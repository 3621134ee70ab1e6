/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "update/records.h"
#include "os/file.h"

#define HISTORY "history"
#define REFUSED "refused"
#define EXPORTS "exports"

enum { FILE_MAX = 1024 * 1024, HISTORY_KEEP = 200, REFUSED_KEEP = 500, EXPORTS_KEEP = 500 };

const char *json_text(json_object *o, const char *key) {
        json_object *v = NULL;

        return o && json_object_object_get_ex(o, key, &v) &&
                                               json_object_is_type(v, json_type_string)
                               ? json_object_get_string(v)
                               : NULL;
}

int json_put(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) >= 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

static int list_add(json_object *list, json_object *borrowed) {
        if (json_object_array_add(list, json_object_get(borrowed)) >= 0)
                return 0;
        json_object_put(borrowed);
        return -ENOMEM;
}

/* What a power cut has torn may be no text any more. */
static json_object *parse_line(const char *line) {
        json_tokener *t = json_tokener_new();
        json_object *o = NULL;

        if (t) {
                json_tokener_set_flags(t, JSON_TOKENER_VALIDATE_UTF8);
                o = json_tokener_parse_ex(t, line, -1);
                json_tokener_free(t);
        }
        return o;
}

/* A file that is too large, no file at all, or unreadable counts as empty: it is memory, not
 * truth. */
static int lines_read(int dir_fd, const char *name, json_object **ret, Err **reterr) {
        _cleanup_(json_freep) json_object *list = json_object_new_array();
        _cleanup_(freep) char *text = NULL;
        char *save = NULL;
        int r;

        if (!list)
                return err_new(reterr, ENOMEM, "out of memory");
        r = file_read_if_at(dir_fd, name, FILE_MAX, &text, NULL, NULL);
        if (r == -ENOMEM)
                return err_new(reterr, r, "out of memory");
        for (char *line = r > 0 ? strtok_r(text, "\n", &save) : NULL; line;
                        line = strtok_r(NULL, "\n", &save)) {
                json_object *o = parse_line(line);

                if (!json_object_is_type(o, json_type_object))
                        json_object_put(o);
                else if (json_object_array_add(list, o) < 0) {
                        json_object_put(o);
                        return err_new(reterr, ENOMEM, "out of memory");
                }
        }
        *ret = MOVE(list);
        return 0;
}

static int lines_write(int dir_fd, const char *name, json_object *list, size_t keep, Err **reterr) {
        _cleanup_(freep) char *text = NULL;
        _cleanup_(fclosep) FILE *f = NULL;
        size_t n = json_object_array_length(list), size = 0;

        f = open_memstream(&text, &size);
        if (!f)
                return err_new(reterr, ENOMEM, "out of memory");
        for (size_t i = n > keep ? n - keep : 0; i < n; i++) {
                const char *line = json_object_to_json_string_ext(
                                json_object_array_get_idx(list, i), JSON_C_TO_STRING_PLAIN);

                if (!line)
                        return err_new(reterr, ENOMEM, "out of memory");
                fprintf(f, "%s\n", line);
        }
        if (fflush(f) != 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return file_write_at(dir_fd, name, text, size, reterr);
}

int history_read(int dir_fd, json_object **ret, Err **reterr) {
        return lines_read(dir_fd, HISTORY, ret, reterr);
}

static uint64_t json_number(json_object *o, const char *key) {
        return json_object_get_uint64(json_object_object_get(o, key));
}

static bool same_event(json_object *a, json_object *b) {
        return json_number(a, "job") == json_number(b, "job") &&
               json_number(a, "started") == json_number(b, "started") &&
               str_eq(json_text(a, "type"), json_text(b, "type"));
}

int history_add(int dir_fd, json_object *entry, Err **reterr) {
        _cleanup_(json_freep) json_object *list = NULL;
        size_t n;
        int r = lines_read(dir_fd, HISTORY, &list, reterr);

        if (r < 0)
                return r;
        n = json_object_array_length(list);
        if (n > 0 && same_event(json_object_array_get_idx(list, n - 1), entry))
                return 0;
        if (list_add(list, entry) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = lines_write(dir_fd, HISTORY, list, HISTORY_KEEP, reterr);
        return r < 0 ? err_add(reterr, r, "write the history") : 0;
}

/* The entry of now behind all others of its file. */
static int append_now(int dir_fd, const char *name, json_object *list, json_object *entry,
                size_t keep, Err **reterr) {
        if (json_put(entry, "time", json_object_new_uint64(now_realtime())) < 0 ||
                        list_add(list, entry) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        return lines_write(dir_fd, name, list, keep, reterr);
}

int refused_read(int dir_fd, json_object **ret, Err **reterr) {
        return lines_read(dir_fd, REFUSED, ret, reterr);
}

/* The first with that member, or the length. */
static size_t index_of(json_object *list, const char *key, const char *value) {
        size_t n = json_object_array_length(list), i;

        for (i = 0; i < n; i++)
                if (str_eq(json_text(json_object_array_get_idx(list, i), key), value))
                        break;
        return i;
}

static size_t refused_index(json_object *list, const char *version) {
        return index_of(list, "version", version);
}

const char *refused_reason(json_object *refused, const char *version) {
        size_t i = refused_index(refused, version);

        return i < json_object_array_length(refused)
                               ? str_or(json_text(json_object_array_get_idx(refused, i), "reason"),
                                                 "no reason given")
                               : NULL;
}

int refused_add(int dir_fd, const char *version, const char *reason, Err **reterr) {
        _cleanup_(json_freep) json_object *list = NULL, *entry = NULL;
        int r = lines_read(dir_fd, REFUSED, &list, reterr);

        if (r < 0)
                return r;
        if (refused_reason(list, version))
                return 0;
        entry = json_object_new_object();
        if (!entry || json_put(entry, "version", json_object_new_string(version)) < 0 ||
                        json_put(entry, "reason", json_object_new_string(reason)) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = append_now(dir_fd, REFUSED, list, entry, REFUSED_KEEP, reterr);
        return r < 0 ? err_add(reterr, r, "refuse version %s from now on", version) : 0;
}

int refused_remove(int dir_fd, const char *version, Err **reterr) {
        _cleanup_(json_freep) json_object *list = NULL;
        size_t i;
        int r = lines_read(dir_fd, REFUSED, &list, reterr);

        if (r < 0)
                return r;
        i = refused_index(list, version);
        if (i >= json_object_array_length(list))
                return 0;
        json_object_array_del_idx(list, i, 1);
        r = lines_write(dir_fd, REFUSED, list, REFUSED_KEEP, reterr);
        return r < 0 ? err_add(reterr, r, "accept version %s again", version) : 0;
}

int exports_add(int dir_fd, const char *digest, const char *slot, const char *version,
                Err **reterr) {
        _cleanup_(json_freep) json_object *list = NULL, *entry = json_object_new_object();
        int r = lines_read(dir_fd, EXPORTS, &list, reterr);

        if (r < 0)
                return r;
        if (index_of(list, "sha256", digest) < json_object_array_length(list))
                return 0;
        if (!entry || json_put(entry, "sha256", json_object_new_string(digest)) < 0 ||
                        json_put(entry, "slot", json_object_new_string(slot)) < 0 ||
                        json_put(entry, "version", json_object_new_string(version)) < 0)
                return err_new(reterr, ENOMEM, "out of memory");
        r = append_now(dir_fd, EXPORTS, list, entry, EXPORTS_KEEP, reterr);
        return r < 0 ? err_add(reterr, r, "remember the export of slot %s", slot) : 0;
}

bool exports_have(int dir_fd, const char *digest) {
        _cleanup_(json_freep) json_object *list = NULL;

        return lines_read(dir_fd, EXPORTS, &list, NULL) >= 0 &&
               index_of(list, "sha256", digest) < json_object_array_length(list);
}
