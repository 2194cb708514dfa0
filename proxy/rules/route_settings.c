// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "proto/contract.h"
#include "proxy/rules/route_impl.h"

#define DRAIN_SECONDS_MAX 86400

// One row for each limit: where it stands in the message, where it goes, what 0 means, and what is
// allowed.
static const struct limit_row {
    const char *name;
    size_t from;
    size_t to;
    bool is_64_bits;
    uint64_t value_default;
    uint64_t value_min;
    uint64_t value_max;
} limit_rows[] = {
#define ROW(name, is_64_bits, value_default, min, max)                                             \
    {                                                                                              \
#name, offsetof(Tabard__V1__Limits, name), offsetof(struct limits, name), is_64_bits,      \
            value_default, min, max                                                                \
    }
    ROW(connections, false, 65536, 1, 1000000),
    ROW(identity_connections, false, 1000000, 1, 1000000), // as many as connections may be
    ROW(handshakes, false, 4096, 1, 1000000),
    ROW(hellos, false, 16384, 1, 1000000),
    ROW(buffer_bytes, true, UINT64_C(512) << 20, UINT64_C(1) << 20, UINT64_C(1) << 40),
    ROW(handshake_ms, false, 10000, 1, ROUTE_MS_MAX),
    ROW(hello_ms, false, 5000, 1, ROUTE_MS_MAX),
    ROW(queue_ms, false, 30000, 1, ROUTE_MS_MAX),
    ROW(connect_ms, false, 10000, 1, ROUTE_MS_MAX),
    ROW(detect_ms, false, 5000, 1, ROUTE_MS_MAX),
    ROW(idle_ms, false, 3600000, 1, ROUTE_MS_MAX),
    ROW(half_closed_ms, false, 300000, 1, ROUTE_MS_MAX),
    ROW(stall_ms, false, 60000, 1, ROUTE_MS_MAX),
    ROW(closing_ms, false, 5000, 1, ROUTE_MS_MAX),
    ROW(key_records, false, 1 << 22, 16, 1 << 24), // RFC 8446, section 5.5: 2^24.5 at most
    ROW(denials, false, 1024, 1, 2048), // so that a report of the longest ids fits an answer
    ROW(peer_expiry_grace_ms, false, 30000, 1, ROUTE_MS_MAX),
#undef ROW
};

static bool add_limits(struct limits *out, const Tabard__V1__Limits *limits, struct err *err)
{
    for (size_t i = 0; i < sizeof limit_rows / sizeof limit_rows[0]; i++) {
        const struct limit_row *row = &limit_rows[i];
        uint64_t value = 0;
        if (limits != NULL) {
            const char *at = (const char *)limits + row->from;
            value = row->is_64_bits ? *(const uint64_t *)at : *(const uint32_t *)at;
        }
        if (value == 0) {
            value = row->value_default;
        }
        if (value < row->value_min || value > row->value_max) {
            err_set(err,
                    "%" PRIu64 " is out of range (%" PRIu64 " to %" PRIu64 "; 0 means %" PRIu64 ")",
                    value, row->value_min, row->value_max, row->value_default);
            return err_prefix_where(err, "settings.limits.%s", row->name);
        }
        if (row->is_64_bits) {
            *(uint64_t *)((char *)out + row->to) = value;
        } else {
            *(uint32_t *)((char *)out + row->to) = (uint32_t)value;
        }
    }
    return true;
}

static bool take_port(uint16_t *out, uint32_t port, uint16_t port_default, const char *where,
                      struct err *err)
{
    if (port == 0) {
        port = port_default;
    }
    if (!port_check(port, err)) {
        return err_prefix_where(err, "settings.interception.%s", where);
    }
    *out = (uint16_t)port;
    return true;
}

// How ports are served that aren't listed.
static void observe(struct route_index *index, const Tabard__V1__Settings *settings)
{
    bool has_detect_ms = settings->limits != NULL && settings->limits->detect_ms != 0;
    index->is_observing = true;
    index->unlisted_inbound =
        (struct inbound){.mode = INBOUND_PERMISSIVE,
                         .is_observed = true,
                         .foreign_tls_is_application = true,
                         .detect_ms = has_detect_ms ? 0 : ROUTE_OBSERVED_DETECT_MS};
}

static bool add_drain(struct limits *out, const Tabard__V1__Settings *settings, struct err *err)
{
    if (settings->drain_seconds > DRAIN_SECONDS_MAX) {
        return err_set_at(err, "settings.drain_seconds", "%u is out of range (1 to %u; 0 means %u)",
                          settings->drain_seconds, DRAIN_SECONDS_MAX,
                          CONTRACT_DRAIN_SECONDS_DEFAULT);
    }
    if (settings->drain_seconds != 0) {
        out->drain_seconds = settings->drain_seconds;
    }
    if (settings->drain_delay_seconds >= out->drain_seconds) {
        return err_set_at(err, "settings.drain_delay_seconds",
                          "%u is not less than settings.drain_seconds, %u, of which it is a part",
                          settings->drain_delay_seconds, out->drain_seconds);
    }
    out->drain_delay_seconds = settings->drain_delay_seconds;
    return true;
}

bool route_add_settings(struct route_index *index, const Tabard__V1__Settings *settings,
                        struct err *err)
{
    index->unlisted_inbound = (struct inbound){.mode = INBOUND_MTLS};
    index->limits.drain_seconds = CONTRACT_DRAIN_SECONDS_DEFAULT;
    if (settings == NULL) {
        return add_limits(&index->limits, NULL, err);
    }
    index->unlisted_is_plaintext =
        settings->unlisted_outbound == TABARD__V1__SETTINGS__UNLISTED_OUTBOUND__PLAINTEXT;
    if (settings->enforcement == TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE) {
        observe(index, settings);
    }
    index->needs_binding = settings->require_bound_destinations;
    if (!add_drain(&index->limits, settings, err)) {
        return false;
    }
    const Tabard__V1__Interception *interception = settings->interception;
    if (interception != NULL) {
        if (!take_port(&index->outbound_port, interception->outbound_port, CONTRACT_OUTBOUND_PORT,
                       "outbound_port", err) ||
            !take_port(&index->inbound_port, interception->inbound_port, CONTRACT_INBOUND_PORT,
                       "inbound_port", err)) {
            return false;
        }
        if (index->outbound_port == index->inbound_port) {
            return err_set_at(err, "settings.interception.inbound_port",
                              "port %u is the outbound_port too", index->inbound_port);
        }
    }
    return add_limits(&index->limits, settings->limits, err);
}

// Returns the number of the listen that a connection to `target` would reach, as far as addresses
// alone can say; -1: none.
static long listen_reached(const struct route_index *index, const struct addr *target)
{
    static const struct ip any[] = {{{0}}, {{[10] = 0xff, [11] = 0xff}}};
    struct addr candidates[] = {
        *target, {.ip = any[0], .port = target->port}, {.ip = any[1], .port = target->port}};
    size_t num_candidates = ip_is_loopback(&target->ip) ? 3 : 1;
    for (size_t i = 0; i < num_candidates; i++) {
        struct keymap_key key =
            keymap_key_of(&candidates[i].ip, sizeof candidates[i].ip, candidates[i].port);
        const uint32_t *found = keymap_find(&index->listen_keys, &key);
        if (found != NULL) {
            return (long)*found;
        }
    }
    return -1;
}

static bool add_listen(struct route_index *index, enum listen_kind kind, const char *text,
                       struct listen_spec **out, struct err *err)
{
    char buf[ADDR_TEXT_MAX];
    struct listen_spec *spec = &index->listens[index->num_listens];
    spec->kind = kind;
    if (!addr_parse(&spec->listen, text, true, err)) {
        return false;
    }
    if (spec->listen.port != 0) { // each port 0 becomes another port
        if (spec->listen.port == index->outbound_port || spec->listen.port == index->inbound_port) {
            return err_set(err, "port %u is one of settings.interception", spec->listen.port);
        }
        bool is_new = false;
        struct keymap_key key =
            keymap_key_of(&spec->listen.ip, sizeof spec->listen.ip, spec->listen.port);
        uint32_t *number = keymap_put(&index->listen_keys, &key, &is_new);
        if (!is_new) {
            return err_set(err, "%s is listened on already", addr_text(&spec->listen, buf));
        }
        *number = (uint32_t)index->num_listens;
    }
    index->num_listens++;
    *out = spec;
    return true;
}

// Reads an address that the sidecar connects to. It must not be one of the sidecar's own
// interception ports.
static bool parse_target(const struct route_index *index, struct addr *out, const char *text,
                         struct err *err)
{
    if (!addr_parse(out, text, false, err)) {
        return false;
    }
    if (ip_is_unspecified(&out->ip)) {
        return err_set(err, "\"%s\" is no address to connect to: write one of a host, or 127.0.0.1",
                       text);
    }
    if (ip_is_loopback(&out->ip) &&
        (out->port == index->outbound_port || out->port == index->inbound_port)) {
        return err_set(err, "\"%s\" is the sidecar itself (settings.interception): a loop", text);
    }
    return true;
}

static bool add_forward(struct route_index *index, const Tabard__V1__Forward *forward,
                        struct err *err)
{
    struct listen_spec *spec = NULL;
    if (!add_listen(index, LISTEN_FORWARD, forward->listen, &spec, err)) {
        return err_prefix_where(err, "listen");
    }
    if (!parse_target(index, &spec->target, forward->destination, err)) {
        return err_prefix_where(err, "destination");
    }
    return true;
}

static bool add_inbound_port(struct route_index *index, const Tabard__V1__InboundPort *port,
                             struct err *err)
{
    static const struct ip loopback = {{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};
    struct listen_spec *spec = NULL;
    if (port->listen[0] == '\0') {
        return port->application[0] == '\0' ||
               err_set_at(err, "application",
                          "this is used only with listen; with interception, traffic goes to the "
                          "address it was sent to");
    }
    if (port->port > UINT16_MAX) {
        return err_set_at(
            err, "port", "a range is for traffic that is intercepted: with listen, write one port");
    }
    if (!add_listen(index, LISTEN_INBOUND_PORT, port->listen, &spec, err)) {
        return err_prefix_where(err, "listen");
    }
    spec->port = (uint16_t)port->port;
    spec->target = (struct addr){.ip = loopback, .port = spec->port};
    if (port->application[0] != '\0' &&
        !parse_target(index, &spec->target, port->application, err)) {
        return err_prefix_where(err, "application");
    }
    return true;
}

// A forward may lead to an inbound port's listen, in this sidecar too; nothing else may lead back
// into it. So every chain ends after two steps.
static bool check_loop(const struct route_index *index, const struct listen_spec *spec,
                       struct err *err)
{
    char buf[ADDR_TEXT_MAX];
    long reached = listen_reached(index, &spec->target);
    return reached < 0 ||
           (spec->kind == LISTEN_FORWARD && index->listens[reached].kind == LISTEN_INBOUND_PORT) ||
           err_set(err, "%s is listened on by this sidecar itself: a loop",
                   addr_text(&spec->target, buf));
}

static bool check_loops(const struct route_index *index, const Tabard__V1__Snapshot *snapshot,
                        struct err *err)
{
    // The specs stand in the snapshot's order, but an inbound port without a listen made none.
    const struct listen_spec *spec = index->listens + (index->outbound_port != 0 ? 2 : 0);
    for (size_t i = 0; i < snapshot->n_forwards; i++) {
        if (!check_loop(index, spec++, err)) {
            return err_prefix_where(err, "forwards[%zu].destination", i);
        }
    }
    for (size_t i = 0; i < snapshot->n_inbound_ports; i++) {
        if (snapshot->inbound_ports[i]->listen[0] != '\0' && !check_loop(index, spec++, err)) {
            return err_prefix_where(err, "inbound_ports[%zu].application", i);
        }
    }
    return true;
}

bool route_add_listens(struct route_index *index, const Tabard__V1__Snapshot *snapshot,
                       struct err *err)
{
    index->listens =
        must_alloc(2 + snapshot->n_forwards + snapshot->n_inbound_ports, sizeof *index->listens);
    if (index->outbound_port != 0) {
        index->listens[index->num_listens++] =
            (struct listen_spec){.kind = LISTEN_OUTBOUND, .listen = {.port = index->outbound_port}};
        index->listens[index->num_listens++] =
            (struct listen_spec){.kind = LISTEN_INBOUND, .listen = {.port = index->inbound_port}};
    }
    for (size_t i = 0; i < snapshot->n_forwards; i++) {
        if (!add_forward(index, snapshot->forwards[i], err)) {
            return err_prefix_where(err, "forwards[%zu]", i);
        }
    }
    for (size_t i = 0; i < snapshot->n_inbound_ports; i++) {
        if (!add_inbound_port(index, snapshot->inbound_ports[i], err)) {
            return err_prefix_where(err, "inbound_ports[%zu]", i);
        }
    }
    return check_loops(index, snapshot, err);
}
