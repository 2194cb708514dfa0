// SPDX-License-Identifier: Apache-2.0
#include "control/intercept/host.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

enum { DUMPS_MAX = 5 }; // of one that the host's own changes spoil

void host_cleanup(struct host *host)
{
    array_cleanup(&host->interfaces);
    *host = (struct host){0};
}

// Copies the attributes of one kind of message into a table by their type.
struct attributes {
    const struct nlattr *at[IFLA_INFO_KIND + 64];
};

static int on_attribute(const struct nlattr *attribute, void *ctx)
{
    struct attributes *attributes = ctx;
    size_t type = mnl_attr_get_type(attribute);
    if (type < sizeof attributes->at / sizeof attributes->at[0]) {
        attributes->at[type] = attribute;
    }
    return MNL_CB_OK;
}

static bool is_kind(const struct nlattr *link_info, const char *kind)
{
    struct attributes inner = {{0}};
    if (link_info == NULL || mnl_attr_parse_nested(link_info, on_attribute, &inner) < 0) {
        return false;
    }
    const struct nlattr *is = inner.at[IFLA_INFO_KIND];
    return is != NULL && mnl_attr_validate(is, MNL_TYPE_NUL_STRING) >= 0 &&
           strcmp(mnl_attr_get_str(is), kind) == 0;
}

static bool takes_ip6(const char *name)
{
    char path[128];
    char first = '0';
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return errno != ENOENT; // a kernel without IPv6; else unknown, and it may
    }
    bool is_read = fread(&first, 1, 1, file) == 1;
    fclose(file);
    return !is_read || first == '0';
}

static int on_link(const struct nlmsghdr *message, void *ctx)
{
    struct host *host = ctx;
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(message);
    struct attributes found = {{0}};
    if (message->nlmsg_type != RTM_NEWLINK ||
        mnl_attr_parse(message, sizeof *link, on_attribute, &found) < 0 ||
        found.at[IFLA_IFNAME] == NULL ||
        mnl_attr_validate(found.at[IFLA_IFNAME], MNL_TYPE_NUL_STRING) < 0) {
        return MNL_CB_OK;
    }
    struct host_interface *interface = array_add(&host->interfaces, sizeof *interface);
    interface->index = (uint32_t)link->ifi_index;
    interface->is_up = link->ifi_flags & IFF_UP;
    interface->is_loopback = link->ifi_flags & IFF_LOOPBACK;
    interface->is_vrf = is_kind(found.at[IFLA_LINKINFO], "vrf");
    snprintf(interface->name, sizeof interface->name, "%s",
             mnl_attr_get_str(found.at[IFLA_IFNAME]));
    interface->takes_ip6 = takes_ip6(interface->name);
    if (found.at[IFLA_MASTER] != NULL &&
        mnl_attr_validate(found.at[IFLA_MASTER], MNL_TYPE_U32) >= 0) {
        interface->master = mnl_attr_get_u32(found.at[IFLA_MASTER]);
    }
    return MNL_CB_OK;
}

static struct host_interface *interface_find(const struct host *host, uint32_t index)
{
    struct host_interface *interfaces = host->interfaces.items;
    for (uint32_t i = 0; i < host->interfaces.num; i++) {
        if (interfaces[i].index == index) {
            return &interfaces[i];
        }
    }
    return NULL;
}

static bool attribute_ip(struct ip *out, uint8_t family, const struct nlattr *attribute)
{
    size_t len = attribute == NULL ? 0 : mnl_attr_get_payload_len(attribute);
    if ((family != AF_INET || len != 4) && (family != AF_INET6 || len != 16)) {
        return false;
    }
    *out = (struct ip){{[10] = 0xff, [11] = 0xff}};
    memcpy(out->bytes + (16 - len), mnl_attr_get_payload(attribute), len);
    return true;
}

// An address by which somebody else reaches this host. Its link-local ones are of one interface
// each, which by that has an address.
static void note_reached(struct host *host, const struct ip *ip)
{
    bool is_v4 = ip_is_v4(ip);
    if (!ip_is_loopback(ip) && !ip_is_link_local6(ip)) {
        host->is_reached[is_v4] = true;
        host->reached[is_v4] = *ip;
    }
}

static int on_address(const struct nlmsghdr *message, void *ctx)
{
    struct host *host = ctx;
    const struct ifaddrmsg *address = mnl_nlmsg_get_payload(message);
    struct attributes found = {{0}};
    struct ip ip;
    if (message->nlmsg_type != RTM_NEWADDR ||
        mnl_attr_parse(message, sizeof *address, on_attribute, &found) < 0) {
        return MNL_CB_OK;
    }
    // With a peer's address beside it, the own one is IFA_LOCAL.
    const struct nlattr *own =
        found.at[IFA_LOCAL] != NULL ? found.at[IFA_LOCAL] : found.at[IFA_ADDRESS];
    struct host_interface *interface = interface_find(host, address->ifa_index);
    if (!attribute_ip(&ip, address->ifa_family, own) || interface == NULL) {
        return MNL_CB_OK;
    }
    interface->has_ip[ip_is_v4(&ip)] = true;
    host->has_ip6 = host->has_ip6 || (!ip_is_v4(&ip) && ip_is_loopback(&ip));
    note_reached(host, &ip);
    return MNL_CB_OK;
}

// A block that is this host's by a route alone.
static int on_local_route(const struct nlmsghdr *message, void *ctx)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(message);
    struct attributes found = {{0}};
    struct ip ip;
    if (message->nlmsg_type == RTM_NEWROUTE && route->rtm_type == RTN_LOCAL &&
        route->rtm_protocol != ROUTES_PROTOCOL &&
        mnl_attr_parse(message, sizeof *route, on_attribute, &found) >= 0 &&
        attribute_ip(&ip, route->rtm_family, found.at[RTA_DST])) {
        note_reached(ctx, &ip);
    }
    return MNL_CB_OK;
}

static bool dump(struct host *host, struct rtnl *rtnl, uint16_t type, size_t body_len,
                 mnl_cb_t on_message, struct err *err)
{
    char buf[RTNL_REQUEST_BYTES_MAX];
    int error = EINTR;
    for (int i = 0; i < DUMPS_MAX && error == EINTR; i++) {
        struct nlmsghdr *request = rtnl_begin(buf, type, NLM_F_DUMP, body_len);
        error = rtnl_ask(rtnl, request, on_message, host);
    }
    return error == 0 || err_set(err, "this host's interfaces can't be read: %s", strerror(error));
}

bool host_read(struct host *out, struct rtnl *rtnl, struct err *err)
{
    *out = (struct host){0};
    return dump(out, rtnl, RTM_GETLINK, sizeof(struct ifinfomsg), on_link, err) &&
           dump(out, rtnl, RTM_GETADDR, sizeof(struct ifaddrmsg), on_address, err) &&
           dump(out, rtnl, RTM_GETROUTE, sizeof(struct rtmsg), on_local_route, err);
}

static bool check_interface(const struct host *host, const struct host_interface *interface,
                            struct err *err)
{
    static const char *const families[2] = {"IPv6", "IPv4"};
    const struct host_interface *master =
        interface->master != 0 ? interface_find(host, interface->master) : NULL;
    if (interface->is_vrf || (master != NULL && master->is_vrf)) {
        return err_set(err,
                       "%s belongs to a VRF, whose connections can't be redirected to a sidecar "
                       "outside of it; leave it alone with --exclude-inbound-interfaces %s",
                       interface->name, interface->name);
    }
    if (master != NULL) {
        return true; // what comes in by it comes in by its master
    }
    for (int is_v4 = 1; is_v4 >= 0; is_v4--) {
        char buf[ADDR_TEXT_MAX];
        if (host->is_reached[is_v4] && !interface->has_ip[is_v4] &&
            (is_v4 || interface->takes_ip6)) {
            return err_set(err,
                           "%s has no %s address, so what comes in by it for %s can't be "
                           "redirected and would be lost; give it an address, or leave it alone "
                           "with --exclude-inbound-interfaces %s",
                           interface->name, families[is_v4], ip_text(&host->reached[is_v4], buf),
                           interface->name);
        }
    }
    return true;
}

bool host_check(const struct host *host, const struct ruleset *ruleset, struct err *err)
{
    const struct host_interface *interfaces = host->interfaces.items;
    for (uint32_t i = 0; i < host->interfaces.num; i++) {
        const struct host_interface *interface = &interfaces[i];
        if (interface->is_loopback && !interface->is_up) {
            return err_set(err,
                           "%s is down, and outbound connections are redirected to it: ip "
                           "link set %s up",
                           interface->name, interface->name);
        }
        if (interface->is_up && !interface->is_loopback &&
            !ruleset_excludes_interface(ruleset, interface->name) &&
            !check_interface(host, interface, err)) {
            return false;
        }
    }
    return true;
}
