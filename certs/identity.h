// SPDX-License-Identifier: Apache-2.0
//
// SPIFFE ids and trust domain names (SPIFFE-ID, section 2), strictly as written: nothing is
// normalised, so no two texts name one identity. The parsed structs borrow the text.
#ifndef TABARD_CERTS_IDENTITY_H
#define TABARD_CERTS_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SPIFFE_ID_LEN_MAX           2048
#define SPIFFE_TRUST_DOMAIN_LEN_MAX 255

struct spiffe_id {
    const char *text; // borrowed, not NUL-terminated: "spiffe://prod.example/ns/shop/sa/web"
    size_t text_len;
    const char *domain; // within text
    size_t domain_len;
    // Within text, with its first slash. path_len 0: the id of a trust domain, not of a workload.
    const char *path;
    size_t path_len;
};

// spiffe_id_parse reads a SPIFFE id, with or without a path. false sets err (what is wrong, at
// which byte).
bool spiffe_id_parse(struct spiffe_id *out, const char *text, size_t text_len, struct err *err);

// spiffe_workload_parse is spiffe_id_parse for a workload: a path is required.
bool spiffe_workload_parse(struct spiffe_id *out, const char *text, size_t text_len,
                           struct err *err);

// spiffe_trust_domain_check says whether `name` is a bare trust domain name ("prod.example"). false
// sets err, and the message names the bare name where a whole id was given.
bool spiffe_trust_domain_check(const char *name, size_t name_len, struct err *err);

// The ids that a policy or destination names: one id, all ids below a path
// ("spiffe://prod.example/ns/shop/", with its last slash), or all workloads of a trust domain
// ("spiffe://prod.example").
enum spiffe_pattern_kind {
    SPIFFE_PATTERN_EXACT,
    SPIFFE_PATTERN_PREFIX,
    SPIFFE_PATTERN_TRUST_DOMAIN
};

struct spiffe_pattern {
    enum spiffe_pattern_kind kind;
    const char *text; // borrowed
    size_t text_len;
};

// spiffe_pattern_parse reads one of the three. false sets err.
bool spiffe_pattern_parse(struct spiffe_pattern *out, const char *text, size_t text_len,
                          struct err *err);

// spiffe_pattern_matches compares bytes with their lengths. `id` must be a parsed workload id.
bool spiffe_pattern_matches(const struct spiffe_pattern *pattern, const struct spiffe_id *id);

#endif
