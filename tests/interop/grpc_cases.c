// SPDX-License-Identifier: Apache-2.0
#include "tests/interop/grpc_cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tests/interop/grpc_echo.h"

#define MESSAGE_MAX (4u << 20)

struct test_case {
    const char *name;
    const char *method;
    uint32_t num; // messages: sent one after another's echo (Chat), at once (Collect), or asked for
                  // (Numbers)
    uint32_t len;
    uint64_t deadline_ms;
    const char *words;    // Status: what is asked for, and must come
    enum grpc_code code;  // what must come
    bool cancels;         // once the first message came, or at once with Hold
    uint32_t pause_every; // Numbers: the reader stops after so many and goes on in the next turn
};

static const struct test_case cases[] = {
    {.name = "unary of 0 bytes", .method = "Unary", .num = 1},
    {.name = "unary of 1 byte", .method = "Unary", .num = 1, .len = 1},
    {.name = "unary of a frame less its prefix", .method = "Unary", .num = 1, .len = 16384 - 5},
    {.name = "unary of a frame", .method = "Unary", .num = 1, .len = 16384},
    {.name = "unary of the default window and more", .method = "Unary", .num = 1, .len = 65536},
    {.name = "unary of 1 MiB and 1", .method = "Unary", .num = 1, .len = (1u << 20) + 1},
    {.name = "unary of the cap", .method = "Unary", .num = 1, .len = MESSAGE_MAX - 64},
    {.name = "status with words",
     .method = "Status",
     .num = 1,
     .words = "50% of \xc3\xa4\xe2\x82\xac\n, no",
     .code = GRPC_FAILED_PRECONDITION},
    {.name = "status without words",
     .method = "Status",
     .num = 1,
     .words = "",
     .code = GRPC_UNAUTHENTICATED},
    {.name = "no such method", .method = "Nothing", .num = 1, .len = 3, .code = GRPC_UNIMPLEMENTED},
    {.name = "stream of no message", .method = "Numbers", .num = 0, .len = 1},
    {.name = "stream of 1000 empty ones", .method = "Numbers", .num = 1000, .len = 0},
    {.name = "stream of 5000 small ones", .method = "Numbers", .num = 5000, .len = 33},
    {.name = "stream of 40 x 300 KiB", .method = "Numbers", .num = 40, .len = 300 << 10},
    {.name = "stream to a reader that stops",
     .method = "Numbers",
     .num = 200,
     .len = 40000,
     .pause_every = 7},
    {.name = "chat of 300", .method = "Chat", .num = 300, .len = 1000},
    {.name = "chat of 8 x 1 MiB", .method = "Chat", .num = 8, .len = 1 << 20},
    {.name = "chat of nothing", .method = "Chat", .num = 0},
    {.name = "collect 300 x 50 KB", .method = "Collect", .num = 300, .len = 50000},
    {.name = "deadline",
     .method = "Hold",
     .num = 1,
     .len = 5,
     .deadline_ms = 100,
     .code = GRPC_DEADLINE_EXCEEDED},
    {.name = "cancel",
     .method = "Hold",
     .num = 1,
     .len = 5,
     .cancels = true,
     .code = GRPC_CANCELLED},
    {.name = "cancel in a stream",
     .method = "Numbers",
     .num = 100000,
     .len = 1000,
     .cancels = true,
     .code = GRPC_CANCELLED},
};

// One case under way.
struct run {
    const struct test_case *test;
    uv_timer_t guard;
    uv_timer_t turn; // resumes a reader that stopped
    struct grpc_call *call;
    uint8_t *bytes;
    uint32_t num_sent;
    uint32_t num_received;
    bool is_over;
    bool is_right;
    char why[300];
};

static void fail(struct run *run, const char *why)
{
    if (run->is_right) {
        run->is_right = false;
        snprintf(run->why, sizeof run->why, "%s", why);
    }
}

static bool is_method(const struct run *run, const char *method)
{
    return strcmp(run->test->method, method) == 0;
}

static void send_next(struct run *run)
{
    struct err err = {{0}, {0}};
    echo_fill(run->bytes, run->test->len, run->num_sent);
    if (!grpc_call_send(run->call, run->bytes, run->test->len, &err)) {
        fail(run, err.text);
    }
    run->num_sent++;
}

static void collect_more(struct grpc_call *call)
{
    struct run *run = grpc_call_ctx(call);
    while (run->num_sent < run->test->num && grpc_call_can_send(call) && run->is_right) {
        send_next(run);
    }
    if (run->num_sent == run->test->num) {
        grpc_call_half_close(call);
    }
}

static void on_drained(struct grpc_call *call)
{
    if (is_method(grpc_call_ctx(call), "Collect")) {
        collect_more(call);
    }
}

static void on_turn(uv_timer_t *timer)
{
    struct run *run = timer->data;
    if (!run->is_over) {
        grpc_call_resume(run->call);
    }
}

static void check_message(struct run *run, const uint8_t *bytes, size_t len)
{
    if (is_method(run, "Collect")) {
        uint64_t num = 0;
        for (size_t i = 0; i < 8 && len == 8; i++) {
            num = num << 8 | bytes[i];
        }
        if (num != (uint64_t)run->test->num * run->test->len) {
            fail(run, "the sum differs");
        }
        return;
    }
    echo_fill(run->bytes, run->test->len, run->num_received);
    if (len != run->test->len || (len > 0 && memcmp(run->bytes, bytes, len) != 0)) {
        fail(run, "a message differs");
    }
}

static void on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct run *run = grpc_call_ctx(call);
    check_message(run, bytes, len);
    run->num_received++;
    if (run->test->cancels) {
        grpc_call_cancel(call);
    } else if (is_method(run, "Chat")) {
        if (run->num_sent < run->test->num) {
            send_next(run);
        } else {
            grpc_call_half_close(call);
        }
    }
    if (run->test->pause_every > 0 && run->num_received % run->test->pause_every == 0) {
        grpc_call_pause(call);
        uv_timer_start(&run->turn, on_turn, 1, 0);
    }
}

static void on_end(struct grpc_call *call, const struct grpc_status *status)
{
    struct run *run = grpc_call_ctx(call);
    char text[200];
    const struct test_case *test = run->test;
    uint32_t num = is_method(run, "Collect") || is_method(run, "Unary") ? 1 : test->num;
    if (status->code != test->code) {
        snprintf(text, sizeof text, "ended with %s: %s", grpc_code_name(status->code),
                 status->message);
        fail(run, text);
    } else if (test->code == GRPC_OK && run->num_received != num) {
        snprintf(text, sizeof text, "%u messages came", run->num_received);
        fail(run, text);
    } else if (test->words != NULL && strcmp(test->words, status->message) != 0) {
        snprintf(text, sizeof text, "the words differ: %s", status->message);
        fail(run, text);
    }
    run->is_over = true;
}

static const struct grpc_call_hooks hooks = {
    .on_message = on_message, .on_drained = on_drained, .on_end = on_end};

static void on_guard(uv_timer_t *timer)
{
    struct run *run = timer->data;
    char text[100];
    snprintf(text, sizeof text, "nothing happened any more; %u messages came", run->num_received);
    fail(run, text);
    grpc_call_cancel(run->call);
}

static void ask_for_status(struct run *run)
{
    uint8_t ask[100] = {(uint8_t)run->test->code};
    size_t len = strlen(run->test->words);
    invariant(len < sizeof ask);
    memcpy(ask + 1, run->test->words, len);
    grpc_call_send(run->call, ask, len + 1, NULL);
    grpc_call_half_close(run->call);
}

static void begin(struct run *run)
{
    const struct test_case *test = run->test;
    if (is_method(run, "Status")) {
        ask_for_status(run);
    } else if (is_method(run, "Numbers")) {
        uint8_t ask[8];
        for (int i = 0; i < 4; i++) {
            ask[i] = (uint8_t)(test->num >> (24 - 8 * i));
            ask[i + 4] = (uint8_t)(test->len >> (24 - 8 * i));
        }
        grpc_call_send(run->call, ask, sizeof ask, NULL);
        grpc_call_half_close(run->call);
    } else if (is_method(run, "Collect")) {
        collect_more(run->call);
    } else if (test->num == 0) {
        grpc_call_half_close(run->call);
    } else {
        send_next(run);
        if (!is_method(run, "Chat")) {
            grpc_call_half_close(run->call);
        }
        if (is_method(run, "Hold") && test->cancels) {
            grpc_call_cancel(run->call);
        }
    }
}

static bool run_case(uv_loop_t *loop, struct grpc_channel *channel, const struct test_case *test)
{
    struct run run = {.test = test, .is_right = true};
    struct err err = {{0}, {0}};
    char path[64];
    snprintf(path, sizeof path, "/echo.Echo/%s", test->method);
    run.bytes = malloc(test->len + 1);
    invariant(run.bytes != NULL);
    uv_timer_init(loop, &run.guard);
    uv_timer_init(loop, &run.turn);
    run.guard.data = run.turn.data = &run;
    const struct grpc_call_start start = {
        .path = path, .deadline_ms = test->deadline_ms, .hooks = &hooks, .ctx = &run};
    run.call = grpc_channel_call(channel, &start, &err);
    if (run.call == NULL) {
        fail(&run, err.text);
        run.is_over = true;
    } else {
        uv_timer_start(&run.guard, on_guard, CASES_WAIT_MS, 0);
        begin(&run);
    }
    while (!run.is_over) {
        uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&run.guard, NULL);
    uv_close((uv_handle_t *)&run.turn, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    free(run.bytes);
    printf("%s %s %s\n", run.is_right ? "ok" : "FAILED", test->name, run.why);
    return run.is_right;
}

bool grpc_cases_run(uv_loop_t *loop, struct grpc_channel *channel)
{
    bool was_right = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        was_right = run_case(loop, channel, &cases[i]) && was_right;
    }
    return was_right;
}
