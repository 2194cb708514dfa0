// SPDX-License-Identifier: Apache-2.0
#include "tests/interop/grpc_echo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define NUMBERS_LEN_MAX (8u << 20)

struct echo_call {
    struct echo_seen *seen; // borrowed, or NULL
    uint32_t num_left;      // Numbers
    uint32_t num_sent;
    uint32_t len;
    uint64_t num_bytes; // Collect
};

void echo_fill(uint8_t *bytes, size_t len, uint32_t index)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(i * 7 + index + (i >> 8));
    }
}

static uint32_t read_u32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

static void on_start(void *ctx, struct grpc_call *call)
{
    struct echo_call *echo = calloc(1, sizeof *echo);
    invariant(echo != NULL);
    echo->seen = ctx;
    if (echo->seen != NULL) {
        echo->seen->num_started++;
        echo->seen->last = call;
    }
    grpc_call_set_ctx(call, echo);
}

static void on_end(struct grpc_call *call, const struct grpc_status *status)
{
    struct echo_call *echo = grpc_call_ctx(call);
    if (echo->seen != NULL) {
        echo->seen->num_ended++;
        echo->seen->num_cancelled += status->code == GRPC_CANCELLED;
        echo->seen->last_code = status->code;
        snprintf(echo->seen->last_message, sizeof echo->seen->last_message, "%s", status->message);
    }
    free(echo);
}

static void on_half_close(struct grpc_call *call)
{
    struct echo_call *echo = grpc_call_ctx(call);
    if (echo->seen != NULL) {
        echo->seen->num_half_closed++;
    }
}

static void reply(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct err err = {{0}, {0}};
    if (!grpc_call_send(call, bytes, len, &err)) {
        grpc_call_finish(call, GRPC_INTERNAL, err.text);
    }
}

static void unary_on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    reply(call, bytes, len);
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void status_on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    char words[GRPC_STATUS_MESSAGE_MAX];
    bool is_fine = len > 0 && bytes[0] <= GRPC_UNAUTHENTICATED;
    snprintf(words, sizeof words, "%.*s", is_fine ? (int)len - 1 : 0, (const char *)bytes + 1);
    grpc_call_finish(call, is_fine ? (enum grpc_code)bytes[0] : GRPC_INVALID_ARGUMENT, words);
}

// Sends as much as there is room for; on_drained comes back for more.
static void send_numbers(struct grpc_call *call)
{
    struct echo_call *echo = grpc_call_ctx(call);
    uint8_t *bytes = malloc(echo->len + 1);
    invariant(bytes != NULL);
    while (echo->num_left > 0 && grpc_call_can_send(call)) {
        echo_fill(bytes, echo->len, echo->num_sent);
        reply(call, bytes, echo->len);
        echo->num_sent++;
        echo->num_left--;
        if (echo->seen != NULL) {
            echo->seen->num_sent++;
        }
    }
    free(bytes);
    if (echo->num_left == 0) {
        grpc_call_finish(call, GRPC_OK, NULL);
    }
}

static void numbers_on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct echo_call *echo = grpc_call_ctx(call);
    if (len != 8 || read_u32(bytes + 4) > NUMBERS_LEN_MAX) {
        grpc_call_finish(call, GRPC_INVALID_ARGUMENT,
                         "how many and how long (32 bits each, up to 8 MiB) would be right");
        return;
    }
    echo->num_left = read_u32(bytes);
    echo->len = read_u32(bytes + 4);
    send_numbers(call);
}

static void chat_on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    reply(call, bytes, len);
    if (!grpc_call_can_send(call)) {
        grpc_call_pause(call); // the client doesn't read: then nor do we
    }
}

static void chat_on_half_close(struct grpc_call *call)
{
    on_half_close(call);
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void collect_on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    (void)bytes;
    struct echo_call *echo = grpc_call_ctx(call);
    echo->num_bytes += len;
}

static void collect_on_half_close(struct grpc_call *call)
{
    struct echo_call *echo = grpc_call_ctx(call);
    uint8_t answer[8];
    for (int i = 0; i < 8; i++) {
        answer[i] = (uint8_t)(echo->num_bytes >> (56 - 8 * i));
    }
    on_half_close(call);
    reply(call, answer, sizeof answer);
    grpc_call_finish(call, GRPC_OK, NULL);
}

const struct grpc_method echo_methods[] = {
    {.path = "/echo.Echo/Unary",
     .on_start = on_start,
     .hooks = {.on_message = unary_on_message, .on_half_close = on_half_close, .on_end = on_end}},
    {.path = "/echo.Echo/Status",
     .on_start = on_start,
     .hooks = {.on_message = status_on_message, .on_half_close = on_half_close, .on_end = on_end}},
    {.path = "/echo.Echo/Numbers",
     .on_start = on_start,
     .hooks = {.on_message = numbers_on_message,
               .on_half_close = on_half_close,
               .on_drained = send_numbers,
               .on_end = on_end}},
    {.path = "/echo.Echo/Chat",
     .on_start = on_start,
     .hooks = {.on_message = chat_on_message,
               .on_half_close = chat_on_half_close,
               .on_drained = grpc_call_resume,
               .on_end = on_end}},
    {.path = "/echo.Echo/Collect",
     .on_start = on_start,
     .hooks = {.on_message = collect_on_message,
               .on_half_close = collect_on_half_close,
               .on_end = on_end}},
    {.path = "/echo.Echo/Hold",
     .on_start = on_start,
     .hooks = {.on_half_close = on_half_close, .on_end = on_end}},
};

const size_t echo_num_methods = sizeof echo_methods / sizeof *echo_methods;
