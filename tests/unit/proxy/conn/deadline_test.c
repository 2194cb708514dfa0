// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/deadline.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

// A connection in RELAY, seen at 100,000 ms of its loop's time; its first byte moved at zero.
enum { NOW_MS = 100000 };

struct case_relay {
    char name[64];
    uint32_t idle_ms;
    uint32_t half_closed_ms;
    uint32_t stall_ms;
    uint64_t plain_moved_ms;
    uint64_t mesh_moved_ms;
    uint64_t plain_waiting_ms; // 0: nothing waits
    uint64_t mesh_waiting_ms;
    int peer_life_seconds; // 0: no identity
    bool is_half_closed;
    uint64_t left;
    enum reason reason;
};

ParameterizedTestParameters(deadline, the_nearest_of_relay_s_deadlines_counts)
{
    static struct case_relay cases[] = {
        {"idle counts from the last byte of either side", 5000, 9000, 9000, 10, 98000, 0, 0, 0,
         false, 3000, REASON_IDLE},
        {"idle is over", 5000, 9000, 9000, 95000, 0, 0, 0, 0, false, 0, REASON_IDLE},
        {"half-closed is nearer than idle", 5000, 3000, 9000, 98000, 0, 0, 0, 0, true, 1000,
         REASON_HALF_CLOSED},
        {"half-closed is farther than idle", 5000, 8000, 9000, 98000, 0, 0, 0, 0, true, 3000,
         REASON_IDLE},
        {"a peer that sends but does not read", 5000, 9000, 4000, 0, NOW_MS, 0, 97000, 0, false,
         1000, REASON_STALLED},
        {"a service that sends but does not read", 5000, 9000, 4000, NOW_MS, NOW_MS, 96000, 0, 0,
         false, 0, REASON_STALLED},
        {"a peer whose certificate has run out", 5000, 9000, 4000, NOW_MS, 0, 0, 0, -10, false, 0,
         REASON_PEER_EXPIRED},
        {"a peer whose certificate lives longer than the silence may last", 5000, 9000, 4000,
         NOW_MS, 0, 0, 0, 60, false, 5000, REASON_IDLE},
    };
    return cr_make_param_array(struct case_relay, cases, sizeof cases / sizeof cases[0]);
}

ParameterizedTest(struct case_relay *row, deadline, the_nearest_of_relay_s_deadlines_counts,
                  .timeout = 20)
{
    uv_loop_t loop = {.time = NOW_MS};
    struct conn_env env = {.loop = &loop};
    struct peer peer = {.ends =
                            now_end_at(now_date_s() + row->peer_life_seconds, now_read(NOW_MS))};
    struct conn conn = {.env = &env, .id = 7, .step_ms = NOW_MS};
    conn.plain = &conn.plain_socket.side;
    conn.mesh = &conn.mesh_socket.side;
    env.limits.idle_ms = row->idle_ms;
    env.limits.half_closed_ms = row->half_closed_ms;
    env.limits.stall_ms = row->stall_ms;
    conn.plain->moved_ms = row->plain_moved_ms;
    conn.mesh->moved_ms = row->mesh_moved_ms;
    conn.plain->waiting_ms = row->plain_waiting_ms;
    conn.plain->writing_len = row->plain_waiting_ms != 0;
    conn.mesh->waiting_ms = row->mesh_waiting_ms;
    conn.mesh->writing_len = row->mesh_waiting_ms != 0;
    conn.up = (struct flow){.source = conn.plain, .is_ending = row->is_half_closed};
    conn.plain->is_watched = true;
    conn.peer = row->peer_life_seconds == 0 ? NULL : &peer;
    enum reason reason;
    uint64_t left = deadline_relay(&conn, &reason);
    const char *who =
        row->plain_waiting_ms != 0 ? "the service does not read" : "the peer does not read";
    const char *detail = deadline_detail(&conn, reason);
    cr_assert(reason == REASON_STALLED ? strcmp(detail, who) == 0 : detail == NULL, "%s",
              row->name);
    cr_assert(left == row->left && reason == row->reason, "%s: %llu ms left, then %s", row->name,
              (unsigned long long)left, reason_text(reason));
}

// A handshake that has been in a state for 200 ms.
static uint64_t handshake_left(enum ticket_state state, bool is_signing, enum reason *out_reason)
{
    uv_loop_t loop = {.time = NOW_MS};
    struct conn_env env = {
        .loop = &loop,
        .limits = {.hello_ms = 400, .handshake_ms = 500, .queue_ms = 700, .connect_ms = 600}};
    struct conn conn = {.env = &env, .step_ms = NOW_MS - 300};
    conn.handshake.ticket.state = state;
    conn.handshake.ticket.since_ms = NOW_MS - 200;
    if (is_signing) {
        conn.handshake.sign.state = SIGN_WAITING;
    }
    return deadline_handshake(&conn, out_reason);
}

Test(deadline, each_stage_of_a_handshake_has_its_own_time_and_reason, .timeout = 20)
{
    enum reason reason;
    cr_expect(handshake_left(TICKET_HELLO, false, &reason) == 100 &&
              reason == REASON_HANDSHAKE_TIMEOUT);
    cr_expect(handshake_left(TICKET_WAITING, false, &reason) == 500 &&
                  reason == REASON_LIMIT_HANDSHAKES,
              "our own queue is none of handshake_ms");
    cr_expect(handshake_left(TICKET_IN_FLIGHT, false, &reason) == 300 &&
              reason == REASON_HANDSHAKE_TIMEOUT);
    cr_expect(handshake_left(TICKET_IN_FLIGHT, true, &reason) == 300 &&
                  reason == REASON_SIGN_TIMEOUT,
              "the agent's delay is not the peer's");
}

Test(deadline, a_connection_is_looked_at_now_and_then_however_long_it_may_be_silent, .timeout = 20)
{
    uv_loop_t loop = {.time = NOW_MS};
    struct conn_env env = {.loop = &loop, .limits = {.idle_ms = 3600000, .half_closed_ms = 300000}};
    struct conn conn = {.env = &env, .step_ms = NOW_MS - 40000, .looked_ms = NOW_MS - 20000};
    conn.plain = &conn.plain_socket.side;
    conn.mesh = &conn.mesh_socket.side;
    enum reason reason;
    cr_assert(deadline_look(&conn) == 10000 && deadline_relay(&conn, &reason) == 10000);
    conn.looked_ms = 0;
    cr_assert(deadline_look(&conn) == 0);
}

Test(deadline, a_connection_that_stays_half_closed_is_soon_watched_for_a_reset, .timeout = 20)
{
    uv_loop_t loop = {.time = NOW_MS};
    struct conn_env env = {.loop = &loop, .limits = {.idle_ms = 3600000, .half_closed_ms = 300000}};
    struct conn conn = {.env = &env, .step_ms = NOW_MS};
    conn.plain = &conn.plain_socket.side;
    conn.mesh = &conn.mesh_socket.side;
    conn.down = (struct flow){.source = conn.mesh, .is_ending = true};
    conn.mesh->moved_ms = NOW_MS - 400;
    cr_assert(deadline_look(&conn) == 600);
    conn.mesh->is_watched = true;
    cr_assert(deadline_look(&conn) == 30000);
}

// A connection in CONNECT since 1,000 ms before now, of the 3,000 that it has.
static uint64_t connect_left(bool is_waiting_for_port, uint64_t again_ms, uint64_t now_ms,
                             enum reason *out_reason)
{
    uv_loop_t loop = {.time = now_ms};
    struct conn_env env = {.loop = &loop, .limits = {.connect_ms = 3000}};
    struct conn conn = {.env = &env,
                        .step_ms = NOW_MS - 1000,
                        .is_waiting_for_port = is_waiting_for_port,
                        .again_ms = again_ms};
    return deadline_connect(&conn, out_reason);
}

Test(deadline, a_call_that_waits_for_a_port_is_tried_again_and_ends_for_that, .timeout = 20)
{
    enum reason reason;
    cr_expect_eq(connect_left(false, 0, NOW_MS, &reason), 2000);
    cr_expect_eq(reason, REASON_CONNECT_TIMEOUT);
    cr_expect_eq(connect_left(true, NOW_MS + 40, NOW_MS, &reason), 40);
    cr_expect_eq(reason, REASON_NONE);
    cr_expect_eq(connect_left(true, NOW_MS - 1, NOW_MS, &reason), 0);
    cr_expect_eq(reason, REASON_NONE);
    cr_expect_eq(connect_left(true, NOW_MS + 2500, NOW_MS, &reason), 2000);
    cr_expect_eq(reason, REASON_NO_LOCAL_PORT);
    cr_expect_eq(connect_left(true, NOW_MS + 10, NOW_MS + 2000, &reason), 0);
    cr_expect_eq(reason, REASON_NO_LOCAL_PORT);
}

// In a drain: whom the service has left. Silent for 500 ms so far.
Test(deadline, in_a_drain_a_caller_that_the_service_has_left_has_two_seconds, .timeout = 20)
{
    static const struct {
        const char *name;
        bool is_draining;
        enum direction direction;
        bool is_up_ending;
        bool is_down_ending;
        bool is_writing; // what the service said is still being written
        uint64_t left;
        enum reason reason;
    } rows[] = {
        {"left", true, DIRECTION_INBOUND, false, true, false, 1500, REASON_FINISHED},
        {"not in a drain", false, DIRECTION_INBOUND, false, true, false, 8500, REASON_HALF_CLOSED},
        {"the caller ended", true, DIRECTION_INBOUND, true, false, false, 8500, REASON_HALF_CLOSED},
        {"nobody ended", true, DIRECTION_INBOUND, false, false, false, 19500, REASON_IDLE},
        {"the service calls", true, DIRECTION_OUTBOUND, false, true, false, 8500,
         REASON_HALF_CLOSED},
        {"an answer not taken", true, DIRECTION_INBOUND, false, true, true, 8500,
         REASON_HALF_CLOSED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uv_loop_t loop = {.time = NOW_MS};
        struct conn_env env = {.loop = &loop, .is_draining = rows[i].is_draining};
        struct conn conn = {.env = &env, .step_ms = NOW_MS, .direction = rows[i].direction};
        conn.plain = &conn.plain_socket.side;
        conn.mesh = &conn.mesh_socket.side;
        env.limits.idle_ms = 20000;
        env.limits.half_closed_ms = 9000;
        env.limits.stall_ms = 30000;
        conn.plain->moved_ms = conn.mesh->moved_ms = NOW_MS - 500;
        conn.mesh->writing_len = rows[i].is_writing;
        conn.mesh->waiting_ms = NOW_MS;
        conn.plain->is_watched = conn.mesh->is_watched = true;
        conn.up = (struct flow){.source = conn.mesh, .is_ending = rows[i].is_up_ending};
        conn.down = (struct flow){.source = conn.plain, .is_ending = rows[i].is_down_ending};
        enum reason reason;
        uint64_t left = deadline_relay(&conn, &reason);
        cr_expect(left == rows[i].left && reason == rows[i].reason, "%s: %llu ms, then %s",
                  rows[i].name, (unsigned long long)left, reason_text(reason));
    }
}
