// SPDX-License-Identifier: Apache-2.0
#include "control/intercept/routes.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "proto/contract.h"

enum { RULE_PRIORITY = 133 }; // before the main table's

static const struct ip own_v6 = {{[15] = 6}};
static const struct ip own_link_local = {{0xfe, 0x80, [15] = 6}};
static const struct ip link_locals = {{0xfe, 0x80}};
static const struct ip any[2] = {{{0}}, {{[10] = 0xff, [11] = 0xff}}};

// A route that says that what goes to a block is for this host.
struct local_route {
    struct cidr to;
    uint32_t interface;
    uint32_t table;
};

static void add(struct array *routes, const struct ip *to, unsigned bits, uint32_t interface,
                uint32_t table)
{
    struct local_route *route = array_add(routes, sizeof *route);
    *route = (struct local_route){
        .to = {.ip = *to, .prefix_bits = (uint8_t)bits}, .interface = interface, .table = table};
}

static uint32_t loopback_of(const struct host *host)
{
    const struct host_interface *interfaces = host->interfaces.items;
    for (uint32_t i = 0; i < host->interfaces.num; i++) {
        if (interfaces[i].is_loopback) {
            return interfaces[i].index;
        }
    }
    return 1;
}

// The routes that a ruleset wants on this host.
static void list_wanted(struct array *out, const struct host *host, const struct ruleset *ruleset)
{
    uint32_t lo = loopback_of(host);
    const struct host_interface *interfaces = host->interfaces.items;
    for (size_t i = 0; i < ruleset->service_sources.num; i++) {
        const struct cidr *source = &ruleset->service_sources.cidrs[i];
        if (ip_is_v4(&source->ip) ? !ip_is_loopback(&source->ip) : host->has_ip6) {
            add(out, &source->ip, 128, lo, RT_TABLE_LOCAL);
        }
    }
    if (host->has_ip6) {
        add(out, &own_v6, 128, lo, RT_TABLE_LOCAL);
    }
    for (int is_v4 = 0; ruleset->has_caller_addresses && is_v4 < 2; is_v4++) {
        if (is_v4 || host->has_ip6) {
            add(out, &any[is_v4], is_v4 ? 96 : 0, lo, CONTRACT_RETURN_TABLE);
        }
    }
    for (uint32_t i = 0; i < host->interfaces.num; i++) {
        const struct host_interface *interface = &interfaces[i];
        if (!interface->is_up || interface->is_loopback || !interface->has_ip[0]) {
            continue;
        }
        add(out, &own_link_local, 128, interface->index, RT_TABLE_LOCAL);
        if (ruleset->has_caller_addresses) {
            add(out, &link_locals, 10, interface->index, CONTRACT_RETURN_TABLE);
        }
    }
}

static int change(struct rtnl *rtnl, uint16_t type, const struct local_route *route)
{
    char buf[RTNL_REQUEST_BYTES_MAX];
    bool is_v4 = ip_is_v4(&route->to.ip) && route->to.prefix_bits >= 96;
    // Of IPv6, NLM_F_EXCL would refuse the route of a second interface, too.
    uint16_t once = is_v4 ? NLM_F_EXCL : NLM_F_APPEND;
    uint16_t flags = type == RTM_NEWROUTE ? NLM_F_CREATE | once : 0;
    struct nlmsghdr *request =
        rtnl_begin(buf, type, (uint16_t)(NLM_F_ACK | flags), sizeof(struct rtmsg));
    struct rtmsg *message = mnl_nlmsg_get_payload(request);
    *message = (struct rtmsg){.rtm_family = is_v4 ? AF_INET : AF_INET6,
                              .rtm_dst_len = (uint8_t)(route->to.prefix_bits - (is_v4 ? 96 : 0)),
                              .rtm_table = (uint8_t)route->table,
                              .rtm_protocol = ROUTES_PROTOCOL,
                              .rtm_scope = is_v4 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE,
                              .rtm_type = RTN_LOCAL};
    if (message->rtm_dst_len > 0) {
        rtnl_put_ip(request, RTA_DST, &route->to.ip);
    }
    mnl_attr_put_u32(request, RTA_OIF, route->interface);
    return rtnl_ask(rtnl, request, NULL, NULL);
}

// Makes or removes the rule of one family by which answers to callers come back.
static int change_rule(struct rtnl *rtnl, uint16_t type, bool is_v4)
{
    char buf[RTNL_REQUEST_BYTES_MAX];
    uint16_t flags = type == RTM_NEWRULE ? NLM_F_CREATE | NLM_F_EXCL : 0;
    struct nlmsghdr *request =
        rtnl_begin(buf, type, (uint16_t)(NLM_F_ACK | flags), sizeof(struct fib_rule_hdr));
    struct fib_rule_hdr *rule = mnl_nlmsg_get_payload(request);
    *rule = (struct fib_rule_hdr){.family = is_v4 ? AF_INET : AF_INET6,
                                  .table = CONTRACT_RETURN_TABLE,
                                  .action = FR_ACT_TO_TBL};
    mnl_attr_put_u32(request, FRA_PRIORITY, RULE_PRIORITY);
    mnl_attr_put_u32(request, FRA_FWMARK, CONTRACT_RETURN_MARK);
    mnl_attr_put_u8(request, FRA_PROTOCOL, ROUTES_PROTOCOL);
    return rtnl_ask(rtnl, request, NULL, NULL);
}

static void list_route(const struct nlmsghdr *message, struct array *routes)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(message);
    const struct nlattr *attribute;
    bool is_v4 = route->rtm_family == AF_INET;
    struct local_route *out = array_add(routes, sizeof *out);
    out->to = (struct cidr){.ip = any[is_v4],
                            .prefix_bits = (uint8_t)(route->rtm_dst_len + (is_v4 ? 96 : 0))};
    out->table = route->rtm_table;
    mnl_attr_for_each(attribute, message, sizeof *route)
    {
        size_t len = mnl_attr_get_payload_len(attribute);
        uint16_t type = mnl_attr_get_type(attribute);
        if (type == RTA_DST && len == (is_v4 ? 4 : 16)) {
            memcpy(out->to.ip.bytes + (is_v4 ? 12 : 0), mnl_attr_get_payload(attribute), len);
        } else if (type == RTA_OIF && len == sizeof out->interface) {
            out->interface = mnl_attr_get_u32(attribute);
        }
    }
}

static int on_own_route(const struct nlmsghdr *message, void *ctx)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(message);
    if (message->nlmsg_type == RTM_NEWROUTE && route->rtm_protocol == ROUTES_PROTOCOL) {
        list_route(message, ctx);
    }
    return MNL_CB_OK;
}

// Whoever made it: the same route of somebody else's does as well.
static int on_local_route(const struct nlmsghdr *message, void *ctx)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(message);
    if (message->nlmsg_type == RTM_NEWROUTE && route->rtm_type == RTN_LOCAL) {
        list_route(message, ctx);
    }
    return MNL_CB_OK;
}

// Lists the routes of both families that `on_route` takes.
static int list_there(struct array *out, struct rtnl *rtnl, mnl_cb_t on_route)
{
    char buf[RTNL_REQUEST_BYTES_MAX];
    int error = 0;
    for (int is_v4 = 0; is_v4 < 2 && error == 0; is_v4++) {
        struct nlmsghdr *request = rtnl_begin(buf, RTM_GETROUTE, NLM_F_DUMP, sizeof(struct rtmsg));
        ((struct rtmsg *)mnl_nlmsg_get_payload(request))->rtm_family = is_v4 ? AF_INET : AF_INET6;
        error = rtnl_ask(rtnl, request, on_route, out);
        error = !is_v4 && error == EOPNOTSUPP ? 0 : error; // a kernel without IPv6
    }
    return error;
}

static bool is_listed(const struct array *routes, const struct local_route *route)
{
    const struct local_route *items = routes->items;
    for (uint32_t i = 0; i < routes->num; i++) {
        if (items[i].table == route->table && items[i].interface == route->interface &&
            items[i].to.prefix_bits == route->to.prefix_bits &&
            ip_equal(&items[i].to.ip, &route->to.ip)) {
            return true;
        }
    }
    return false;
}

// Removes those of our routes that are not in `wanted`.
static bool remove_others(struct rtnl *rtnl, const struct array *wanted, struct err *err)
{
    struct array there = {0};
    int error = list_there(&there, rtnl, on_own_route);
    for (uint32_t i = 0; i < there.num && error == 0; i++) {
        const struct local_route *route = &((const struct local_route *)there.items)[i];
        error = is_listed(wanted, route) ? 0 : change(rtnl, RTM_DELROUTE, route);
        error = error == ESRCH ? 0 : error; // somebody else was faster
    }
    array_cleanup(&there);
    return error == 0 || err_set(err, "the routes of the sidecar: %s", strerror(error));
}

static bool remove_rules(struct rtnl *rtnl, struct err *err)
{
    for (int is_v4 = 0; is_v4 < 2; is_v4++) {
        int error = change_rule(rtnl, RTM_DELRULE, is_v4);
        if (error != 0 && error != ENOENT && error != EAFNOSUPPORT && error != EOPNOTSUPP) {
            return err_set(err, "the rule for answers to callers: %s", strerror(error));
        }
    }
    return true;
}

static bool add_rules(struct rtnl *rtnl, const struct host *host, struct err *err)
{
    for (int is_v4 = host->has_ip6 ? 0 : 1; is_v4 < 2; is_v4++) {
        int error = change_rule(rtnl, RTM_NEWRULE, is_v4);
        if (error != 0 && error != EEXIST) {
            return err_set(err, "the rule for answers to callers (fwmark %d lookup %d): %s",
                           CONTRACT_RETURN_MARK, CONTRACT_RETURN_TABLE, strerror(error));
        }
    }
    return true;
}

static bool add_routes(struct rtnl *rtnl, const struct array *wanted, struct err *err)
{
    for (uint32_t i = 0; i < wanted->num; i++) {
        const struct local_route *route = &((const struct local_route *)wanted->items)[i];
        int error = change(rtnl, RTM_NEWROUTE, route);
        if (error != 0 && error != EEXIST) {
            char buf[ADDR_TEXT_MAX];
            return err_set(err, "the route that makes %s this host's: %s",
                           cidr_text(&route->to, buf), strerror(error));
        }
    }
    return true;
}

bool routes_up(struct rtnl *rtnl, const struct host *host, const struct ruleset *ruleset,
               struct err *err)
{
    struct array wanted = {0};
    list_wanted(&wanted, host, ruleset);
    bool good =
        add_routes(rtnl, &wanted, err) && remove_others(rtnl, &wanted, err) &&
        (ruleset->has_caller_addresses ? add_rules(rtnl, host, err) : remove_rules(rtnl, err));
    array_cleanup(&wanted);
    return good;
}

static enum routes_state check_routes(struct rtnl *rtnl, const struct array *wanted,
                                      struct err *err)
{
    struct array there = {0};
    enum routes_state state = ROUTES_HOLD;
    int error = list_there(&there, rtnl, on_local_route);
    if (error != 0) {
        err_set(err, "this host's routes can't be asked for: %s", strerror(error));
        state = ROUTES_LOST;
    }
    for (uint32_t i = 0; i < wanted->num && state != ROUTES_LOST; i++) {
        const struct local_route *route = &((const struct local_route *)wanted->items)[i];
        if (!is_listed(&there, route)) {
            char buf[ADDR_TEXT_MAX];
            err_set(err, "the route that makes %s this host's is gone", cidr_text(&route->to, buf));
            state = ip_is_link_local6(&route->to.ip) ? ROUTES_LACK : ROUTES_LOST;
        }
    }
    array_cleanup(&there);
    return state;
}

static int on_rule(const struct nlmsghdr *message, void *ctx)
{
    const struct fib_rule_hdr *rule = mnl_nlmsg_get_payload(message);
    const struct nlattr *attribute;
    bool *found = ctx;
    uint32_t mark = 0;
    if (message->nlmsg_type != RTM_NEWRULE) {
        return MNL_CB_OK;
    }
    mnl_attr_for_each(attribute, message, sizeof *rule)
    {
        if (mnl_attr_get_type(attribute) == FRA_FWMARK &&
            mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0) {
            mark = mnl_attr_get_u32(attribute);
        }
    }
    *found = *found || (mark == CONTRACT_RETURN_MARK && rule->table == CONTRACT_RETURN_TABLE);
    return MNL_CB_OK;
}

static bool check_rules(struct rtnl *rtnl, const struct host *host, struct err *err)
{
    for (int is_v4 = host->has_ip6 ? 0 : 1; is_v4 < 2; is_v4++) {
        char buf[RTNL_REQUEST_BYTES_MAX];
        bool found = false;
        struct nlmsghdr *request =
            rtnl_begin(buf, RTM_GETRULE, NLM_F_DUMP, sizeof(struct fib_rule_hdr));
        struct fib_rule_hdr *rule = mnl_nlmsg_get_payload(request);
        rule->family = is_v4 ? AF_INET : AF_INET6;
        int error = rtnl_ask(rtnl, request, on_rule, &found);
        if (error != 0 || !found) {
            return err_set(err, "the rule for answers to callers (fwmark %d lookup %d): %s",
                           CONTRACT_RETURN_MARK, CONTRACT_RETURN_TABLE,
                           error != 0 ? strerror(error) : "it is gone");
        }
    }
    return true;
}

enum routes_state routes_check(struct rtnl *rtnl, const struct host *host,
                               const struct ruleset *ruleset, struct err *err)
{
    struct array wanted = {0};
    list_wanted(&wanted, host, ruleset);
    enum routes_state state = check_routes(rtnl, &wanted, err);
    if (state != ROUTES_LOST && ruleset->has_caller_addresses && !check_rules(rtnl, host, err)) {
        state = ROUTES_LOST;
    }
    array_cleanup(&wanted);
    return state;
}

bool routes_are_there(struct rtnl *rtnl)
{
    struct array there = {0};
    bool found = list_there(&there, rtnl, on_own_route) == 0 && there.num > 0;
    array_cleanup(&there);
    return found;
}

bool routes_down(struct rtnl *rtnl, struct err *err)
{
    static const struct array none;
    return remove_rules(rtnl, err) && remove_others(rtnl, &none, err);
}

void routes_print(FILE *out, const struct ruleset *ruleset)
{
    char buf[ADDR_TEXT_MAX];
    fprintf(out, "# and the routes of these commands, INTERFACE being each one with IPv6:\n"
                 "#   ip -6 route add local ::6 dev lo proto 133\n"
                 "#   ip -6 route append local fe80::6 dev INTERFACE table local proto 133\n");
    for (size_t i = 0; i < ruleset->service_sources.num; i++) {
        const struct ip *ip = &ruleset->service_sources.cidrs[i].ip;
        if (!ip_is_v4(ip) || !ip_is_loopback(ip)) {
            fprintf(out, "#   ip %sroute add local %s dev lo proto 133\n",
                    ip_is_v4(ip) ? "" : "-6 ", ip_text(ip, buf));
        }
    }
    for (int is_v4 = 1; ruleset->has_caller_addresses && is_v4 >= 0; is_v4--) {
        const char *family = is_v4 ? "" : "-6 ";
        fprintf(out, "#   ip %srule add pref %d fwmark %d lookup %d protocol 133\n", family,
                RULE_PRIORITY, CONTRACT_RETURN_MARK, CONTRACT_RETURN_TABLE);
        fprintf(out, "#   ip %sroute add local default dev lo table %d proto 133\n", family,
                CONTRACT_RETURN_TABLE);
    }
    if (ruleset->has_caller_addresses) {
        fprintf(out, "#   ip -6 route append local fe80::/10 dev INTERFACE table %d proto 133\n",
                CONTRACT_RETURN_TABLE);
    }
}
