// SPDX-License-Identifier: Apache-2.0
#include "control/kube/inject/inbound_ports.h"

#include <stdlib.h>
#include <string.h>

#include "base/data/port_range.h"
#include "base/must.h"
#include "base/pb/pb_text.h"
#include "proxy/rules/route.h"
#include "proxy/rules/snapshot_join.h"

// One "PORTS=VALUE" of a list.
struct piece {
    struct port_range ports;
    const char *value; // borrowed
    size_t value_len;
};

// Reads the piece at *at, and moves *at to the next one or to the end. `what` is what stands behind
// the "=".
static bool take_piece(struct piece *out, const char **at, const char *what, struct err *err)
{
    size_t len = strcspn(*at, ",");
    const char *equals = memchr(*at, '=', len);
    if (equals == NULL || equals + 1 == *at + len) {
        return err_set(err, "\"%.*s\" is not PORT=%s or FIRST-LAST=%s", (int)(len < 60 ? len : 60),
                       *at, what, what);
    }
    if (!port_range_parse(&out->ports, *at, (size_t)(equals - *at), err)) {
        return false;
    }
    out->value = equals + 1;
    out->value_len = (size_t)(*at + len - out->value);
    *at += len;
    if (**at == ',') {
        (*at)++;
        return **at != '\0' || err_set(err, "a comma stands at the end");
    }
    return true;
}

static json_t *port_json(struct port_range ports)
{
    char text[PORT_RANGE_TEXT_MAX];
    return must_have(ports.first == ports.last ? json_integer(ports.first)
                                               : json_string(port_range_text(ports, text)));
}

// The row of exactly these ports, or NULL.
static json_t *find_row(const json_t *rows, struct port_range ports)
{
    json_t *key = port_json(ports);
    json_t *found = NULL;
    json_t *row = NULL;
    size_t i = 0;
    json_array_foreach(rows, i, row)
    {
        if (json_equal(json_object_get(row, "port"), key)) {
            found = row;
        }
    }
    json_decref(key);
    return found;
}

static json_t *add_row(json_t *rows, struct port_range ports, const char *mode, size_t mode_len)
{
    json_t *row =
        must_have(json_pack("{s:o, s:s%}", "port", port_json(ports), "mode", mode, mode_len));
    must_have(json_array_append_new(rows, row) == 0 ? rows : NULL);
    return row;
}

static bool add_modes(json_t *rows, const char *modes, struct err *err)
{
    for (bool is_first = true; modes != NULL && (is_first || *modes != '\0'); is_first = false) {
        struct piece piece;
        if (!take_piece(&piece, &modes, "MODE", err)) {
            return false;
        }
        if (find_row(rows, piece.ports) != NULL) {
            char text[PORT_RANGE_TEXT_MAX];
            return err_set(err, "%s stands there twice", port_range_text(piece.ports, text));
        }
        add_row(rows, piece.ports, piece.value, piece.value_len);
    }
    return true;
}

static json_t *protocols(const struct piece *piece)
{
    json_t *list = must_have(json_array());
    for (size_t at = 0; at <= piece->value_len;) {
        const char *plus = memchr(piece->value + at, '+', piece->value_len - at);
        size_t end = plus == NULL ? piece->value_len : (size_t)(plus - piece->value);
        json_t *name = must_have(json_stringn(piece->value + at, end - at));
        must_have(json_array_append_new(list, name) == 0 ? list : NULL);
        at = end + 1;
    }
    return list;
}

static bool add_alpn(json_t *rows, const char *alpn, struct err *err)
{
    for (bool is_first = true; alpn != NULL && (is_first || *alpn != '\0'); is_first = false) {
        struct piece piece;
        if (!take_piece(&piece, &alpn, "PROTOCOL+PROTOCOL", err)) {
            return false;
        }
        json_t *row = find_row(rows, piece.ports);
        if (row != NULL && json_object_get(row, "alpn") != NULL) {
            char text[PORT_RANGE_TEXT_MAX];
            return err_set(err, "%s stands there twice", port_range_text(piece.ports, text));
        }
        row = row != NULL ? row : add_row(rows, piece.ports, "MTLS", 4);
        must_have(json_object_set_new(row, "alpn", protocols(&piece)) == 0 ? row : NULL);
    }
    return true;
}

// Asks the code that the sidecar itself would ask, about a mesh.yaml of these rows alone.
static bool check_rows(const json_t *rows, struct err *err)
{
    json_t *whole = must_have(json_pack("{s:O}", "inbound_ports", rows));
    char *text = must_have(json_dumps(whole, 0));
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    struct route_index *index = NULL;
    struct err why = {{0}, {0}};
    ProtobufCMessage *config = pb_text_parse(&tabard__v1__mesh_config__descriptor, text,
                                             strlen(text), "mesh.yaml", NULL, &why);
    if (config != NULL) {
        snapshot_join(&snapshot, SNAPSHOT_LOCAL, config);
        index = route_index_new(&snapshot, &why);
        protobuf_c_message_free_unpacked(config, NULL);
    }
    bool good = index != NULL;
    route_index_free(index);
    free(text);
    json_decref(whole);
    if (!good) {
        const char *place = config == NULL ? strstr(why.text, ": ") : NULL; // of the made-up file
        char buf[sizeof why.where + sizeof why.text];
        err_set(err, "%s", place != NULL ? place + 2 : err_text(&why, buf, sizeof buf));
    }
    return good;
}

json_t *inbound_ports_make(const char *modes, const char *alpn, struct err *err)
{
    json_t *rows = must_have(json_array());
    if (!add_modes(rows, modes, err) || !add_alpn(rows, alpn, err) || !check_rows(rows, err)) {
        json_decref(rows);
        return NULL;
    }
    return rows;
}

static bool check(const char *modes, const char *alpn, struct err *err)
{
    json_t *rows = inbound_ports_make(modes, alpn, err);
    json_decref(rows);
    return rows != NULL;
}

bool inbound_ports_check_modes(const char *modes, struct err *err)
{
    return check(modes, NULL, err);
}

bool inbound_ports_check_alpn(const char *alpn, struct err *err)
{
    return check(NULL, alpn, err);
}
