// SPDX-License-Identifier: Apache-2.0
//
// A client's TLS context for an ordinary server, one outside the mesh that is proved by its DNS
// name or its IP address (RFC 9525; RFC 6125 before it) under roots of the caller's: a Kubernetes
// API server. Otherwise it is as context.h makes them. The name must stand in the certificate's
// subjectAltName: a common name proves nothing. The context is the caller's, and one thread makes
// connections of it.
#ifndef TABARD_CERTS_NAMED_SERVER_H
#define TABARD_CERTS_NAMED_SERVER_H

#include <openssl/base.h>
#include <stdbool.h>

#include "base/err.h"
#include "certs/der_list.h"

// named_server_context makes the context. A root may be self-signed or not: whatever it signed is
// proved. `name` is a DNS name or an IP address without brackets. NULL sets err: no root, a root
// that can't be used, or a name that is neither.
SSL_CTX *named_server_context(const struct der_list *roots, const char *name, struct err *err);

// named_server_failure says why a server did not prove its name, borrowed until the next handshake;
// "" if the last one did, or none was seen since named_server_forget.
const char *named_server_failure(const SSL_CTX *ctx);
void named_server_forget(SSL_CTX *ctx);

// named_server_sni returns what a ClientHello names: the name, or NULL if it is an IP address, for
// which there is no such extension (RFC 6066, section 3). Borrowed from the argument.
const char *named_server_sni(const char *name);

#endif
