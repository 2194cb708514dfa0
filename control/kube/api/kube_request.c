// SPDX-License-Identifier: Apache-2.0
#include "control/kube/api/kube_request.h"

#include <openssl/mem.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/data/bytes.h"
#include "base/must.h"
#include "control/kube/api/kube_client_impl.h"
#include "control/kube/api/kube_exchange.h"
#include "control/kube/api/kube_status.h"

struct kube_request {
    uv_timer_t timer;           // first: the deadline, or the next try
    struct list link;           // in the client's waiting requests while none is under way
    struct kube_client *client; // borrowed
    void (*on_answer)(void *ctx, const struct kube_answer *answer);
    void *ctx;
    const char *method;             // borrowed: a constant
    char *path;                     // owned, with the next two
    char *content_type;             // NULL: no body
    char *body;                     // NULL: none
    struct kube_exchange *exchange; // under way; NULL: waits for the next try
    struct bytes in;                // of the answer's body
    size_t bytes_max;
    uint64_t deadline_ms;
    uint32_t num_failures;
    uint32_t retry_after_s;
    bool is_single;
    struct err last; // why the last try failed, if no answer came whole
};

static void on_timer(uv_timer_t *timer);

static void on_freed(uv_handle_t *handle)
{
    struct kube_request *request = (struct kube_request *)handle;
    bytes_wipe(&request->in);
    free(request->path);
    free(request->content_type);
    if (request->body != NULL) {
        OPENSSL_cleanse(request->body, strlen(request->body)); // it may hold a secret
    }
    free(request->body);
    free(request);
}

static void finish(struct kube_request *request)
{
    if (request->exchange != NULL) {
        kube_exchange_cancel(request->exchange);
        request->exchange = NULL;
    }
    list_remove(&request->link);
    uv_close((uv_handle_t *)&request->timer, on_freed);
}

static void answer(struct kube_request *request, unsigned status, json_t *body, const char *error)
{
    const struct kube_answer answer = {
        .status = status, .body = body, .retry_after_s = request->retry_after_s, .error = error};
    finish(request); // before the hook, which may close the client; the memory goes later
    request->on_answer(request->ctx, &answer);
}

// Starts the timer for the next try. false: there is no time left for one.
static bool wait_for_next(struct kube_request *request, uint32_t least_ms)
{
    static const struct backoff waits = {
        .first_ms = 200, .min_ms = 400, .max_ms = KUBE_RETRY_MS_MAX, .jitter = BACKOFF_FROM_HALF};
    uint64_t now = uv_now(kube_client_loop(request->client));
    uint32_t wait_ms = backoff_ms(&waits, ++request->num_failures, kube_client_random());
    wait_ms = wait_ms < least_ms ? least_ms : wait_ms;
    if (request->is_single || now + wait_ms >= request->deadline_ms) {
        return false;
    }
    uv_timer_start(&request->timer, on_timer, wait_ms, 0);
    list_push(&request->client->waiting, &request->link);
    return true;
}

static void answer_whole(struct kube_request *request, unsigned status)
{
    struct err err = {{0}, {0}};
    json_t *body = NULL;
    bool is_good = status >= 200 && status < 300;
    if (request->in.len > 0) {
        body = kube_json_read((const char *)request->in.at, request->in.len, &err);
    }
    bytes_wipe(&request->in);
    if (is_good && body == NULL && err.text[0] != '\0') {
        is_good = err_prefix(&err, "the answer can't be read");
    } else if (!is_good) {
        kube_status_text(&err, status, body);
    }
    answer(request, status, body, is_good ? NULL : err.text);
    json_decref(body);
}

static void on_bytes(void *ctx, unsigned status, const uint8_t *bytes, size_t len)
{
    struct kube_request *request = ctx;
    struct err err = {{0}, {0}};
    if (len > request->bytes_max - request->in.len || !bytes_reserve(&request->in, len)) {
        err_set(&err, "the answer has more than %zu bytes, or there is no memory for it",
                request->bytes_max);
        answer(request, status, NULL, err.text);
        return;
    }
    bytes_push(&request->in, bytes, len);
}

static void on_end(void *ctx, const struct kube_end *end)
{
    struct kube_request *request = ctx;
    request->exchange = NULL;
    request->retry_after_s = end->retry_after_s;
    bool is_put_off =
        end->is_whole && (end->status == 429 || end->status == 503) && end->retry_after_s > 0;
    bool is_harmless = strcmp(request->method, "GET") == 0;
    if (end->is_whole && !is_put_off) {
        answer_whole(request, end->status);
        return;
    }
    request->last = (struct err){{0}, {0}};
    if (!end->is_whole) {
        err_set(&request->last, "%s: %s",
                end->is_unseen ? "the API server was not reached" : "the answer was cut", end->why);
    }
    uint32_t after_s =
        end->retry_after_s < KUBE_RETRY_AFTER_S_MAX ? end->retry_after_s : KUBE_RETRY_AFTER_S_MAX;
    if ((is_put_off || end->is_unseen || is_harmless) && wait_for_next(request, after_s * 1000)) {
        bytes_wipe(&request->in);
        return;
    }
    if (end->is_whole) {
        answer_whole(request, end->status);
        return;
    }
    answer(request, 0, NULL, request->last.text);
}

static void start(struct kube_request *request)
{
    static const struct kube_exchange_hooks hooks = {.on_bytes = on_bytes, .on_end = on_end};
    const struct kube_exchange_start start = {
        .method = request->method,
        .path = request->path,
        .content_type = request->content_type,
        .body = request->body == NULL ? NULL : must_strdup(request->body),
        .hooks = &hooks,
        .ctx = request};
    struct err err = {{0}, {0}};
    uint64_t now = uv_now(kube_client_loop(request->client));
    list_remove(&request->link);
    request->exchange = kube_exchange_start(request->client, &start, &err);
    if (request->exchange != NULL) {
        uint64_t left = request->deadline_ms > now ? request->deadline_ms - now : 0;
        uv_timer_start(&request->timer, on_timer, left, 0);
        return;
    }
    err_prefix(&err, "the API server was not reached");
    request->last = err;
    if (!wait_for_next(request, 0)) {
        answer(request, 0, NULL, err.text);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct kube_request *request = (struct kube_request *)timer;
    if (request->exchange == NULL) {
        start(request);
        return;
    }
    struct err err = {{0}, {0}};
    err_set(&err, "the API server didn't answer in time%s%s",
            request->last.text[0] != '\0' ? "; before that, " : "", request->last.text);
    answer(request, 0, NULL, err.text);
}

struct kube_request *kube_request(struct kube_client *client,
                                  const struct kube_request_options *options,
                                  void (*on_answer)(void *ctx, const struct kube_answer *answer),
                                  void *ctx)
{
    struct kube_request *request = must_alloc(1, sizeof *request);
    uv_loop_t *loop = kube_client_loop(client);
    uint32_t timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : KUBE_REQUEST_MS;
    const char *type = options->content_type != NULL ? options->content_type : "application/json";
    uv_timer_init(loop, &request->timer);
    request->client = client;
    request->on_answer = on_answer;
    request->ctx = ctx;
    request->method = options->method != NULL ? options->method : "GET";
    request->path = must_strdup(options->path);
    if (options->text != NULL) {
        request->body = must_strdup(options->text);
    } else if (options->body != NULL) {
        request->body = must_have(json_dumps(options->body, JSON_COMPACT | JSON_ENCODE_ANY));
    }
    request->content_type = request->body != NULL ? must_strdup(type) : NULL;
    request->bytes_max =
        options->bytes_max != 0 ? options->bytes_max : (size_t)KUBE_REQUEST_BYTES_MAX;
    request->deadline_ms = uv_now(loop) + timeout_ms;
    request->is_single = options->is_single;
    // From the timer, so that no answer comes inside this call.
    uv_timer_start(&request->timer, on_timer, 0, 0);
    list_push(&client->waiting, &request->link);
    return request;
}

void kube_request_cancel(struct kube_request *request)
{
    if (request != NULL) {
        finish(request);
    }
}

void kube_request_end_waiting(struct kube_client *client, const char *why)
{
    while (!list_is_empty(&client->waiting)) {
        answer(LIST_OF(client->waiting.next, struct kube_request, link), 0, NULL, why);
    }
}

void kube_escape(struct bytes *out, const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    for (const char *at = text; *at != '\0'; at++) {
        if (strchr(plain, *at) != NULL) {
            bytes_push(out, at, 1);
        } else {
            bytes_push_format(out, "%%%02X", (unsigned char)*at);
        }
    }
}
