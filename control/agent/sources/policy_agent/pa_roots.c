// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_roots.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/bundle.h"
#include "certs/der_list.h"
#include "certs/path/verify.h"

struct pa_roots {
    char *trust_domain;               // owned
    struct der_list list;             // owned; those of mesh.yaml
    struct trust_bundles *configured; // owned; the same
    struct trust_bundles *all;        // owned; with those of the state, and its CRLs; NULL: none
};

static bool has_root(const Tabard__V1__TrustBundle *bundle, const ProtobufCBinaryData *root)
{
    for (size_t i = 0; i < bundle->n_roots; i++) {
        if (bundle->roots[i].len == root->len &&
            memcmp(bundle->roots[i].data, root->data, root->len) == 0) {
            return true;
        }
    }
    return false;
}

// Makes bundles of mesh.yaml's roots and of a state's bundle (NULL: none). NULL sets err.
static struct trust_bundles *make_bundles(const struct pa_roots *roots,
                                          const Tabard__V1__TrustBundle *stated, time_t now,
                                          struct err *err)
{
    ProtobufCBinaryData ders[2 * TRUST_BUNDLE_ROOTS_MAX];
    Tabard__V1__TrustBundle bundle = TABARD__V1__TRUST_BUNDLE__INIT;
    Tabard__V1__TrustBundle *bundles[] = {&bundle};
    const struct trust_load load = {.takes_stale = true};
    bundle.trust_domain = roots->trust_domain;
    bundle.roots = ders;
    for (size_t i = 0; i < roots->list.num; i++) {
        ders[bundle.n_roots++] =
            (ProtobufCBinaryData){.len = roots->list.lens[i], .data = roots->list.items[i]};
    }
    for (size_t i = 0; stated != NULL && i < stated->n_roots; i++) {
        if (!has_root(&bundle, &stated->roots[i])) {
            if (bundle.n_roots == TRUST_BUNDLE_ROOTS_MAX) {
                err_set(err, "with those of mesh.yaml there are more than %d roots",
                        TRUST_BUNDLE_ROOTS_MAX);
                return NULL;
            }
            ders[bundle.n_roots++] = stated->roots[i];
        }
    }
    if (stated != NULL) {
        bundle.crls = stated->crls;
        bundle.n_crls = stated->n_crls;
    }
    return trust_bundles_read(bundles, 1, &load, now, err);
}

struct pa_roots *pa_roots_new(const char *trust_domain, const char *pem, size_t len,
                              const char *name, time_t now, struct err *err)
{
    struct pa_roots *roots = must_alloc(1, sizeof *roots);
    roots->trust_domain = must_strdup(trust_domain);
    bool ok =
        der_list_from_pem(&roots->list, "CERTIFICATE", pem, len, TRUST_BUNDLE_ROOTS_MAX, name, err);
    if (ok) {
        roots->configured = make_bundles(roots, NULL, now, err);
        ok = roots->configured != NULL || err_prefix(err, "%s", name);
    }
    if (!ok) {
        pa_roots_free(roots);
        return NULL;
    }
    return roots;
}

void pa_roots_free(struct pa_roots *roots)
{
    if (roots != NULL) {
        trust_bundles_free(roots->configured);
        trust_bundles_free(roots->all);
        der_list_cleanup(&roots->list);
        free(roots->trust_domain);
    }
    free(roots);
}

static const Tabard__V1__TrustBundle *bundle_of(const Tabard__V1__State *state, const char *domain)
{
    for (size_t i = 0; state != NULL && i < state->n_trust_bundles; i++) {
        if (strcmp(state->trust_bundles[i]->trust_domain, domain) == 0) {
            return state->trust_bundles[i];
        }
    }
    return NULL;
}

bool pa_roots_learn(struct pa_roots *roots, const Tabard__V1__State *state, time_t now,
                    struct err *err)
{
    const Tabard__V1__TrustBundle *stated = bundle_of(state, roots->trust_domain);
    trust_bundles_free(roots->all);
    roots->all = stated != NULL ? make_bundles(roots, stated, now, err) : NULL;
    return stated == NULL || roots->all != NULL;
}

bool pa_roots_prove(const struct pa_roots *roots, const struct chain *chain, const char *spiffe_id,
                    time_t now, struct err *err)
{
    struct verified_peer *peer = must_alloc(1, sizeof *peer);
    enum verify_failure failure =
        roots->all == NULL ? VERIFY_UNTRUSTED_CHAIN
                           : verify_peer(peer, chain->certs, chain->num, roots->all, now, err);
    if (failure != VERIFY_OK && failure != VERIFY_REVOKED) {
        failure = verify_peer(peer, chain->certs, chain->num, roots->configured, now, err);
    }
    bool ok = failure == VERIFY_OK || err_prefix(err, "the policy agent's certificate");
    if (ok && strcmp(peer->id, spiffe_id) != 0) {
        ok = err_set(err, "the policy agent proves %s, and policy_agent.identity is %s", peer->id,
                     spiffe_id);
    }
    free(peer);
    return ok;
}
