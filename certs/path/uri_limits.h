// SPDX-License-Identifier: Apache-2.0
//
// Name constraints on URIs (RFC 5280, section 4.2.1.10), which speak of a URI's host: for a SPIFFE
// id that is its trust domain. certs/path/name_limits.c takes them out of a CA's other constraints
// and asks here about each URI below. BoringSSL's own comparison knows host names of the DNS alone,
// so it has no answer for trust domains like `prod_eu`, `10.0.0.1` or `1`, and it takes
// `prod.example.` for `prod.example`, which are two trust domains. Pure.
#ifndef TABARD_CERTS_PATH_URI_LIMITS_H
#define TABARD_CERTS_PATH_URI_LIMITS_H

#include <openssl/x509v3.h>
#include <stdbool.h>

#include "base/err.h"

// uri_limit_check says whether a constraint of kind URI can be compared: a host, or a domain
// with a dot before it, which means all that lies below; neither minimum nor maximum. A host has
// labels of letters, digits, '-' and '_', none of them empty. false sets err.
bool uri_limit_check(const GENERAL_SUBTREE *limit, struct err *err);

// uri_limits_allow says whether a URI is one that the constraints of one CA allow. Either list may
// be NULL; both have passed uri_limit_check. Letters are compared without case, byte for byte
// otherwise. A URI whose host can't be read is refused whatever the constraints are: without a
// host, with a port, user or percent sign, with an empty label (a dot at its end), or with an IP
// address, which in a SPIFFE id alone is a name. false sets err.
bool uri_limits_allow(STACK_OF(GENERAL_SUBTREE) * permitted, STACK_OF(GENERAL_SUBTREE) * excluded,
                      const ASN1_IA5STRING *uri, struct err *err);

#endif
