// SPDX-License-Identifier: Apache-2.0
//
// One fleet: every workload, policy and destination of the folder's pieces, checked, and indexed so
// that working out what one workload sees costs as much as it sees, however large the fleet
// (fleet_sight_init). Immutable once built by fleet_new; any thread may read it. Bounded by
// FLEET_*_MAX. The addresses in use are in registry.h.
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
#define FLEET_DESTINATIONS_MAX        10000
#define FLEET_PORTS_MAX               64 // of a workload, ports and ranges
#define FLEET_CERTIFICATE_SECONDS     3600
#define FLEET_CERTIFICATE_SECONDS_MIN 60
#define FLEET_CERTIFICATE_SECONDS_MAX (90 * 86400)
#define FLEET_NONE                    UINT32_MAX

// One file: its text, and its name for errors. Borrowed for the call.
struct fleet_piece {
    const char *name;
    const char *text;
    size_t len;
};

struct fleet_workload {
    struct spiffe_id id;
    const Tabard__V1__Workload *spec;
    uint32_t first_block; // of `blocks`
    uint32_t num_blocks;
};

struct fleet_policy {
    const Tabard__V1__FleetPolicy *spec;
    struct array targets; // of spiffe_pattern
};

struct fleet_rule {
    uint32_t policy;
    uint32_t first_pattern; // of the fleet's `patterns`: its not_principals
    uint32_t num_patterns;
    bool has_no_principals; // so it may match any caller
    bool is_certain;        // as policy_rule_is_certain says
};

struct fleet {
    Tabard__V1__FleetConfig **pieces; // owned
    size_t num_pieces;
    struct array workloads;       // of fleet_workload, sorted by id
    struct array blocks;          // of cidr
    struct array policies;        // of fleet_policy
    struct array rules;           // of fleet_rule, all of them
    struct array patterns;        // of spiffe_pattern
    struct array destinations;    // of const Tabard__V1__FleetDestination *
    struct keymap by_id;          // -> a workload's number
    struct multimap by_uid;       // -> workloads
    struct multimap by_target;    // -> policies
    struct multimap by_principal; // -> rules of enforced policies
    struct multimap by_caller;    // -> destinations
    struct array anybody;         // of uint32_t: rules that name no principals
};

// fleet_new reads every piece or none. Refused, located ("fleet/shop.yaml:14:3: policies[2]...."):
// what is no FleetConfig, an id that is no workload of the trust domain or stands twice, an address
// that is no CIDR, a number that is no port, a policy or destination that a sidecar would refuse
// (proxy/rules/policy.h, proxy/rules/route.h), a name that stands twice in the fleet, a destination
// at an address that a workload's sidecars may take, too many of anything. NULL sets err.
struct fleet *fleet_new(const struct fleet_piece *pieces, size_t num_pieces,
                        const char *trust_domain, struct err *err);
void fleet_free(struct fleet *fleet);

// fleet_find returns a workload's number, or FLEET_NONE.
uint32_t fleet_find(const struct fleet *fleet, const char *id, size_t id_len);
const struct fleet_workload *fleet_workload(const struct fleet *fleet, uint32_t number);

// fleet_compare_workloads orders workloads, of one fleet or of two, by id, bytewise; for qsort too.
int fleet_compare_workloads(const void *a, const void *b);

// fleet_allows_address says whether a workload's sidecars may say that they are at `ip`.
bool fleet_allows_address(const struct fleet *fleet, uint32_t workload, const struct ip *ip);

// fleet_range gives the workloads that a pattern matches: from *out_first on, before *out_end.
void fleet_range(const struct fleet *fleet, const struct spiffe_pattern *pattern,
                 uint32_t *out_first, uint32_t *out_end);

struct fleet_callee {
    uint32_t workload;
    uint32_t first_port; // of the sight's `ports`
    uint32_t num_ports;
};

// The part of the fleet that one workload sees. Zero state: {0}.
struct fleet_sight {
    struct array callees;      // of fleet_callee, by workload
    struct array ports;        // of uint32_t, as a message holds ports and ranges of them
    struct array policies;     // of uint32_t, in the fleet's order: those that it enforces
    struct array destinations; // of uint32_t, in the fleet's order
};

// fleet_sight_init fills *out: a workload sees another's port if an enforced ALLOW that targets the
// other and speaks of the port could let it in (whatever its address), and no enforced DENY is sure
// to keep it out.
void fleet_sight_init(struct fleet_sight *out, const struct fleet *fleet, uint32_t workload);
void fleet_sight_cleanup(struct fleet_sight *sight);

#endif
