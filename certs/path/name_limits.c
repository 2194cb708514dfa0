// SPDX-License-Identifier: Apache-2.0
#include "certs/path/name_limits.h"

#include <arpa/inet.h>

#include "base/must.h"
#include "certs/path/uri_limits.h"

#define IPV4_LEN 4
#define IPV6_LEN 16

#define EMPTY    "a list of its nameConstraints is empty"
#define NO_RANGE "one of its IP name constraints is no range of addresses"

// A range is an address and a mask, each of 4 or of 16 bytes, and the mask's ones come first.
static bool range_check(const GENERAL_SUBTREE *subtree, struct err *err)
{
    const uint8_t *bytes = ASN1_STRING_get0_data(subtree->base->d.iPAddress);
    int len = ASN1_STRING_length(subtree->base->d.iPAddress) / 2;
    if (subtree->minimum != NULL || subtree->maximum != NULL ||
        ASN1_STRING_length(subtree->base->d.iPAddress) % 2 != 0 ||
        (len != IPV4_LEN && len != IPV6_LEN)) {
        return err_set(err, NO_RANGE);
    }
    bool is_over = false; // the ones
    for (int bit = 0; bit < 8 * len; bit++) {
        bool is_one = (bytes[len + bit / 8] >> (7 - bit % 8) & 1) != 0;
        if (is_one && is_over) {
            return err_set(err, NO_RANGE);
        }
        is_over = !is_one;
    }
    return true;
}

// Moves the constraints of one kind, all of which must pass a check, out of a list into one of
// their own.
static bool take(STACK_OF(GENERAL_SUBTREE) * subtrees, int type,
                 bool (*check)(const GENERAL_SUBTREE *, struct err *),
                 STACK_OF(GENERAL_SUBTREE) * *out, struct err *err)
{
    for (size_t i = 0; i < sk_GENERAL_SUBTREE_num(subtrees);) {
        GENERAL_SUBTREE *subtree = sk_GENERAL_SUBTREE_value(subtrees, i);
        if (subtree->base->type != type) {
            i++;
            continue;
        }
        if (!check(subtree, err)) {
            return false;
        }
        if (*out == NULL) {
            *out = must_have(sk_GENERAL_SUBTREE_new_null());
        }
        must_have(sk_GENERAL_SUBTREE_push(*out, subtree) != 0 ? *out : NULL);
        sk_GENERAL_SUBTREE_delete(subtrees, i);
    }
    return true;
}

// Takes from one of a certificate's two lists what is judged here, and counts all that it holds.
static bool take_all(struct name_limits *out, STACK_OF(GENERAL_SUBTREE) * subtrees,
                     STACK_OF(GENERAL_SUBTREE) * *ranges, STACK_OF(GENERAL_SUBTREE) * *uris,
                     struct err *err)
{
    if (subtrees == NULL) {
        return true;
    }
    size_t num = sk_GENERAL_SUBTREE_num(subtrees);
    out->num += num;
    return (num > 0 || err_set(err, EMPTY)) &&
           take(subtrees, GEN_IPADD, range_check, ranges, err) &&
           take(subtrees, GEN_URI, uri_limit_check, uris, err);
}

bool name_limits_read(struct name_limits *out, const X509 *cert, struct err *err)
{
    int critical = 0;
    *out = (struct name_limits){0};
    out->others = X509_get_ext_d2i(cert, NID_name_constraints, &critical, NULL);
    if (out->others == NULL) {
        return critical == -1 || err_set(err, "its nameConstraints can't be read");
    }
    bool ok = take_all(out, out->others->permittedSubtrees, &out->permitted_ranges,
                       &out->permitted_uris, err) &&
              take_all(out, out->others->excludedSubtrees, &out->excluded_ranges,
                       &out->excluded_uris, err) &&
              (out->num > 0 || err_set(err, EMPTY));
    if (!ok) {
        name_limits_cleanup(out);
    }
    return ok;
}

void name_limits_cleanup(struct name_limits *limits)
{
    NAME_CONSTRAINTS_free(limits->others);
    sk_GENERAL_SUBTREE_pop_free(limits->permitted_ranges, GENERAL_SUBTREE_free);
    sk_GENERAL_SUBTREE_pop_free(limits->excluded_ranges, GENERAL_SUBTREE_free);
    sk_GENERAL_SUBTREE_pop_free(limits->permitted_uris, GENERAL_SUBTREE_free);
    sk_GENERAL_SUBTREE_pop_free(limits->excluded_uris, GENERAL_SUBTREE_free);
    *limits = (struct name_limits){0};
}

size_t name_limits_work(const struct name_limits *limits, const GENERAL_NAMES *names,
                        const X509 *cert)
{
    size_t num = (size_t)X509_NAME_entry_count(X509_get_subject_name(cert)) + 1;
    return limits->num * (num + (names == NULL ? 0 : sk_GENERAL_NAME_num(names)));
}

static bool is_in_range(const ASN1_OCTET_STRING *address, const GENERAL_SUBTREE *subtree)
{
    const uint8_t *bytes = ASN1_STRING_get0_data(address);
    const uint8_t *range = ASN1_STRING_get0_data(subtree->base->d.iPAddress);
    int len = ASN1_STRING_length(address);
    if (2 * len != ASN1_STRING_length(subtree->base->d.iPAddress)) {
        return false;
    }
    for (int i = 0; i < len; i++) {
        if (((bytes[i] ^ range[i]) & range[len + i]) != 0) {
            return false;
        }
    }
    return true;
}

static bool is_in_ranges(const ASN1_OCTET_STRING *address, STACK_OF(GENERAL_SUBTREE) * ranges)
{
    for (size_t i = 0; ranges != NULL && i < sk_GENERAL_SUBTREE_num(ranges); i++) {
        if (is_in_range(address, sk_GENERAL_SUBTREE_value(ranges, i))) {
            return true;
        }
    }
    return false;
}

static bool check_address(const struct name_limits *limits, const ASN1_OCTET_STRING *address,
                          struct err *err)
{
    char text[INET6_ADDRSTRLEN] = "";
    int len = ASN1_STRING_length(address);
    if (len != IPV4_LEN && len != IPV6_LEN) {
        return err_set(err, "it names an IP address of %d bytes, which no IP name constraint fits",
                       len);
    }
    inet_ntop(len == IPV4_LEN ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), text,
              sizeof text);
    if (limits->permitted_ranges != NULL && !is_in_ranges(address, limits->permitted_ranges)) {
        return err_set(err,
                       "it names the IP address %s, which the IP name constraints of a CA "
                       "above it don't permit",
                       text);
    }
    return !is_in_ranges(address, limits->excluded_ranges) ||
           err_set(err,
                   "it names the IP address %s, which the IP name constraints of a CA above "
                   "it exclude",
                   text);
}

// Says which of the checks of NAME_CONSTRAINTS_check failed.
static const char *violation_text(int error)
{
    switch (error) {
    case X509_V_ERR_PERMITTED_VIOLATION:
        return "it has a name that the name constraints of a CA above it don't permit";
    case X509_V_ERR_EXCLUDED_VIOLATION:
        return "it has a name that the name constraints of a CA above it exclude";
    case X509_V_ERR_SUBTREE_MINMAX:
        return "the name constraints of a CA above it have a minimum or a maximum, which RFC 5280 "
               "forbids";
    case X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE:
        return "it has a name of a kind on which a CA above it has name constraints that are not "
               "understood";
    default:
        return "a name of it can't be compared with the name constraints of a CA above it";
    }
}

bool name_limits_check(const struct name_limits *limits, const GENERAL_NAMES *names, X509 *cert,
                       struct err *err)
{
    if (limits->num == 0) {
        return true;
    }
    for (size_t i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_IPADD && !check_address(limits, name->d.iPAddress, err)) {
            return false;
        }
        if (name->type == GEN_URI &&
            !uri_limits_allow(limits->permitted_uris, limits->excluded_uris,
                              name->d.uniformResourceIdentifier, err)) {
            return false;
        }
    }
    int error = NAME_CONSTRAINTS_check(cert, limits->others);
    return error == X509_V_OK || err_set(err, "%s", violation_text(error));
}
