// SPDX-License-Identifier: Apache-2.0
#include "proxy/link/signer.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "proto/contract.h"

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
    struct sign_slot *slots = must_grow(signer->slots, num, sizeof *slots);
    for (uint32_t i = signer->num_slots; i < num; i++) {
        slots[i] = (struct sign_slot){.next_free = signer->first_free};
        signer->first_free = i + 1;
    }
    signer->slots = slots;
    signer->num_slots = num;
    return true;
}

// Gives the job a slot and returns the request's id; 0: no slot is left.
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
    signer->num_pending++;
    slot->turn++;
    return (uint64_t)slot->turn << 32 | (job->slot + 1);
}

static void slot_release(struct signer *signer, uint32_t index)
{
    signer->slots[index].job = NULL;
    signer->slots[index].is_asked = false;
    signer->num_pending--;
    signer->slots[index].next_free = signer->first_free;
    signer->first_free = index + 1;
}

bool signer_ask(struct signer *signer, struct sign_job *job, const uint8_t *key_id,
                uint16_t algorithm, const uint8_t *input, size_t input_len)
{
    uint64_t id = slot_take(signer, job);
    if (id == 0) {
        return false;
    }
    Tabard__V1__SignRequest request = TABARD__V1__SIGN_REQUEST__INIT;
    request.id = id;
    request.key_id =
        (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)key_id, .len = CONTRACT_KEY_ID_LEN};
    request.algorithm = algorithm;
    request.input = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)input, .len = input_len};
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_SIGN_REQUEST;
    message.sign_request = &request;
    job->state = SIGN_WAITING;
    if (link_send(signer->link, &message)) {
        return true;
    }
    if (job->state == SIGN_WAITING) { // else the link broke, and signer_fail_all has released it
        slot_release(signer, job->slot);
        job->state = SIGN_FAILED;
    }
    return false;
}

bool signer_take(struct sign_job *job, uint8_t *out, size_t *out_len, size_t max)
{
    if (job->state != SIGN_DONE || job->signature_len > max) {
        return false;
    }
    memcpy(out, job->signature, job->signature_len);
    *out_len = job->signature_len;
    free(job->signature);
    job->signature = NULL;
    job->state = SIGN_IDLE;
    return true;
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
    } else if (len > 0 && len <= SIGNATURE_LEN_MAX) {
        job->signature = must_copy(result->signature.data, len);
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
