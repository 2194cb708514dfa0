// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/ca/ca_trust.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "certs/ca/mint.h"
#include "certs/cert.h"
#include "proto/policy_agent_fields.h"
#include "tabard/v1/mesh.pb-c.h"

// ca.pem and roots.pem together, and crl.pem and crls.pem.
#define LISTS_MAX (2 * TRUST_BUNDLE_ROOTS_MAX)
_Static_assert(TRUST_BUNDLE_CRLS_MAX <= TRUST_BUNDLE_ROOTS_MAX, "LISTS_MAX holds both kinds");

// The files, read, while a trust is made of them.
struct sources {
    struct der_list chain, roots; // owned
    X509 *authorities[LISTS_MAX]; // owned: all of ca/ca.pem
    size_t num_authorities;
    bool is_root;       // ca/ca.pem is self-signed
    size_t num_ca_crls; // those of the trust's CRLs that are of ca/crl.pem, which come first
    ProtobufCBinaryData root_list[LISTS_MAX], crl_list[LISTS_MAX];
    Tabard__V1__TrustBundle bundle;
};

void ca_trust_free(struct ca_trust *trust)
{
    if (trust == NULL) {
        return;
    }
    der_list_cleanup(&trust->crls);
    trust_bundles_free(trust->bundles);
    bytes_cleanup(&trust->packed);
    free(trust->domain);
    free(trust->roots_pem);
    free(trust);
}

static void sources_cleanup(struct sources *sources)
{
    der_list_cleanup(&sources->chain);
    der_list_cleanup(&sources->roots);
    for (size_t i = 0; i < sources->num_authorities; i++) {
        X509_free(sources->authorities[i]);
    }
}

static void note(struct ca_trust *trust, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void note(struct ca_trust *trust, const char *format, ...)
{
    if (trust->num_notes < CA_TRUST_NOTES) {
        va_list args;
        va_start(args, format);
        vsnprintf(trust->notes[trust->num_notes++], CA_TRUST_NOTE_BYTES, format, args);
        va_end(args);
    }
}

static bool read_list(struct der_list *out, const char *label, const char *text, size_t num_max,
                      const char *name, struct err *err)
{
    return text == NULL || der_list_from_pem(out, label, text, strlen(text), num_max, name, err);
}

// Adds a blob to a list of LISTS_MAX, unless it stands there already.
static void add_der(ProtobufCBinaryData *list, size_t *num, uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < *num; i++) {
        if (list[i].len == len && memcmp(list[i].data, bytes, len) == 0) {
            return;
        }
    }
    invariant(*num < LISTS_MAX);
    list[(*num)++] = (ProtobufCBinaryData){.len = len, .data = bytes};
}

static bool is_self_issued(const X509 *cert)
{
    return X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
}

// Reads the certificates of ca/ca.pem. The first says which trust domain this is, and whether the
// CA is a root.
static bool read_ca(struct ca_trust *trust, struct sources *sources, struct err *err)
{
    for (size_t i = 0; i < sources->chain.num; i++) {
        const uint8_t *end = sources->chain.items[i];
        X509 *cert = d2i_X509(NULL, &end, (long)sources->chain.lens[i]);
        ERR_clear_error();
        if (cert == NULL) {
            return err_set(err, "ca/ca.pem: certificate %zu can't be read", i + 1);
        }
        sources->authorities[sources->num_authorities++] = cert;
    }
    X509 *first = sources->authorities[0];
    trust->domain = mint_ca_trust_domain(first, err);
    sources->is_root = is_self_issued(first);
    return trust->domain != NULL || err_prefix(err, "ca/ca.pem");
}

// Appends one list to another, which takes the blobs over.
static void join(struct der_list *to, struct der_list *from)
{
    size_t num = to->num + from->num;
    to->items = must_grow(to->items, num, sizeof *to->items);
    to->lens = must_grow(to->lens, num, sizeof *to->lens);
    for (size_t i = 0; i < from->num; i++) {
        to->items[to->num] = from->items[i];
        to->lens[to->num++] = from->lens[i];
    }
    from->num = 0;
    der_list_cleanup(from);
}

static bool read_files(struct ca_trust *trust, struct sources *sources,
                       const struct ca_trust_texts *texts, struct err *err)
{
    struct der_list more = {.num = 0};
    bool ok =
        (texts->ca != NULL ||
         err_set(err, "ca/ca.pem: missing; `tabard-ca init --dir DIR/ca --trust-domain TD` "
                      "makes a CA")) &&
        read_list(&sources->chain, "CERTIFICATE", texts->ca, TRUST_BUNDLE_ROOTS_MAX, "ca/ca.pem",
                  err) &&
        read_ca(trust, sources, err) &&
        read_list(&sources->roots, "CERTIFICATE", texts->roots, TRUST_BUNDLE_ROOTS_MAX, "roots.pem",
                  err) &&
        read_list(&trust->crls, "X509 CRL", texts->crl, TRUST_BUNDLE_CRLS_MAX, "ca/crl.pem", err) &&
        read_list(&more, "X509 CRL", texts->crls, TRUST_BUNDLE_CRLS_MAX, "crls.pem", err);
    sources->num_ca_crls = trust->crls.num;
    join(&trust->crls, &more);
    return ok;
}

static bool is_in_force(const struct ca_trust *in_force, const uint8_t *der, size_t len)
{
    for (size_t i = 0; i < in_force->crls.num; i++) {
        if (in_force->crls.lens[i] == len && memcmp(in_force->crls.items[i], der, len) == 0) {
            return true;
        }
    }
    return false;
}

// Says whether a CRL is of a certificate: by name and signature.
static bool is_crl_of(X509_CRL *crl, X509 *cert)
{
    EVP_PKEY *key = X509_get_pubkey(cert);
    bool is_its = X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(cert)) == 0 &&
                  key != NULL && X509_CRL_verify(crl, key) == 1;
    EVP_PKEY_free(key);
    ERR_clear_error();
    return is_its;
}

static bool is_crl_of_der(X509_CRL *crl, const uint8_t *der, size_t len)
{
    X509 *cert = d2i_X509(NULL, &der, (long)len);
    bool is_its = cert != NULL && is_crl_of(crl, cert);
    X509_free(cert);
    ERR_clear_error();
    return is_its;
}

// Who made a CRL, as far as the folder tells.
enum maker { MAKER_UNKNOWN, MAKER_ROOT, MAKER_CA };

static enum maker maker_of(const struct sources *sources, X509_CRL *crl)
{
    for (size_t i = 0; i < sources->num_authorities; i++) {
        if (is_crl_of(crl, sources->authorities[i])) {
            return MAKER_CA;
        }
    }
    for (size_t i = 0; i < sources->bundle.n_roots; i++) {
        const ProtobufCBinaryData *root = &sources->bundle.roots[i];
        if (is_crl_of_der(crl, root->data, root->len)) {
            return MAKER_ROOT;
        }
    }
    return MAKER_UNKNOWN;
}

// Takes the roots that made a CRL off the list, if another is left. Returns whether it did.
static bool drop_roots_of(struct sources *sources, X509_CRL *crl)
{
    Tabard__V1__TrustBundle *bundle = &sources->bundle;
    ProtobufCBinaryData left[LISTS_MAX];
    size_t num_left = 0;
    for (size_t i = 0; i < bundle->n_roots; i++) {
        if (!is_crl_of_der(crl, bundle->roots[i].data, bundle->roots[i].len)) {
            left[num_left++] = bundle->roots[i];
        }
    }
    if (num_left == 0) {
        return false;
    }
    memcpy(bundle->roots, left, num_left * sizeof *left);
    bundle->n_roots = num_left;
    return true;
}

// Says whether whoever reads the bundle would take a CRL for one of a root in it that did not sign
// it, and refuse the bundle: the names are the same, and no key identifiers tell the two apart.
static bool seems_of_der(const AUTHORITY_KEYID *ids, const X509_CRL *crl, const uint8_t *der,
                         size_t len)
{
    X509 *cert = d2i_X509(NULL, &der, (long)len);
    const ASN1_OCTET_STRING *own = cert == NULL ? NULL : X509_get0_subject_key_id(cert);
    bool is_told = ids != NULL && ids->keyid != NULL && own != NULL &&
                   ASN1_OCTET_STRING_cmp(ids->keyid, own) != 0;
    bool seems = cert != NULL && !is_told &&
                 X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(cert)) == 0;
    X509_free(cert);
    return seems;
}

static bool seems_of_a_root(const struct sources *sources, const X509_CRL *crl)
{
    AUTHORITY_KEYID *ids = X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, NULL, NULL);
    bool seems = false;
    for (size_t i = 0; i < sources->bundle.n_roots; i++) {
        const ProtobufCBinaryData *root = &sources->bundle.roots[i];
        seems = seems || seems_of_der(ids, crl, root->data, root->len);
    }
    AUTHORITY_KEYID_free(ids);
    ERR_clear_error();
    return seems;
}

// Decides what becomes of a stale CRL. That of a root which leaves stays where it can: another root
// may have certified its key, and what it revoked must not come back by that path.
// *out_is_left_out: it is not sent. false sets err.
static bool take_stale(struct ca_trust *trust, struct sources *sources, X509_CRL *crl,
                       bool was_in_force, bool *out_is_left_out, struct err *err)
{
    char issuer[TRUST_ISSUER_TEXT];
    X509_NAME_oneline(X509_CRL_get_issuer(crl), issuer, sizeof issuer);
    enum maker maker = maker_of(sources, crl);
    if (maker == MAKER_ROOT && drop_roots_of(sources, crl)) {
        *out_is_left_out = seems_of_a_root(sources, crl);
        note(trust,
             "the root %s was left out: its CRL is stale. The old CA's folder can renew it "
             "(tabard-ca revoke --refresh); else take the root out of roots.pem",
             issuer);
        return true;
    }
    if (maker != MAKER_UNKNOWN && !was_in_force) {
        return err_set(err,
                       "ca/crl.pem or crls.pem: the CRL of %s is stale: its nextUpdate has "
                       "passed",
                       issuer);
    }
    note(trust, "the CRL of %s is stale: its issuer's certificates are refused until it is renewed",
         issuer);
    return true;
}

// Tells of a CRL that was made ahead of our clock: it counts, but one of the clocks is wrong.
static void note_early(struct ca_trust *trust, const X509_CRL *crl, time_t now)
{
    char issuer[TRUST_ISSUER_TEXT];
    time_t made = 0;
    if (crl != NULL && cert_time_read(&made, X509_CRL_get0_lastUpdate(crl)) && made > now) {
        X509_NAME_oneline(X509_CRL_get_issuer(crl), issuer, sizeof issuer);
        note(trust,
             "the CRL of %s was made %lld seconds ahead of this host's clock: it counts, but one "
             "of the two clocks is wrong",
             issuer, (long long)(made - now));
    }
}

static bool list_crls(struct ca_trust *trust, struct sources *sources,
                      const struct ca_trust *in_force, time_t now, struct err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < trust->crls.num; i++) {
        const uint8_t *end = trust->crls.items[i];
        size_t len = trust->crls.lens[i];
        X509_CRL *crl = d2i_X509_CRL(NULL, &end, (long)len);
        time_t next = 0;
        bool is_left_out = false;
        note_early(trust, crl, now);
        if (crl != NULL && cert_time_read(&next, X509_CRL_get0_nextUpdate(crl)) && next < now) {
            bool was_in_force =
                in_force == NULL || is_in_force(in_force, trust->crls.items[i], len);
            ok = take_stale(trust, sources, crl, was_in_force, &is_left_out, err);
        }
        X509_CRL_free(crl);
        if (ok && !is_left_out) {
            add_der(sources->crl_list, &sources->bundle.n_crls, trust->crls.items[i], len);
        }
    }
    ERR_clear_error();
    return ok;
}

static char *roots_pem(const Tabard__V1__TrustBundle *bundle)
{
    struct bytes text = {.len = 0};
    for (size_t i = 0; i < bundle->n_roots; i++) {
        const uint8_t *at = bundle->roots[i].data;
        X509 *root = d2i_X509(NULL, &at, (long)bundle->roots[i].len);
        invariant(root != NULL); // the bundle was checked
        char *pem = mint_cert_pem(root);
        bytes_push_text(&text, pem);
        free(pem);
        X509_free(root);
    }
    return bytes_take_text(&text);
}

// Says of which file, and which certificate or CRL of it, a refusal of the bundle speaks, in place
// of the bundle's field.
static void name_file(const struct ca_trust *trust, const struct sources *sources, struct err *err)
{
    const char *field = strrchr(err->where, '.');
    const char *name = field == NULL ? err->where : field + 1;
    size_t at = 0;
    if (sscanf(name, "crls[%zu]", &at) == 1 && at < sources->bundle.n_crls) {
        size_t i = 0;
        while (trust->crls.items[i] != sources->crl_list[at].data) {
            i++;
        }
        bool is_of_ca = i < sources->num_ca_crls;
        err->where[0] = '\0';
        err_prefix(err, "%s: CRL %zu", is_of_ca ? "ca/crl.pem" : "crls.pem",
                   is_of_ca ? i + 1 : i - sources->num_ca_crls + 1);
    } else if (sscanf(name, "roots[%zu]", &at) == 1) {
        bool is_of_ca = sources->is_root && at == 0;
        err->where[0] = '\0';
        err_prefix(err, "%s: certificate %zu", is_of_ca ? "ca/ca.pem" : "roots.pem",
                   is_of_ca ? 1 : at + 1 - sources->is_root);
    } else {
        err_prefix(err, "ca/ca.pem, roots.pem, ca/crl.pem and crls.pem together");
    }
}

static bool build(struct ca_trust *trust, struct sources *sources, const struct ca_trust *in_force,
                  time_t now, struct err *err)
{
    Tabard__V1__TrustBundle *bundle = &sources->bundle;
    char issuer[TRUST_ISSUER_TEXT];
    *bundle = (Tabard__V1__TrustBundle)TABARD__V1__TRUST_BUNDLE__INIT;
    bundle->trust_domain = trust->domain;
    bundle->roots = sources->root_list;
    bundle->crls = sources->crl_list;
    if (sources->is_root) {
        add_der(bundle->roots, &bundle->n_roots, sources->chain.items[0], sources->chain.lens[0]);
    }
    for (size_t i = 0; i < sources->roots.num; i++) {
        add_der(bundle->roots, &bundle->n_roots, sources->roots.items[i], sources->roots.lens[i]);
    }
    if (bundle->n_roots == 0) {
        return err_set(err, "ca/ca.pem is an intermediate: roots.pem must hold the root above it");
    }
    if (!list_crls(trust, sources, in_force, now, err)) {
        return false;
    }
    const struct trust_load load = {.in_force = in_force == NULL ? NULL : in_force->bundles,
                                    .authorities = sources->authorities,
                                    .num_authorities = sources->num_authorities,
                                    .takes_stale = true};
    trust->bundles = trust_bundles_read(&bundle, 1, &load, now, err);
    if (trust->bundles == NULL) {
        name_file(trust, sources, err);
        return false;
    }
    pb_wire_put_message(&trust->packed, STATE_TRUST_BUNDLES, &bundle->base);
    trust->roots_pem = roots_pem(bundle);
    trust->bundle = trust_bundles_find(trust->bundles, trust->domain, strlen(trust->domain));
    trust->next_update = trust_bundle_next_update(trust->bundle);
    for (size_t i = 0; trust_bundle_unproved(trust->bundle, i, issuer) != NULL; i++) {
        note(trust,
             "a CRL of %s is of no root and not of ca/ca.pem: it counts only for chains "
             "that show its issuer",
             issuer);
    }
    for (size_t i = 0;
         in_force != NULL &&
         trust_bundles_withdrawn(trust->bundles, in_force->bundles, i, issuer) != NULL;
         i++) {
        note(trust, "the CRL of %s is gone: what it revoked is revoked no more", issuer);
    }
    return true;
}

struct ca_trust *ca_trust_new(const struct ca_trust_texts *texts, const struct ca_trust *in_force,
                              time_t now, struct err *err)
{
    struct sources *sources = must_alloc(1, sizeof *sources);
    struct ca_trust *trust = must_alloc(1, sizeof *trust);
    bool ok = read_files(trust, sources, texts, err) && build(trust, sources, in_force, now, err);
    sources_cleanup(sources);
    free(sources);
    if (!ok) {
        ca_trust_free(trust);
        return NULL;
    }
    return trust;
}

void ca_trust_log_notes(const struct ca_trust *trust)
{
    char quoted[2 * CA_TRUST_NOTE_BYTES];
    for (size_t i = 0; i < trust->num_notes; i++) {
        log_warn("msg=\"the trust needs a look\" note=%s",
                 log_quote(quoted, sizeof quoted, trust->notes[i]));
    }
}
