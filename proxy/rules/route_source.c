// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "proxy/rules/route_impl.h"

static const char where_mode[] = "settings.service_source.mode";

// Adds an address to those of its family.
static bool add_address(struct route_index *index, const char *text, struct err *err)
{
    struct ip ip;
    if (!ip_parse(&ip, text, err)) {
        return false;
    }
    bool is_v4 = ip_is_v4(&ip);
    bool is_multicast = is_v4 ? ip.bytes[12] >= 224 : ip.bytes[0] == 0xff;
    if (ip_is_unspecified(&ip) || is_multicast || ip_is_link_local6(&ip)) {
        return err_set(
            err, "\"%s\" is no address that a call can come from: write one as 127.0.0.6", text);
    }
    struct ip *ips = index->source_ips[is_v4];
    size_t *num = &index->service_source.num_ips[is_v4];
    for (size_t i = 0; i < *num; i++) {
        if (ip_equal(&ips[i], &ip)) {
            return err_set(err, "\"%s\" stands there twice", text);
        }
    }
    ips[(*num)++] = ip;
    return true;
}

// An application on IPv4's loopback block can't answer another host's address.
static bool check_caller(const struct route_index *index, const Tabard__V1__Snapshot *snapshot,
                         struct err *err)
{
    if (index->inbound_port == 0) {
        return err_set_at(err, where_mode,
                          "CALLER needs settings.interception, which brings the answers back");
    }
    for (size_t i = 0; i < snapshot->n_inbound_ports; i++) {
        const Tabard__V1__InboundPort *port = snapshot->inbound_ports[i];
        struct addr target;
        bool is_default = port->listen[0] != '\0' && port->application[0] == '\0';
        bool is_loopback = addr_parse(&target, port->application, false, &(struct err){0}) &&
                           ip_is_v4(&target.ip) && ip_is_loopback(&target.ip);
        if (is_default || is_loopback) {
            return err_set_at(err, where_mode,
                              "CALLER is not for an application on 127.0.0.1, which can answer "
                              "nobody else: give inbound_ports[%zu].application another address "
                              "of this host",
                              i);
        }
    }
    return true;
}

bool route_add_source(struct route_index *index, const Tabard__V1__Snapshot *snapshot,
                      struct err *err)
{
    static const struct ip defaults[2] = {{{[15] = 6}},
                                          {{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 6}}};
    struct service_source *out = &index->service_source;
    const Tabard__V1__ServiceSource *source =
        snapshot->settings != NULL ? snapshot->settings->service_source : NULL;
    size_t num_addresses = source != NULL ? source->n_addresses : 0;
    out->is_caller = source != NULL && source->mode == TABARD__V1__SERVICE_SOURCE__MODE__CALLER;
    if (num_addresses > SERVICE_SOURCES_MAX) {
        return err_set_at(err, "settings.service_source.addresses",
                          "%zu addresses are over the limit of %d", num_addresses,
                          SERVICE_SOURCES_MAX);
    }
    if (out->is_caller && num_addresses > 0) {
        return err_set_at(err, "settings.service_source.addresses",
                          "mode CALLER has no addresses of its own: leave them out");
    }
    for (size_t i = 0; i < num_addresses; i++) {
        if (!add_address(index, source->addresses[i], err)) {
            return err_prefix_where(err, "settings.service_source.addresses[%zu]", i);
        }
    }
    for (int is_v4 = 0; is_v4 < 2; is_v4++) {
        if (out->num_ips[is_v4] == 0) {
            index->source_ips[is_v4][0] = defaults[is_v4];
            out->num_ips[is_v4] = 1;
        }
        out->ips[is_v4] = index->source_ips[is_v4];
    }
    return !out->is_caller || check_caller(index, snapshot, err);
}
