// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "base/pb/pb_text.h"
#include "proxy/rules/name.h"
#include "proxy/rules/route_impl.h"

void route_index_free(struct route_index *index)
{
    if (index == NULL) {
        return;
    }
    struct routed_destination *destinations = index->destinations.items;
    for (uint32_t i = 0; i < index->destinations.num; i++) {
        tabard__v1__destination__free_unpacked(destinations[i].copy, NULL);
        alpn_list_cleanup(&destinations[i].alpn);
    }
    for (size_t i = 0; i < index->num_inbound; i++) {
        alpn_list_cleanup(&index->inbound[i].alpn);
    }
    array_cleanup(&index->destinations);
    array_cleanup(&index->identities);
    keymap_cleanup(&index->names);
    keymap_cleanup(&index->keys);
    keymap_cleanup(&index->listen_keys);
    free(index->blocks);
    free(index->inbound);
    free(index->listens);
    free(index);
}

static bool check_mode(const Tabard__V1__Destination *destination, struct err *err)
{
    switch (destination->mode) {
    case TABARD__V1__DESTINATION__MODE__MTLS:
        return destination->n_identities > 0 ||
               err_set_at(err, "identities",
                          "mode MTLS needs the identities of which the server must prove one");
    case TABARD__V1__DESTINATION__MODE__PLAINTEXT:
        return destination->n_identities == 0 ||
               err_set_at(err, "identities", "mode PLAINTEXT proves no identities: leave them out");
    default:
        return err_set_at(err, "mode", "the mode must be written: MTLS or PLAINTEXT");
    }
}

static bool add_identities(struct route_index *index, struct routed_destination *row,
                           struct err *err)
{
    if (row->copy->n_identities > DESTINATION_IDENTITIES_MAX) {
        return err_set_at(err, "identities", "%zu identities are over the limit of %d",
                          row->copy->n_identities, DESTINATION_IDENTITIES_MAX);
    }
    row->first_identity = index->identities.num;
    row->num_identities = (uint32_t)row->copy->n_identities;
    for (size_t i = 0; i < row->copy->n_identities; i++) {
        const char *text = row->copy->identities[i];
        struct spiffe_pattern *pattern = array_add(&index->identities, sizeof *pattern);
        if (!spiffe_pattern_parse(pattern, text, strlen(text), err)) {
            return err_prefix_where(err, "identities[%zu]", i);
        }
    }
    return true;
}

static bool add_alpn(struct alpn_list *out, char *const *names, size_t num_names, bool has_our_tls,
                     const char *which, struct err *err)
{
    if (num_names > 0 && !has_our_tls) {
        return err_set_at(err, "alpn", "this is only for %s", which);
    }
    return alpn_list_init(out, names, num_names, err) || err_prefix_where(err, "alpn");
}

static void note_length(struct route_index *index, const struct cidr *block)
{
    bool is_v4 = block->prefix_bits >= 96 && ip_is_v4(&block->ip);
    struct route_lengths *lengths = &index->lengths[is_v4];
    uint8_t at = 0;
    while (at < lengths->num && lengths->bits[at] > block->prefix_bits) {
        at++;
    }
    if (at < lengths->num && lengths->bits[at] == block->prefix_bits) {
        return;
    }
    memmove(&lengths->bits[at + 1], &lengths->bits[at], lengths->num - at);
    lengths->bits[at] = block->prefix_bits;
    lengths->num++;
}

// Adds the key of a block and a port of a destination; port 0 is every port.
static bool add_key(struct route_index *index, const struct cidr *block, uint16_t port,
                    uint32_t number, struct err *err)
{
    bool is_new = false;
    char buf[ADDR_TEXT_MAX];
    char port_text[32] = "every port";
    struct keymap_key key =
        keymap_key_of(&block->ip, sizeof block->ip, route_tag(block->prefix_bits, port));
    if (index->keys.num_keys >= ROUTE_KEYS_MAX) {
        return err_set(err, "the destinations name more than %u pairs of block and port",
                       ROUTE_KEYS_MAX);
    }
    uint32_t *other = keymap_put(&index->keys, &key, &is_new);
    if (is_new) {
        *other = number;
        return true;
    }
    if (port != 0) {
        snprintf(port_text, sizeof port_text, "port %u", port);
    }
    if (*other == number) {
        return err_set(err, "%s at %s is listed twice in this destination", cidr_text(block, buf),
                       port_text);
    }
    return err_set(err, "%s at %s is that of destinations[%u] too", cidr_text(block, buf),
                   port_text, *other);
}

static bool add_addresses(struct route_index *index, const Tabard__V1__Destination *destination,
                          uint32_t number, struct err *err)
{
    if (destination->n_addresses == 0) {
        return err_set_at(err, "addresses", "a destination needs at least one address");
    }
    if (destination->n_addresses > DESTINATION_ADDRESSES_MAX) {
        return err_set_at(err, "addresses", "%zu addresses are over the limit of %d",
                          destination->n_addresses, DESTINATION_ADDRESSES_MAX);
    }
    for (size_t i = 0; i < destination->n_ports; i++) {
        if (!port_check(destination->ports[i], err)) {
            return err_prefix_where(err, "ports[%zu]", i);
        }
    }
    for (size_t i = 0; i < destination->n_addresses; i++) {
        struct cidr *block = &index->blocks[index->num_blocks++];
        bool good = cidr_parse(block, destination->addresses[i], err);
        for (size_t k = 0; good && k < destination->n_ports; k++) {
            good = add_key(index, block, (uint16_t)destination->ports[k], number, err);
        }
        if (good && destination->n_ports == 0) {
            good = add_key(index, block, 0, number, err);
        }
        if (!good) {
            return err_prefix_where(err, "addresses[%zu]", i);
        }
        note_length(index, block);
    }
    return true;
}

static bool add_destination(struct route_index *index, const Tabard__V1__Destination *destination,
                            struct err *err)
{
    uint32_t number = index->destinations.num;
    struct routed_destination *row = array_add(&index->destinations, sizeof *row);
    row->copy = pb_copy(&destination->base);
    return name_add(&index->names, row->copy->name, DESTINATION_NAME_LEN_MAX, "destinations",
                    number, err) &&
           check_mode(destination, err) && add_identities(index, row, err) &&
           add_alpn(&row->alpn, destination->alpn, destination->n_alpn,
                    destination->mode == TABARD__V1__DESTINATION__MODE__MTLS, "mode MTLS", err) &&
           add_addresses(index, destination, number, err);
}

static bool add_destinations(struct route_index *index, const Tabard__V1__Snapshot *snapshot,
                             struct err *err)
{
    size_t num_addresses = 0;
    if (snapshot->n_destinations > DESTINATIONS_MAX) {
        return err_set_at(err, "destinations", "%zu destinations are over the limit of %d",
                          snapshot->n_destinations, DESTINATIONS_MAX);
    }
    for (size_t i = 0; i < snapshot->n_destinations; i++) {
        num_addresses += snapshot->destinations[i]->n_addresses;
    }
    index->blocks = must_alloc(num_addresses, sizeof *index->blocks);
    for (size_t i = 0; i < snapshot->n_destinations; i++) {
        if (!add_destination(index, snapshot->destinations[i], err)) {
            return err_prefix_where(err, "destinations[%zu]", i);
        }
    }
    return true;
}

static bool add_inbound(struct inbound_row *row, const Tabard__V1__InboundPort *port,
                        struct err *err)
{
    static const enum inbound_mode modes[] = {
        [TABARD__V1__INBOUND_PORT__MODE__MTLS] = INBOUND_MTLS,
        [TABARD__V1__INBOUND_PORT__MODE__PERMISSIVE] = INBOUND_PERMISSIVE,
        [TABARD__V1__INBOUND_PORT__MODE__PLAINTEXT] = INBOUND_PLAINTEXT,
        [TABARD__V1__INBOUND_PORT__MODE__TLS_PASSTHROUGH] = INBOUND_TLS_PASSTHROUGH,
    };
    if (!port_check(port->port, err)) {
        return err_prefix_where(err, "port");
    }
    if (port->mode <= 0 || (size_t)port->mode >= sizeof modes / sizeof modes[0]) {
        return err_set_at(err, "mode",
                          "the mode must be written: MTLS, PERMISSIVE, PLAINTEXT or "
                          "TLS_PASSTHROUGH");
    }
    row->port = (uint16_t)port->port;
    row->inbound.mode = modes[port->mode];
    row->inbound.foreign_tls_is_application =
        port->foreign_tls == TABARD__V1__INBOUND_PORT__FOREIGN_TLS__APPLICATION;
    if (port->foreign_tls != TABARD__V1__INBOUND_PORT__FOREIGN_TLS__FOREIGN_TLS_UNSPECIFIED &&
        row->inbound.mode != INBOUND_PERMISSIVE) {
        return err_set_at(err, "foreign_tls", "this is for mode PERMISSIVE only");
    }
    bool has_our_tls =
        row->inbound.mode == INBOUND_MTLS ||
        (row->inbound.mode == INBOUND_PERMISSIVE && !row->inbound.foreign_tls_is_application);
    return add_alpn(&row->alpn, port->alpn, port->n_alpn, has_our_tls,
                    "modes MTLS and PERMISSIVE, without foreign_tls APPLICATION", err);
}

static int compare_rows(const void *a, const void *b)
{
    return (int)((const struct inbound_row *)a)->port - (int)((const struct inbound_row *)b)->port;
}

static bool add_inbounds(struct route_index *index, const Tabard__V1__Snapshot *snapshot,
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
        if (!add_inbound(&index->inbound[i], snapshot->inbound_ports[i], err)) {
            return err_prefix_where(err, "inbound_ports[%zu]", i);
        }
        for (size_t k = 0; k < i; k++) {
            if (index->inbound[k].port == index->inbound[i].port) {
                err_set(err, "port %u is that of inbound_ports[%zu] too", index->inbound[i].port,
                        k);
                return err_prefix_where(err, "inbound_ports[%zu].port", i);
            }
        }
    }
    qsort(index->inbound, num, sizeof *index->inbound, compare_rows);
    return true;
}

struct route_index *route_index_new(const Tabard__V1__Snapshot *snapshot, struct err *err)
{
    if (!pb_text_check_known(&snapshot->base, err)) {
        return NULL;
    }
    if (snapshot->n_forwards > FORWARDS_MAX) {
        err_set_at(err, "forwards", "%zu forwards are over the limit of %d", snapshot->n_forwards,
                   FORWARDS_MAX);
        return NULL;
    }
    struct route_index *index = must_alloc(1, sizeof *index);
    if (!add_destinations(index, snapshot, err) || !add_inbounds(index, snapshot, err) ||
        !route_add_settings(index, snapshot->settings, err) ||
        !route_add_listens(index, snapshot, err)) {
        route_index_free(index);
        return NULL;
    }
    return index;
}
