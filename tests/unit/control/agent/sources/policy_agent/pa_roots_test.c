// SPDX-License-Identifier: Apache-2.0
//
// What proves a policy agent, while its root changes.
#include "control/agent/sources/policy_agent/pa_roots.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/certs/fixture.h"

#define POLICYD "spiffe://prod.example/tabard/policyd"

// An old root, which mesh.yaml names, a new one, and a stranger's; and a policy agent of each.
static struct mint_ca old, new, other;
static X509 *by_old, *by_new, *by_other;
static struct pa_roots *roots;

static void set_up(void)
{
    struct err err = {{0}, {0}};
    fixture_root(&old, DOMAIN);
    fixture_root(&new, DOMAIN);
    fixture_root(&other, DOMAIN);
    by_old = fixture_leaf(&old, POLICYD, NULL);
    by_new = fixture_leaf(&new, POLICYD, NULL);
    by_other = fixture_leaf(&other, POLICYD, NULL);
    char *pem = mint_cert_pem(old.cert);
    roots = pa_roots_new(DOMAIN, pem, strlen(pem), "roots.pem", NOW, &err);
    cr_assert_not_null(roots, "%s", err.text);
    free(pem);
}

static void tear_down(void)
{
    pa_roots_free(roots);
    X509_free(by_old);
    X509_free(by_new);
    X509_free(by_other);
    mint_ca_cleanup(&old);
    mint_ca_cleanup(&new);
    mint_ca_cleanup(&other);
}

TestSuite(pa_roots, .init = set_up, .fini = tear_down, .timeout = 30);

// Says whether a leaf proves the policy agent, and if not, that the words say so.
static bool proves(X509 *leaf, time_t now, const char *words)
{
    struct err err = {{0}, {0}};
    struct chain chain;
    ProtobufCBinaryData der = {0};
    cr_assert(mint_cert_der(&der.data, &der.len, leaf));
    cr_assert(chain_init(&chain, &der, 1, &err), "%s", err.text);
    bool ok = pa_roots_prove(roots, &chain, POLICYD, now, &err);
    cr_expect(ok || strstr(err.text, words) != NULL, "\"%s\" lacks \"%s\"", err.text, words);
    chain_cleanup(&chain);
    free(der.data);
    return ok;
}

static bool learn(Tabard__V1__TrustBundle *bundle, time_t now)
{
    struct err err = {{0}, {0}};
    Tabard__V1__State state = TABARD__V1__STATE__INIT;
    state.trust_bundles = &bundle;
    state.n_trust_bundles = 1;
    bool ok = pa_roots_learn(roots, &state, now, &err);
    cr_expect(ok || err.text[0] != '\0');
    fixture_bundle_free(bundle);
    return ok;
}

Test(pa_roots, mesh_yaml_s_roots_prove_it_and_no_others)
{
    cr_expect(proves(by_old, NOW, ""));
    cr_expect_not(proves(by_new, NOW, "the policy agent's certificate"));
    X509 *somebody = fixture_leaf(&old, ID, NULL);
    cr_expect_not(proves(somebody, NOW, "proves " ID ", and policy_agent.identity is " POLICYD));
    X509_free(somebody);
}

Test(pa_roots, the_root_that_a_state_brings_proves_it_too_until_a_state_takes_it_back)
{
    Tabard__V1__TrustBundle *bundle = fixture_bundle(DOMAIN);
    fixture_add_root(bundle, old.cert);
    fixture_add_root(bundle, new.cert);
    cr_assert(learn(bundle, NOW));
    cr_expect(proves(by_old, NOW, ""));
    cr_expect(proves(by_new, NOW, ""));
    cr_expect_not(proves(by_other, NOW, "the policy agent's certificate"));
    bundle = fixture_bundle(DOMAIN);
    fixture_add_root(bundle, new.cert);
    cr_assert(learn(bundle, NOW));
    cr_expect(proves(by_new, NOW, ""));
    cr_expect(proves(by_old, NOW, ""), "mesh.yaml still names it");
    bundle = fixture_bundle(DOMAIN);
    fixture_add_root(bundle, old.cert);
    cr_assert(learn(bundle, NOW));
    cr_expect_not(proves(by_new, NOW, "the policy agent's certificate"));
    cr_assert(pa_roots_learn(roots, NULL, NOW, NULL));
    cr_expect(proves(by_old, NOW, ""));
}

Test(pa_roots, another_trust_domain_s_bundle_proves_nothing)
{
    Tabard__V1__TrustBundle *bundle = fixture_bundle("other.example");
    fixture_add_root(bundle, new.cert);
    cr_assert(learn(bundle, NOW));
    cr_expect_not(proves(by_new, NOW, "the policy agent's certificate"));
}

Test(pa_roots, a_certificate_that_the_state_revokes_is_refused_whichever_root_it_has)
{
    Tabard__V1__TrustBundle *bundle = fixture_bundle(DOMAIN);
    X509_CRL *old_crl = fixture_crl(&old, &by_old, 1, NOW - HOUR, NOW + DAY);
    X509_CRL *new_crl = fixture_crl(&new, &by_new, 1, NOW - HOUR, NOW + DAY);
    fixture_add_root(bundle, new.cert); // the old one has left, and its CRL is kept
    fixture_add_crl(bundle, old_crl);
    fixture_add_crl(bundle, new_crl);
    cr_assert(learn(bundle, NOW));
    cr_expect_not(proves(by_old, NOW, "revoked"));
    cr_expect_not(proves(by_new, NOW, "revoked"));
    X509 *good = fixture_leaf(&new, POLICYD, NULL);
    cr_expect(proves(good, NOW, ""));
    X509_free(good);
    X509_CRL_free(old_crl);
    X509_CRL_free(new_crl);
}

// A sidecar that was cut off for longer than its CRL lives.
Test(pa_roots, a_crl_that_has_ended_takes_what_the_state_proved_and_not_what_mesh_yaml_does)
{
    Tabard__V1__TrustBundle *bundle = fixture_bundle(DOMAIN);
    X509_CRL *old_crl = fixture_crl(&old, NULL, 0, NOW - HOUR, NOW + HOUR / 2);
    X509_CRL *new_crl = fixture_crl(&new, NULL, 0, NOW - HOUR, NOW + HOUR / 2);
    fixture_add_root(bundle, old.cert);
    fixture_add_root(bundle, new.cert);
    fixture_add_crl(bundle, old_crl);
    fixture_add_crl(bundle, new_crl);
    cr_assert(learn(bundle, NOW));
    cr_expect(proves(by_new, NOW, ""));
    cr_expect_not(proves(by_new, NOW + HOUR / 2 + 1, "the policy agent's certificate"));
    cr_expect(proves(by_old, NOW + HOUR / 2 + 1, ""));
    X509_CRL_free(old_crl);
    X509_CRL_free(new_crl);
}

Test(pa_roots, what_can_t_be_read_leaves_mesh_yaml_s_roots)
{
    Tabard__V1__TrustBundle *bundle = fixture_bundle(DOMAIN);
    fixture_add_root(bundle, new.cert);
    fixture_add_root_der(bundle, "junk", 4);
    cr_expect_not(learn(bundle, NOW));
    cr_expect(proves(by_old, NOW, ""));
    cr_expect_not(proves(by_new, NOW, "the policy agent's certificate"));
}
