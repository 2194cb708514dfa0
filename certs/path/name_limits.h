// SPDX-License-Identifier: Apache-2.0
//
// The name constraints of one CA certificate (RFC 5280, section 4.2.1.10). BoringSSL judges
// directory names, DNS names and mail addresses. IP addresses are judged here, since BoringSSL
// knows no constraints on them, and URIs in certs/path/uri_limits.h. Pure.
#ifndef TABARD_CERTS_PATH_NAME_LIMITS_H
#define TABARD_CERTS_PATH_NAME_LIMITS_H

#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

// Zero state: a certificate without name constraints.
struct name_limits {
    NAME_CONSTRAINTS *others;                     // owned; all but those on IP addresses and URIs
    STACK_OF(GENERAL_SUBTREE) * permitted_ranges; // owned; of IP addresses; NULL: none
    STACK_OF(GENERAL_SUBTREE) * excluded_ranges;  // owned; likewise
    STACK_OF(GENERAL_SUBTREE) * permitted_uris;   // owned; of URIs; NULL: none
    STACK_OF(GENERAL_SUBTREE) * excluded_uris;    // owned; likewise
    size_t num;                                   // of all constraints
};

// name_limits_read reads the name constraints of a certificate, if it has any. false sets err: they
// can't be read, one of their lists is empty, or they hold a range of addresses that is none or a
// constraint on URIs that is no host.
bool name_limits_read(struct name_limits *out, const X509 *cert, struct err *err);
void name_limits_cleanup(struct name_limits *limits);

// name_limits_work counts the comparisons that name_limits_check will make.
size_t name_limits_work(const struct name_limits *limits, const GENERAL_NAMES *names,
                        const X509 *cert);

// name_limits_check says whether every name of `cert`, its subject and `names` (its
// subjectAltName, or NULL), is one that the limits allow. A name of a kind that is limited and not
// understood is refused. false sets err.
bool name_limits_check(const struct name_limits *limits, const GENERAL_NAMES *names, X509 *cert,
                       struct err *err);

#endif
