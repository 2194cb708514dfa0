// SPDX-License-Identifier: Apache-2.0
//
// Signs without a key: a signer asks the agent for the signature of a CertificateVerify (RFC 8446,
// section 4.4.3), and tells a job when it has come. A signer belongs to a worker, a sign_job to a
// handshake (proxy/conn/handshake.h): signer_ask, then on_done, then signer_take, and signer_cancel
// at any time. The agent has SIGN_ASKED_MAX requests at the most; the others wait here, where a job
// that is cancelled takes its request back. The worker's thread alone; as many jobs as handshakes.
// The proxy never sees a private key.
#ifndef TABARD_PROXY_LINK_SIGNER_H
#define TABARD_PROXY_LINK_SIGNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/data/list.h"
#include "proxy/link/link.h"

#define SIGN_ASKED_MAX 32

enum sign_state { SIGN_IDLE, SIGN_WAITING, SIGN_DONE, SIGN_FAILED };

// Those who call us and those whom our service calls take turns, so that neither waits behind all
// of the other.
enum sign_lane { SIGN_FOR_CALLERS, SIGN_FOR_CALLS, NUM_SIGN_LANES };

struct sign_request; // of proxy/link/signer.c

// Zero state with owner, on_done and lane set.
struct sign_job {
    struct list link; // in the signer's queue of its lane until the agent is asked
    enum sign_state state : 8;
    enum sign_lane lane : 8;
    uint16_t slot;                // once the agent is asked
    struct sign_request *request; // owned: while it waits in the queue
    uint8_t *signature;           // owned, malloc; when DONE
    size_t signature_len;
    void *owner; // borrowed
    void (*on_done)(void *owner);
};

struct sign_slot {
    struct sign_job *job; // borrowed until signer_cancel or the result; NULL: nobody waits
    uint32_t turn; // reuse count, part of the request id: a late answer cannot be taken for the
                   // slot's next user
    bool is_asked; // the agent has yet to answer: the slot is taken, even if nobody waits
};

struct signer {
    struct link *link; // borrowed: the worker's
    struct sign_slot slots[SIGN_ASKED_MAX];
    struct list queues[NUM_SIGN_LANES]; // jobs, the oldest first
    enum sign_lane next_lane;
    uint32_t num_asked;
    uint32_t num_queued;
};

// signer_init makes a signer without jobs; none may be left when it goes.
void signer_init(struct signer *signer, struct link *link);

// signer_ask asks the agent to sign `input` with the key of an id (CONTRACT_KEY_ID_LEN bytes) by a
// SignatureScheme (RFC 8446, section 4.2.3), now or when it is this job's turn. on_done is called
// once the job is DONE or FAILED. false: no signature will come; on_done is called inside if the
// link breaks by this request, and else not at all.
bool signer_ask(struct signer *signer, struct sign_job *job, const uint8_t *key_id,
                uint16_t algorithm, const uint8_t *input, size_t input_len);

// signer_take moves the signature of a job that is DONE to `out`; false: there is none, or it is
// longer than `max`.
bool signer_take(struct sign_job *job, uint8_t *out, size_t *out_len, size_t max);

// signer_on_result takes the agent's answer, and asks for the next; a result for a job that is gone
// is dropped.
void signer_on_result(struct signer *signer, const Tabard__V1__SignResult *result);

// signer_cancel forgets a job that may be waiting, and frees its signature. What the agent has not
// been asked it never will be. The slot of what it has been asked stays taken until it has
// answered, so that peers that come and go can't pile up requests.
void signer_cancel(struct signer *signer, struct sign_job *job);

// signer_fail_all ends every waiting job: the agent is gone.
void signer_fail_all(struct signer *signer);

// signer_num_pending returns how many signatures are waited for, or still to come for nobody.
static inline uint32_t signer_num_pending(const struct signer *signer)
{
    return signer->num_asked + signer->num_queued;
}

#endif
