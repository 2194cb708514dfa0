// SPDX-License-Identifier: Apache-2.0
//
// Two ALPN lists, ours and a peer's, out of arbitrary bytes: what is found and selected lies within
// the peer's list, whole, and stands in ours.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "certs/tls/alpn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Reads names, one a line, up to an empty one; returns how many bytes they took.
static size_t read_ours(struct alpn_list *out, const uint8_t *data, size_t size)
{
    char text[256];
    char *names[ALPN_NAMES_MAX + 1] = {0};
    size_t num = 0;
    size_t len = size < sizeof text - 1 ? size : sizeof text - 1;
    memcpy(text, data, len);
    text[len] = '\0';
    size_t at = 0;
    while (at < len && text[at] != '\n' && num < sizeof names / sizeof names[0]) {
        names[num++] = text + at;
        at += strcspn(text + at, "\n");
        text[at] = '\0';
        at += at < len;
    }
    struct err err = {{0}, {0}};
    invariant(alpn_list_init(out, names, num, &err) || (err.text[0] != '\0' && out->wire == NULL));
    return at < len ? at + 1 : len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct alpn_list ours;
    size_t used = read_ours(&ours, data, size);
    // A copy of its own size, so that a read behind its end is found.
    size_t len = size - used;
    uint8_t *offered = malloc(len == 0 ? 1 : len);
    invariant(offered != NULL);
    memcpy(offered, data + used, len);
    const uint8_t *name;
    uint8_t name_len;
    if (alpn_select(&ours, offered, len, &name, &name_len)) {
        invariant(name > offered && name + name_len <= offered + len);
        invariant(name[-1] == name_len && alpn_find(ours.wire, ours.len, name, name_len) != NULL);
    }
    const uint8_t *mesh = alpn_find(offered, len, ALPN_MESH, strlen(ALPN_MESH));
    invariant(mesh == NULL || (mesh > offered && mesh + strlen(ALPN_MESH) <= offered + len));
    static const struct addr here = {.ip = {{[10] = 0xff, [11] = 0xff, [12] = 10}}, .port = 80};
    enum alpn_binding binding = alpn_binding_of(offered, len, &here, &name, &name_len);
    if (binding != ALPN_UNBOUND) {
        invariant(name > offered && name + name_len <= offered + len && name[-1] == name_len);
        invariant(name_len > strlen(ALPN_MESH) && memcmp(name, ALPN_MESH "/", 9) == 0);
    }
    free(offered);
    alpn_list_cleanup(&ours);
    return 0;
}
