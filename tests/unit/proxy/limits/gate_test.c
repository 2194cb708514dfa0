// SPDX-License-Identifier: Apache-2.0
#include "proxy/limits/gate.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { NUM_TICKETS = 300 };

static struct gate gate;
static struct ticket tickets[NUM_TICKETS];
static uint64_t now_ms;
static uint64_t waits_ms;          // since when the peers of all tickets in flight let us wait
static const struct ticket *talks; // its bytes are yet to be read
static unsigned turn;              // handshakes that fit into a turn of the loop
static unsigned num_in_turn;
static bool is_agent_behind;
static struct ticket *changed[NUM_TICKETS]; // in the order of on_change
static unsigned num_changed;

static void on_change(struct ticket *ticket)
{
    changed[num_changed++] = ticket;
    num_in_turn++;
}

static uint64_t waits_since_ms(const struct ticket *ticket)
{
    (void)ticket;
    return waits_ms;
}

static bool is_silent(const struct ticket *ticket)
{
    return ticket != talks;
}

static bool has_room(void *ctx)
{
    (void)ctx;
    return !is_agent_behind;
}

static bool is_turn_over(void *ctx)
{
    (void)ctx;
    return num_in_turn >= turn;
}

static const struct gate_hooks hooks = {on_change, waits_since_ms, is_silent, has_room,
                                        is_turn_over};

static void begin(bool is_outbound, struct gate_limits limits)
{
    gate_init(&gate, is_outbound, &hooks, NULL);
    gate.limits = limits;
    now_ms = 1000;
    turn = NUM_TICKETS;
}

static void end(void)
{
    for (unsigned i = 0; i < NUM_TICKETS; i++) {
        if (tickets[i].state != TICKET_NONE) {
            gate_leave(&gate, &tickets[i], false, now_ms);
        }
    }
    gate_cleanup(&gate);
}

static struct addr address(const char *text)
{
    struct addr addr;
    cr_assert(addr_parse(&addr, text, false, NULL), "%s", text);
    return addr;
}

static void enter(unsigned i, const char *remote)
{
    const struct addr addr = address(remote);
    gate_enter(&gate, &tickets[i], &addr, now_ms);
}

// Enters as one who was accepted because there was room.
static void enter_if_room(unsigned i, const char *remote)
{
    if (gate_has_hello_room(&gate, now_ms)) {
        enter(i, remote);
    }
}

static enum ticket_state wait_for_turn(unsigned i, const char *remote)
{
    const struct addr addr = address(remote);
    gate_wait(&gate, &tickets[i], &addr, now_ms);
    return tickets[i].state;
}

static enum ticket_state enter_and_wait(unsigned i, const char *remote)
{
    enter(i, remote);
    return wait_for_turn(i, remote);
}

TestSuite(gate, .timeout = 20);

Test(gate, at_the_limit_on_hellos_the_oldest_of_the_largest_prefix_goes)
{
    begin(false, (struct gate_limits){.hellos = 6, .handshakes = 10});
    enter(0, "10.0.0.1:1000");
    for (unsigned i = 1; i < 5; i++) {
        enter(i, "10.0.0.9:1000");
    }
    enter(5, "10.0.0.2:1000");
    now_ms += GATE_YOUNG_MS;
    enter_if_room(6, "10.0.0.3:1000");
    enter_if_room(7, "10.0.0.9:1001");
    cr_assert(num_changed == 2 && changed[0] == &tickets[1] && changed[1] == &tickets[2]);
    cr_assert(tickets[1].state == TICKET_EVICTED && tickets[1].evicted_from == TICKET_HELLO);
    cr_assert(tickets[0].state == TICKET_HELLO && tickets[7].state == TICKET_HELLO);
    cr_assert(gate.num[TICKET_HELLO] == 6);
    end();
}

Test(gate, whoever_has_said_what_is_yet_to_be_read_does_not_go)
{
    begin(false, (struct gate_limits){.hellos = 2, .handshakes = 10});
    enter(0, "10.0.0.9:1");
    enter(1, "10.0.0.9:2");
    talks = &tickets[0];
    now_ms += GATE_YOUNG_MS;
    enter_if_room(2, "10.0.0.1:1");
    cr_assert(num_changed == 1 && changed[0] == &tickets[1]);
    end();
}

Test(gate, an_ipv6_site_is_one_caller_and_an_ipv4_address_is)
{
    begin(false, (struct gate_limits){.hellos = 3, .handshakes = 10});
    enter(0, "10.0.0.1:1");
    enter(1, "[fd00::1:0:0:0:1]:1");
    enter(2, "[fd00::1:0:0:0:2]:2");
    now_ms += GATE_YOUNG_MS;
    enter_if_room(3, "10.0.0.2:1");
    cr_assert(num_changed == 1 && changed[0] == &tickets[1]);
    end();
}

Test(gate, who_has_only_just_come_does_not_go_for_another)
{
    begin(false, (struct gate_limits){.hellos = 1, .handshakes = 10});
    enter(0, "10.0.0.9:1");
    now_ms += GATE_YOUNG_MS - 1;
    cr_assert(!gate_has_hello_room(&gate, now_ms) && num_changed == 0);
    now_ms++;
    cr_assert(gate_has_hello_room(&gate, now_ms) && num_changed == 1);
    end();
}

Test(gate, nobody_waits_while_there_is_room)
{
    begin(false, (struct gate_limits){.hellos = 10, .handshakes = 2});
    cr_assert(enter_and_wait(0, "10.0.0.1:1") == TICKET_IN_FLIGHT);
    cr_assert(enter_and_wait(1, "10.0.0.1:2") == TICKET_IN_FLIGHT);
    cr_assert(enter_and_wait(2, "10.0.0.1:3") == TICKET_WAITING);
    cr_assert(!gate_pump(&gate, now_ms) && num_changed == 0);
    gate_leave(&gate, &tickets[0], true, now_ms);
    cr_assert(!gate_pump(&gate, now_ms) && tickets[2].state == TICKET_IN_FLIGHT);
    end();
}

Test(gate, prefixes_take_turns_and_within_one_the_oldest_goes_first)
{
    begin(false, (struct gate_limits){.hellos = 10, .handshakes = 100});
    is_agent_behind = true;
    cr_assert(enter_and_wait(0, "10.0.0.9:1") == TICKET_WAITING);
    cr_assert(enter_and_wait(1, "10.0.0.9:2") == TICKET_WAITING);
    cr_assert(enter_and_wait(2, "10.0.0.9:3") == TICKET_WAITING);
    cr_assert(enter_and_wait(3, "10.0.0.1:1") == TICKET_WAITING);
    is_agent_behind = false;
    gate_pump(&gate, now_ms);
    cr_assert(num_changed == 4);
    cr_assert(changed[0] == &tickets[0] && changed[1] == &tickets[3]);
    cr_assert(changed[2] == &tickets[1] && changed[3] == &tickets[2]);
    end();
}

Test(gate, a_turn_of_the_loop_begins_only_so_many)
{
    begin(false, (struct gate_limits){.hellos = 10, .handshakes = 100});
    is_agent_behind = true;
    for (unsigned i = 0; i < 5; i++) {
        enter_and_wait(i, "10.0.0.9:1");
    }
    is_agent_behind = false;
    turn = 2;
    cr_assert(gate_pump(&gate, now_ms) && num_changed == 2);
    cr_assert(enter_and_wait(5, "10.0.0.1:1") == TICKET_WAITING, "nobody overtakes");
    num_in_turn = 0;
    cr_assert(gate_pump(&gate, now_ms) && num_changed == 4);
    num_in_turn = 0;
    cr_assert(!gate_pump(&gate, now_ms) && num_changed == 6);
    end();
}

Test(gate, a_silent_peer_s_handshake_goes_and_first_that_of_the_largest_prefix)
{
    begin(false, (struct gate_limits){.hellos = 10, .handshakes = 100});
    enter_and_wait(0, "10.0.0.1:1");
    enter_and_wait(1, "10.0.0.9:1");
    enter_and_wait(2, "10.0.0.9:2");
    waits_ms = now_ms;
    now_ms += GATE_SILENT_MS - 1;
    cr_assert(!gate_evict_silent(&gate, now_ms));
    now_ms++;
    cr_assert(gate_evict_silent(&gate, now_ms));
    cr_assert(num_changed == 1 && changed[0] == &tickets[1]);
    cr_assert(tickets[1].evicted_from == TICKET_IN_FLIGHT);
    waits_ms = UINT64_MAX; // for the agent's signature
    cr_assert(!gate_evict_silent(&gate, now_ms));
    end();
}

static unsigned num_begun(unsigned num)
{
    unsigned begun = 0;
    for (unsigned i = 0; i < num; i++) {
        begun += tickets[i].state == TICKET_IN_FLIGHT;
    }
    return begun;
}

Test(gate, a_destination_gets_as_many_at_once_as_it_can_finish_and_takes_no_other_s_place)
{
    begin(true, (struct gate_limits){.handshakes = 1000, .handshake_ms = 1000});
    for (unsigned i = 0; i < 200; i++) {
        wait_for_turn(i, "10.0.0.1:443");
    }
    cr_assert(num_begun(200) == GATE_WINDOW_START);
    cr_assert(wait_for_turn(200, "10.0.0.2:443") == TICKET_IN_FLIGHT, "another destination");
    now_ms += 100;
    for (unsigned i = 0; i < 10; i++) {
        gate_leave(&gate, &tickets[i], true, now_ms); // each makes room for two
    }
    gate_pump(&gate, now_ms);
    cr_assert(num_begun(200) == GATE_WINDOW_START + 10);
    cr_assert(gate_progress_ms(&tickets[199]) == now_ms);
    now_ms += 900;
    for (unsigned i = 10; i < GATE_WINDOW_START; i++) {
        gate_leave(&gate, &tickets[i], false, now_ms); // none came in time
    }
    gate_pump(&gate, now_ms);
    cr_assert(num_begun(200) == (GATE_WINDOW_START + 10) / 2);
    end();
}
