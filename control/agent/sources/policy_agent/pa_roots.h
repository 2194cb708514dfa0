// SPDX-License-Identifier: Apache-2.0
//
// What proves the policy agent over TCP: the roots of mesh.yaml, and beside them the bundle of its
// trust domain in the last state that came into force, so that a change of the root reaches a
// sidecar whose mesh.yaml stays as it is. pa_access makes one, pa_stream owns it and shows it each
// state before it connects. One thread; bounded as bundles are. It reads no clock.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_ROOTS_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_ROOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/err.h"
#include "certs/chain.h"
#include "tabard/v1/policy_agent.pb-c.h"

struct pa_roots; // opaque

// pa_roots_new reads roots from PEM; `name` is the file's. NULL sets err.
struct pa_roots *pa_roots_new(const char *trust_domain, const char *pem, size_t len,
                              const char *name, time_t now, struct err *err);
void pa_roots_free(struct pa_roots *roots); // NULL is allowed

// pa_roots_learn takes what a state says in the place of what the state before said; NULL, or one
// without a bundle of the trust domain: nothing. false sets err: what it says can't be used, and
// the roots of mesh.yaml are left.
bool pa_roots_learn(struct pa_roots *roots, const Tabard__V1__State *state, time_t now,
                    struct err *err);

// pa_roots_prove says whether a chain, of the server's, proves the SPIFFE id. A certificate that a
// CRL of the state lists is refused, whichever root it comes from. Where a CRL of the state has
// ended, or can't be checked, the state's own roots prove nothing that it is about, and those of
// mesh.yaml what they proved before. false sets err.
bool pa_roots_prove(const struct pa_roots *roots, const struct chain *chain, const char *spiffe_id,
                    time_t now, struct err *err);

#endif
