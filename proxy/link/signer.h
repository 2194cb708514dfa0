// SPDX-License-Identifier: Apache-2.0
//
// Signs without a key: a signer asks the agent for the signature of a CertificateVerify (RFC 8446,
// section 4.4.3), and tells a job when it has come. A signer belongs to a worker, a sign_job to a
// handshake (proxy/conn/handshake.h): signer_ask, then on_done, then signer_take, and signer_cancel
// at any time. The worker's thread alone; SIGN_JOBS_MAX jobs. The proxy never sees a private key.
#ifndef TABARD_PROXY_LINK_SIGNER_H
#define TABARD_PROXY_LINK_SIGNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/link/link.h"

#define SIGN_JOBS_MAX     65536
#define SIGNATURE_LEN_MAX 1024

enum sign_state { SIGN_IDLE, SIGN_WAITING, SIGN_DONE, SIGN_FAILED };

// Zero state with owner and on_done set.
struct sign_job {
    enum sign_state state;
    uint32_t slot;
    uint8_t *signature; // owned, malloc; when DONE
    size_t signature_len;
    void *owner; // borrowed
    void (*on_done)(void *owner);
};

struct sign_slot {
    struct sign_job *job; // borrowed until signer_cancel or the result; NULL: nobody waits
    uint32_t turn; // reuse count, part of the request id: a late answer cannot be taken for the
                   // slot's next user
    uint32_t next_free;
    bool is_asked; // the agent has yet to answer: the slot is taken, even if nobody waits
};

// Zero state: no slots, no link.
struct signer {
    struct link *link;       // borrowed: the worker's
    struct sign_slot *slots; // owned, malloc
    uint32_t num_slots;
    uint32_t first_free;  // index + 1; 0: none
    uint32_t num_pending; // slots that are taken
    // Slots whose job was cancelled before the agent answered: it signs for them all the same, so
    // they count against the handshakes that may be in flight.
    uint32_t num_abandoned;
};
void signer_cleanup(struct signer *signer);

// signer_ask asks the agent to sign `input` with the key of an id (CONTRACT_KEY_ID_LEN bytes) by a
// SignatureScheme (RFC 8446, section 4.2.3). on_done is called once the job is DONE or FAILED.
// false: no signature will come; on_done is called inside if the link breaks by this request, and
// else not at all.
bool signer_ask(struct signer *signer, struct sign_job *job, const uint8_t *key_id,
                uint16_t algorithm, const uint8_t *input, size_t input_len);

// signer_take moves the signature of a job that is DONE to `out`; false: there is none, or it is
// longer than `max`.
bool signer_take(struct sign_job *job, uint8_t *out, size_t *out_len, size_t max);

// signer_on_result takes the agent's answer; a result for a job that is gone is dropped.
void signer_on_result(struct signer *signer, const Tabard__V1__SignResult *result);

// signer_cancel forgets a job that may be waiting, and frees its signature. Its slot stays taken
// until the agent has answered, so that peers that come and go can't pile up requests.
void signer_cancel(struct signer *signer, struct sign_job *job);

// signer_fail_all ends every waiting job: the agent is gone.
void signer_fail_all(struct signer *signer);

#endif
