// SPDX-License-Identifier: Apache-2.0
#include "control/agent/interception/changes.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "control/intercept/host.h"
#include "control/intercept/ruleset.h"

enum {
    NOTICE_BYTES_MAX = 32 << 10,
    READS_MAX = 256,                   // for one call, so that the loop goes on
    QUEUE_BYTES = 1 << 20,             // of notices that were not read yet
    TABLE_ATTRIBUTE = NFTA_TABLE_NAME, // of a chain and of a rule their table's name has the same
};

static int subscribe(struct mnl_socket *socket, const int *groups, size_t num)
{
    const int bytes = QUEUE_BYTES;
    setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) != 0) {
        return errno;
    }
    for (size_t i = 0; i < num; i++) {
        int group = groups[i];
        if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
            return errno;
        }
    }
    return 0;
}

static int open_one(struct mnl_socket **out, int bus, const int *groups, size_t num)
{
    *out = mnl_socket_open2(bus, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int error = *out == NULL ? errno : subscribe(*out, groups, num);
    if (error != 0 && *out != NULL) {
        mnl_socket_close(*out);
        *out = NULL;
    }
    return error;
}

int changes_open(struct changes *changes)
{
    static const int of_routes[] = {RTNLGRP_LINK,       RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE,
                                    RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV6_RULE,  RTNLGRP_IPV6_IFADDR};
    static const int of_rules[] = {NFNLGRP_NFTABLES};
    struct mnl_socket **sockets = changes->sockets;
    open_one(&sockets[CHANGES_OF_ROUTES], NETLINK_ROUTE, of_routes,
             sizeof of_routes / sizeof of_routes[0]);
    return open_one(&sockets[CHANGES_OF_RULES], NETLINK_NETFILTER, of_rules, 1);
}

void changes_close(struct changes *changes)
{
    for (int i = 0; i < CHANGES_NUM; i++) {
        if (changes->sockets[i] != NULL) {
            mnl_socket_close(changes->sockets[i]);
        }
    }
    *changes = (struct changes){0};
}

int changes_fd(const struct changes *changes, int which)
{
    return changes->sockets[which] == NULL ? -1 : mnl_socket_get_fd(changes->sockets[which]);
}

static int on_route_notice(const struct nlmsghdr *message, void *ctx)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(message);
    bool is_route = message->nlmsg_type == RTM_NEWROUTE || message->nlmsg_type == RTM_DELROUTE;
    if (!is_route || route->rtm_protocol == ROUTES_PROTOCOL) {
        *(int *)ctx |= CHANGES_ROUTES; // or what changes rarely: a rule, an interface, its address
    }
    return MNL_CB_OK;
}

static int on_rule_notice(const struct nlmsghdr *message, void *ctx)
{
    const struct nfgenmsg *head = mnl_nlmsg_get_payload(message);
    const char *family = RULESET_TABLE;
    const char *name = strchr(family, ' ') + 1;
    const struct nlattr *attribute;
    if ((message->nlmsg_type & 0xff) == NFT_MSG_NEWGEN || head->nfgen_family != NFPROTO_INET) {
        return MNL_CB_OK;
    }
    mnl_attr_for_each(attribute, message, sizeof *head)
    {
        if (mnl_attr_get_type(attribute) == TABLE_ATTRIBUTE &&
            mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0 &&
            strcmp(mnl_attr_get_str(attribute), name) == 0) {
            *(int *)ctx |= CHANGES_RULES;
        }
    }
    return MNL_CB_OK;
}

int changes_read(struct changes *changes, int which)
{
    char notices[NOTICE_BYTES_MAX];
    struct mnl_socket *socket = changes->sockets[which];
    bool is_of_rules = which == CHANGES_OF_RULES;
    int everything = is_of_rules ? CHANGES_RULES : CHANGES_ROUTES;
    int found = 0;
    for (int i = 0; socket != NULL && i < READS_MAX; i++) {
        ssize_t len = mnl_socket_recvfrom(socket, notices, sizeof notices);
        if (len < 0 && (errno == ENOBUFS || errno == ENOSPC || errno == EINTR)) {
            found = everything; // some notices are lost, or one was cut
        } else if (len < 0) {
            break;
        } else if (mnl_cb_run(notices, (size_t)len, 0, 0,
                              is_of_rules ? on_rule_notice : on_route_notice, &found) < 0) {
            found = everything;
        }
    }
    return found;
}
