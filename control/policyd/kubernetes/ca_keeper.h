// SPDX-License-Identifier: Apache-2.0
//
// Keeps the CA of a mesh in Kubernetes: the Secret tabard-ca, made at the first start by whichever
// replica is first, followed from then on, laid into DIR for the code that works with folders, and
// written back when a CRL is due or somebody has deleted it. Replicas share nothing but the Secret:
// who makes it is decided by the API server (409), and so is who writes a CRL (by resourceVersion).
// Heap; the loop's thread only.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_CA_KEEPER_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_CA_KEEPER_H

#include "control/kube/api/kube_watch.h"
#include "control/policyd/ca/ca_trust.h"

struct ca_keeper; // opaque

#define CA_KEEPER_CHECK_MS     600000 // between looks at whether a CRL is due
#define CA_KEEPER_JITTER_MS    2000   // that a replica waits at most before it writes one
#define CA_KEEPER_GONE_MS      5000   // from the Secret's deletion until it is put back
#define CA_KEEPER_AGAIN_MS_MIN 500    // between tries, doubling, with jitter
#define CA_KEEPER_AGAIN_MS_MAX 30000

struct ca_keeper_config {
    struct kube_client *client; // borrowed
    const char *dir;            // copied: DIR/ca and DIR/roots.pem are laid, DIR/scratch is used
    const char *namespace;      // copied
    void *ctx;
    // The trust in force, NULL: none yet.
    const struct ca_trust *(*in_force)(void *ctx);
    // Another trust is there, and the CA lies in the folder; taken over.
    void (*on_trust)(void *ctx, struct ca_trust *trust, uint64_t began_ns);
    // The first list is in: whether the Secret is there. NULL: nobody wants to know.
    void (*on_listed)(void *ctx, bool is_there);
    // The Secret can't be used, or nothing can be written. Once while the text stays the same.
    void (*on_failed)(void *ctx, const char *text);
};

// ca_keeper_new begins to follow the Secret. It makes none before ca_keeper_set_domain has named
// the trust domain, and takes none of another one.
struct ca_keeper *ca_keeper_new(const struct ca_keeper_config *config);
void ca_keeper_set_domain(struct ca_keeper *keeper, const char *trust_domain);
void ca_keeper_close(struct ca_keeper *keeper); // NULL is allowed

const struct kube_watch_stats *ca_keeper_watch_stats(const struct ca_keeper *keeper);

struct ca_keeper_stats {
    uint64_t num_made;     // CAs
    uint64_t num_put_back; // Secrets that somebody deleted
    uint64_t num_crls;     // written by us
    uint64_t num_outraced; // writes that another replica was quicker with
};
const struct ca_keeper_stats *ca_keeper_stats(const struct ca_keeper *keeper);

#endif
