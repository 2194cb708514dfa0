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

#include "base/addr.h"
#include "base/err.h"

#define ALPN_MESH      "tabard/1" // the protocol between two sidecars
#define ALPN_NAMES_MAX 16         // of one list that an operator writes
#define ALPN_WIRE_MAX  (ALPN_NAMES_MAX * 256)

// A client that offers ALPN_MESH also offers a name that is bound to the address that it calls, as
// in "tabard/1/10.1.2.3:8080" or "tabard/1/[fd00::1]:8080" (without an interface). TLS proves to
// both ends that nobody on the way changed the offer, so a server that is reached at another
// address knows that the connection was led elsewhere. It selects the bound name to say that it
// compared.
#define ALPN_BOUND_MAX (sizeof ALPN_MESH + ADDR_TEXT_MAX) // of the name's text with its NUL

// The list that a client offers where its destination says nothing. HTTP servers that know no mesh
// (nginx, Go's) refuse a list of which they know no name, so it ends with one that they know. h2 is
// not in it: a server may select it, and the service might not speak it.
#define ALPN_USUAL "\x08tabard/1\x08http/1.1"

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

// alpn_bound writes the bound name of an address into buf, of ALPN_BOUND_MAX bytes, and returns its
// length.
size_t alpn_bound(char *buf, const struct addr *called);

enum alpn_binding {
    ALPN_UNBOUND,   // a peer's list holds no bound name
    ALPN_BOUND,     // it holds the one of this address
    ALPN_ELSEWHERE, // it holds that of another address
};

// alpn_binding_of looks in a peer's list for bound names. With ALPN_BOUND *out_name, borrowed from
// `offered`, is the one of `reached`; with ALPN_ELSEWHERE the first one.
enum alpn_binding alpn_binding_of(const uint8_t *offered, size_t offered_len,
                                  const struct addr *reached, const uint8_t **out_name,
                                  uint8_t *out_name_len);

// alpn_select finds the first name of `ours` that a peer offers. *out_name is borrowed from
// `offered`. false: it offers none of them.
bool alpn_select(const struct alpn_list *ours, const uint8_t *offered, size_t offered_len,
                 const uint8_t **out_name, uint8_t *out_name_len);

#endif
