// SPDX-License-Identifier: Apache-2.0
//
// The inside of a route_index: route_index.c, route_inbound.c, route_settings.c and route_source.c
// build it, route.c looks up in it. Bounded by route.h's *_MAX and the one below.
#ifndef TABARD_PROXY_RULES_ROUTE_IMPL_H
#define TABARD_PROXY_RULES_ROUTE_IMPL_H

#include "base/data/array.h"
#include "base/data/keymap.h"
#include "base/data/port_range.h"
#include "proxy/rules/port_map.h"
#include "proxy/rules/route.h"

#define ROUTE_MS_MAX 86400000u // of a limit in milliseconds: a day
// In OBSERVE, for a port that isn't listed, unless Limits.detect_ms is set: services that speak
// first are among them, and nobody has told which.
#define ROUTE_OBSERVED_DETECT_MS 1000u

#define ROUTE_KEYS_MAX 4000000u // of one index: blocks times ports, summed over the destinations

struct routed_destination {
    Tabard__V1__Destination *copy; // owned; every text borrows from it
    uint32_t first_identity;       // of identities
    uint32_t num_identities;
    struct alpn_list alpn;
};

struct inbound_row {
    struct inbound inbound;
    struct alpn_list alpn;
};

// The distinct lengths of the blocks of one family, longest first.
struct route_lengths {
    uint8_t bits[129];
    uint8_t num;
};

struct route_index {
    struct array destinations; // struct routed_destination
    struct array identities;   // struct spiffe_pattern
    struct cidr *blocks;       // owned; as many as there are addresses in all, the bytes of keys
    uint32_t num_blocks;
    struct keymap names; // a destination's name -> its number
    // A block's address, with its length and a port (0: every port) as the tag -> a destination's
    // number; with ROUTE_RANGES in the tag -> a number in range_maps.
    struct keymap keys;
    struct array range_maps;         // struct port_map: ranges of ports -> a destination's number
    struct route_lengths lengths[2]; // of IPv6, of IPv4
    struct inbound_row *inbound;     // owned; as in the snapshot
    size_t num_inbound;
    struct port_map inbound_ports; // -> a number in `inbound`
    struct listen_spec *listens;   // owned
    size_t num_listens;
    struct keymap listen_keys; // a listen's address -> its number in listens
    uint16_t outbound_port;    // of interception; 0: none
    uint16_t inbound_port;
    bool unlisted_is_plaintext;
    bool is_observing;
    struct inbound unlisted_inbound;
    bool needs_binding;
    struct limits limits;
    struct ip source_ips[2][SERVICE_SOURCES_MAX]; // of IPv6, of IPv4
    struct service_source service_source;
};

#define ROUTE_RANGES (1u << 31) // in a tag: the block's ranges of ports

static inline uint32_t route_tag(uint8_t prefix_bits, uint16_t port)
{
    return (uint32_t)prefix_bits << 16 | port;
}

// The parts of route_index_new, in this order, after the destinations. Each sets err with its whole
// path and returns false on a refusal.
bool route_add_inbounds(struct route_index *index, const Tabard__V1__Snapshot *snapshot,
                        struct err *err);
bool route_add_settings(struct route_index *index, const Tabard__V1__Settings *settings,
                        struct err *err);
bool route_add_source(struct route_index *index, const Tabard__V1__Snapshot *snapshot,
                      struct err *err);
bool route_add_listens(struct route_index *index, const Tabard__V1__Snapshot *snapshot,
                       struct err *err);

// route_add_alpn builds an `alpn` field's list. It is refused where there is no TLS of ours, with
// `which` as the words for where there is.
bool route_add_alpn(struct alpn_list *out, char *const *names, size_t num_names, bool has_our_tls,
                    const char *which, struct err *err);

#endif
