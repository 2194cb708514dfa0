// SPDX-License-Identifier: Apache-2.0
#include "certs/path/name_limits.h"

#include <arpa/inet.h>

#include "base/must.h"

#define IPV4_LEN 4
#define IPV6_LEN 16

// A range is an address and a mask, each of 4 or of 16 bytes, and the mask's ones come first.
static bool is_range(const GENERAL_SUBTREE *subtree)
{
    const uint8_t *bytes = ASN1_STRING_get0_data(subtree->base->d.iPAddress);
    int len = ASN1_STRING_length(subtree->base->d.iPAddress) / 2;
    if (subtree->minimum != NULL || subtree->maximum != NULL ||
        ASN1_STRING_length(subtree->base->d.iPAddress) % 2 != 0 ||
        (len != IPV4_LEN && len != IPV6_LEN)) {
        return false;
    }
    bool is_over = false; // the ones
    for (int bit = 0; bit < 8 * len; bit++) {
        bool is_one = (bytes[len + bit / 8] >> (7 - bit % 8) & 1) != 0;
        if (is_one && is_over) {
            return false;
        }
        is_over = !is_one;
    }
    return true;
}

// Moves the constraints on IP addresses out of a list into one of their own.
static bool take_ranges(STACK_OF(GENERAL_SUBTREE) * subtrees, STACK_OF(GENERAL_SUBTREE) * *out,
                        struct err *err)
{
    for (size_t i = 0; i < sk_GENERAL_SUBTREE_num(subtrees);) {
        GENERAL_SUBTREE *subtree = sk_GENERAL_SUBTREE_value(subtrees, i);
        if (subtree->base->type != GEN_IPADD) {
            i++;
            continue;
        }
        if (!is_range(subtree)) {
            return err_set(err, "one of its IP name constraints is no range of addresses");
        }
        if (*out == NULL) {
            *out = must_have(sk_GENERAL_SUBTREE_new_null());
        }
        must_have(sk_GENERAL_SUBTREE_push(*out, subtree) != 0 ? *out : NULL);
        sk_GENERAL_SUBTREE_delete(subtrees, i);
    }
    return true;
}

bool name_limits_read(struct name_limits *out, const X509 *cert, struct err *err)
{
    int critical = 0;
    *out = (struct name_limits){0};
    out->others = X509_get_ext_d2i(cert, NID_name_constraints, &critical, NULL);
    if (out->others == NULL) {
        return critical == -1 || err_set(err, "its nameConstraints can't be read");
    }
    STACK_OF(GENERAL_SUBTREE) *permitted = out->others->permittedSubtrees;
    STACK_OF(GENERAL_SUBTREE) *excluded = out->others->excludedSubtrees;
    out->num = (permitted == NULL ? 0 : sk_GENERAL_SUBTREE_num(permitted)) +
               (excluded == NULL ? 0 : sk_GENERAL_SUBTREE_num(excluded));
    bool ok = out->num > 0 || err_set(err, "its nameConstraints are empty");
    ok = ok && (permitted == NULL || take_ranges(permitted, &out->permitted_ranges, err)) &&
         (excluded == NULL || take_ranges(excluded, &out->excluded_ranges, err));
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
    }
    int error = NAME_CONSTRAINTS_check(cert, limits->others);
    return error == X509_V_OK || err_set(err, "%s", violation_text(error));
}
