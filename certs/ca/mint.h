// SPDX-License-Identifier: Apache-2.0
//
// Makes certificates: keys, a mesh CA, its intermediates, workload leaves (X.509-SVID), CRLs, and
// their PEM and DER. A leaf never outlives its CA. Results are the caller's, `now` is an argument,
// and no file is opened: the CA's folder is certs/ca/ca_store.h.
#ifndef TABARD_CERTS_CA_MINT_H
#define TABARD_CERTS_CA_MINT_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"

#define MINT_BACKDATE_SECONDS 60    // how far notBefore lies back, for clocks that disagree
#define MINT_LEAF_SECONDS     3600  // a leaf's usual life
#define MINT_CRL_SECONDS      86400 // a CRL's usual life
#define MINT_DNS_NAMES_MAX    64
#define MINT_SERIAL_TEXT_MAX  48 // hexadecimal, with its NUL

enum mint_key_kind { MINT_KEY_P256, MINT_KEY_ED25519, MINT_KEY_ML_DSA_44, MINT_KEY_ML_DSA_65 };
#define MINT_KEY_KINDS "p256|ed25519|ml-dsa-44|ml-dsa-65" // for usages

// mint_key_kind_parse reads one of MINT_KEY_KINDS.
bool mint_key_kind_parse(enum mint_key_kind *out, const char *text, struct err *err);

// mint_key_new makes a private key. NULL sets err.
EVP_PKEY *mint_key_new(enum mint_key_kind kind, struct err *err);

// A certificate that signs, and its private key. Zero state: {0}.
struct mint_ca {
    X509 *cert;    // owned
    EVP_PKEY *key; // owned
};

// mint_root_init makes a self-signed root for a trust domain; mint_intermediate_init one that
// `parent` signs, of the same trust domain, which may sign leaves only. Both carry the trust
// domain's SPIFFE id. false sets err.
bool mint_root_init(struct mint_ca *out, enum mint_key_kind kind, const char *trust_domain,
                    time_t now, time_t not_after, struct err *err);
bool mint_intermediate_init(struct mint_ca *out, const struct mint_ca *parent,
                            enum mint_key_kind kind, time_t now, time_t not_after, struct err *err);
void mint_ca_cleanup(struct mint_ca *ca);

// mint_ca_trust_domain returns the trust domain that a CA's SPIFFE id names, malloc'd. NULL sets
// err.
char *mint_ca_trust_domain(const X509 *ca_cert, struct err *err);

// The contents of a leaf, for mint_leaf_new.
struct mint_leaf {
    const char *spiffe_id;        // of the CA's trust domain, with a path
    const char *const *dns_names; // NULL if there are none
    size_t num_dns_names;
    time_t not_before; // usually now - MINT_BACKDATE_SECONDS
    time_t not_after;  // refused if the CA ends earlier
};

// mint_leaf_new signs a leaf for a public key (a private one will do, only its public half is
// read). NULL sets err.
X509 *mint_leaf_new(const struct mint_ca *ca, EVP_PKEY *key, const struct mint_leaf *leaf,
                    struct err *err);

// mint_csr_check says whether a signing request may be answered with `leaf`: its signature proves
// that the key is held, the key is strong enough, and it asks for no name that `leaf` doesn't
// grant. What else it asks for is ignored. *out_key, owned by the caller, is then its public key.
// false sets err.
bool mint_csr_check(EVP_PKEY **out_key, X509_REQ *csr, const struct mint_leaf *leaf,
                    struct err *err);

struct mint_revoked {
    const ASN1_INTEGER *serial; // borrowed
    time_t when;
};

// mint_crl_new signs a complete CRL, possibly empty. `number` must grow from one CRL of a CA to the
// next. NULL sets err.
X509_CRL *mint_crl_new(const struct mint_ca *ca, const struct mint_revoked *revoked,
                       size_t num_revoked, uint64_t number, time_t this_update, time_t next_update,
                       struct err *err);

// PEM as malloc'd, NUL-terminated text. The key is unencrypted PKCS#8, for secret_free.
char *mint_cert_pem(X509 *cert);
char *mint_crl_pem(X509_CRL *crl);
char *mint_key_pem(EVP_PKEY *key);

// DER, malloc'd, as protobuf-c frees it. false: it was never signed. Only tests want a CRL so: the
// programs write it as PEM.
bool mint_cert_der(uint8_t **out_der, size_t *out_len, X509 *cert);
bool mint_crl_der(uint8_t **out_der, size_t *out_len, X509_CRL *crl);
bool mint_csr_der(uint8_t **out_der, size_t *out_len, X509_REQ *csr);

// A serial number as lower-case hexadecimal in buf, of MINT_SERIAL_TEXT_MAX bytes, and back.
// mint_serial_parse takes upper case and colons too; NULL sets err.
const char *mint_serial_text(const ASN1_INTEGER *serial, char *buf);
ASN1_INTEGER *mint_serial_parse(const char *text, struct err *err);

#endif
