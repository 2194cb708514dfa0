// SPDX-License-Identifier: Apache-2.0
#include "certs/tls/alpn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

enum { NAME_LEN_MAX = 255 };

static bool check_name(const char *name, size_t len, struct err *err)
{
    if (len == 0 || len > NAME_LEN_MAX) {
        return err_set(err, "an ALPN name has 1 to %d bytes, this one %zu", NAME_LEN_MAX, len);
    }
    for (size_t i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] > '~') {
            return err_set(err,
                           "byte %zu is not printable ASCII: write an ALPN name as IANA lists it, "
                           "as in h2 or http/1.1",
                           i + 1);
        }
    }
    if (strncmp(name, "tabard/", 7) == 0 && strcmp(name, ALPN_MESH) != 0) {
        return err_set(err, "\"%s\" is one of the mesh's own names: write " ALPN_MESH, name);
    }
    return true;
}

static bool add_name(struct alpn_list *list, const char *name, struct err *err)
{
    size_t len = strlen(name);
    if (!check_name(name, len, err)) {
        return false;
    }
    if (alpn_find(list->wire, list->len, name, len) != NULL) {
        return err_set(err, "\"%s\" is listed twice", name);
    }
    list->wire = must_grow(list->wire, list->len + 1 + len, 1);
    list->wire[list->len] = (uint8_t)len;
    memcpy(list->wire + list->len + 1, name, len);
    list->len += 1 + len;
    return true;
}

bool alpn_list_init(struct alpn_list *out, char *const *names, size_t num_names, struct err *err)
{
    *out = (struct alpn_list){0};
    if (num_names > ALPN_NAMES_MAX) {
        return err_set(err, "%zu ALPN names are over the limit of %d", num_names, ALPN_NAMES_MAX);
    }
    for (size_t i = 0; i < num_names; i++) {
        if (!add_name(out, names[i], err)) {
            alpn_list_cleanup(out);
            return err_prefix_where(err, "[%zu]", i);
        }
    }
    return true;
}

void alpn_list_cleanup(struct alpn_list *list)
{
    free(list->wire);
    *list = (struct alpn_list){0};
}

const uint8_t *alpn_find(const uint8_t *wire, size_t len, const void *name, size_t name_len)
{
    for (size_t at = 0; at < len;) {
        size_t have_len = wire[at++];
        if (have_len > len - at) {
            break;
        }
        if (have_len == name_len && memcmp(wire + at, name, name_len) == 0) {
            return wire + at;
        }
        at += have_len;
    }
    return NULL;
}

size_t alpn_bound(char *buf, const struct addr *called)
{
    char text[ADDR_TEXT_MAX];
    const struct addr anywhere = {.ip = called->ip, .port = called->port};
    int len = snprintf(buf, ALPN_BOUND_MAX, ALPN_MESH "/%s", addr_text(&anywhere, text));
    return len < 0 ? 0 : (size_t)len;
}

enum alpn_binding alpn_binding_of(const uint8_t *offered, size_t offered_len,
                                  const struct addr *reached, const uint8_t **out_name,
                                  uint8_t *out_name_len)
{
    char own[ALPN_BOUND_MAX];
    const size_t own_len = alpn_bound(own, reached);
    *out_name = alpn_find(offered, offered_len, own, own_len);
    *out_name_len = (uint8_t)own_len;
    if (*out_name != NULL) {
        return ALPN_BOUND;
    }
    for (size_t at = 0; at < offered_len;) {
        size_t len = offered[at++];
        if (len > offered_len - at) {
            break;
        }
        if (len >= sizeof ALPN_MESH && memcmp(offered + at, ALPN_MESH "/", sizeof ALPN_MESH) == 0) {
            *out_name = offered + at;
            *out_name_len = (uint8_t)len;
            return ALPN_ELSEWHERE;
        }
        at += len;
    }
    return ALPN_UNBOUND;
}

bool alpn_select(const struct alpn_list *ours, const uint8_t *offered, size_t offered_len,
                 const uint8_t **out_name, uint8_t *out_name_len)
{
    for (size_t at = 0; at < ours->len; at += 1 + (size_t)ours->wire[at]) {
        *out_name_len = ours->wire[at];
        *out_name = alpn_find(offered, offered_len, ours->wire + at + 1, *out_name_len);
        if (*out_name != NULL) {
            return true;
        }
    }
    return false;
}
