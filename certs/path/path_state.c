// SPDX-License-Identifier: Apache-2.0
#include "certs/path/path_state.h"

#include <openssl/obj.h>
#include <openssl/x509v3.h>
#include <stdint.h>

#include "certs/authority.h"
#include "certs/cert.h"
#include "certs/key.h"

// Sets err and returns the failure, so that a check is one return statement.
#define fail(failure, err, ...) (err_set((err), __VA_ARGS__), (failure))

bool path_cert_init(struct path_cert *out, X509 *cert, struct err *err)
{
    *out = (struct path_cert){.cert = cert};
    out->is_self_issued =
        X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
    return (cert_time_read(&out->not_before, X509_get0_notBefore(cert)) &&
            cert_time_read(&out->not_after, X509_get0_notAfter(cert))) ||
           err_set(err, "its validity is not a pair of times");
}

void path_cert_cleanup(struct path_cert *cert)
{
    name_limits_cleanup(&cert->limits);
    cert_policies_cleanup(&cert->policies);
    GENERAL_NAMES_free(cert->names);
    *cert = (struct path_cert){0};
}

bool path_extensions_check(const X509 *cert, struct err *err)
{
    int num = X509_get_ext_count(cert);
    if (num > PATH_EXTENSIONS_MAX) {
        return err_set(err, "it has %d extensions, more than %d", num, PATH_EXTENSIONS_MAX);
    }
    for (int i = 0; i < num; i++) {
        const ASN1_OBJECT *object = X509_EXTENSION_get_object(X509_get_ext(cert, i));
        if (X509_get_ext_by_OBJ(cert, object, i) >= 0) {
            return err_set(err, "it has an extension twice");
        }
    }
    return true;
}

static bool read_extensions(struct path_cert *cert, struct err *err)
{
    if (cert->is_read) {
        return true;
    }
    if (!path_extensions_check(cert->cert, err)) {
        return false;
    }
    if ((X509_get_extension_flags(cert->cert) & EXFLAG_INVALID) != 0) {
        return err_set(err, "an extension of it can't be read");
    }
    if (!name_limits_read(&cert->limits, cert->cert, err)) {
        return false;
    }
    cert->is_read = cert_policies_read(&cert->policies, cert->cert, err);
    if (!cert->is_read) {
        name_limits_cleanup(&cert->limits);
    }
    return cert->is_read;
}

static bool read_names(struct path_cert *cert, struct err *err)
{
    int critical = 0;
    if (cert->names == NULL) {
        cert->names = X509_get_ext_d2i(cert->cert, NID_subject_alt_name, &critical, NULL);
    }
    return cert->names != NULL || critical == -1 ||
           err_set(err, "its subjectAltName can't be read");
}

// The checks that every certificate of a path must pass, the root too.
static enum verify_failure check_alone(struct path_cert *cert, const struct path_rules *rules,
                                       struct err *err)
{
    EVP_PKEY *key = X509_get_pubkey(cert->cert);
    bool is_strong = key_check(key, err);
    EVP_PKEY_free(key);
    if (!is_strong) {
        return VERIFY_WEAK_KEY;
    }
    char text[CERT_TIME_TEXT_MAX];
    if (rules->now > cert->not_after) {
        return fail(VERIFY_EXPIRED, err, "it expired at %s", cert_time_text(cert->not_after, text));
    }
    if (rules->now < cert->not_before) {
        return fail(VERIFY_NOT_YET_VALID, err, "it is not valid before %s",
                    cert_time_text(cert->not_before, text));
    }
    if (!read_extensions(cert, err)) {
        return VERIFY_CERTIFICATE_UNPARSABLE;
    }
    if ((X509_get_extension_flags(cert->cert) & EXFLAG_CRITICAL) != 0) {
        return fail(VERIFY_UNTRUSTED_CHAIN, err,
                    "it has a critical extension that is not understood");
    }
    return VERIFY_OK;
}

// The names of a certificate against the constraints of all CAs above it. The names of a
// self-issued CA are its issuer's, so they are not compared (RFC 5280, section 6.1.3, b and c).
static enum verify_failure check_names(const struct path_state *state, struct path_cert *cert,
                                       bool is_leaf, struct path_rules *rules, struct err *err)
{
    if (state->num_limits == 0 || (!is_leaf && cert->is_self_issued)) {
        return VERIFY_OK;
    }
    if (!read_names(cert, err)) {
        return VERIFY_CERTIFICATE_UNPARSABLE;
    }
    for (size_t i = 0; i < state->num_limits; i++) {
        size_t work = name_limits_work(state->limits[i], cert->names, cert->cert);
        if (work > PATH_NAMES_MAX - rules->num_names) {
            return fail(VERIFY_TOO_MUCH_WORK, err,
                        "more than %u comparisons of names with name constraints", PATH_NAMES_MAX);
        }
        rules->num_names += work;
        if (!name_limits_check(state->limits[i], cert->names, cert->cert, err)) {
            return VERIFY_UNTRUSTED_CHAIN;
        }
    }
    return VERIFY_OK;
}

// An extended key usage says what the certificates below may be used for, and a mesh identity is
// used in both roles.
static bool check_purpose(X509 *cert, struct err *err)
{
    const uint32_t both = XKU_SSL_SERVER | XKU_SSL_CLIENT;
    uint32_t purposes = X509_get_extended_key_usage(cert);
    return (X509_get_extension_flags(cert) & EXFLAG_XKUSAGE) == 0 || (purposes & XKU_ANYEKU) != 0 ||
           (purposes & both) == both ||
           err_set(err, "its extendedKeyUsage must hold serverAuth and clientAuth, or be absent");
}

// Enters a CA: it may sign certificates (RFC 5280, section 6.1.4, k to n; X509-SVID, sections 3.2,
// 4.1 and 4.3), and what it demands holds from here on.
static enum verify_failure enter_authority(struct path_state *state, struct path_cert *cert,
                                           const struct path_rules *rules, struct err *err)
{
    if (!authority_check(cert->cert, err) ||
        !authority_id_check(cert->cert, rules->domain, rules->domain_len, err) ||
        !check_purpose(cert->cert, err)) {
        return VERIFY_UNTRUSTED_CHAIN;
    }
    long path_len = X509_get_pathlen(cert->cert);
    if (path_len >= 0 && (size_t)path_len < state->num_left) {
        state->num_left = (size_t)path_len;
    }
    if (cert->limits.num > 0) {
        state->limits[state->num_limits++] = &cert->limits;
    }
    return VERIFY_OK;
}

enum verify_failure path_state_start(struct path_state *out, struct path_cert *root,
                                     struct path_rules *rules, struct err *err)
{
    *out = (struct path_state){.num_left = SIZE_MAX, .not_after = root->not_after};
    policy_state_start(&out->policies);
    enum verify_failure failure = check_alone(root, rules, err);
    return failure != VERIFY_OK ? failure : enter_authority(out, root, rules, err);
}

enum verify_failure path_state_next(struct path_state *state, struct path_cert *cert, bool is_leaf,
                                    struct path_rules *rules, struct err *err)
{
    enum verify_failure failure = check_alone(cert, rules, err);
    if (failure == VERIFY_OK) {
        failure = check_names(state, cert, is_leaf, rules, err);
    }
    if (failure != VERIFY_OK) {
        return failure;
    }
    if (!policy_state_next(&state->policies, &cert->policies, cert->is_self_issued, is_leaf, err)) {
        return VERIFY_UNTRUSTED_CHAIN;
    }
    if (cert->not_after < state->not_after) {
        state->not_after = cert->not_after;
    }
    if (is_leaf) {
        return VERIFY_OK;
    }
    if (!cert->is_self_issued && state->num_left == 0) {
        return fail(VERIFY_UNTRUSTED_CHAIN, err,
                    "the path length of a CA above it (pathLenConstraint) allows no CA here");
    }
    state->num_left -= !cert->is_self_issued && state->num_left != SIZE_MAX;
    return enter_authority(state, cert, rules, err);
}
