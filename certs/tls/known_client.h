// SPDX-License-Identifier: Apache-2.0
//
// Has a server serve nobody but clients with an ordinary certificate, one outside the mesh, that
// leads to roots of the caller's: a Kubernetes API server at the webhook. What the certificate says
// of its owner doesn't matter.
#ifndef TABARD_CERTS_KNOWN_CLIENT_H
#define TABARD_CERTS_KNOWN_CLIENT_H

#include <openssl/base.h>

#include "base/err.h"
#include "certs/der_list.h"

// known_client_demand changes a server's context, which makes no connections yet. false sets err:
// no root, or one that can't be used.
bool known_client_demand(SSL_CTX *ctx, const struct der_list *roots, struct err *err);

#endif
