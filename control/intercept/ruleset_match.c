// SPDX-License-Identifier: Apache-2.0
#include "control/intercept/ruleset.h"

static bool is_in(const struct number_ranges *list, uint32_t number)
{
    for (size_t i = 0; i < list->num; i++) {
        if (list->ranges[i].first <= number && number <= list->ranges[i].last) {
            return true;
        }
    }
    return false;
}

static bool is_within(const struct cidr_list *list, const struct ip *ip)
{
    for (size_t i = 0; i < list->num; i++) {
        if (cidr_contains(&list->cidrs[i], ip)) {
            return true;
        }
    }
    return false;
}

bool ruleset_exempts_user(const struct ruleset *ruleset, uint32_t uid)
{
    return uid == ruleset->proxy_uid || is_in(&ruleset->exclude_uids, uid);
}

bool ruleset_catches_outbound(const struct ruleset *ruleset, const struct addr *to)
{
    return !is_in(&ruleset->exclude_outbound_ports, to->port) &&
           !is_within(&ruleset->exclude_outbound_cidrs, &to->ip) &&
           (ruleset->include_outbound_ports.num == 0 ||
            is_in(&ruleset->include_outbound_ports, to->port)) &&
           (ruleset->include_outbound_cidrs.num == 0 ||
            is_within(&ruleset->include_outbound_cidrs, &to->ip));
}

bool ruleset_catches_inbound(const struct ruleset *ruleset, uint16_t port, const struct ip *from)
{
    return ruleset->exclude_inbound_interfaces.num == 0 &&
           !is_in(&ruleset->exclude_inbound_ports, port) &&
           !is_within(&ruleset->exclude_inbound_cidrs, from) &&
           (ruleset->include_inbound_ports.num == 0 ||
            is_in(&ruleset->include_inbound_ports, port));
}
