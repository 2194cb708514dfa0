// SPDX-License-Identifier: Apache-2.0
//
// TLS for policyd's TCP listeners: TLS 1.3 with our own SVID. A client is asked for its
// certificate and may leave it out, since a sidecar with a join token has none yet. The handshake
// proves that a client holds its key. At admission tls_peer decides whom the chain proves, by the
// CRLs of that moment, so that a refusal is a gRPC status in words. The loop's thread only.
#ifndef TABARD_CONTROL_POLICYD_STREAM_TLS_H
#define TABARD_CONTROL_POLICYD_STREAM_TLS_H

#include "certs/path/verify.h"
#include "net/http2/transport.h"
#include "control/policyd/ca/sign.h"

#define TLS_OWN_PATH    "/tabard/policyd"
#define TLS_OWN_SECONDS 86400
#define TLS_OWN_DNS     "tabard-policyd" // for clients whose TLS insists on a name

// The contexts of policyd's own listeners, with one key and certificate. Zero state: {0}.
struct tls_own {
    SSL_CTX *grpc;  // owned
    SSL_CTX *https; // owned; for the webhook
};

// tls_own_init makes both, with a fresh key and certificate of the CA in ca_dir, for
// spiffe://DOMAIN/tabard/policyd and the names of the Service TLS_OWN_DNS in a Kubernetes namespace
// (NULL: in none). It waits for the CA's lock. false sets err.
bool tls_own_init(struct tls_own *out, const char *ca_dir, const char *trust_domain,
                  const char *namespace, time_t now, struct err *err);
void tls_own_cleanup(struct tls_own *own);

// tls_has_certificate says whether a peer showed a certificate.
bool tls_has_certificate(const struct h2_peer *peer);

// tls_peer verifies the chain that the peer showed. Anything but VERIFY_OK sets err.
enum verify_failure tls_peer(struct verified_peer *out, const struct h2_peer *peer,
                             const struct trust_bundles *bundles, time_t now, struct err *err);

#endif
