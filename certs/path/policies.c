// SPDX-License-Identifier: Apache-2.0
#include "certs/path/policies.h"

#include <openssl/nid.h>
#include <openssl/obj.h>

static bool is_any(const ASN1_OBJECT *policy)
{
    return OBJ_obj2nid(policy) == NID_any_policy;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Reads a SkipCerts. A number too large for the type is as good as no limit, for no path is so
// long.
static bool read_skip(size_t *out, const ASN1_INTEGER *number)
{
    uint64_t value = 0;
    if (number == NULL) {
        return true;
    }
    if (ASN1_STRING_type(number) == V_ASN1_NEG_INTEGER) {
        return false;
    }
    *out = ASN1_INTEGER_get_uint64(&value, number) == 1 ? (size_t)value : CERT_POLICIES_NO_LIMIT;
    return true;
}

// Checks that no policy stands there twice (RFC 5280, section 4.2.1.4).
static bool check_named(const CERTIFICATEPOLICIES *named)
{
    size_t num = sk_POLICYINFO_num(named);
    for (size_t i = 0; i < num; i++) {
        for (size_t j = 0; j < i; j++) {
            if (OBJ_cmp(sk_POLICYINFO_value(named, i)->policyid,
                        sk_POLICYINFO_value(named, j)->policyid) == 0) {
                return false;
            }
        }
    }
    return num > 0;
}

static void *read_extension(const X509 *cert, int nid, bool *ok)
{
    int critical = 0;
    void *value = X509_get_ext_d2i(cert, nid, &critical, NULL);
    *ok = *ok && (value != NULL || critical == -1);
    return value;
}

bool cert_policies_read(struct cert_policies *out, const X509 *cert, struct err *err)
{
    bool ok = true;
    *out = (struct cert_policies){.require_explicit = CERT_POLICIES_NO_LIMIT,
                                  .inhibit_mapping = CERT_POLICIES_NO_LIMIT,
                                  .inhibit_any = CERT_POLICIES_NO_LIMIT};
    out->named = read_extension(cert, NID_certificate_policies, &ok);
    out->mappings = read_extension(cert, NID_policy_mappings, &ok);
    POLICY_CONSTRAINTS *constraints = read_extension(cert, NID_policy_constraints, &ok);
    ASN1_INTEGER *inhibit_any = read_extension(cert, NID_inhibit_any_policy, &ok);
    if (constraints != NULL) {
        ok = ok &&
             (constraints->requireExplicitPolicy != NULL ||
              constraints->inhibitPolicyMapping != NULL) &&
             read_skip(&out->require_explicit, constraints->requireExplicitPolicy) &&
             read_skip(&out->inhibit_mapping, constraints->inhibitPolicyMapping);
    }
    ok = ok && read_skip(&out->inhibit_any, inhibit_any);
    POLICY_CONSTRAINTS_free(constraints);
    ASN1_INTEGER_free(inhibit_any);
    if (!ok) {
        err_set(err, "one of its extensions about policies can't be read");
    } else if ((out->named != NULL && sk_POLICYINFO_num(out->named) > CERT_POLICIES_MAX) ||
               (out->mappings != NULL &&
                sk_POLICY_MAPPING_num(out->mappings) > CERT_POLICIES_MAX)) {
        ok = err_set(err, "it names or maps more than %d policies", CERT_POLICIES_MAX);
    } else if (out->named != NULL && !check_named(out->named)) {
        ok = err_set(err, "it names no policy, or one of them twice");
    }
    if (!ok) {
        cert_policies_cleanup(out);
    }
    return ok;
}

void cert_policies_cleanup(struct cert_policies *policies)
{
    sk_POLICYINFO_pop_free(policies->named, POLICYINFO_free);
    sk_POLICY_MAPPING_pop_free(policies->mappings, POLICY_MAPPING_free);
    policies->named = NULL;
    policies->mappings = NULL;
}

void policy_state_start(struct policy_state *out)
{
    *out = (struct policy_state){.has_any = true,
                                 .explicit_left = CERT_POLICIES_NO_LIMIT,
                                 .mapping_left = CERT_POLICIES_NO_LIMIT,
                                 .any_left = CERT_POLICIES_NO_LIMIT};
}

static bool has(const struct policy_state *state, const ASN1_OBJECT *policy)
{
    for (size_t i = 0; i < state->num_valid; i++) {
        if (OBJ_cmp(state->valid[i], policy) == 0) {
            return true;
        }
    }
    return false;
}

static bool add(struct policy_state *state, const ASN1_OBJECT *policy, struct err *err)
{
    if (has(state, policy)) {
        return true;
    }
    if (state->num_valid == CERT_POLICIES_MAX) {
        return err_set(err, "more than %d policies are valid for it", CERT_POLICIES_MAX);
    }
    state->valid[state->num_valid++] = policy;
    return true;
}

// Steps (d) and (e) of RFC 5280, section 6.1.3: what the certificate names, of what is valid above.
static bool narrow(struct policy_state *state, const struct cert_policies *cert, bool takes_any,
                   struct err *err)
{
    const struct policy_state above = *state;
    state->num_valid = 0;
    state->has_any = false;
    bool names_any = false;
    for (size_t i = 0; cert->named != NULL && i < sk_POLICYINFO_num(cert->named); i++) {
        const ASN1_OBJECT *policy = sk_POLICYINFO_value(cert->named, i)->policyid;
        if (is_any(policy)) {
            names_any = true;
        } else if ((above.has_any || has(&above, policy)) && !add(state, policy, err)) {
            return false;
        }
    }
    if (names_any && takes_any) {
        state->has_any = above.has_any;
        for (size_t i = 0; i < above.num_valid; i++) {
            if (!add(state, above.valid[i], err)) {
                return false;
            }
        }
    }
    return true;
}

// Steps (a) and (b) of RFC 5280, section 6.1.4: a policy that is mapped is known by other names
// below, and by none at all where mappings are inhibited.
static bool apply_mappings(struct policy_state *state, const struct cert_policies *cert,
                           struct err *err)
{
    const struct policy_state above = *state;
    size_t num = cert->mappings == NULL ? 0 : sk_POLICY_MAPPING_num(cert->mappings);
    struct policy_state mapped = {.num_valid = 0}; // the policies that have other names below
    for (size_t i = 0; i < num; i++) {
        const POLICY_MAPPING *mapping = sk_POLICY_MAPPING_value(cert->mappings, i);
        if (is_any(mapping->issuerDomainPolicy) || is_any(mapping->subjectDomainPolicy)) {
            return err_set(err, "it maps anyPolicy, which RFC 5280 forbids");
        }
        if (!add(&mapped, mapping->issuerDomainPolicy, err)) {
            return false;
        }
    }
    state->num_valid = 0;
    for (size_t i = 0; i < above.num_valid; i++) {
        if (!has(&mapped, above.valid[i]) && !add(state, above.valid[i], err)) {
            return false;
        }
    }
    for (size_t i = 0; state->mapping_left > 0 && i < num; i++) {
        const POLICY_MAPPING *mapping = sk_POLICY_MAPPING_value(cert->mappings, i);
        bool is_valid = above.has_any || has(&above, mapping->issuerDomainPolicy);
        if (is_valid && !add(state, mapping->subjectDomainPolicy, err)) {
            return false;
        }
    }
    return true;
}

static void count_down(size_t *left)
{
    *left -= *left > 0 && *left != CERT_POLICIES_NO_LIMIT;
}

static bool check_explicit(const struct policy_state *state, struct err *err)
{
    return state->explicit_left > 0 || state->has_any || state->num_valid > 0 ||
           err_set(err, "a CA above it requires a certificate policy (policyConstraints), and none "
                        "is valid for it");
}

bool policy_state_next(struct policy_state *state, const struct cert_policies *cert,
                       bool is_self_issued, bool is_leaf, struct err *err)
{
    bool takes_any = state->any_left > 0 || (is_self_issued && !is_leaf);
    if (!narrow(state, cert, takes_any, err) || !check_explicit(state, err)) {
        return false;
    }
    if (is_leaf) {
        // RFC 5280, section 6.1.5, (a) and (b).
        count_down(&state->explicit_left);
        if (cert->require_explicit == 0) {
            state->explicit_left = 0;
        }
        return check_explicit(state, err);
    }
    if (!apply_mappings(state, cert, err)) {
        return false;
    }
    if (!is_self_issued) {
        count_down(&state->explicit_left);
        count_down(&state->mapping_left);
        count_down(&state->any_left);
    }
    state->explicit_left = smaller(state->explicit_left, cert->require_explicit);
    state->mapping_left = smaller(state->mapping_left, cert->inhibit_mapping);
    state->any_left = smaller(state->any_left, cert->inhibit_any);
    return true;
}
