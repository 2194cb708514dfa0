// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/dial.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "proto/contract.h"

// A search for a free port costs the kernel milliseconds where there is none, so the others that
// would search among the same ports do without one meanwhile.
enum { SEARCH_MS = 50 };

static bool refused(struct conn *conn, const struct addr *source, const char *why)
{
    char detail[256];
    char buf[ADDR_TEXT_MAX];
    snprintf(detail, sizeof detail, "%s: %s", ip_text(&source->ip, buf), why);
    conn_end(conn, REASON_NO_SOURCE, detail);
    return false;
}

// Whether the destination is an application on this host.
static enum host_addrs_answer is_application_here(struct conn *conn)
{
    if (conn->direction != DIRECTION_INBOUND) {
        return HOST_ADDRS_NO;
    }
    if (ip_is_loopback(&conn->destination.ip)) {
        return HOST_ADDRS_YES;
    }
    return host_addrs_ask(&conn->env->host_addrs, &conn->destination, 0, conn_now_ms(conn));
}

// Whether answers to `source` come back to this host. IPv4's loopback block always does.
static bool comes_back(struct conn *conn, const struct addr *source, uint32_t mark)
{
    return (ip_is_v4(&source->ip) && ip_is_loopback(&source->ip)) ||
           host_addrs_ask(&conn->env->host_addrs, source, mark, conn_now_ms(conn)) ==
               HOST_ADDRS_YES;
}

// Calls from `source` (NULL: of the kernel's choice). Returns 0, an errno value that side_fail has
// recorded, or EADDRNOTAVAIL where there is no free port.
static int call(struct conn *conn)
{
    int error = socket_connect(conn_socket(conn, conn->dialed), &conn->destination);
    if (error != 0 && error != EADDRNOTAVAIL) {
        side_fail(conn->dialed, error);
    }
    return error;
}

// Binds to `source` and calls. false: the connection has ended.
static bool call_from(struct conn *conn, const struct addr *source, bool is_transparent,
                      int *out_error)
{
    int error = socket_bind(conn_socket(conn, conn->dialed), source, is_transparent);
    if (error != 0) {
        return refused(conn, source, strerror(error));
    }
    *out_error = call(conn);
    return true;
}

static bool call_as_caller(struct conn *conn, int *out_error)
{
    struct addr source = {.ip = conn->source.ip, .scope = conn->source.scope};
    if (ip_is_v4(&source.ip) != ip_is_v4(&conn->destination.ip)) {
        return refused(conn, &source, "the application's address is of the other family of IP");
    }
    if (!comes_back(conn, &source, CONTRACT_RETURN_MARK)) {
        return refused(conn, &source,
                       "answers to the caller's address would leave this host: tabardctl "
                       "intercept up --caller-addresses brings them back");
    }
    return call_from(conn, &source, true, out_error);
}

static bool call_as_sidecar(struct conn *conn, const struct service_source *own, int *out_error)
{
    static const struct ip link_local = {{0xfe, 0x80, [15] = 6}};
    bool is_v4 = ip_is_v4(&conn->destination.ip);
    const struct ip *ips = own->ips[is_v4];
    size_t num = own->num_ips[is_v4];
    if (ip_is_link_local6(&conn->destination.ip)) {
        ips = &link_local; // an address of another scope can't be answered
        num = 1;
    }
    *out_error = EADDRNOTAVAIL;
    for (size_t i = 0; i < num && *out_error == EADDRNOTAVAIL; i++) {
        struct addr source = {.ip = ips[i], .scope = conn->destination.scope};
        if (!comes_back(conn, &source, 0)) {
            return refused(conn, &source,
                           "this address of the sidecar (settings.service_source) is not this "
                           "host's: tabardctl intercept up makes it so, or ip route add local");
        }
        if (!call_from(conn, &source, false, out_error)) {
            return false;
        }
    }
    return true;
}

// Calls once. false: the connection has ended.
static bool call_once(struct conn *conn, int *out_error)
{
    const struct service_source *own = route_service_source(conn->env->snapshot->routes);
    switch (is_application_here(conn)) {
    case HOST_ADDRS_YES:
        return own->is_caller ? call_as_caller(conn, out_error)
                              : call_as_sidecar(conn, own, out_error);
    case HOST_ADDRS_NO:
        *out_error = call(conn);
        return true;
    case HOST_ADDRS_UNKNOWN:
        break;
    }
    conn_end(conn, REASON_NO_ORIGIN, strerror(conn->env->host_addrs.error));
    return false;
}

static void wait_for_port(struct conn *conn)
{
    static const struct backoff waits = {
        .first_ms = 20, .min_ms = 40, .max_ms = 640, .jitter = BACKOFF_FROM_HALF};
    uint32_t random = (uint32_t)(conn->id * 2654435761u) + conn->num_port_waits * 40503u;
    conn->num_port_waits += conn->num_port_waits < UINT8_MAX;
    conn->is_waiting_for_port = true;
    conn->again_ms = conn_now_ms(conn) + backoff_ms(&waits, conn->num_port_waits, random);
}

bool conn_dial(struct conn *conn)
{
    struct conn_env *env = conn->env;
    uint64_t now_ms = conn_now_ms(conn);
    int error = EADDRNOTAVAIL;
    if (!conn->is_waiting_for_port) {
        conn_make_socket(conn, conn->dialed);
    } else if (now_ms < conn->again_ms) {
        return true;
    }
    struct port_search search = {.to = conn->destination, .until_ms = now_ms + SEARCH_MS};
    if (route_service_source(env->snapshot->routes)->is_caller) {
        search.from = conn->source.ip;
    }
    bool is_searched = now_ms < env->search.until_ms && addr_equal(&env->search.to, &search.to) &&
                       ip_equal(&env->search.from, &search.from);
    if (!is_searched && !call_once(conn, &error)) {
        return false;
    }
    conn->is_waiting_for_port = false;
    if (error == EADDRNOTAVAIL) {
        env->search = is_searched ? env->search : search;
        wait_for_port(conn);
    }
    return true;
}
