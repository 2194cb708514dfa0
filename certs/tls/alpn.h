// SPDX-License-Identifier: Apache-2.0
//
// Lists of application protocols as TLS carries them (ALPN, RFC 7301, section 3.1): each name with
// a byte before it that says how long it is. The route index builds the lists that the operator
// wrote; contexts and handshakes look up in them, and in those that a peer sent. Pure; any thread.
#ifndef TABARD_CERTS_ALPN_H
#define TABARD_CERTS_ALPN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ALPN_MESH      "tabard/1" // the protocol between two sidecars
#define ALPN_NAMES_MAX 16         // of one list that an operator writes

// Zero state: no names.
struct alpn_list {
    uint8_t *wire; // owned
    size_t len;
};

// alpn_list_init builds a list of an operator's names. Refused, with err.where "[i]": a name of no
// bytes or more than 255, or with anything but printable ASCII; one that stands there twice; one
// that begins with "tabard/" and is not ALPN_MESH, because the mesh makes those itself; more than
// ALPN_NAMES_MAX. false leaves *out empty.
bool alpn_list_init(struct alpn_list *out, char *const *names, size_t num_names, struct err *err);
void alpn_list_cleanup(struct alpn_list *list);

// alpn_find returns where `name` stands in a list in wire form, behind its length, or NULL. It
// stops at a length that leads out of the list.
const uint8_t *alpn_find(const uint8_t *wire, size_t len, const void *name, size_t name_len);

// alpn_select finds the first name of `ours` that a peer offers. *out_name is borrowed from
// `offered`. false: it offers none of them.
bool alpn_select(const struct alpn_list *ours, const uint8_t *offered, size_t offered_len,
                 const uint8_t **out_name, uint8_t *out_name_len);

#endif
