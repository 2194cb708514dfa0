// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/ca/ca_trust.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "certs/ca/mint.h"
#include "proto/policy_agent_fields.h"
#include "tabard/v1/mesh.pb-c.h"

// ca.pem and roots.pem together, and crl.pem and crls.pem.
#define LISTS_MAX (2 * TRUST_BUNDLE_ROOTS_MAX)
_Static_assert(TRUST_BUNDLE_CRLS_MAX <= TRUST_BUNDLE_ROOTS_MAX, "LISTS_MAX holds both kinds");

void ca_trust_free(struct ca_trust *trust)
{
    if (trust == NULL) {
        return;
    }
    for (size_t i = 0; i < trust->crls.num && trust->parsed != NULL; i++) {
        X509_CRL_free(trust->parsed[i]);
    }
    free(trust->parsed);
    der_list_cleanup(&trust->crls);
    trust_bundles_free(trust->bundles);
    bytes_cleanup(&trust->packed);
    free(trust->domain);
    free(trust);
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

// Reads the CA's own certificate: its trust domain, and whether it is a root.
static bool read_ca(struct ca_trust *trust, const struct der_list *chain, bool *out_is_root,
                    struct err *err)
{
    const uint8_t *end = chain->items[0];
    X509 *cert = d2i_X509(NULL, &end, (long)chain->lens[0]);
    bool ok = cert != NULL || err_set(err, "ca/ca.pem: the first certificate can't be read");
    if (ok) {
        trust->domain = mint_ca_trust_domain(cert, err);
        ok = trust->domain != NULL || err_prefix(err, "ca/ca.pem");
        *out_is_root = X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
    }
    X509_free(cert);
    ERR_clear_error();
    return ok;
}

static bool parse_crls(struct ca_trust *trust, struct err *err)
{
    trust->parsed = must_alloc(trust->crls.num, sizeof(X509_CRL *));
    for (size_t i = 0; i < trust->crls.num; i++) {
        const uint8_t *end = trust->crls.items[i];
        trust->parsed[i] = d2i_X509_CRL(NULL, &end, (long)trust->crls.lens[i]);
        if (trust->parsed[i] == NULL) {
            return err_set(err, "CRL %zu of ca/crl.pem and crls.pem together can't be read", i + 1);
        }
    }
    return true;
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

static bool build(struct ca_trust *trust, const struct ca_trust_texts *texts,
                  const struct der_list *chain, const struct der_list *roots, bool is_root,
                  time_t now, struct err *err)
{
    ProtobufCBinaryData root_list[LISTS_MAX], crl_list[LISTS_MAX];
    Tabard__V1__TrustBundle bundle = TABARD__V1__TRUST_BUNDLE__INIT;
    Tabard__V1__TrustBundle *one[] = {&bundle};
    struct der_list more = {.num = 0};
    bool ok = (!is_root || read_list(&trust->crls, "X509 CRL", texts->crl, TRUST_BUNDLE_CRLS_MAX,
                                     "ca/crl.pem", err)) &&
              read_list(&more, "X509 CRL", texts->crls, TRUST_BUNDLE_CRLS_MAX, "crls.pem", err);
    join(&trust->crls, &more);
    ok = ok && parse_crls(trust, err);
    if (!ok) {
        return false;
    }
    if (is_root) {
        add_der(root_list, &bundle.n_roots, chain->items[0], chain->lens[0]);
    }
    for (size_t i = 0; i < roots->num; i++) {
        add_der(root_list, &bundle.n_roots, roots->items[i], roots->lens[i]);
    }
    for (size_t i = 0; i < trust->crls.num; i++) {
        add_der(crl_list, &bundle.n_crls, trust->crls.items[i], trust->crls.lens[i]);
    }
    if (bundle.n_roots == 0) {
        return err_set(err, "ca/ca.pem is an intermediate: roots.pem must hold the root above it");
    }
    bundle.trust_domain = trust->domain;
    bundle.roots = root_list;
    bundle.crls = crl_list;
    trust->bundles = trust_bundles_new(one, 1, now, err);
    pb_wire_put_message(&trust->packed, STATE_TRUST_BUNDLES, &bundle.base);
    return trust->bundles != NULL;
}

struct ca_trust *ca_trust_new(const struct ca_trust_texts *texts, time_t now, struct err *err)
{
    struct der_list chain = {.num = 0};
    struct der_list roots = {.num = 0};
    struct ca_trust *trust = must_alloc(1, sizeof *trust);
    bool is_root = false;
    bool ok =
        (texts->ca != NULL ||
         err_set(err, "ca/ca.pem: missing; `tabard-ca init --dir DIR/ca --trust-domain TD` "
                      "makes a CA")) &&
        read_list(&chain, "CERTIFICATE", texts->ca, TRUST_BUNDLE_ROOTS_MAX, "ca/ca.pem", err) &&
        read_ca(trust, &chain, &is_root, err) &&
        read_list(&roots, "CERTIFICATE", texts->roots, TRUST_BUNDLE_ROOTS_MAX, "roots.pem", err) &&
        build(trust, texts, &chain, &roots, is_root, now, err);
    der_list_cleanup(&chain);
    der_list_cleanup(&roots);
    if (!ok) {
        ca_trust_free(trust);
        return NULL;
    }
    return trust;
}

bool ca_trust_is_revoked(const struct ca_trust *trust, const struct cert_serial *serial)
{
    if (serial->len == 0) {
        return false;
    }
    ASN1_INTEGER *number =
        must_have(ASN1_STRING_type_new(serial->is_negative ? V_ASN1_NEG_INTEGER : V_ASN1_INTEGER));
    must_have(ASN1_STRING_set(number, serial->bytes, serial->len) == 1 ? number : NULL);
    bool is_revoked = false;
    for (size_t i = 0; i < trust->crls.num && !is_revoked; i++) {
        X509_REVOKED *entry = NULL;
        is_revoked = X509_CRL_get0_by_serial(trust->parsed[i], &entry, number) != 0;
    }
    ASN1_INTEGER_free(number);
    ERR_clear_error();
    return is_revoked;
}
