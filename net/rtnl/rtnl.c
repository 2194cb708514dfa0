// SPDX-License-Identifier: Apache-2.0
#include "net/rtnl/rtnl.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

enum { ANSWER_BYTES = 32 << 10 }; // what the kernel puts into one piece of an answer at most

int rtnl_open(struct rtnl *rtnl)
{
    *rtnl = (struct rtnl){0};
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket == NULL) {
        return errno;
    }
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) != 0) {
        int error = errno;
        mnl_socket_close(socket);
        return error;
    }
    rtnl->socket = socket;
    return 0;
}

void rtnl_close(struct rtnl *rtnl)
{
    if (rtnl->socket != NULL) {
        mnl_socket_close(rtnl->socket);
    }
    *rtnl = (struct rtnl){0};
}

struct nlmsghdr *rtnl_begin(void *buf, uint16_t type, uint16_t flags, size_t body_len)
{
    struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
    request->nlmsg_type = type;
    request->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    mnl_nlmsg_put_extra_header(request, body_len);
    return request;
}

void rtnl_put_ip(struct nlmsghdr *request, uint16_t attribute, const struct ip *ip)
{
    bool is_v4 = ip_is_v4(ip);
    mnl_attr_put(request, attribute, is_v4 ? 4 : 16, ip->bytes + (is_v4 ? 12 : 0));
}

// Drops what an earlier question, given up, was answered.
static void drop_answers(struct rtnl *rtnl)
{
    char answer[64];
    while (rtnl->is_stale &&
           recv(mnl_socket_get_fd(rtnl->socket), answer, sizeof answer, MSG_DONTWAIT) >= 0) {
    }
    rtnl->is_stale = false;
}

// Reads the answer to the last request, of one piece or, with is_long, of as many as come.
static int take_answer(struct rtnl *rtnl, bool is_long, mnl_cb_t on_message, void *ctx)
{
    char answer[ANSWER_BYTES];
    unsigned port = mnl_socket_get_portid(rtnl->socket);
    int result;
    do {
        ssize_t len = mnl_socket_recvfrom(rtnl->socket, answer, sizeof answer);
        if (len < 0) {
            return errno == ENOSPC ? EMSGSIZE : errno;
        }
        errno = 0;
        result = mnl_cb_run(answer, (size_t)len, rtnl->sequence, port, on_message, ctx);
        if (result == MNL_CB_ERROR) {
            return errno != 0 ? errno : EPROTO;
        }
    } while (is_long && result != MNL_CB_STOP);
    return 0;
}

int rtnl_ask(struct rtnl *rtnl, struct nlmsghdr *request, mnl_cb_t on_message, void *ctx)
{
    if (rtnl->socket == NULL) {
        return EBADF;
    }
    drop_answers(rtnl);
    request->nlmsg_seq = ++rtnl->sequence;
    if (mnl_socket_sendto(rtnl->socket, request, request->nlmsg_len) < 0) {
        return errno;
    }
    bool is_long = (request->nlmsg_flags & (NLM_F_DUMP | NLM_F_ACK)) != 0;
    int error = take_answer(rtnl, is_long, on_message, ctx);
    rtnl->is_stale = error != 0;
    return error;
}

static int on_route(const struct nlmsghdr *message, void *ctx)
{
    if (message->nlmsg_type == RTM_NEWROUTE &&
        mnl_nlmsg_get_payload_len(message) >= sizeof(struct rtmsg)) {
        *(uint8_t *)ctx = ((const struct rtmsg *)mnl_nlmsg_get_payload(message))->rtm_type;
    }
    return MNL_CB_OK;
}

int rtnl_route_type(struct rtnl *rtnl, const struct ip *ip, uint32_t interface, uint32_t mark,
                    uint8_t *out_type)
{
    char buf[RTNL_REQUEST_BYTES_MAX];
    struct nlmsghdr *request = rtnl_begin(buf, RTM_GETROUTE, 0, sizeof(struct rtmsg));
    struct rtmsg *route = mnl_nlmsg_get_payload(request);
    bool is_v4 = ip_is_v4(ip);
    route->rtm_family = is_v4 ? AF_INET : AF_INET6;
    route->rtm_dst_len = is_v4 ? 32 : 128;
    rtnl_put_ip(request, RTA_DST, ip);
    if (interface != 0) {
        mnl_attr_put_u32(request, RTA_OIF, interface);
    }
    if (mark != 0) {
        mnl_attr_put_u32(request, RTA_MARK, mark);
    }
    *out_type = RTN_UNSPEC;
    int error = rtnl_ask(rtnl, request, on_route, out_type);
    return error == 0 && *out_type == RTN_UNSPEC ? EPROTO : error;
}
