// SPDX-License-Identifier: Apache-2.0
//
// TLS 1.3 to a policy agent. The server must prove a SPIFFE id by a chain to given roots; we show a
// certificate where there is one, whose key signs in this process, which holds it anyway. A
// verifier is counted, by its user and by every SSL_CTX; one thread.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_TLS_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_TLS_H

#include <openssl/base.h>

#include "base/err.h"
#include "certs/bundle.h"
#include "tabard/v1/mesh.pb-c.h"

struct pa_verifier; // opaque

// pa_verifier_new takes over the bundles.
struct pa_verifier *pa_verifier_new(struct trust_bundles *bundles, const char *spiffe_id);
void pa_verifier_unref(struct pa_verifier *verifier); // NULL is allowed

// pa_verifier_why returns why the last server was refused; empty: it was not.
const char *pa_verifier_why(const struct pa_verifier *verifier);

// pa_tls_new makes a client's context, the caller's. identity may be NULL: no certificate is
// shown. NULL sets err.
SSL_CTX *pa_tls_new(struct pa_verifier *verifier, const Tabard__V1__Identity *identity,
                    EVP_PKEY *key, struct err *err);

#endif
