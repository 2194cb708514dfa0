// SPDX-License-Identifier: Apache-2.0
//
// Where the service may call, and how each of its ports is served: the lookups over a snapshot's
// destinations and inbound ports. A route_index never changes once it is built, so any thread may
// look up in it; its owner frees it. Bounded by the *_MAX below; a lookup tries each prefix length
// that occurs, the longest first, and costs two or three hash lookups for each. Names are not
// resolved.
#ifndef TABARD_PROXY_RULES_ROUTE_H
#define TABARD_PROXY_RULES_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "certs/tls/alpn.h"
#include "certs/identity.h"
#include "tabard/v1/mesh.pb-c.h"

#define DESTINATIONS_MAX           200000
#define DESTINATION_ADDRESSES_MAX  1024
#define DESTINATION_IDENTITIES_MAX 64
#define DESTINATION_NAME_LEN_MAX   253
#define INBOUND_PORTS_MAX          1024
#define FORWARDS_MAX               1024
#define SERVICE_SOURCES_MAX        64

struct route_index; // opaque

// route_index_new checks and indexes the snapshot's destinations, inbound_ports, forwards and
// settings, all or none. Refused, with err.where naming the field: a missing or repeated
// destination name; a mode that is UNSPECIFIED or unknown; no addresses; a bad CIDR or port; MTLS
// without identities, or PLAINTEXT with some; an identity that is not a pattern; two destinations
// with the same block and port, or of inbound ports, or ranges of which neither holds the other;
// a binding without the mesh's protocol; foreign_tls or detect_ms on a port that isn't PERMISSIVE;
// a range with `listen`; an ALPN list that alpn_list_init refuses, or where no TLS of ours is;
// `application` without `listen`; a `listen` used twice, or on a port of the interception; a
// forward whose destination is one of the listens of the forwards, or an application that is any
// listen (a loop); an address of service_source that can't be one, and CALLER without interception
// or for an application on 127.0.0.0/8; unknown protobuf fields anywhere inside; limits out of
// range (proxy/rules/route_settings.c has the table). NULL on failure.
struct route_index *route_index_new(const Tabard__V1__Snapshot *snapshot, struct err *err);
void route_index_free(struct route_index *index);

enum route_mode { ROUTE_DENY, ROUTE_MTLS, ROUTE_PLAINTEXT };

struct route {
    enum route_mode mode;
    const char *name; // borrowed from the index; "" if unlisted
    // MTLS: the server must match one of these; borrowed from the index.
    const struct spiffe_pattern *identities;
    size_t num_identities;
    const struct alpn_list *alpn; // MTLS: to offer; borrowed from the index. NULL: the default
    bool is_bound;                // MTLS: the address called is offered, too
    bool needs_binding;           // MTLS: the server must confirm it
    bool is_observed;             // PLAINTEXT: it would be DENY if enforcement weren't OBSERVE
};

// route_outbound returns how a connection to `destination` goes. Among the destinations that hold
// its address, the longest prefix that also lists its port (or every port) wins; at the same prefix
// a port wins over a range, a range over a wider one, and every port comes last.
struct route route_outbound(const struct route_index *index, const struct addr *destination);

// route_expects says whether a peer of the parsed workload id `id` may answer for an MTLS
// destination.
bool route_expects(const struct route *route, const struct spiffe_id *id);

enum inbound_mode {
    INBOUND_MTLS,
    INBOUND_PERMISSIVE,
    INBOUND_PLAINTEXT,
    INBOUND_TLS_PASSTHROUGH,
};

struct inbound {
    enum inbound_mode mode;
    bool foreign_tls_is_application; // PERMISSIVE only
    bool is_observed;   // PERMISSIVE only: it would be MTLS if enforcement weren't OBSERVE
    uint32_t detect_ms; // PERMISSIVE only; 0: that of the limits
    const struct alpn_list *alpn; // to select from; borrowed from the index. NULL: none
};

// route_inbound returns how `port` of the application is served, by the narrowest entry that has
// it; a port that isn't listed is INBOUND_MTLS. Where enforcement is OBSERVE it is PERMISSIVE, and
// the application's own TLS is left to the application: nobody who is served today is turned away.
struct inbound route_inbound(const struct route_index *index, uint16_t port);

// route_is_observing says whether what policy denies is served and counted: enforcement is OBSERVE.
bool route_is_observing(const struct route_index *index);

// route_needs_binding says whether a sidecar that calls must say which address it called.
bool route_needs_binding(const struct route_index *index);

// An address to listen on. route_listens returns them in the snapshot's order.
enum listen_kind { LISTEN_OUTBOUND, LISTEN_INBOUND, LISTEN_FORWARD, LISTEN_INBOUND_PORT };

struct listen_spec {
    enum listen_kind kind;
    struct addr listen; // OUTBOUND, INBOUND: the port alone counts, the addresses are the worker's
    struct addr target; // FORWARD: the destination; INBOUND_PORT: the application's address
    uint16_t port;      // INBOUND_PORT: the application's port as policies name it
};
size_t route_num_listens(const struct route_index *index);
const struct listen_spec *route_listens(const struct route_index *index);

// Where calls to an application on this host come from (tabard/v1/mesh.proto, ServiceSource).
struct service_source {
    bool is_caller;          // the caller's own address
    const struct ip *ips[2]; // else one of these, of IPv6 and of IPv4; borrowed from the index
    size_t num_ips[2];
};
const struct service_source *route_service_source(const struct route_index *index);

// The limits in force, defaults filled in (tabard/v1/mesh.proto, Limits).
struct limits {
    uint32_t connections;
    uint32_t identity_connections;
    uint32_t handshakes;
    uint32_t hellos;
    uint64_t buffer_bytes;
    uint32_t hello_ms;
    uint32_t queue_ms;
    uint32_t handshake_ms;
    uint32_t connect_ms;
    uint32_t detect_ms;
    uint32_t idle_ms;
    uint32_t half_closed_ms;
    uint32_t stall_ms;
    uint32_t closing_ms;
    uint32_t key_records;
    uint32_t denials;
    uint32_t peer_expiry_grace_ms;
    uint32_t drain_seconds;
    uint32_t drain_delay_seconds; // of them
};
const struct limits *route_limits(const struct route_index *index);

#endif
