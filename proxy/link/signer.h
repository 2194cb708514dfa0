// SPDX-License-Identifier: Apache-2.0
//
// Signing without a key: BoringSSL's asynchronous private-key method asks the agent for each
// handshake's signature (RFC 8446, section 4.4.3) and goes on when it comes. A signer belongs to a
// worker, a sign_job to a connection in its handshake; the worker's thread alone; SIGN_JOBS_MAX
// jobs. It never sees a private key, and the agent signs nothing but a CertificateVerify.
#ifndef TABARD_PROXY_LINK_SIGNER_H
#define TABARD_PROXY_LINK_SIGNER_H

#include <openssl/ssl.h>
#include <stdbool.h>
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
    void *owner; // borrowed: the conn
    void (*on_done)(void *owner);
};

struct sign_slot {
    struct sign_job *job; // borrowed until signer_cancel or the result; NULL: nobody waits
    uint32_t turn; // how often the slot was used, so that a late result meets nobody else's job
    uint32_t next_free;
    bool is_asked; // the agent has yet to answer: taken, also when nobody waits any more
};

// Zero state: no slots, no link.
struct signer {
    struct link *link;       // borrowed: the worker's
    struct sign_slot *slots; // owned, malloc
    uint32_t num_slots;
    uint32_t first_free; // index + 1; 0: none
    // Slots whose job was cancelled before the agent answered: it signs for them all the same, so
    // they count against the handshakes that may be in flight.
    uint32_t num_abandoned;
};
void signer_cleanup(struct signer *signer);

// Where an SSL finds its signer and its job.
struct sign_place {
    struct signer *signer;
    struct sign_job *job;
    const uint8_t *key_id; // CONTRACT_KEY_ID_LEN bytes, borrowed until the call returns
};

// signer_key_method is what the contexts plug in; `locate` is set once, before any handshake.
const SSL_PRIVATE_KEY_METHOD *signer_key_method(struct sign_place (*locate)(const SSL *ssl));

// signer_on_result takes the agent's answer; a result for a job that is gone is dropped.
void signer_on_result(struct signer *signer, const Tabard__V1__SignResult *result);

// signer_cancel forgets a job that may be waiting, and frees its signature. Its slot stays taken
// until the agent has answered, so that peers that come and go can't pile up requests.
void signer_cancel(struct signer *signer, struct sign_job *job);

// signer_fail_all ends every waiting job: the agent is gone.
void signer_fail_all(struct signer *signer);

#endif
