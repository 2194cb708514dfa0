// SPDX-License-Identifier: Apache-2.0
//
// The choice of what is intercepted, as typed values, and the nftables text that intercepts it: one
// table, `inet tabard`. intercept.c calls ruleset_init, the setters, ruleset_check and then
// ruleset_up, and loads the text into the kernel. A list has at most RULESET_RANGES_MAX entries.
#ifndef TABARD_CONTROL_INTERCEPT_RULESET_H
#define TABARD_CONTROL_INTERCEPT_RULESET_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

#define RULESET_TABLE          "inet tabard"
#define RULESET_EXPECTED_TABLE "inet tabard_expected" // of verify
#define RULESET_WATCHED_TABLE  "inet tabard_watched"  // of the agent
#define RULESET_DORMANT        "flags dormant"

// A datagram to here is dropped by the chain of outbound traffic, which tells its sender at once
// (EPERM) that the chain is there; without it, it comes to nobody.
#define RULESET_SELF_CHECK_IP   "127.0.0.133"
#define RULESET_SELF_CHECK_PORT 133

#define RULESET_ZONE 1337 // the conntrack zone of exempt users

#define RULESET_RANGES_MAX 1024 // of one list

struct number_range {
    uint32_t first;
    uint32_t last; // not below first
};

// Sorted, and apart by at least one number.
struct number_ranges {
    struct number_range ranges[RULESET_RANGES_MAX];
    size_t num;
};

struct name_list {
    char names[RULESET_RANGES_MAX][IF_NAMESIZE];
    size_t num;
};

struct cidr_list {
    struct cidr cidrs[RULESET_RANGES_MAX];
    size_t num;
};

// An include list that is empty includes everything; what is both included and excluded is
// excluded.
struct ruleset {
    uint16_t outbound_port;
    uint16_t inbound_port;
    uint32_t proxy_uid;
    struct number_ranges exclude_uids;
    struct number_ranges exclude_inbound_ports;
    struct number_ranges include_inbound_ports;
    struct number_ranges exclude_outbound_ports;
    struct number_ranges include_outbound_ports;
    struct cidr_list exclude_inbound_cidrs; // by the caller's address
    struct cidr_list exclude_outbound_cidrs;
    struct cidr_list include_outbound_cidrs;
    struct name_list exclude_inbound_interfaces;
    struct cidr_list service_sources; // settings.service_source's addresses, beside the defaults
    bool has_caller_addresses;        // its mode is CALLER: answers to callers come back
};

// ruleset_init sets the defaults of proto/contract.h, nothing excluded but the sidecar's own
// metrics and health, which Prometheus and probes reach directly.
void ruleset_init(struct ruleset *ruleset);

// ruleset_set_uid and ruleset_set_port read one number; uid 0 is refused, since all of root's
// traffic would bypass the sidecar. ruleset_check refuses a combination. ruleset_add_* read
// "22,9000-9010", "10.0.0.0/8,fd00::/8", "eth1,wg0" or "10.9.9.9,fd00::9" into a list and may be
// called again for more. false sets err, and its text names the value.
bool ruleset_set_uid(uint32_t *out, const char *text, struct err *err);
bool ruleset_set_port(uint16_t *out, const char *text, struct err *err);
bool ruleset_add_ports(struct number_ranges *list, const char *text, struct err *err);
bool ruleset_add_uids(struct number_ranges *list, const char *text, struct err *err);
bool ruleset_add_cidrs(struct cidr_list *list, const char *text, struct err *err);
bool ruleset_add_interfaces(struct name_list *list, const char *text, struct err *err);
bool ruleset_add_addresses(struct cidr_list *list, const char *text, struct err *err);
bool ruleset_check(const struct ruleset *ruleset, struct err *err);

// ruleset_excludes_interface says whether what comes in by this interface is left alone.
bool ruleset_excludes_interface(const struct ruleset *ruleset, const char *name);

// ruleset_exempts_user says whether a user's calls are left alone, and ruleset_catches_outbound
// whether others' calls to an address that isn't loopback are redirected. ruleset_catches_inbound
// says whether what comes in for a port is, by whatever interface; not, where it depends on that.
bool ruleset_exempts_user(const struct ruleset *ruleset, uint32_t uid);
bool ruleset_catches_outbound(const struct ruleset *ruleset, const struct addr *to);
bool ruleset_catches_inbound(const struct ruleset *ruleset, uint16_t port, const struct ip *from);

// ruleset_up returns the batch that makes the table, in place of one that is there; ruleset_down
// the one that deletes it. ruleset_expected makes a `table` of the same chains that
// does nothing, to be compared with what the kernel has. All are malloc'd.
char *ruleset_up(const struct ruleset *ruleset);
char *ruleset_expected(const struct ruleset *ruleset, const char *table);
char *ruleset_down(void);

#endif
