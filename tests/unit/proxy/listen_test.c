// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/listen.h"

static char *text(const char *literal)
{
    return (char *)(uintptr_t)literal; // messages are not const, and nothing here writes
}

struct wanted {
    const char *forwards[2];
    const char *inbound;
};

static struct route_index *routes_of(const struct wanted *wanted)
{
    struct err err = {0};
    Tabard__V1__Forward forwards[2];
    Tabard__V1__Forward *all_forwards[2];
    Tabard__V1__InboundPort port = TABARD__V1__INBOUND_PORT__INIT;
    Tabard__V1__InboundPort *all_ports[] = {&port};
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    for (size_t i = 0; i < 2 && wanted->forwards[i] != NULL; i++) {
        tabard__v1__forward__init(&forwards[i]);
        forwards[i].listen = text(wanted->forwards[i]);
        forwards[i].destination = text("192.0.2.1:80");
        all_forwards[snapshot.n_forwards++] = &forwards[i];
    }
    if (wanted->inbound != NULL) {
        port.port = 8080;
        port.mode = TABARD__V1__INBOUND_PORT__MODE__MTLS;
        port.listen = text(wanted->inbound);
        snapshot.n_inbound_ports = 1;
    }
    snapshot.forwards = all_forwards;
    snapshot.inbound_ports = all_ports;
    struct route_index *routes = route_index_new(&snapshot, &err);
    cr_assert(routes != NULL, "%s: %s", err.where, err.text);
    return routes;
}

static void plan_make(struct listen_plan *out, const struct wanted *wanted,
                      const struct listen_plan *current)
{
    struct err err = {0};
    struct route_index *routes = routes_of(wanted);
    cr_assert(listen_plan_init(out, routes, current, 1, &err), "%s", err.text);
    route_index_free(routes);
}

static void expect_refused(const struct wanted *wanted, const struct listen_plan *current,
                           const char *why)
{
    struct err err = {0};
    struct listen_plan refused;
    struct route_index *routes = routes_of(wanted);
    cr_assert(!listen_plan_init(&refused, routes, current, 1, &err));
    cr_assert(strstr(err.text, why) != NULL, "%s", err.text);
    route_index_free(routes);
}

Test(listen, each_port_0_is_a_socket_of_its_own_and_stays_it, .timeout = 20)
{
    const struct wanted two = {.forwards = {"127.0.0.1:0", "127.0.0.1:0"}};
    struct listen_plan first;
    struct listen_plan second;
    plan_make(&first, &two, NULL);
    plan_make(&second, &two, &first);
    cr_assert(first.num == 2 && second.num == 2);
    cr_assert(!addr_equal(&second.sockets[0].bound, &second.sockets[1].bound));
    for (size_t i = 0; i < 2; i++) {
        cr_assert(addr_equal(&first.sockets[i].bound, &second.sockets[i].bound));
        cr_assert(second.sockets[i].fds[0] < 0, "nothing is bound again");
    }
    listen_plan_cleanup(&second);
    listen_plan_cleanup(&first);
}

Test(listen, an_address_may_pass_from_a_forward_to_an_inbound_port, .timeout = 20)
{
    struct listen_plan first;
    struct listen_plan second;
    char address[ADDR_TEXT_MAX];
    plan_make(&first, &(struct wanted){.forwards = {"127.0.0.1:0"}}, NULL);
    addr_text(&first.sockets[0].bound, address);
    listen_plan_cleanup(&first); // its port is free, and most likely stays so for a moment
    plan_make(&first, &(struct wanted){.forwards = {address}}, NULL);
    plan_make(&second, &(struct wanted){.inbound = address}, &first);
    cr_assert(second.num == 1 && second.sockets[0].spec.kind == LISTEN_INBOUND_PORT);
    cr_assert(second.sockets[0].fds[0] < 0, "the open socket serves on");
    listen_plan_cleanup(&second);
    listen_plan_cleanup(&first);
}

Test(listen, a_port_that_the_kernel_chose_may_be_written_out, .timeout = 20)
{
    struct listen_plan first;
    struct listen_plan second;
    char address[ADDR_TEXT_MAX];
    plan_make(&first, &(struct wanted){.forwards = {"127.0.0.1:0"}}, NULL);
    addr_text(&first.sockets[0].bound, address);
    plan_make(&second, &(struct wanted){.forwards = {"127.0.0.1:0", address}}, &first);
    cr_assert(second.num == 2);
    for (size_t i = 0; i < 2; i++) {
        bool is_kept = addr_equal(&second.sockets[i].bound, &first.sockets[0].bound);
        cr_assert(is_kept == (second.sockets[i].fds[0] < 0), "only the written one serves on");
        cr_assert(is_kept == (second.sockets[i].configured.port != 0));
    }
    listen_plan_cleanup(&second);
    listen_plan_cleanup(&first);
}

Test(listen, what_overlaps_is_refused_with_who_holds_it, .timeout = 20)
{
    struct listen_plan first;
    char narrow[ADDR_TEXT_MAX];
    char wide[ADDR_TEXT_MAX];
    char wide_v6[ADDR_TEXT_MAX];
    plan_make(&first, &(struct wanted){.forwards = {"127.0.0.1:0"}}, NULL);
    addr_text(&first.sockets[0].bound, narrow);
    snprintf(wide, sizeof wide, "0.0.0.0:%u", first.sockets[0].bound.port);
    snprintf(wide_v6, sizeof wide_v6, "[::]:%u", first.sockets[0].bound.port);
    expect_refused(&(struct wanted){.forwards = {wide}}, &first, "this sidecar itself");
    expect_refused(&(struct wanted){.forwards = {wide}}, NULL, "another sidecar");
    expect_refused(&(struct wanted){.forwards = {narrow, wide}}, &first, "another entry");
    listen_plan_cleanup(&first);

    // The two families don't overlap. A host without IPv6 has its own words for the second.
    struct err err = {0};
    struct route_index *routes = routes_of(&(struct wanted){.forwards = {wide, wide_v6}});
    if (listen_plan_init(&first, routes, NULL, 1, &err)) {
        listen_plan_cleanup(&first);
    } else {
        cr_assert(strstr(err.text, "another entry") == NULL, "%s", err.text);
    }
    route_index_free(routes);
}
