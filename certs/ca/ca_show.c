// SPDX-License-Identifier: Apache-2.0
#include "certs/ca/ca_show.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/data/hex.h"
#include "certs/bundle.h"
#include "certs/cert.h"
#include "certs/der_list.h"
#include "certs/key.h"
#include "certs/ca/mint.h"

#define NAME_TEXT_MAX 1024
#define SPAN_TEXT_MAX 64

// Prints bytes that a stranger chose.
static void print_bytes(FILE *out, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '\\') {
            fputc(bytes[i], out);
        } else {
            fprintf(out, "\\x%02x", bytes[i]);
        }
    }
}

static void print_name(FILE *out, const char *key, const X509_NAME *name)
{
    const uint8_t *text = NULL;
    size_t len = 0;
    BIO *bio = BIO_new(BIO_s_mem());
    fprintf(out, "%s: ", key);
    if (bio != NULL && X509_NAME_print_ex(bio, (X509_NAME *)name, 0, XN_FLAG_RFC2253) >= 0) {
        BIO_mem_contents(bio, &text, &len);
    }
    if (len == 0) {
        fputs("(empty)", out);
    }
    print_bytes(out, text, len);
    fputc('\n', out);
    BIO_free(bio);
}

// A length of time in its two largest units.
static const char *span_text(char buf[SPAN_TEXT_MAX], time_t seconds)
{
    long long s = (long long)seconds;
    if (s >= 86400) {
        snprintf(buf, SPAN_TEXT_MAX, "%lld d %lld h", s / 86400, s % 86400 / 3600);
    } else if (s >= 3600) {
        snprintf(buf, SPAN_TEXT_MAX, "%lld h %lld min", s / 3600, s % 3600 / 60);
    } else if (s >= 60) {
        snprintf(buf, SPAN_TEXT_MAX, "%lld min %lld s", s / 60, s % 60);
    } else {
        snprintf(buf, SPAN_TEXT_MAX, "%lld s", s);
    }
    return buf;
}

static void print_time(FILE *out, const char *key, const ASN1_TIME *time, time_t now,
                       const char *before, const char *after)
{
    time_t at;
    char text[CERT_TIME_TEXT_MAX];
    char span[SPAN_TEXT_MAX];
    if (!cert_time_read(&at, time)) {
        fprintf(out, "%s: %s\n", key, time == NULL ? "none" : "not a time");
        return;
    }
    cert_time_text(at, text);
    if (at > now) {
        fprintf(out, "%s: %s (%s%s)\n", key, text, before, span_text(span, at - now));
    } else {
        fprintf(out, "%s: %s (%s%s ago)\n", key, text, after, span_text(span, now - at));
    }
}

static void print_key(FILE *out, const EVP_PKEY *key)
{
    char text[KEY_TEXT_MAX];
    fprintf(out, "key: %s%s\n", key_text(key, text),
            key_check(key, NULL) ? "" : " (not accepted in the mesh)");
}

// RSA-PSS says by its parameters alone what is wrong with it. A root's own signature is not judged.
static void print_signature(FILE *out, const X509_ALGOR *algorithm, bool is_judged)
{
    const ASN1_OBJECT *object;
    struct err err = {0};
    X509_ALGOR_get0(&object, NULL, NULL, algorithm);
    int nid = OBJ_obj2nid(object);
    const char *name = nid == NID_undef ? NULL : OBJ_nid2sn(nid);
    bool is_accepted = !is_judged || key_signature_check(algorithm, &err);
    fprintf(out, "signature: %s%s%s%s\n", name == NULL ? "unknown" : name,
            is_accepted ? "" : " (not accepted in the mesh: ", err.text, is_accepted ? "" : ")");
}

static void print_names(FILE *out, const GENERAL_NAMES *names)
{
    for (size_t i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI && name->type != GEN_DNS) {
            fputs("other name: (neither a URI nor a DNS name)\n", out);
            continue;
        }
        const uint8_t *text = ASN1_STRING_get0_data(name->d.ia5);
        size_t len = (size_t)ASN1_STRING_length(name->d.ia5);
        bool is_spiffe = len >= 9 && memcmp(text, "spiffe://", 9) == 0;
        fputs(name->type == GEN_DNS ? "dns name: " : is_spiffe ? "spiffe id: " : "uri: ", out);
        print_bytes(out, text, len);
        fputc('\n', out);
    }
}

static void print_uses(FILE *out, X509 *cert)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } uses[] = {
        {KU_DIGITAL_SIGNATURE, "digitalSignature"},
        {KU_NON_REPUDIATION, "nonRepudiation"},
        {KU_KEY_ENCIPHERMENT, "keyEncipherment"},
        {KU_DATA_ENCIPHERMENT, "dataEncipherment"},
        {KU_KEY_AGREEMENT, "keyAgreement"},
        {KU_KEY_CERT_SIGN, "keyCertSign"},
        {KU_CRL_SIGN, "cRLSign"},
    };
    uint32_t flags = X509_get_extension_flags(cert);
    fputs("key usage:", out);
    if ((flags & EXFLAG_KUSAGE) == 0) {
        fputs(" none", out);
    } else {
        for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
            if ((X509_get_key_usage(cert) & uses[i].bit) != 0) {
                fprintf(out, " %s", uses[i].name);
            }
        }
    }
    if ((flags & EXFLAG_XKUSAGE) != 0) {
        uint32_t extended = X509_get_extended_key_usage(cert);
        fprintf(out, "\nextended key usage:%s%s%s",
                (extended & XKU_SSL_SERVER) != 0 ? " serverAuth" : "",
                (extended & XKU_SSL_CLIENT) != 0 ? " clientAuth" : "",
                (extended & ~(uint32_t)(XKU_SSL_SERVER | XKU_SSL_CLIENT)) != 0 ? " others" : "");
    }
    fprintf(out, "\nis ca: %s\n", (flags & EXFLAG_CA) != 0 ? "yes" : "no");
}

static void print_cert(FILE *out, X509 *cert, time_t now)
{
    char serial[MINT_SERIAL_TEXT_MAX];
    print_name(out, "subject", X509_get_subject_name(cert));
    print_name(out, "issuer", X509_get_issuer_name(cert));
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    print_names(out, names);
    GENERAL_NAMES_free(names);
    fprintf(out, "serial: %s\n", mint_serial_text(X509_get0_serialNumber(cert), serial));
    print_time(out, "not before", X509_get0_notBefore(cert), now, "not yet valid, in ", "");
    print_time(out, "not after", X509_get0_notAfter(cert), now, "remaining ", "expired ");
    EVP_PKEY *key = X509_get_pubkey(cert);
    print_key(out, key);
    EVP_PKEY_free(key);
    const X509_ALGOR *algorithm;
    X509_get0_signature(NULL, &algorithm, cert);
    bool is_own = X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
    print_signature(out, algorithm, !is_own);
    print_uses(out, cert);
}

static void print_digest(FILE *out, const uint8_t *der, size_t der_len)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256(der, der_len, digest);
    char text[HEX_TEXT_LEN(sizeof digest)];
    fprintf(out, "sha256: %s\n", hex_text(digest, sizeof digest, text));
}

static bool show_certs(FILE *out, const struct der_list *list, time_t now)
{
    for (size_t i = 0; i < list->num; i++) {
        const uint8_t *end = list->items[i];
        X509 *cert = d2i_X509(NULL, &end, (long)list->lens[i]);
        if (cert == NULL) {
            return false;
        }
        fprintf(out, "%scertificate: %zu of %zu\n", i == 0 ? "" : "\n", i + 1, list->num);
        print_cert(out, cert, now);
        print_digest(out, list->items[i], list->lens[i]);
        X509_free(cert);
    }
    return true;
}

static void print_crl(FILE *out, X509_CRL *crl, time_t now)
{
    print_name(out, "issuer", X509_CRL_get_issuer(crl));
    char serial[MINT_SERIAL_TEXT_MAX];
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    if (number != NULL) {
        fprintf(out, "crl number: 0x%s\n", mint_serial_text(number, serial));
        ASN1_INTEGER_free(number);
    }
    print_time(out, "this update", X509_CRL_get0_lastUpdate(crl), now, "not yet valid, in ", "");
    print_time(out, "next update", X509_CRL_get0_nextUpdate(crl), now, "remaining ",
               "stale since ");
    const X509_ALGOR *algorithm;
    X509_CRL_get0_signature(crl, NULL, &algorithm);
    print_signature(out, algorithm, true);
    STACK_OF(X509_REVOKED) *revoked = X509_CRL_get_REVOKED(crl);
    size_t num = revoked == NULL ? 0 : sk_X509_REVOKED_num(revoked);
    fprintf(out, "revoked: %zu\n", num);
    for (size_t i = 0; i < num; i++) {
        const X509_REVOKED *entry = sk_X509_REVOKED_value(revoked, i);
        fprintf(out, "serial: %s\n",
                mint_serial_text(X509_REVOKED_get0_serialNumber(entry), serial));
        print_time(out, "revoked at", X509_REVOKED_get0_revocationDate(entry), now, "in ", "");
    }
}

static bool show_crls(FILE *out, const struct der_list *list, time_t now)
{
    for (size_t i = 0; i < list->num; i++) {
        const uint8_t *end = list->items[i];
        X509_CRL *crl = d2i_X509_CRL(NULL, &end, (long)list->lens[i]);
        if (crl == NULL) {
            return false;
        }
        fprintf(out, "%scrl: %zu of %zu\n", i == 0 ? "" : "\n", i + 1, list->num);
        print_crl(out, crl, now);
        X509_CRL_free(crl);
    }
    return true;
}

static bool show_csr(FILE *out, const char *pem, size_t pem_len, const char *what, struct err *err)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)pem_len);
    X509_REQ *csr = bio == NULL ? NULL : PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (csr == NULL) {
        ERR_clear_error();
        return err_set(err, "%s: the signing request can't be read", what);
    }
    fputs("signing request: 1 of 1\n", out);
    print_name(out, "subject", X509_REQ_get_subject_name(csr));
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(csr);
    GENERAL_NAMES *names =
        extensions == NULL ? NULL : X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    print_names(out, names);
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    EVP_PKEY *key = X509_REQ_get_pubkey(csr);
    print_key(out, key);
    const X509_ALGOR *algorithm;
    X509_REQ_get0_signature(csr, NULL, &algorithm);
    print_signature(out, algorithm, true);
    bool is_signed = key != NULL && X509_REQ_verify(csr, key) == 1;
    fprintf(out, "proof of possession: %s\n", is_signed ? "good" : "wrong");
    EVP_PKEY_free(key);
    X509_REQ_free(csr);
    ERR_clear_error();
    return true;
}

bool ca_show(FILE *out, const char *pem, size_t pem_len, const char *what, time_t now,
             struct err *err)
{
    if (strstr(pem, "PRIVATE KEY-----") != NULL) {
        return err_set(err,
                       "%s: holds a private key; certificates, CRLs and signing requests are "
                       "shown",
                       what);
    }
    if (strstr(pem, "-----BEGIN CERTIFICATE REQUEST-----") != NULL ||
        strstr(pem, "-----BEGIN NEW CERTIFICATE REQUEST-----") != NULL) {
        return show_csr(out, pem, pem_len, what, err);
    }
    bool is_crl = strstr(pem, "-----BEGIN X509 CRL-----") != NULL;
    struct der_list list;
    if (!der_list_from_pem(&list, is_crl ? "X509 CRL" : "CERTIFICATE", pem, pem_len, SHOW_CERTS_MAX,
                           what, err)) {
        return false;
    }
    bool ok = is_crl ? show_crls(out, &list, now) : show_certs(out, &list, now);
    der_list_cleanup(&list);
    ERR_clear_error();
    return ok || err_set(err, "%s: can't be read", what);
}
