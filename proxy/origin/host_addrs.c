// SPDX-License-Identifier: Apache-2.0
#include "proxy/origin/host_addrs.h"

#include <errno.h>
#include <linux/rtnetlink.h>

#include "base/data/keymap.h"

void host_addrs_init(struct host_addrs *addrs)
{
    *addrs = (struct host_addrs){0};
    addrs->error = rtnl_open(&addrs->rtnl);
}

void host_addrs_cleanup(struct host_addrs *addrs)
{
    rtnl_close(&addrs->rtnl);
}

static struct host_addrs_slot *slot_of(struct host_addrs *addrs, const struct addr *addr)
{
    uint64_t hash = keymap_hash(KEYMAP_HASH_START, addr->ip.bytes, sizeof addr->ip.bytes);
    return &addrs->slots[(hash ^ hash >> 32) % HOST_ADDRS_SLOTS];
}

static bool is_fresh(const struct host_addrs_slot *slot, const struct addr *addr, uint32_t mark,
                     uint64_t now_ms)
{
    return slot->is_used && slot->mark == mark && slot->scope == addr->scope &&
           ip_equal(&slot->ip, &addr->ip) && now_ms - slot->asked_ms < HOST_ADDRS_LIFE_MS;
}

// Whether the kernel has answered that no packet goes there.
static bool is_no_route(int error)
{
    return error == ENETUNREACH || error == EHOSTUNREACH || error == EACCES || error == EINVAL;
}

enum host_addrs_answer host_addrs_ask(struct host_addrs *addrs, const struct addr *addr,
                                      uint32_t mark, uint64_t now_ms)
{
    struct host_addrs_slot *slot = slot_of(addrs, addr);
    if (is_fresh(slot, addr, mark, now_ms)) {
        return slot->is_local ? HOST_ADDRS_YES : HOST_ADDRS_NO;
    }
    uint8_t type = RTN_UNSPEC;
    if (addrs->rtnl.socket == NULL) {
        return HOST_ADDRS_UNKNOWN;
    }
    int error = rtnl_route_type(&addrs->rtnl, &addr->ip, addr->scope, mark, &type);
    if (error != 0 && !is_no_route(error)) {
        addrs->error = error;
        return HOST_ADDRS_UNKNOWN;
    }
    *slot = (struct host_addrs_slot){.ip = addr->ip,
                                     .scope = addr->scope,
                                     .mark = mark,
                                     .asked_ms = now_ms,
                                     .is_used = true,
                                     .is_local = type == RTN_LOCAL};
    return slot->is_local ? HOST_ADDRS_YES : HOST_ADDRS_NO;
}
