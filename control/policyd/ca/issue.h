// SPDX-License-Identifier: Apache-2.0
//
// Signs certificates for signing requests, off the loop: one worker opens the CA, and signs a batch
// of those that wait, each noted in the CA's `issued` before it is handed out. The batch takes one
// request of each asker in turn, so that an asker with many holds up nobody by more than a batch.
// Requests wait for their asker's bucket (an asker is an identity, share.h), for the bucket of all,
// and, for ISSUE_RETRY_MS, for a CA that can't be opened because its files are being replaced. An
// asker for whom too many wait already is told to ask again later.
//
// An issuer is freed by its last callback after issuer_close. The loop's thread calls it, and one
// libuv worker signs. Bounded by ISSUE_WAITING_BYTES_MAX; each stream has a limit of its own
// besides (session.h). session_first.c decides who may have which name.
#ifndef TABARD_CONTROL_POLICYD_CA_ISSUE_H
#define TABARD_CONTROL_POLICYD_CA_ISSUE_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/bucket.h"
#include "base/data/list.h"
#include "base/err.h"
#include "certs/cert.h"

#define ISSUE_WAITING_BYTES_MAX (32u << 20)
#define ISSUE_BURST_MAX         1000 // requests at once, of all sidecars
#define ISSUE_PER_SECOND_MAX    1000 // and in the long run
#define ISSUE_BATCH_MAX         64
#define ISSUE_WAIT_MS           8000 // that a request is made to wait for its asker's bucket, about
#define ISSUE_QUEUE_MIN         64   // of an asker, however slow its bucket is
#define ISSUE_RETRY_MS          5000 // that a request waits for a CA that can't be opened
#define ISSUE_CSR_BYTES_MAX     16384
#define ISSUE_CRL_SECONDS       86400 // life of a CRL that is written anew

struct issuer;    // opaque
struct issue_job; // opaque: one request, until its callback

// What waits for one asker. Embedded by its owner, who keeps it while requests of it wait. Zero
// state but for the bucket.
struct issue_queue {
    struct list link;        // in the issuer's round, while something waits
    struct issue_job *first; // owned
    struct issue_job *last;
    uint32_t num;
    struct bucket bucket;
};

// A signing request, and the names and the life that are granted to it. issue copies everything.
struct issue_request {
    const uint8_t *csr; // DER
    size_t csr_len;
    const char *spiffe_id;
    char *const *dns_names;
    size_t num_dns_names;
    uint32_t seconds;
};

struct issue_result {
    const char *error; // NULL: issued
    uint8_t **chain;   // DER, leaf first; borrowed for the call
    size_t *chain_lens;
    size_t num_certs;
    struct cert_serial serial;
    X509 *issuer; // borrowed for the call; the same object while the CA is the same
    int64_t not_after;
};

typedef void issue_on_done(void *ctx, const struct issue_result *result);

struct issuer_stats {
    uint64_t num_issued;
    uint64_t num_refused;
    uint64_t num_limited;       // ISSUE_WAITING_BYTES_MAX
    uint64_t num_limited_asker; // told to ask again later
    uint64_t num_crls;          // written anew
};

// issuer_new works with the CA in `ca_dir` (copied).
struct issuer *issuer_new(uv_loop_t *loop, const char *ca_dir);

// issue takes a request of an asker. on_done is called later, from the loop. NULL sets err: the
// request is too large, or a limit was met and *out_is_limited is set.
struct issue_job *issue(struct issuer *issuer, struct issue_queue *queue,
                        const struct issue_request *request, issue_on_done *on_done, void *ctx,
                        bool *out_is_limited, struct err *err);

// issue_forget keeps on_done from being called. A request that still waits is dropped; else the
// certificate is signed all the same. NULL is allowed.
void issue_forget(struct issue_job *job);

// issuer_renew_crl writes ca/crl.pem anew with the next work, if it is there and half of its life
// is over: a CRL past its end would end every handshake.
void issuer_renew_crl(struct issuer *issuer);

void issuer_close(struct issuer *issuer);
const struct issuer_stats *issuer_stats(const struct issuer *issuer);

#endif
