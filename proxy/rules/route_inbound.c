// SPDX-License-Identifier: Apache-2.0
#include "base/must.h"
#include "proxy/rules/route_impl.h"

// Says that two entries have ports in common that neither can claim. Returns false.
static bool refuse_meeting(struct port_range range, const struct port_map_row *other,
                           struct err *err)
{
    char text[PORT_RANGE_TEXT_MAX], other_text[PORT_RANGE_TEXT_MAX];
    port_range_text(range, text);
    if (port_range_value(other->range) == port_range_value(range)) {
        return err_set_at(err, "port", "port %s is that of inbound_ports[%u] too", text,
                          other->value);
    }
    return err_set_at(err, "port",
                      "%s has ports in common with %s of inbound_ports[%u], and neither lies in "
                      "the other",
                      text, port_range_text(other->range, other_text), other->value);
}

static bool add_port(struct route_index *index, uint32_t value, uint32_t number, struct err *err)
{
    struct port_range range;
    if (!port_range_of(&range, value, err)) {
        return err_prefix_where(err, "port");
    }
    const struct port_map_row *other = port_map_add(&index->inbound_ports, range, number);
    return other == NULL || refuse_meeting(range, other, err);
}

static bool read_mode(struct inbound *out, const Tabard__V1__InboundPort *port, struct err *err)
{
    static const enum inbound_mode modes[] = {
        [TABARD__V1__INBOUND_PORT__MODE__MTLS] = INBOUND_MTLS,
        [TABARD__V1__INBOUND_PORT__MODE__PERMISSIVE] = INBOUND_PERMISSIVE,
        [TABARD__V1__INBOUND_PORT__MODE__PLAINTEXT] = INBOUND_PLAINTEXT,
        [TABARD__V1__INBOUND_PORT__MODE__TLS_PASSTHROUGH] = INBOUND_TLS_PASSTHROUGH,
    };
    if (port->mode <= 0 || (size_t)port->mode >= sizeof modes / sizeof modes[0]) {
        return err_set_at(err, "mode",
                          "the mode must be written: MTLS, PERMISSIVE, PLAINTEXT or "
                          "TLS_PASSTHROUGH");
    }
    out->mode = modes[port->mode];
    out->foreign_tls_is_application =
        port->foreign_tls == TABARD__V1__INBOUND_PORT__FOREIGN_TLS__APPLICATION;
    if (port->foreign_tls != TABARD__V1__INBOUND_PORT__FOREIGN_TLS__FOREIGN_TLS_UNSPECIFIED &&
        out->mode != INBOUND_PERMISSIVE) {
        return err_set_at(err, "foreign_tls", "this is for mode PERMISSIVE only");
    }
    if (port->detect_ms != 0 && out->mode != INBOUND_PERMISSIVE) {
        return err_set_at(err, "detect_ms", "this is for mode PERMISSIVE only");
    }
    if (port->detect_ms > ROUTE_MS_MAX) {
        return err_set_at(err, "detect_ms",
                          "%u is out of range (1 to %u; 0 means limits.detect_ms)", port->detect_ms,
                          ROUTE_MS_MAX);
    }
    out->detect_ms = port->detect_ms;
    return true;
}

static bool add_inbound(struct route_index *index, struct inbound_row *row, uint32_t number,
                        const Tabard__V1__InboundPort *port, struct err *err)
{
    if (!add_port(index, port->port, number, err) || !read_mode(&row->inbound, port, err)) {
        return false;
    }
    bool has_our_tls =
        row->inbound.mode == INBOUND_MTLS ||
        (row->inbound.mode == INBOUND_PERMISSIVE && !row->inbound.foreign_tls_is_application);
    return route_add_alpn(&row->alpn, port->alpn, port->n_alpn, has_our_tls,
                          "modes MTLS and PERMISSIVE, without foreign_tls APPLICATION", err);
}

bool route_add_inbounds(struct route_index *index, const Tabard__V1__Snapshot *snapshot,
                        struct err *err)
{
    size_t num = snapshot->n_inbound_ports;
    if (num > INBOUND_PORTS_MAX) {
        return err_set_at(err, "inbound_ports", "%zu ports are over the limit of %d", num,
                          INBOUND_PORTS_MAX);
    }
    index->inbound = must_alloc(num, sizeof *index->inbound);
    index->num_inbound = num;
    for (size_t i = 0; i < num; i++) {
        if (!add_inbound(index, &index->inbound[i], (uint32_t)i, snapshot->inbound_ports[i], err)) {
            return err_prefix_where(err, "inbound_ports[%zu]", i);
        }
    }
    port_map_seal(&index->inbound_ports);
    return true;
}
