// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/route.h"

#include "proxy/rules/route_impl.h"

// Finds the narrowest range of a block that has the port; `key` is the block's, with any tag.
static const uint32_t *find_range(const struct route_index *index, struct keymap_key *key,
                                  uint8_t bits, uint16_t port)
{
    key->tag = route_tag(bits, 0) | ROUTE_RANGES;
    const uint32_t *map = keymap_find(&index->keys, key);
    return map == NULL ? NULL
                       : port_map_find(&((struct port_map *)index->range_maps.items)[*map], port);
}

static const uint32_t *find(const struct route_index *index, const struct addr *destination)
{
    const struct route_lengths *lengths = &index->lengths[ip_is_v4(&destination->ip)];
    for (uint8_t i = 0; i < lengths->num; i++) {
        uint8_t bits = lengths->bits[i];
        struct ip block = ip_masked(&destination->ip, bits);
        struct keymap_key key =
            keymap_key_of(&block, sizeof block, route_tag(bits, destination->port));
        const uint32_t *found = keymap_find(&index->keys, &key);
        if (found == NULL && index->range_maps.num > 0) {
            found = find_range(index, &key, bits, destination->port);
        }
        if (found == NULL) {
            key.tag = route_tag(bits, 0);
            found = keymap_find(&index->keys, &key);
        }
        if (found != NULL) {
            return found;
        }
    }
    return NULL;
}

struct route route_outbound(const struct route_index *index, const struct addr *destination)
{
    // Port 0 marks "every port" in the keys, and nothing can be called there.
    const uint32_t *found = destination->port == 0 ? NULL : find(index, destination);
    if (found == NULL) {
        return (struct route){
            .mode =
                index->unlisted_is_plaintext || index->is_observing ? ROUTE_PLAINTEXT : ROUTE_DENY,
            .name = "",
            .is_observed = !index->unlisted_is_plaintext && index->is_observing,
        };
    }
    const struct routed_destination *row =
        &((const struct routed_destination *)index->destinations.items)[*found];
    struct route route = {.mode = ROUTE_PLAINTEXT, .name = row->copy->name};
    if (row->copy->mode == TABARD__V1__DESTINATION__MODE__MTLS) {
        route.mode = ROUTE_MTLS;
        route.identities =
            (const struct spiffe_pattern *)index->identities.items + row->first_identity;
        route.num_identities = row->num_identities;
        route.alpn = row->alpn.len == 0 ? NULL : &row->alpn;
        route.is_bound = row->copy->binding != TABARD__V1__DESTINATION__BINDING__NONE;
        route.needs_binding = row->copy->binding == TABARD__V1__DESTINATION__BINDING__REQUIRED;
    }
    return route;
}

bool route_expects(const struct route *route, const struct spiffe_id *id)
{
    for (size_t i = 0; i < route->num_identities; i++) {
        if (spiffe_pattern_matches(&route->identities[i], id)) {
            return true;
        }
    }
    return false;
}

struct inbound route_inbound(const struct route_index *index, uint16_t port)
{
    const uint32_t *number = port_map_find(&index->inbound_ports, port);
    if (number == NULL) {
        return index->unlisted_inbound;
    }
    const struct inbound_row *row = &index->inbound[*number];
    struct inbound inbound = row->inbound;
    inbound.alpn = row->alpn.len == 0 ? NULL : &row->alpn;
    return inbound;
}

bool route_is_observing(const struct route_index *index)
{
    return index->is_observing;
}

bool route_needs_binding(const struct route_index *index)
{
    return index->needs_binding;
}

size_t route_num_listens(const struct route_index *index)
{
    return index->num_listens;
}

const struct listen_spec *route_listens(const struct route_index *index)
{
    return index->listens;
}

const struct service_source *route_service_source(const struct route_index *index)
{
    return &index->service_source;
}

const struct limits *route_limits(const struct route_index *index)
{
    return &index->limits;
}
