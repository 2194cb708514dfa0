// SPDX-License-Identifier: Apache-2.0
#include "control/intercept/passing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/must.h"
#include "net/rtnl/rtnl.h"

enum { ANSWER_BYTES = 32 << 10, TUPLE_BYTES_MAX = 128 };

struct end {
    struct ip ip;
    uint16_t port;
};

struct found {
    struct end local;
    struct end remote;
    uint32_t uid;
    bool is_open; // neither side has ended it
};

struct sockets {
    struct array all;     // struct found, those that listen aside
    struct array carried; // struct end: callers that the sidecar's outbound listener has accepted
    uint8_t listens[65536 / 8];
    uint16_t outbound_port;
};

static struct end end_of(uint8_t family, const __be32 *words, __be16 port)
{
    struct end end = {.port = ntohs(port)};
    if (family == AF_INET) {
        end.ip.bytes[10] = end.ip.bytes[11] = 0xff;
        memcpy(end.ip.bytes + 12, words, 4);
    } else {
        memcpy(end.ip.bytes, words, 16);
    }
    return end;
}

static int on_socket(const struct nlmsghdr *message, void *ctx)
{
    struct sockets *sockets = ctx;
    const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
    if (mnl_nlmsg_get_payload_len(message) < sizeof *socket) {
        return MNL_CB_OK;
    }
    const struct inet_diag_sockid *id = &socket->id;
    struct end local = end_of(socket->idiag_family, id->idiag_src, id->idiag_sport);
    if (socket->idiag_state == TCP_LISTEN) {
        sockets->listens[local.port / 8] |= (uint8_t)(1u << local.port % 8);
        return MNL_CB_OK;
    }
    struct found *found = array_add(&sockets->all, sizeof *found);
    *found = (struct found){
        .local = local,
        .remote = end_of(socket->idiag_family, id->idiag_dst, id->idiag_dport),
        .uid = socket->idiag_uid,
        .is_open = socket->idiag_state == TCP_ESTABLISHED || socket->idiag_state == TCP_SYN_SENT,
    };
    if (local.port == sockets->outbound_port) {
        *(struct end *)array_add(&sockets->carried, sizeof(struct end)) = found->remote;
    }
    return MNL_CB_OK;
}

static bool ask(struct sockets *out, struct mnl_socket *socket, uint8_t family)
{
    char buf[RTNL_REQUEST_BYTES_MAX];
    char answer[ANSWER_BYTES];
    struct nlmsghdr *request =
        rtnl_begin(buf, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sizeof(struct inet_diag_req_v2));
    struct inet_diag_req_v2 *wanted = mnl_nlmsg_get_payload(request);
    *wanted = (struct inet_diag_req_v2){
        .sdiag_family = family,
        .sdiag_protocol = IPPROTO_TCP,
        .idiag_states = 1u << TCP_LISTEN | 1u << TCP_ESTABLISHED | 1u << TCP_SYN_SENT |
                        1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2 | 1u << TCP_CLOSE_WAIT,
    };
    if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0) {
        return false;
    }
    int result = MNL_CB_OK;
    while (result == MNL_CB_OK) {
        ssize_t len = mnl_socket_recvfrom(socket, answer, sizeof answer);
        result = len < 0 ? MNL_CB_ERROR : mnl_cb_run(answer, (size_t)len, 0, 0, on_socket, out);
    }
    return result == MNL_CB_STOP;
}

static int compare_ends(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct end));
}

static int compare_found(const void *a, const void *b)
{
    return memcmp(a, b, 2 * sizeof(struct end));
}

static bool is_in(const struct array *sorted, const void *key, size_t size,
                  int (*compare)(const void *, const void *))
{
    return sorted->num > 0 && bsearch(key, sorted->items, sorted->num, size, compare) != NULL;
}

static bool is_passing(const struct sockets *sockets, const struct ruleset *ruleset,
                       const struct found *socket)
{
    struct found other = {.local = socket->remote, .remote = socket->local};
    struct addr remote = {.ip = socket->remote.ip, .port = socket->remote.port};
    uint16_t port = socket->local.port;
    if (!socket->is_open || ruleset_exempts_user(ruleset, socket->uid) ||
        ip_is_loopback(&socket->local.ip) || ip_is_loopback(&remote.ip) || remote.port == 0 ||
        port == ruleset->inbound_port ||
        is_in(&sockets->all, &other, sizeof other, compare_found)) {
        return false; // the sidecar's, or within this host
    }
    if (sockets->listens[port / 8] & 1u << port % 8) {
        return ruleset_catches_inbound(ruleset, port, &remote.ip);
    }
    return ruleset_catches_outbound(ruleset, &remote) &&
           !is_in(&sockets->carried, &socket->local, sizeof(struct end), compare_ends);
}

// Reads all sockets, sorted.
static bool read_all(struct sockets *out, struct mnl_socket *socket)
{
    if (!ask(out, socket, AF_INET) || !ask(out, socket, AF_INET6)) {
        return false;
    }
    if (out->all.num > 0) {
        qsort(out->all.items, out->all.num, sizeof(struct found), compare_found);
    }
    if (out->carried.num > 0) {
        qsort(out->carried.items, out->carried.num, sizeof(struct end), compare_ends);
    }
    return true;
}

void passing_list(struct array *out, const struct ruleset *ruleset)
{
    struct sockets *sockets = must_alloc(1, sizeof *sockets);
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
    sockets->outbound_port = ruleset->outbound_port;
    *out = (struct array){0};
    if (socket != NULL && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 &&
        read_all(sockets, socket)) {
        const struct found *all = sockets->all.items;
        for (uint32_t i = 0; i < sockets->all.num; i++) {
            if (is_passing(sockets, ruleset, &all[i])) {
                *(struct found *)array_add(out, sizeof *all) = all[i];
            }
        }
    }
    if (socket != NULL) {
        mnl_socket_close(socket);
    }
    array_cleanup(&sockets->all);
    array_cleanup(&sockets->carried);
    free(sockets);
}

size_t passing_num_new(const struct array *now, const struct array *before)
{
    const struct found *items = now->items;
    size_t num = 0;
    for (uint32_t i = 0; i < now->num; i++) {
        num += !is_in(before, &items[i], sizeof *items, compare_found);
    }
    return num;
}

// A connection as its opener sees it, in the kernel's words.
struct tuple {
    uint8_t family;
    uint16_t len;
    uint8_t bytes[TUPLE_BYTES_MAX];
};

struct search {
    const struct ruleset *ruleset;
    struct array found; // struct tuple
};

// The attributes of a message, or of one that holds others, by their types.
struct attributes {
    const struct nlattr *of[CTA_MAX + 1];
};

static int on_attribute(const struct nlattr *attr, void *ctx)
{
    struct attributes *out = ctx;
    if (mnl_attr_type_valid(attr, CTA_MAX) > 0) {
        out->of[mnl_attr_get_type(attr)] = attr;
    }
    return MNL_CB_OK;
}

static struct attributes within(const struct nlattr *attr)
{
    struct attributes inner = {{NULL}};
    if (attr != NULL) {
        mnl_attr_parse_nested(attr, on_attribute, &inner);
    }
    return inner;
}

static bool get_ip(struct ip *out, const struct attributes *ips, unsigned v4, unsigned v6)
{
    const struct nlattr *attr = ips->of[v4] != NULL ? ips->of[v4] : ips->of[v6];
    size_t len = ips->of[v4] != NULL ? 4 : 16;
    if (attr == NULL || mnl_attr_get_payload_len(attr) != len) {
        return false;
    }
    *out = (struct ip){{[10] = len == 4 ? 0xff : 0, [11] = len == 4 ? 0xff : 0}};
    memcpy(out->bytes + 16 - len, mnl_attr_get_payload(attr), len);
    return true;
}

// Says whether the rules catch a connection, whichever way it goes: which one isn't told. What the
// proxy calls is tracked in a zone of its own.
static bool is_caught(const struct ruleset *ruleset, const struct nlattr *tuple)
{
    struct attributes parts = within(tuple);
    struct attributes ips = within(parts.of[CTA_TUPLE_IP]);
    struct attributes proto = within(parts.of[CTA_TUPLE_PROTO]);
    struct ip from;
    struct addr to = {0};
    if (parts.of[CTA_TUPLE_ZONE] != NULL || proto.of[CTA_PROTO_NUM] == NULL ||
        mnl_attr_get_u8(proto.of[CTA_PROTO_NUM]) != IPPROTO_TCP ||
        proto.of[CTA_PROTO_DST_PORT] == NULL ||
        !get_ip(&from, &ips, CTA_IP_V4_SRC, CTA_IP_V6_SRC) ||
        !get_ip(&to.ip, &ips, CTA_IP_V4_DST, CTA_IP_V6_DST) || ip_is_loopback(&from) ||
        ip_is_loopback(&to.ip)) {
        return false;
    }
    to.port = ntohs(mnl_attr_get_u16(proto.of[CTA_PROTO_DST_PORT]));
    return ruleset_catches_inbound(ruleset, to.port, &from) ||
           ruleset_catches_outbound(ruleset, &to);
}

static int on_tracked(const struct nlmsghdr *message, void *ctx)
{
    struct search *search = ctx;
    struct attributes attrs = {{NULL}};
    const struct nfgenmsg *head = mnl_nlmsg_get_payload(message);
    if (mnl_nlmsg_get_payload_len(message) < sizeof *head) {
        return MNL_CB_OK;
    }
    mnl_attr_parse(message, sizeof *head, on_attribute, &attrs);
    const struct nlattr *tuple = attrs.of[CTA_TUPLE_ORIG];
    bool is_redirected = attrs.of[CTA_STATUS] != NULL &&
                         (ntohl(mnl_attr_get_u32(attrs.of[CTA_STATUS])) & IPS_DST_NAT) != 0;
    if (is_redirected || attrs.of[CTA_ZONE] != NULL || tuple == NULL ||
        mnl_attr_get_payload_len(tuple) > TUPLE_BYTES_MAX || !is_caught(search->ruleset, tuple)) {
        return MNL_CB_OK;
    }
    struct tuple *found = array_add(&search->found, sizeof *found);
    *found = (struct tuple){.family = head->nfgen_family, .len = mnl_attr_get_payload_len(tuple)};
    memcpy(found->bytes, mnl_attr_get_payload(tuple), found->len);
    return MNL_CB_OK;
}

static struct nlmsghdr *begin(char *buf, uint8_t type, uint16_t flags, uint8_t family)
{
    struct nlmsghdr *request = rtnl_begin(buf, (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type), flags,
                                          sizeof(struct nfgenmsg));
    struct nfgenmsg *head = mnl_nlmsg_get_payload(request);
    head->nfgen_family = family;
    head->version = NFNETLINK_V0;
    return request;
}

// Returns 0, or an errno value.
static int ask_tracking(struct mnl_socket *socket, const struct nlmsghdr *request,
                        mnl_cb_t on_message, void *ctx)
{
    char answer[ANSWER_BYTES];
    int result = MNL_CB_OK;
    if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0) {
        return errno;
    }
    while (result == MNL_CB_OK) {
        ssize_t len = mnl_socket_recvfrom(socket, answer, sizeof answer);
        result = len < 0 ? MNL_CB_ERROR : mnl_cb_run(answer, (size_t)len, 0, 0, on_message, ctx);
    }
    return result == MNL_CB_STOP ? 0 : errno;
}

static int forget(struct mnl_socket *socket, struct search *search)
{
    char buf[RTNL_REQUEST_BYTES_MAX];
    int error = ask_tracking(socket, begin(buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC),
                             on_tracked, search);
    const struct tuple *found = search->found.items;
    for (uint32_t i = 0; error == 0 && i < search->found.num; i++) {
        struct nlmsghdr *request = begin(buf, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, found[i].family);
        mnl_attr_put(request, CTA_TUPLE_ORIG | NLA_F_NESTED, found[i].len, found[i].bytes);
        error = ask_tracking(socket, request, NULL, NULL);
        error = error == ENOENT ? 0 : error; // it ended meanwhile
    }
    return error;
}

bool passing_forget(const struct ruleset *ruleset, struct err *err)
{
    struct search search = {.ruleset = ruleset};
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    int error = socket == NULL || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) != 0 ? errno : 0;
    if (error == 0) {
        error = forget(socket, &search);
    }
    if (socket != NULL) {
        mnl_socket_close(socket);
    }
    array_cleanup(&search.found);
    return error == 0 || err_set(err,
                                 "connections that passed by may go on: what the kernel tracks "
                                 "can't be listed: %s",
                                 strerror(error));
}
