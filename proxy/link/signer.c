// SPDX-License-Identifier: Apache-2.0
#include "proxy/link/signer.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "proto/contract.h"

static struct sign_place (*locate_place)(const SSL *ssl);

void signer_cleanup(struct signer *signer)
{
    free(signer->slots);
    *signer = (struct signer){0};
}

static bool grow(struct signer *signer)
{
    uint32_t num = signer->num_slots == 0 ? 64 : signer->num_slots * 2;
    if (num > SIGN_JOBS_MAX) {
        return false;
    }
    struct sign_slot *slots = realloc(signer->slots, num * sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    for (uint32_t i = signer->num_slots; i < num; i++) {
        slots[i] = (struct sign_slot){.next_free = signer->first_free};
        signer->first_free = i + 1;
    }
    signer->slots = slots;
    signer->num_slots = num;
    return true;
}

// Gives the job a slot and returns the request's id; 0: none is left.
static uint64_t slot_take(struct signer *signer, struct sign_job *job)
{
    if (signer->first_free == 0 && !grow(signer)) {
        return 0;
    }
    job->slot = signer->first_free - 1;
    struct sign_slot *slot = &signer->slots[job->slot];
    signer->first_free = slot->next_free;
    slot->job = job;
    slot->is_asked = true;
    slot->turn++;
    return (uint64_t)slot->turn << 32 | (job->slot + 1);
}

static void slot_release(struct signer *signer, uint32_t index)
{
    signer->slots[index].job = NULL;
    signer->slots[index].is_asked = false;
    signer->slots[index].next_free = signer->first_free;
    signer->first_free = index + 1;
}

static enum ssl_private_key_result_t on_sign(SSL *ssl, uint8_t *out, size_t *out_len,
                                             size_t max_out, uint16_t algorithm, const uint8_t *in,
                                             size_t in_len)
{
    (void)out;
    (void)out_len;
    (void)max_out;
    struct sign_place place = locate_place(ssl);
    uint64_t id = slot_take(place.signer, place.job);
    if (id == 0) {
        return ssl_private_key_failure;
    }
    Tabard__V1__SignRequest request = TABARD__V1__SIGN_REQUEST__INIT;
    request.id = id;
    request.key_id = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)place.key_id,
                                           .len = CONTRACT_KEY_ID_LEN};
    request.algorithm = algorithm;
    request.input = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)in, .len = in_len};
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_SIGN_REQUEST;
    message.sign_request = &request;
    place.job->state = SIGN_WAITING;
    if (!link_send(place.signer->link, &message)) {
        if (place.job->state == SIGN_WAITING) { // else the link went, and signer_fail_all was here
            slot_release(place.signer, place.job->slot);
            place.job->state = SIGN_FAILED;
        }
        return ssl_private_key_failure;
    }
    return ssl_private_key_retry;
}

static enum ssl_private_key_result_t on_decrypt(SSL *ssl, uint8_t *out, size_t *out_len,
                                                size_t max_out, const uint8_t *in, size_t in_len)
{
    (void)ssl;
    (void)out;
    (void)out_len;
    (void)max_out;
    (void)in;
    (void)in_len;
    return ssl_private_key_failure; // RSA key exchange: TLS 1.3 has none
}

static enum ssl_private_key_result_t on_complete(SSL *ssl, uint8_t *out, size_t *out_len,
                                                 size_t max_out)
{
    struct sign_job *job = locate_place(ssl).job;
    if (job->state == SIGN_WAITING) {
        return ssl_private_key_retry;
    }
    if (job->state != SIGN_DONE || job->signature_len > max_out) {
        return ssl_private_key_failure;
    }
    memcpy(out, job->signature, job->signature_len);
    *out_len = job->signature_len;
    free(job->signature);
    job->signature = NULL;
    job->state = SIGN_IDLE;
    return ssl_private_key_success;
}

const SSL_PRIVATE_KEY_METHOD *signer_key_method(struct sign_place (*locate)(const SSL *ssl))
{
    static const SSL_PRIVATE_KEY_METHOD method = {on_sign, on_decrypt, on_complete};
    locate_place = locate;
    return &method;
}

void signer_on_result(struct signer *signer, const Tabard__V1__SignResult *result)
{
    uint32_t index = (uint32_t)result->id - 1;
    if (index >= signer->num_slots || !signer->slots[index].is_asked ||
        signer->slots[index].turn != (uint32_t)(result->id >> 32)) {
        return; // nobody asked
    }
    struct sign_job *job = signer->slots[index].job;
    slot_release(signer, index);
    if (job == NULL) {
        signer->num_abandoned--;
        return; // its connection has ended
    }
    size_t len = result->signature.len;
    job->state = SIGN_FAILED;
    if (result->error[0] != '\0') {
        char quoted[256];
        log_warn("msg=\"the agent refused to sign\" error=%s",
                 log_quote(quoted, sizeof quoted, result->error));
    } else if (len > 0 && len <= SIGNATURE_LEN_MAX && (job->signature = malloc(len)) != NULL) {
        memcpy(job->signature, result->signature.data, len);
        job->signature_len = len;
        job->state = SIGN_DONE;
    }
    job->on_done(job->owner);
}

void signer_cancel(struct signer *signer, struct sign_job *job)
{
    if (job->state == SIGN_WAITING) {
        signer->slots[job->slot].job = NULL;
        signer->num_abandoned++;
    }
    free(job->signature);
    job->signature = NULL;
    job->state = SIGN_IDLE;
}

void signer_fail_all(struct signer *signer)
{
    for (uint32_t i = 0; i < signer->num_slots; i++) {
        struct sign_job *job = signer->slots[i].job;
        if (!signer->slots[i].is_asked) {
            continue;
        }
        slot_release(signer, i);
        if (job == NULL) {
            signer->num_abandoned--;
        } else {
            job->state = SIGN_FAILED;
            job->on_done(job->owner);
        }
    }
}
