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
    struct port_map *maps = index->range_maps.items;
    for (uint32_t i = 0; i < index->range_maps.num; i++) {
        port_map_cleanup(&maps[i]);
    }
    array_cleanup(&index->range_maps);
    port_map_cleanup(&index->inbound_ports);
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

bool route_add_alpn(struct alpn_list *out, char *const *names, size_t num_names, bool has_our_tls,
                    const char *which, struct err *err)
{
    if (num_names > 0 && !has_our_tls) {
        return err_set_at(err, "alpn", "this is only for %s", which);
    }
    return alpn_list_init(out, names, num_names, err) || err_prefix_where(err, "alpn");
}

// A binding is told in a name beside the mesh's own.
static bool check_binding(const Tabard__V1__Destination *destination, const struct alpn_list *alpn,
                          struct err *err)
{
    if (destination->binding == TABARD__V1__DESTINATION__BINDING__BINDING_UNSPECIFIED) {
        return true;
    }
    if (destination->mode != TABARD__V1__DESTINATION__MODE__MTLS) {
        return err_set_at(err, "binding", "this is only for mode MTLS");
    }
    return destination->binding == TABARD__V1__DESTINATION__BINDING__NONE || alpn->len == 0 ||
           alpn_find(alpn->wire, alpn->len, ALPN_MESH, strlen(ALPN_MESH)) != NULL ||
           err_set_at(err, "binding",
                      "only a sidecar can confirm it: add " ALPN_MESH
                      " to alpn, or leave this out");
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

// Enters `value` under a block and what the tag says of ports. NULL sets err: there are too many
// keys. *out_is_new says whether the key is new; else the value is the one that it had.
static uint32_t *put_key(struct route_index *index, const struct cidr *block, uint32_t tag,
                         uint32_t value, bool *out_is_new, struct err *err)
{
    struct keymap_key key = keymap_key_of(&block->ip, sizeof block->ip, tag);
    if (index->keys.num_keys >= ROUTE_KEYS_MAX) {
        err_set(err, "the destinations name more than %u pairs of block and port", ROUTE_KEYS_MAX);
        return NULL;
    }
    uint32_t *entry = keymap_put(&index->keys, &key, out_is_new);
    if (*out_is_new) {
        *entry = value;
    }
    return entry;
}

// Says that another destination, or this one, has the same block and ports. Returns false.
static bool refuse_same(const struct cidr *block, const char *ports, uint32_t number,
                        uint32_t other, struct err *err)
{
    char buf[ADDR_TEXT_MAX];
    cidr_text(block, buf);
    return other == number
               ? err_set(err, "%s at %s is listed twice in this destination", buf, ports)
               : err_set(err, "%s at %s is that of destinations[%u] too", buf, ports, other);
}

// Adds the key of a block and a port of a destination; port 0 is every port.
static bool add_key(struct route_index *index, const struct cidr *block, uint16_t port,
                    uint32_t number, struct err *err)
{
    bool is_new;
    char port_text[32] = "every port";
    const uint32_t *other =
        put_key(index, block, route_tag(block->prefix_bits, port), number, &is_new, err);
    if (other == NULL || is_new) {
        return other != NULL;
    }
    if (port != 0) {
        snprintf(port_text, sizeof port_text, "port %u", port);
    }
    return refuse_same(block, port_text, number, *other, err);
}

// Adds a range of ports of a destination to those of the block.
static bool add_range(struct route_index *index, const struct cidr *block, struct port_range range,
                      uint32_t number, struct err *err)
{
    bool is_new;
    char ports[32], text[PORT_RANGE_TEXT_MAX], other_text[PORT_RANGE_TEXT_MAX];
    const uint32_t *at = put_key(index, block, route_tag(block->prefix_bits, 0) | ROUTE_RANGES,
                                 index->range_maps.num, &is_new, err);
    if (at == NULL) {
        return false;
    }
    struct port_map *map = is_new ? array_add(&index->range_maps, sizeof *map)
                                  : &((struct port_map *)index->range_maps.items)[*at];
    if (map->rows.num >= PORT_MAP_MAX) {
        return err_set(err, "the destinations name more than %d ranges of ports for this block",
                       PORT_MAP_MAX);
    }
    const struct port_map_row *other = port_map_add(map, range, number);
    if (other == NULL) {
        return true;
    }
    snprintf(ports, sizeof ports, "ports %s", port_range_text(range, text));
    if (port_range_value(other->range) == port_range_value(range)) {
        return refuse_same(block, ports, number, other->value, err);
    }
    return err_set(err,
                   "%s and ports %s of destinations[%u] have some ports of this block in common, "
                   "and neither lies in the other",
                   ports, port_range_text(other->range, other_text), other->value);
}

static bool add_block(struct route_index *index, const char *text, const struct array *ports,
                      uint32_t number, struct err *err)
{
    struct cidr *block = &index->blocks[index->num_blocks++];
    const struct port_range *ranges = ports->items;
    bool good = cidr_parse(block, text, err);
    for (uint32_t i = 0; good && i < ports->num; i++) {
        good = ranges[i].first == ranges[i].last
                   ? add_key(index, block, ranges[i].first, number, err)
                   : add_range(index, block, ranges[i], number, err);
    }
    if (good && ports->num == 0) {
        good = add_key(index, block, 0, number, err);
    }
    if (good) {
        note_length(index, block);
    }
    return good;
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
    struct array ports = {0}; // struct port_range
    bool good = port_range_list(&ports, destination->ports, destination->n_ports, err) ||
                err_prefix_where(err, "ports");
    for (size_t i = 0; good && i < destination->n_addresses; i++) {
        good = add_block(index, destination->addresses[i], &ports, number, err) ||
               err_prefix_where(err, "addresses[%zu]", i);
    }
    array_cleanup(&ports);
    return good;
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
           route_add_alpn(&row->alpn, destination->alpn, destination->n_alpn,
                          destination->mode == TABARD__V1__DESTINATION__MODE__MTLS, "mode MTLS",
                          err) &&
           check_binding(destination, &row->alpn, err) &&
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
    struct port_map *maps = index->range_maps.items;
    for (uint32_t i = 0; i < index->range_maps.num; i++) {
        port_map_seal(&maps[i]);
    }
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
    if (!add_destinations(index, snapshot, err) || !route_add_inbounds(index, snapshot, err) ||
        !route_add_settings(index, snapshot->settings, err) ||
        !route_add_listens(index, snapshot, err) || !route_add_source(index, snapshot, err)) {
        route_index_free(index);
        return NULL;
    }
    return index;
}
