// SPDX-License-Identifier: Apache-2.0
//
// Questions and orders to the kernel's routing (rtnetlink(7)) in this network namespace. The owner
// calls rtnl_open, then rtnl_ask or rtnl_route_type as often as it likes, and rtnl_close; one
// thread at a time. The kernel answers while it takes the request, so nothing here waits, and a
// missing answer is an error. Bounded by one message buffer on the stack.
#ifndef TABARD_NET_RTNL_H
#define TABARD_NET_RTNL_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define RTNL_REQUEST_BYTES_MAX 256 // every request of this program fits

// Zero state: not open.
struct rtnl {
    struct mnl_socket *socket; // owned; NULL: not open
    uint32_t sequence;
    bool is_stale; // the last question failed, and more of its answer may come
};

// rtnl_open returns 0, or an errno value.
int rtnl_open(struct rtnl *rtnl);
void rtnl_close(struct rtnl *rtnl);

// rtnl_begin makes a request in `buf`, of RTNL_REQUEST_BYTES_MAX bytes: a message type of
// rtnetlink(7), its flags (NLM_F_REQUEST is added), and `body_len` zero bytes of its fixed part.
struct nlmsghdr *rtnl_begin(void *buf, uint16_t type, uint16_t flags, size_t body_len);

// rtnl_put_ip adds an address as an attribute, of 4 bytes for IPv4.
void rtnl_put_ip(struct nlmsghdr *request, uint16_t attribute, const struct ip *ip);

// rtnl_ask sends a request and hands each message of its answer to `on_message` (may be NULL).
// Returns 0, or an errno value: the kernel's own, EAGAIN where it didn't answer, EMSGSIZE for an
// answer that was cut.
int rtnl_ask(struct rtnl *rtnl, struct nlmsghdr *request, mnl_cb_t on_message, void *ctx);

// rtnl_route_type asks how a packet to `ip` would go: out_type becomes an RTN_* of
// linux/rtnetlink.h (RTN_LOCAL: it is this host's). `interface` is the scope of a link-local
// address, or 0; `mark` the packet's mark, or 0. Returns as rtnl_ask does; ENETUNREACH,
// EHOSTUNREACH, EACCES and EINVAL are the kernel's words for an address to which no packet goes.
int rtnl_route_type(struct rtnl *rtnl, const struct ip *ip, uint32_t interface, uint32_t mark,
                    uint8_t *out_type);

#endif
