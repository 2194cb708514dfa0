// SPDX-License-Identifier: Apache-2.0
//
// Who waits at a limit, and who goes.
#include <criterion/criterion.h>
#include <sys/socket.h>

#include "proxy/conn/queue.h"
#include "tests/unit/proxy/pair.h"

static struct pair pair;

static void cleanup(void)
{
    pair_cleanup(&pair);
}

TestSuite(waiting, .fini = cleanup, .timeout = 20);

#define PAIR(...) pair_init(&pair, &(const struct pair_options){__VA_ARGS__})

static bool is_ended_by_reset(int fd)
{
    uint8_t byte;
    bool is_reset;
    return pair_receive(&pair, fd, &byte, 1, &is_reset) == 0 && is_reset;
}

Test(waiting, at_the_limit_on_connections_the_one_too_many_waits_for_room)
{
    PAIR(.limits.connections = 1);
    char byte;
    int first = pair_connect(&pair);
    int app = pair_accept(&pair);
    int second = pair_connect(&pair);
    pair_send(&pair, second, "y", 1);
    pair_turn(&pair);
    cr_assert(pair.client.is_paused && pair.client.env.num_conns == 1);
    pair_send(&pair, first, "x", 1);
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1);
    pair_close(&pair, first);
    pair_close(&pair, app);
    app = pair_accept(&pair);
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1 && byte == 'y');
}

Test(waiting, a_stranger_takes_no_place_of_a_connection)
{
    PAIR(.limits.connections = 1);
    pair_connect_mesh(&pair);
    pair_turn(&pair);
    pair_connect(&pair);
    pair_accept(&pair);
    cr_assert(pair.server.env.gates[DIRECTION_INBOUND].num[TICKET_HELLO] == 1);
}

Test(waiting, where_descriptors_are_short_a_stranger_goes_and_not_who_comes)
{
    PAIR();
    int silent = pair_connect_mesh(&pair);
    pair_turn(&pair);
    pair.server.env.descriptors_max = 2;
    pair_connect(&pair);
    pair_accept(&pair);
    cr_assert(pair_ended(&pair.server, REASON_LIMIT_HELLOS) == 1);
    cr_assert(is_ended_by_reset(silent));
}

Test(waiting, whoever_sends_a_part_of_a_hello_holds_no_slot_of_the_handshakes)
{
    PAIR(.limits.handshakes = 1);
    pair_send(&pair, pair_connect_mesh(&pair), "\x16", 1);
    pair_connect_mesh(&pair);
    pair_turn(&pair);
    pair_connect(&pair);
    pair_accept(&pair);
    cr_assert(pair.server.env.gates[DIRECTION_INBOUND].num[TICKET_HELLO] == 2);
}

Test(waiting, a_caller_whose_handshake_waits_is_served_when_its_turn_comes)
{
    PAIR(.limits.handshakes = 1);
    pair_agent_pause(&pair.server);
    pair_connect(&pair);
    pair_connect(&pair);
    const struct gate *outbound = &pair.client.env.gates[DIRECTION_OUTBOUND];
    while (outbound->num[TICKET_WAITING] == 0 || pair.server.env.signer.num_asked == 0) {
        pair_turn(&pair);
    }
    cr_assert(outbound->num[TICKET_IN_FLIGHT] == 1);
    cr_assert(pair.server.env.num_conns == 1, "the second has not been called for");
    pair_agent_resume(&pair.server);
    pair_accept(&pair);
    pair_accept(&pair);
}

Test(waiting, a_caller_that_gives_up_while_it_waits_is_called_for_nobody)
{
    PAIR(.limits.handshakes = 1);
    pair_agent_pause(&pair.server);
    pair_connect(&pair);
    int impatient = pair_connect(&pair);
    while (pair.client.env.gates[DIRECTION_OUTBOUND].num[TICKET_WAITING] == 0) {
        pair_turn(&pair);
    }
    pair_reset(&pair, impatient);
    pair_agent_resume(&pair.server);
    pair_accept(&pair);
    pair_until_reason(&pair, &pair.client, REASON_LOCAL_RESET);
    cr_assert(atomic_load(&pair.server.env.stats.opened[DIRECTION_INBOUND]) == 1);
}

Test(waiting, a_destination_with_which_no_handshake_succeeds_ends_who_waits_for_it_as_that)
{
    PAIR(.limits = {.handshakes = 1, .connect_ms = 200});
    pair_agent_pause(&pair.server);
    pair_connect(&pair);
    pair_connect(&pair);
    pair_until_reason(&pair, &pair.client, REASON_CONNECT_TIMEOUT);
}

Test(waiting, a_hello_of_ours_on_a_permissive_port_waits_for_its_turn_too)
{
    PAIR(.inbound_mode = INBOUND_PERMISSIVE, .foreign_tls_is_application = true);
    pair.server.env.signer.num_queued = 1000; // the agent is behind
    pair_connect(&pair);
    while (pair.server.env.gates[DIRECTION_INBOUND].num[TICKET_WAITING] == 0) {
        pair_turn(&pair);
    }
    cr_assert(pair.server.env.signer.slots[0].turn == 0, "nothing was asked of the agent");
    pair.server.env.signer.num_queued = 0;
    queue_wake(&pair.server.env);
    pair_accept(&pair);
}

Test(waiting, a_handshake_that_waits_for_descriptors_goes_on_when_a_connection_has_gone)
{
    PAIR();
    struct conn_env *env = &pair.server.env;
    int first = pair_connect(&pair);
    int app = pair_accept(&pair);
    env->signer.num_queued = 1000; // the agent is behind
    pair_connect(&pair);
    while (env->gates[DIRECTION_INBOUND].num[TICKET_WAITING] == 0) {
        pair_turn(&pair);
    }
    env->descriptors_max = queue_descriptors(env); // now this is all that it waits for
    env->signer.num_queued = 0;
    pair_turn(&pair);
    cr_assert(env->gates[DIRECTION_INBOUND].num[TICKET_WAITING] == 1 && !env->is_full);
    pair_close(&pair, first);
    pair_close(&pair, app);
    pair_accept(&pair);
}

Test(waiting, callers_that_sent_their_hello_before_the_limit_was_reached_are_no_more_than_it_either)
{
    PAIR();
    struct conn_env *env = &pair.server.env;
    const struct gate *gate = &env->gates[DIRECTION_INBOUND];
    int first = pair_connect(&pair);
    int app = pair_accept(&pair);
    env->signer.num_queued = 1000; // the agent is behind
    pair_connect(&pair);
    while (gate->num[TICKET_WAITING] == 0) {
        pair_turn(&pair);
    }
    env->limits.connections = 1;
    env->signer.num_queued = 0;
    queue_wake(env);
    pair_turn(&pair);
    cr_assert(gate->num[TICKET_WAITING] == 1 && gate->num[TICKET_IN_FLIGHT] == 0);
    pair_close(&pair, first);
    pair_close(&pair, app);
    pair_accept(&pair);
}

Test(waiting, plaintext_callers_beyond_the_limit_on_connections_wait_for_a_place_too)
{
    char byte;
    PAIR(.inbound_mode = INBOUND_PERMISSIVE, .limits = {.connections = 1, .detect_ms = 100});
    const struct conn_env *env = &pair.server.env;
    const uint32_t *num_hellos = &env->gates[DIRECTION_INBOUND].num[TICKET_HELLO];
    int callers[] = {pair_connect_mesh(&pair), pair_connect_mesh(&pair)};
    int app = pair_accept(&pair);
    for (int i = 0; i < 100; i++) {
        pair_turn(&pair);
        cr_assert(env->num_conns == 2 && *num_hellos == 1, "turn %d", i);
    }
    pair_send(&pair, app, "x", 1);
    int first = -1;
    while (first < 0) {
        pair_turn(&pair);
        first = recv(callers[0], &byte, 1, 0) == 1   ? 0
                : recv(callers[1], &byte, 1, 0) == 1 ? 1
                                                     : -1;
    }
    pair_close(&pair, callers[first]);
    pair_close(&pair, app);
    app = pair_accept(&pair);
    pair_send(&pair, app, "y", 1);
    cr_assert(pair_receive(&pair, callers[1 - first], &byte, 1, NULL) == 1 && byte == 'y');
}

Test(waiting, a_plaintext_caller_waits_no_longer_for_a_place_than_for_a_turn)
{
    PAIR(.inbound_mode = INBOUND_PERMISSIVE,
         .limits = {.connections = 1, .detect_ms = 100, .queue_ms = 400});
    pair_connect_mesh(&pair);
    pair_send(&pair, pair_connect_mesh(&pair), "hello", 5);
    pair_accept(&pair);
    pair_until_reason(&pair, &pair.server, REASON_LIMIT_HANDSHAKES);
}

Test(waiting, a_call_that_waited_for_a_local_port_has_a_deadline_again_once_it_has_one)
{
    PAIR(.inbound_mode = INBOUND_PLAINTEXT, .limits.connect_ms = 500);
    struct conn_env *env = &pair.server.env;
    cr_assert(listen(pair.app_fd, 0) == 0);
    pair_connect_mesh(&pair); // its call fills the queue of the application, which takes nobody
    while (atomic_load(&env->stats.opened[DIRECTION_INBOUND]) < 1) {
        pair_turn(&pair);
    }
    env->search = (struct port_search){.to = pair.server.spec.target, .until_ms = UINT64_MAX};
    pair_connect_mesh(&pair);
    while (env->conns == NULL || !env->conns->is_waiting_for_port) {
        pair_turn(&pair);
    }
    env->search = (struct port_search){0};
    pair_until_reason(&pair, &pair.server, REASON_CONNECT_TIMEOUT);
}

Test(waiting, an_identity_that_has_its_share_is_refused_one_more_until_one_of_its_own_has_ended)
{
    PAIR(.limits.identity_connections = 2);
    char byte;
    int first = pair_connect(&pair);
    int first_app = pair_accept(&pair);
    pair_connect(&pair);
    pair_accept(&pair);
    int refused = pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_LIMIT_IDENTITY);
    cr_assert(is_ended_by_reset(refused));
    cr_assert(pair_ended(&pair.client, REASON_PEER_ALERT) == 1);

    const struct pair_options lower = {.limits.identity_connections = 1};
    pair_adopt(&pair, &pair.server, &lower);
    pair_send(&pair, first, "x", 1);
    cr_assert(pair_receive(&pair, first_app, &byte, 1, NULL) == 1, "who is there stays");

    pair_adopt(&pair, &pair.server, &(const struct pair_options){.limits.identity_connections = 2});
    pair_close(&pair, first);
    pair_close(&pair, first_app);
    pair_until_reason(&pair, &pair.server, REASON_FINISHED);
    pair_connect(&pair);
    pair_accept(&pair);
    cr_assert(pair_ended(&pair.server, REASON_LIMIT_IDENTITY) == 1);
}
