// SPDX-License-Identifier: Apache-2.0
#include "certs/path/path.h"

#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/bundle_impl.h"
#include "certs/cert.h"
#include "certs/key.h"
#include "certs/path/path_state.h"
#include "certs/path/revocation.h"

#define NODES_MAX   (CHAIN_CERTS_MAX + TRUST_BUNDLE_ROOTS_MAX)
#define UNREACHABLE UINT8_MAX

// Whether one certificate signed another.
enum edge { EDGE_UNKNOWN, EDGE_GOOD, EDGE_BAD };

// What the key identifiers of two certificates say: only in which order they are tried, for they
// prove nothing and a wrong one is no flaw (RFC 4158, section 3.5.12).
enum hint { HINT_SAME, HINT_NONE, HINT_OTHER, NUM_HINTS };

// The flaw of the path that came nearest to the leaf. A flaw of a certificate that its issuer has
// signed tells more than a signature of another key, and revocation more than other flaws.
struct flaw {
    unsigned rank; // 0: none yet
    enum verify_failure failure;
    struct err err;
};

// One search under way. The nodes are the leaf, then the others that the peer sent, then the roots;
// the latest notAfter first.
struct search {
    struct path_cert nodes[NODES_MAX];
    size_t num_certs;
    size_t num_nodes;
    uint8_t distance[NODES_MAX];               // steps to the leaf by names alone, or UNREACHABLE
    uint8_t edges[NODES_MAX][CHAIN_CERTS_MAX]; // enum edge: of an issuer and a subject
    size_t trail[PATH_LEN_MAX];                // the path under way, root first
    size_t trail_len;
    const struct trust_bundle *bundle;
    struct path_rules rules;
    size_t num_signatures;
    size_t num_steps;
    bool is_exhausted;
    bool is_found;
    time_t not_after; // of the best path, if is_found
    struct flaw flaw;
};

static bool names_issuer(const struct search *s, size_t issuer, size_t subject)
{
    return X509_NAME_cmp(X509_get_subject_name(s->nodes[issuer].cert),
                         X509_get_issuer_name(s->nodes[subject].cert)) == 0;
}

// Whether the issuer's next step down may be the subject. Only what leads to the leaf is looked at.
static bool is_step(const struct search *s, size_t issuer, size_t subject)
{
    return issuer != subject && s->distance[subject] != UNREACHABLE &&
           names_issuer(s, issuer, subject);
}

static void complain(struct search *s, size_t node, unsigned rank, enum verify_failure failure,
                     const struct err *err)
{
    if (rank <= s->flaw.rank) {
        return;
    }
    s->flaw = (struct flaw){.rank = rank, .failure = failure, .err = *err};
    cert_err_prefix(&s->flaw.err, s->distance[node], s->nodes[node].cert);
}

#define RANK_NO_ISSUER 1
#define RANK_SIGNATURE 2

static unsigned rank_of(const struct search *s, size_t node, enum verify_failure failure)
{
    return RANK_SIGNATURE + 2 * (unsigned)(PATH_LEN_MAX + 1 - s->distance[node]) +
           (failure == VERIFY_REVOKED);
}

static void give_up(struct search *s, const char *what, unsigned max)
{
    if (s->is_exhausted) {
        return;
    }
    s->is_exhausted = true;
    err_set(&s->flaw.err, "more than %u %s are needed to find a path through these certificates",
            max, what);
}

static bool check_signature(struct search *s, size_t issuer, size_t subject)
{
    X509 *cert = s->nodes[subject].cert;
    const X509_ALGOR *algorithm;
    struct err err;
    X509_get0_signature(NULL, &algorithm, cert);
    if (!key_signature_check(algorithm, &err)) {
        complain(s, subject, rank_of(s, subject, VERIFY_WEAK_KEY), VERIFY_WEAK_KEY, &err);
        return false;
    }
    s->num_signatures++;
    EVP_PKEY *key = X509_get_pubkey(s->nodes[issuer].cert);
    bool is_good = key != NULL && X509_verify(cert, key) == 1;
    EVP_PKEY_free(key);
    if (!is_good) {
        char name[CERT_NAME_TEXT_MAX];
        err_set(&err, "its signature was not made by the key of its issuer (%s)",
                cert_name_text(X509_get_issuer_name(cert), name));
        complain(s, subject, RANK_SIGNATURE, VERIFY_UNTRUSTED_CHAIN, &err);
    }
    return is_good;
}

static bool is_signed_by(struct search *s, size_t issuer, size_t subject)
{
    uint8_t *edge = &s->edges[issuer][subject];
    if (*edge == EDGE_UNKNOWN) {
        if (s->num_signatures == PATH_SIGNATURES_MAX) {
            give_up(s, "checks of signatures", PATH_SIGNATURES_MAX);
            return false;
        }
        *edge = check_signature(s, issuer, subject) ? EDGE_GOOD : EDGE_BAD;
    }
    return *edge == EDGE_GOOD;
}

static enum hint hint_of(const struct search *s, size_t issuer, size_t subject)
{
    const ASN1_OCTET_STRING *wanted = X509_get0_authority_key_id(s->nodes[subject].cert);
    const ASN1_OCTET_STRING *own = X509_get0_subject_key_id(s->nodes[issuer].cert);
    if (wanted == NULL || own == NULL) {
        return HINT_NONE;
    }
    return ASN1_OCTET_STRING_cmp(wanted, own) == 0 ? HINT_SAME : HINT_OTHER;
}

// A CA that stands on the path already, by name and key, would only lead in a circle (RFC 4158,
// section 2.4.2).
static bool is_on_trail(const struct search *s, size_t node)
{
    X509 *cert = s->nodes[node].cert;
    for (size_t i = 0; i < s->trail_len; i++) {
        X509 *other = s->nodes[s->trail[i]].cert;
        if (s->trail[i] == node) {
            return true;
        }
        if (X509_NAME_cmp(X509_get_subject_name(cert), X509_get_subject_name(other)) != 0) {
            continue;
        }
        EVP_PKEY *key = X509_get_pubkey(cert);
        EVP_PKEY *other_key = X509_get_pubkey(other);
        bool is_same = key != NULL && other_key != NULL && EVP_PKEY_cmp(key, other_key) == 1;
        EVP_PKEY_free(key);
        EVP_PKEY_free(other_key);
        if (is_same) {
            return true;
        }
    }
    return false;
}

// A path can't last longer than the leaf, so one that lasts as long ends the search.
static bool is_done(const struct search *s)
{
    return s->is_exhausted || (s->is_found && s->not_after == s->nodes[0].not_after);
}

static void extend(struct search *s, const struct path_state *state, enum hint hint);

// Tries the next certificate down from the end of the path, and what lies below it.
static void step(struct search *s, size_t subject, const struct path_state *state)
{
    struct path_cert *cert = &s->nodes[subject];
    size_t issuer = s->trail[s->trail_len - 1];
    time_t not_after = cert->not_after < state->not_after ? cert->not_after : state->not_after;
    if (is_on_trail(s, subject) || (s->is_found && not_after <= s->not_after) ||
        !is_signed_by(s, issuer, subject)) {
        return;
    }
    if (++s->num_steps > PATH_STEPS_MAX) {
        give_up(s, "steps", PATH_STEPS_MAX);
        return;
    }
    bool is_leaf = subject == 0;
    struct path_state next = *state;
    struct err err;
    enum verify_failure failure = path_state_next(&next, cert, is_leaf, &s->rules, &err);
    if (failure == VERIFY_OK) {
        failure =
            revocation_check(s->bundle, cert->cert, s->nodes[issuer].cert, s->rules.now, &err);
    }
    if (failure == VERIFY_TOO_MUCH_WORK) {
        s->is_exhausted = true;
        s->flaw.err = err;
    } else if (failure != VERIFY_OK) {
        complain(s, subject, rank_of(s, subject, failure), failure, &err);
    } else if (is_leaf) {
        s->is_found = true;
        s->not_after = next.not_after;
    } else {
        s->trail[s->trail_len++] = subject;
        for (enum hint hint = 0; hint < NUM_HINTS; hint++) {
            extend(s, &next, hint);
        }
        s->trail_len--;
    }
}

// Tries each certificate that the last one of the path may have signed and that the hint is true
// of.
static void extend(struct search *s, const struct path_state *state, enum hint hint)
{
    size_t issuer = s->trail[s->trail_len - 1];
    for (size_t i = 0; i < s->num_certs && !is_done(s); i++) {
        if (is_step(s, issuer, i) && hint_of(s, issuer, i) == hint) {
            step(s, i, state);
        }
    }
}

// Begins a path at a root. What is wrong with a root is only told if it signed a certificate here.
static void begin(struct search *s, size_t root, enum hint hint)
{
    struct path_state state;
    struct err err;
    s->trail[0] = root;
    s->trail_len = 1;
    enum verify_failure failure = path_state_start(&state, &s->nodes[root], &s->rules, &err);
    if (failure == VERIFY_OK) {
        extend(s, &state, hint);
        return;
    }
    for (size_t i = 0; i < s->num_certs && !is_done(s); i++) {
        if (is_step(s, root, i) && hint_of(s, root, i) == hint && is_signed_by(s, root, i)) {
            complain(s, root, rank_of(s, root, failure), failure, &err);
            return;
        }
    }
}

static int latest_first(const void *a, const void *b)
{
    const struct path_cert *x = a;
    const struct path_cert *y = b;
    return (x->not_after < y->not_after) - (x->not_after > y->not_after);
}

// Whether the peer sent a root of the bundle along, as many do: the root itself signs all that it
// could.
static bool is_copy_of_root(const struct search *s, size_t node)
{
    X509 *cert = s->nodes[node].cert;
    for (size_t i = s->num_certs; node < s->num_certs && i < s->num_nodes; i++) {
        X509 *root = s->nodes[i].cert;
        if (X509_NAME_cmp(X509_get_subject_name(cert), X509_get_subject_name(root)) == 0 &&
            X509_cmp(cert, root) == 0) {
            return true;
        }
    }
    return false;
}

// Numbers the nodes by their distance from the leaf, along the names of issuers.
static void measure(struct search *s)
{
    memset(s->distance, UNREACHABLE, sizeof s->distance);
    s->distance[0] = 0;
    bool has_grown = true;
    for (uint8_t at = 0; has_grown; at++) {
        has_grown = false;
        for (size_t subject = 0; subject < s->num_certs; subject++) {
            for (size_t i = 1; s->distance[subject] == at && i < s->num_nodes; i++) {
                if (s->distance[i] == UNREACHABLE && names_issuer(s, i, subject) &&
                    !is_copy_of_root(s, i)) {
                    s->distance[i] = at + 1;
                    has_grown = true;
                }
            }
        }
    }
}

static enum verify_failure take_certs(struct search *s, X509 *const *certs, size_t num_certs,
                                      struct err *err)
{
    for (; s->num_certs < num_certs; s->num_certs++) {
        if (!path_cert_init(&s->nodes[s->num_certs], certs[s->num_certs], err)) {
            cert_err_prefix(err, s->num_certs, certs[s->num_certs]);
            return VERIFY_CERTIFICATE_UNPARSABLE;
        }
    }
    qsort(&s->nodes[1], num_certs - 1, sizeof s->nodes[0], latest_first);
    s->num_nodes = s->num_certs;
    for (size_t i = 0; i < s->bundle->num_roots; i++) {
        const struct bundle_root *root = &s->bundle->roots[i];
        s->nodes[s->num_nodes++] = (struct path_cert){
            .cert = root->cert, .not_before = root->not_before, .not_after = root->not_after};
    }
    qsort(&s->nodes[num_certs], s->bundle->num_roots, sizeof s->nodes[0], latest_first);
    measure(s);
    return VERIFY_OK;
}

// Names the certificate at which every chain of issuers ends without having met a root.
static void complain_of_no_issuer(struct search *s)
{
    if (s->is_exhausted) {
        return;
    }
    size_t last = 0;
    for (size_t i = 1; i < s->num_certs; i++) {
        if (s->distance[i] != UNREACHABLE && s->distance[i] > s->distance[last]) {
            last = i;
        }
    }
    char name[CERT_NAME_TEXT_MAX];
    struct err err;
    err_set(&err,
            "its issuer (%s) is no root of the trust bundle, and no other certificate of the "
            "chain leads to one",
            cert_name_text(X509_get_issuer_name(s->nodes[last].cert), name));
    complain(s, last, RANK_NO_ISSUER, VERIFY_UNTRUSTED_CHAIN, &err);
}

static enum verify_failure search(struct search *s, time_t *out_not_after, struct err *err)
{
    for (enum hint hint = 0; hint < NUM_HINTS; hint++) {
        for (size_t i = s->num_certs; i < s->num_nodes && !is_done(s); i++) {
            if (s->distance[i] != UNREACHABLE) {
                begin(s, i, hint);
            }
        }
    }
    if (s->is_found) {
        *out_not_after = s->not_after;
        return VERIFY_OK;
    }
    complain_of_no_issuer(s);
    if (err != NULL) {
        *err = s->flaw.err;
    }
    return s->is_exhausted ? VERIFY_TOO_MUCH_WORK : s->flaw.failure;
}

enum verify_failure path_find(time_t *out_not_after, X509 *const *certs, size_t num_certs,
                              const struct trust_bundle *bundle, time_t now, struct err *err)
{
    struct search *s = must_alloc(1, sizeof *s);
    s->bundle = bundle;
    s->rules =
        (struct path_rules){.domain = bundle->domain, .domain_len = bundle->domain_len, .now = now};
    enum verify_failure failure = take_certs(s, certs, num_certs, err);
    if (failure == VERIFY_OK) {
        failure = search(s, out_not_after, err);
    }
    for (size_t i = 0; i < NODES_MAX; i++) {
        path_cert_cleanup(&s->nodes[i]);
    }
    free(s);
    return failure;
}
