// SPDX-License-Identifier: Apache-2.0
//
// One fleet: every workload, policy, destination and service of the folder's pieces or of one
// message, checked, and indexed so that working out what one workload sees costs as much as it
// sees, however large the fleet (fleet_sight_init). Immutable once built by fleet_new or
// fleet_new_of; any thread may read it. Bounded by FLEET_*_MAX. The addresses in use are in
// registry.h.
#ifndef TABARD_CONTROL_POLICYD_FLEET_FLEET_H
#define TABARD_CONTROL_POLICYD_FLEET_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/data/array.h"
#include "base/err.h"
#include "certs/identity.h"
#include "control/policyd/fleet/multimap.h"
#include "base/pb/pb_wire.h"
#include "tabard/v1/fleet.pb-c.h"

#define FLEET_PIECES_MAX              1024
#define FLEET_WORKLOADS_MAX           100000
#define FLEET_POLICIES_MAX            100000
#define FLEET_DESTINATIONS_MAX        100000
#define FLEET_SERVICES_MAX            20000
#define FLEET_PORTS_MAX               64  // of a workload, ports and ranges
#define FLEET_OPEN_RANGES_MAX         256 // of a workload's own range, that a caller is told
#define FLEET_SERVICE_ADDRESSES_MAX   16
#define FLEET_SERVICE_PORTS_MAX       256
#define FLEET_SERVICE_TARGETS_MAX     64
#define FLEET_SERVICE_MEMBERS_MAX     10000
#define FLEET_VARIANT_MARK            '#' // between id and variant; no byte of a SPIFFE id
#define FLEET_CERTIFICATE_SECONDS     3600
#define FLEET_CERTIFICATE_SECONDS_MIN 60
#define FLEET_CERTIFICATE_SECONDS_MAX (90 * 86400)
#define FLEET_NONE                    UINT32_MAX

// One file: its text, and its name for errors. Borrowed for the call.
struct fleet_piece {
    const char *name;
    const char *text; // NULL: it can't be read
    size_t len;
    const char *error; // why it can't
};

struct fleet_workload {
    struct spiffe_id id;
    const Tabard__V1__Workload *spec;
    // What it is known by: the text of its id, and where it has a variant FLEET_VARIANT_MARK and
    // that. Owned, NUL-terminated.
    char *key;
    size_t key_len;
    uint32_t variant;     // its number among the fleet's variants
    uint32_t first_block; // of `blocks`
    uint32_t num_blocks;
    uint32_t first_service; // of `memberships`
    uint32_t num_services;
};

struct fleet_policy {
    const Tabard__V1__FleetPolicy *spec;
    struct array targets;  // of spiffe_pattern
    struct array variants; // of uint32_t, sorted; none: whatever the variant
};

struct fleet_service {
    const Tabard__V1__FleetService *spec;
    struct array identities; // of char *, borrowed: the members' ids, each once, in order
};

// A workload that is a member of a service.
struct fleet_membership {
    uint32_t workload;
    uint32_t service;
};

struct fleet_rule {
    uint32_t policy;
    uint32_t first_pattern; // of the fleet's `patterns`: its not_principals
    uint32_t num_patterns;
    bool has_no_principals; // so it may match any caller
    bool is_certain;        // as policy_rule_is_certain says
};

// A destination that names an address of a service exactly.
struct fleet_cover {
    uint32_t destination;
    uint32_t service;
};

struct fleet {
    Tabard__V1__FleetConfig **pieces; // owned
    char **names;                     // owned; of the pieces; NULL: it was one message
    size_t num_pieces;
    const ProtobufCMessage *refused; // while it is built: the item that can't be in it
    struct array workloads;          // of fleet_workload, sorted by key
    struct array blocks;             // of cidr
    struct array policies;           // of fleet_policy
    struct array rules;              // of fleet_rule, all of them
    struct array patterns;           // of spiffe_pattern
    struct array destinations;       // of const Tabard__V1__FleetDestination *
    struct array services;           // of fleet_service
    struct array memberships;        // of fleet_membership, sorted
    struct array covers;             // of fleet_cover, sorted
    struct array observed;           // of uint32_t: workloads in OBSERVE that have ports
    struct keymap variants;          // -> a variant's number
    struct keymap by_id;             // -> the number of its first workload
    struct multimap by_uid;          // -> workloads
    struct multimap by_target;       // -> policies
    struct multimap by_principal;    // -> rules of enforced policies
    struct multimap by_caller;       // -> destinations
    struct array anybody;            // of uint32_t: rules that name no principals
};

// fleet_new reads every piece or none. Refused, located ("fleet/shop.yaml:14:3: policies[2]...."):
// what is no FleetConfig, an id that is no workload of the trust domain or stands twice, a variant,
// an address that is no CIDR, a number that is no port, a policy or destination that a sidecar
// would refuse (proxy/rules/policy.h, proxy/rules/route.h), a service without addresses or ports,
// with the address of another one or a member that the fleet doesn't name, a name that stands twice
// in the fleet, a destination or service at an address that a workload's sidecars may take, too
// many of anything. NULL sets err.
struct fleet *fleet_new(const struct fleet_piece *pieces, size_t num_pieces,
                        const char *trust_domain, struct err *err);

// fleet_new_again does the same with the messages of a fleet's pieces, which it takes over in any
// case, and their names, which stay the caller's.
struct fleet *fleet_new_again(Tabard__V1__FleetConfig **configs, char *const *names, size_t num,
                              const char *trust_domain, struct err *err);

// fleet_new_of does the same with one message, which it takes over in any case and which may have
// variants; one that no workload has is refused. err then names the field alone.
struct fleet *fleet_new_of(Tabard__V1__FleetConfig *config, const char *trust_domain,
                           struct err *err);
void fleet_free(struct fleet *fleet);

#define FLEET_FAULTS_MAX  16 // that are judged apart
#define FLEET_FAULT_BYTES 600

// What was refused of the pieces, in words.
struct fleet_faults {
    char texts[FLEET_FAULTS_MAX][FLEET_FAULT_BYTES];
    size_t num;
};

// fleet_new_apart reads pieces of which some are bad, so that these hold up nothing else. What is
// refused keeps the form that `in_force` has of it, in the same piece: all of a piece that can't be
// read, else each workload, policy, destination and service by itself; beside one that was never
// good, what its piece no longer names stays, since its name may be misspelt. Nothing opens: where
// a DENY that was never good is left out, no ALLOW of its piece changes; and while something can't
// be read, or what is refused was never good, no DENY leaves, since it may have moved there. NULL
// sets err, where too much is bad; *out_faults says what, in either case.
struct fleet *fleet_new_apart(const struct fleet_piece *pieces, size_t num_pieces,
                              const char *trust_domain, const struct fleet *in_force,
                              struct fleet_faults *out_faults, struct err *err);

// fleet_same_content says whether two fleets were made of the same messages.
bool fleet_same_content(const struct fleet *a, const struct fleet *b);

// fleet_check_policy and fleet_check_destination refuse what fleet_new would refuse of one alone.
// false sets err.
bool fleet_check_policy(const Tabard__V1__FleetPolicy *spec, struct err *err);
bool fleet_check_destination(const Tabard__V1__FleetDestination *spec, struct err *err);

// fleet_find returns the number of an id's first workload, fleet_find_key that of a key, or
// FLEET_NONE.
uint32_t fleet_find(const struct fleet *fleet, const char *id, size_t id_len);
uint32_t fleet_find_key(const struct fleet *fleet, const char *key, size_t key_len);
const struct fleet_workload *fleet_workload(const struct fleet *fleet, uint32_t number);

// fleet_key returns the key of a workload, malloc'd; fleet_key_id_len the length of the id in one.
char *fleet_key(const char *id, const char *variant);
size_t fleet_key_id_len(const char *key);

// fleet_compare_workloads orders workloads, of one fleet or of two, by key, bytewise, which is by
// id and then by variant; for qsort too.
int fleet_compare_workloads(const void *a, const void *b);

// fleet_allows_address says whether a workload's sidecars may say that they are at `ip`.
bool fleet_allows_address(const struct fleet *fleet, uint32_t workload, const struct ip *ip);

// fleet_range gives the workloads whose id a pattern matches: from *out_first on, before *out_end.
void fleet_range(const struct fleet *fleet, const struct spiffe_pattern *pattern,
                 uint32_t *out_first, uint32_t *out_end);

// fleet_policy_reaches says whether a policy that targets a workload's id reaches its variant, too.
bool fleet_policy_reaches(const struct fleet *fleet, uint32_t policy, uint32_t workload);

struct fleet_callee {
    uint32_t workload;
    uint32_t first_port; // of the sight's `ports`
    uint32_t num_ports;
};

// A service and those of its ports that may be called.
struct fleet_served {
    uint32_t service;
    uint32_t first_port; // of the sight's `ports`
    uint32_t num_ports;
};

// The part of the fleet that one workload sees. Zero state: {0}.
struct fleet_sight {
    struct array callees;      // of fleet_callee, by workload
    struct array ports;        // of uint32_t, as a message holds ports and ranges of them
    struct array policies;     // of uint32_t, in the fleet's order: those that it enforces
    struct array destinations; // of uint32_t, in the fleet's order
    struct array services;     // of fleet_served, in the fleet's order
};

// fleet_sight_init fills *out: a workload sees another's port if an enforced ALLOW that reaches the
// other and speaks of the port could let it in (whatever its address), and no enforced DENY is sure
// to keep it out; and every port of one in OBSERVE, which serves what it would deny. Where more
// than FLEET_OPEN_RANGES_MAX ranges are open, the last one that is told holds the rest, and the
// other decides: whoever writes policies for his own doesn't fill everybody's sidecar. It sees a
// service's port if it sees a target of it at a member. Who it is itself counts by its id alone.
void fleet_sight_init(struct fleet_sight *out, const struct fleet *fleet, uint32_t workload);
void fleet_sight_cleanup(struct fleet_sight *sight);

#endif
