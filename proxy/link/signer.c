// SPDX-License-Identifier: Apache-2.0
#include "proxy/link/signer.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "proto/contract.h"

// What a job asks for.
struct sign_request {
    uint8_t key_id[CONTRACT_KEY_ID_LEN];
    uint16_t algorithm;
    size_t input_len;
    uint8_t input[];
};

void signer_init(struct signer *signer, struct link *link)
{
    *signer = (struct signer){.link = link};
    for (size_t i = 0; i < NUM_SIGN_LANES; i++) {
        list_init(&signer->queues[i]);
    }
}

// Gives the job a free slot, of which there is one, and returns the request's id.
static uint64_t slot_take(struct signer *signer, struct sign_job *job)
{
    uint16_t index = 0;
    while (signer->slots[index].is_asked) {
        index++;
        invariant(index < SIGN_ASKED_MAX);
    }
    struct sign_slot *slot = &signer->slots[index];
    signer->num_asked++;
    slot->job = job;
    slot->is_asked = true;
    slot->turn++;
    job->slot = index;
    return (uint64_t)slot->turn << 32 | (index + 1u);
}

static void slot_release(struct signer *signer, uint32_t index)
{
    signer->slots[index].job = NULL;
    signer->slots[index].is_asked = false;
    signer->num_asked--;
}

// Sends a job's request. false: it has FAILED; *out_is_told says whether on_done was called.
static bool send_request(struct signer *signer, struct sign_job *job, const uint8_t *key_id,
                         uint16_t algorithm, const uint8_t *input, size_t input_len,
                         bool *out_is_told)
{
    Tabard__V1__SignRequest request = TABARD__V1__SIGN_REQUEST__INIT;
    request.id = slot_take(signer, job);
    request.key_id =
        (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)key_id, .len = CONTRACT_KEY_ID_LEN};
    request.algorithm = algorithm;
    request.input = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)input, .len = input_len};
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_SIGN_REQUEST;
    message.sign_request = &request;
    if (link_send(signer->link, &message)) {
        return true;
    }
    *out_is_told = job->state != SIGN_WAITING; // the link broke, and signer_fail_all told it
    if (!*out_is_told) {
        slot_release(signer, job->slot);
        job->state = SIGN_FAILED;
    }
    return false;
}

static void push(struct signer *signer, struct sign_job *job, const uint8_t *key_id,
                 uint16_t algorithm, const uint8_t *input, size_t input_len)
{
    struct sign_request *request = must_alloc(1, sizeof *request + input_len);
    memcpy(request->key_id, key_id, sizeof request->key_id);
    memcpy(request->input, input, input_len);
    request->algorithm = algorithm;
    request->input_len = input_len;
    job->request = request;
    list_push(&signer->queues[job->lane], &job->link);
    signer->num_queued++;
}

// Takes a job out of its queue and returns its request, which the caller frees.
static struct sign_request *pull(struct signer *signer, struct sign_job *job)
{
    struct sign_request *request = job->request;
    list_remove(&job->link);
    signer->num_queued--;
    job->request = NULL;
    return request;
}

// Returns the job whose turn it is. NULL: none waits.
static struct sign_job *next_job(struct signer *signer)
{
    for (size_t i = 0; i < NUM_SIGN_LANES; i++) {
        const struct list *queue = &signer->queues[signer->next_lane];
        signer->next_lane = (signer->next_lane + 1) % NUM_SIGN_LANES;
        if (!list_is_empty(queue)) {
            return LIST_OF(queue->next, struct sign_job, link);
        }
    }
    return NULL;
}

static void ask_next(struct signer *signer)
{
    struct sign_job *job;
    while (signer->num_asked < SIGN_ASKED_MAX && (job = next_job(signer)) != NULL) {
        bool is_told;
        struct sign_request *request = pull(signer, job);
        bool ok = send_request(signer, job, request->key_id, request->algorithm, request->input,
                               request->input_len, &is_told);
        free(request);
        if (!ok && !is_told) {
            job->on_done(job->owner);
        }
    }
}

bool signer_ask(struct signer *signer, struct sign_job *job, const uint8_t *key_id,
                uint16_t algorithm, const uint8_t *input, size_t input_len)
{
    bool is_told;
    job->state = SIGN_WAITING;
    if (signer->num_asked < SIGN_ASKED_MAX) { // then nobody waits
        return send_request(signer, job, key_id, algorithm, input, input_len, &is_told);
    }
    push(signer, job, key_id, algorithm, input, input_len);
    return true;
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

static void finish(struct sign_job *job, const Tabard__V1__SignResult *result)
{
    size_t len = result->signature.len;
    job->state = SIGN_FAILED;
    if (result->error[0] != '\0') {
        char quoted[256];
        log_warn("msg=\"the agent refused to sign\" error=%s",
                 log_quote(quoted, sizeof quoted, result->error));
    } else if (len > 0 && len <= CONTRACT_SIGNATURE_LEN_MAX) {
        job->signature = must_copy(result->signature.data, len);
        job->signature_len = len;
        job->state = SIGN_DONE;
    }
    job->on_done(job->owner);
}

void signer_on_result(struct signer *signer, const Tabard__V1__SignResult *result)
{
    uint32_t index = (uint32_t)result->id - 1;
    if (index >= SIGN_ASKED_MAX || !signer->slots[index].is_asked ||
        signer->slots[index].turn != (uint32_t)(result->id >> 32)) {
        return; // nobody asked
    }
    struct sign_job *job = signer->slots[index].job;
    slot_release(signer, index);
    ask_next(signer);
    if (job != NULL) { // else its connection has ended
        finish(job, result);
    }
}

void signer_cancel(struct signer *signer, struct sign_job *job)
{
    if (list_is_linked(&job->link)) {
        free(pull(signer, job));
    } else if (job->state == SIGN_WAITING) {
        signer->slots[job->slot].job = NULL;
    }
    free(job->signature);
    job->signature = NULL;
    job->state = SIGN_IDLE;
}

void signer_fail_all(struct signer *signer)
{
    for (uint32_t i = 0; i < SIGN_ASKED_MAX; i++) {
        struct sign_job *job = signer->slots[i].job;
        if (!signer->slots[i].is_asked) {
            continue;
        }
        slot_release(signer, i);
        if (job != NULL) {
            job->state = SIGN_FAILED;
            job->on_done(job->owner);
        }
    }
    struct sign_job *job;
    while ((job = next_job(signer)) != NULL) {
        free(pull(signer, job));
        job->state = SIGN_FAILED;
        job->on_done(job->owner);
    }
}
