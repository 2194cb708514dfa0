// SPDX-License-Identifier: Apache-2.0
#include "control/intercept/ruleset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digits.h"
#include "base/must.h"
#include "proto/contract.h"

void ruleset_init(struct ruleset *ruleset)
{
    memset(ruleset, 0, sizeof *ruleset);
    ruleset->outbound_port = CONTRACT_OUTBOUND_PORT;
    ruleset->inbound_port = CONTRACT_INBOUND_PORT;
    ruleset->proxy_uid = CONTRACT_PROXY_UID;
    ruleset->exclude_inbound_ports.ranges[0] =
        (struct number_range){.first = CONTRACT_METRICS_PORT, .last = CONTRACT_HEALTH_PORT};
    ruleset->exclude_inbound_ports.num = 1;
}

// Decimal digits and nothing else, min to max. Ten digits are the most, leading zeros among them.
static bool read_number(uint32_t *out, const char *text, size_t len, uint32_t min, uint32_t max)
{
    uint64_t value = 0;
    bool ok = len <= 10 && digits_read(&value, text, len, DIGITS_TAKE_ZEROS, max) && value >= min;
    *out = (uint32_t)value;
    return ok;
}

bool ruleset_set_port(uint16_t *out, const char *text, struct err *err)
{
    uint32_t port = 0;
    if (!read_number(&port, text, strlen(text), 1, 65535)) {
        return err_set(err, "\"%s\" is not a TCP port (1 to 65535)", text);
    }
    *out = (uint16_t)port;
    return true;
}

bool ruleset_set_uid(uint32_t *out, const char *text, struct err *err)
{
    if (!read_number(out, text, strlen(text), 0, UINT32_MAX - 1)) {
        return err_set(err, "\"%s\" is not a user id (1 to 4294967294)", text);
    }
    return *out != 0 ||
           err_set(err, "user 0 is root, all of whose traffic would bypass the sidecar");
}

// Calls add for each piece between the commas; an empty piece is an error.
static bool for_each(const char *text, bool (*add)(void *list, const char *piece, struct err *err),
                     void *list, struct err *err)
{
    for (const char *at = text;;) {
        char piece[128];
        size_t len = strcspn(at, ",");
        if (len == 0) {
            return err_set(err, "\"%s\" has an empty entry", text);
        }
        if (len >= sizeof piece) {
            return err_set(err, "\"%.100s\" is too long for one entry", at);
        }
        memcpy(piece, at, len);
        piece[len] = '\0';
        if (!add(list, piece, err)) {
            return false;
        }
        if (at[len] == '\0') {
            return true;
        }
        at += len + 1;
    }
}

// Keeps the list sorted, and its ranges apart: nft 1.0.6 refuses a set whose intervals overlap.
static bool insert_range(struct number_ranges *list, struct number_range range, struct err *err)
{
    size_t from = 0;
    while (from < list->num && (uint64_t)list->ranges[from].last + 1 < range.first) {
        from++;
    }
    // The ranges from `from` on and before `to` touch the new one, and become one with it.
    size_t to = from;
    while (to < list->num && list->ranges[to].first <= (uint64_t)range.last + 1) {
        const struct number_range *old = &list->ranges[to++];
        range.first = old->first < range.first ? old->first : range.first;
        range.last = old->last > range.last ? old->last : range.last;
    }
    if (list->num + 1 - (to - from) > RULESET_RANGES_MAX) {
        return err_set(err, "more than %d entries in one list", RULESET_RANGES_MAX);
    }
    memmove(&list->ranges[from + 1], &list->ranges[to], (list->num - to) * sizeof range);
    list->ranges[from] = range;
    list->num = list->num + 1 - (to - from);
    return true;
}

static bool add_range(struct number_ranges *list, const char *piece, uint32_t min, uint32_t max,
                      const char *kind, struct err *err)
{
    const char *dash = strchr(piece, '-');
    size_t first_len = dash == NULL ? strlen(piece) : (size_t)(dash - piece);
    struct number_range range;
    if (!read_number(&range.first, piece, first_len, min, max)) {
        return err_set(err, "\"%s\" is not a %s or a range of them (%u to %u)", piece, kind, min,
                       max);
    }
    range.last = range.first;
    if (dash != NULL && !read_number(&range.last, dash + 1, strlen(dash + 1), min, max)) {
        return err_set(err, "\"%s\" is not a %s or a range of them (%u to %u)", piece, kind, min,
                       max);
    }
    if (range.last < range.first) {
        return err_set(err, "\"%s\" ends before it begins", piece);
    }
    return insert_range(list, range, err);
}

static bool add_port(void *list, const char *piece, struct err *err)
{
    return add_range(list, piece, 1, 65535, "TCP port", err);
}

static bool add_uid(void *list, const char *piece, struct err *err)
{
    return add_range(list, piece, 0, UINT32_MAX - 1, "user id", err);
}

static bool add_cidr(void *list, const char *piece, struct err *err)
{
    struct cidr_list *cidrs = list;
    if (cidrs->num == RULESET_RANGES_MAX) {
        return err_set(err, "more than %d entries in one list", RULESET_RANGES_MAX);
    }
    return cidr_parse(&cidrs->cidrs[cidrs->num], piece, err) && ++cidrs->num > 0;
}

static bool is_interface_name(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "._-:@";
    size_t len = strlen(text);
    return len > 0 && len < IF_NAMESIZE && strspn(text, allowed) == len;
}

static bool add_interface(void *list, const char *piece, struct err *err)
{
    struct name_list *names = list;
    if (!is_interface_name(piece)) {
        return err_set(err, "\"%s\" is not the name of an interface (as in eth0)", piece);
    }
    if (names->num == RULESET_RANGES_MAX) {
        return err_set(err, "more than %d entries in one list", RULESET_RANGES_MAX);
    }
    snprintf(names->names[names->num++], IF_NAMESIZE, "%s", piece);
    return true;
}

static bool add_address(void *list, const char *piece, struct err *err)
{
    struct ip ip;
    return ip_parse(&ip, piece, err) && add_cidr(list, piece, err);
}

bool ruleset_add_interfaces(struct name_list *list, const char *text, struct err *err)
{
    return for_each(text, add_interface, list, err);
}

bool ruleset_add_addresses(struct cidr_list *list, const char *text, struct err *err)
{
    return for_each(text, add_address, list, err);
}

bool ruleset_excludes_interface(const struct ruleset *ruleset, const char *name)
{
    const struct name_list *list = &ruleset->exclude_inbound_interfaces;
    for (size_t i = 0; i < list->num; i++) {
        if (strcmp(list->names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

bool ruleset_add_ports(struct number_ranges *list, const char *text, struct err *err)
{
    return for_each(text, add_port, list, err);
}

bool ruleset_add_uids(struct number_ranges *list, const char *text, struct err *err)
{
    return for_each(text, add_uid, list, err);
}

bool ruleset_add_cidrs(struct cidr_list *list, const char *text, struct err *err)
{
    return for_each(text, add_cidr, list, err);
}

bool ruleset_check(const struct ruleset *ruleset, struct err *err)
{
    return ruleset->outbound_port != ruleset->inbound_port ||
           err_set(err, "port %u can't be the outbound port and the inbound port",
                   ruleset->inbound_port);
}

static void put_ranges(FILE *out, const struct number_ranges *list)
{
    for (size_t i = 0; i < list->num; i++) {
        const struct number_range *range = &list->ranges[i];
        fprintf(out, "%s%u", i == 0 ? "" : ", ", range->first);
        if (range->last > range->first) {
            fprintf(out, "-%u", range->last);
        }
    }
}

static bool is_v4_block(const struct cidr *cidr)
{
    return cidr->prefix_bits >= 96 && ip_is_v4(&cidr->ip);
}

static size_t num_of_family(const struct cidr_list *list, bool is_v4)
{
    size_t num = 0;
    for (size_t i = 0; i < list->num; i++) {
        num += is_v4_block(&list->cidrs[i]) == is_v4;
    }
    return num;
}

// Whether another block of the list holds this one, the earlier one of two that are equal.
static bool is_covered(const struct cidr_list *list, size_t number)
{
    const struct cidr *cidr = &list->cidrs[number];
    for (size_t i = 0; i < list->num; i++) {
        const struct cidr *other = &list->cidrs[i];
        bool is_wider = other->prefix_bits < cidr->prefix_bits ||
                        (other->prefix_bits == cidr->prefix_bits && i < number);
        if (i != number && is_wider && is_v4_block(other) == is_v4_block(cidr) &&
            cidr_contains(other, &cidr->ip)) {
            return true;
        }
    }
    return false;
}

static void put_cidrs(FILE *out, const struct cidr_list *list, bool is_v4)
{
    const char *comma = "";
    for (size_t i = 0; i < list->num; i++) {
        char buf[ADDR_TEXT_MAX];
        if (is_v4_block(&list->cidrs[i]) == is_v4 && !is_covered(list, i)) {
            fprintf(out, "%s%s", comma, cidr_text(&list->cidrs[i], buf));
            comma = ", ";
        }
    }
}

// Writes the rule that leaves the ports of a list alone, or with is_include all other ports. An
// empty list needs no rule.
static void put_port_rule(FILE *out, const struct number_ranges *list, bool is_include,
                          const char *verdict)
{
    if (list->num > 0) {
        fprintf(out, "    tcp dport %s{ ", is_include ? "!= " : "");
        put_ranges(out, list);
        fprintf(out, " } counter %s\n", verdict);
    }
}

static void put_exclude_cidrs(FILE *out, const struct cidr_list *list, const char *field,
                              const char *verdict)
{
    for (int is_v4 = 1; is_v4 >= 0; is_v4--) {
        if (num_of_family(list, is_v4) > 0) {
            fprintf(out, "    %s %s { ", is_v4 ? "ip" : "ip6", field);
            put_cidrs(out, list, is_v4);
            fprintf(out, " } counter %s\n", verdict);
        }
    }
}

// With blocks of one family only, nothing of the other is included.
static void put_include_cidrs(FILE *out, const struct cidr_list *list)
{
    for (int is_v4 = 1; list->num > 0 && is_v4 >= 0; is_v4--) {
        if (num_of_family(list, is_v4) > 0) {
            fprintf(out, "    %s daddr != { ", is_v4 ? "ip" : "ip6");
            put_cidrs(out, list, is_v4);
            fprintf(out, " } counter accept\n");
        } else {
            fprintf(out, "    meta nfproto %s counter accept\n", is_v4 ? "ipv4" : "ipv6");
        }
    }
}

// Keeps the connections of exempt users in a conntrack zone of their own. In one zone, a connection
// of the service and one of the proxy can have the same two addresses and ports, one after the
// other: a closed entry is remembered for seconds, and a new SYN that meets it takes its fate. The
// service's then passed by the sidecar, or the proxy's was redirected to itself (istio#38982,
// linkerd2#15505). Only the original direction: answers are found by their own tuple.
static void put_zone(FILE *out, const struct ruleset *ruleset)
{
    fprintf(out,
            "  chain apart {\n"
            "    type filter hook output priority raw; policy accept;\n"
            "    meta l4proto != tcp return\n"
            "    meta skuid %u ct original zone set %d\n",
            ruleset->proxy_uid, RULESET_ZONE);
    if (ruleset->exclude_uids.num > 0) {
        fprintf(out, "    meta skuid { ");
        put_ranges(out, &ruleset->exclude_uids);
        fprintf(out, " } ct original zone set %d\n", RULESET_ZONE);
    }
    fprintf(out, "  }\n");
}

// A chain that both chains of outbound traffic ask first: what is left alone is accepted there.
static void put_left_alone(FILE *out, const struct ruleset *ruleset)
{
    fprintf(out,
            "  chain left_alone {\n"
            "    meta l4proto != tcp accept\n"
            "    meta skuid %u counter accept\n",
            ruleset->proxy_uid);
    if (ruleset->exclude_uids.num > 0) {
        fprintf(out, "    meta skuid { ");
        put_ranges(out, &ruleset->exclude_uids);
        fprintf(out, " } counter accept\n");
    }
    fprintf(out, "    oifname \"lo\" accept\n");
    put_port_rule(out, &ruleset->exclude_outbound_ports, false, "accept");
    put_exclude_cidrs(out, &ruleset->exclude_outbound_cidrs, "daddr", "accept");
    put_port_rule(out, &ruleset->include_outbound_ports, true, "accept");
    put_include_cidrs(out, &ruleset->include_outbound_cidrs);
    fprintf(out, "  }\n");
}

static void put_inbound(FILE *out, const struct ruleset *ruleset)
{
    const struct name_list *interfaces = &ruleset->exclude_inbound_interfaces;
    fprintf(out, "  chain inbound {\n"
                 "    type nat hook prerouting priority dstnat; policy accept;\n"
                 "    iifname \"lo\" return\n"
                 "    meta l4proto != tcp return\n");
    for (size_t i = 0; i < interfaces->num; i++) {
        fprintf(out, "    iifname \"%s\" counter return\n", interfaces->names[i]);
    }
    put_port_rule(out, &ruleset->exclude_inbound_ports, false, "return");
    put_exclude_cidrs(out, &ruleset->exclude_inbound_cidrs, "saddr", "return");
    put_port_rule(out, &ruleset->include_inbound_ports, true, "return");
    fprintf(out, "    meta l4proto tcp counter redirect to :%u\n  }\n", ruleset->inbound_port);
}

// A call to an IPv6 link-local address can't be redirected: the caller's socket is bound to an
// interface, and ::1 is another one's. It is refused, rather than lost.
static void put_outbound(FILE *out, const struct ruleset *ruleset)
{
    // nft 1.0.6 doesn't take the name dstnat in an output hook.
    fprintf(out,
            "  chain link_local {\n"
            "    type filter hook output priority -101; policy accept;\n"
            "    meta nfproto != ipv6 accept\n"
            "    ip6 daddr != fe80::/10 accept\n"
            "    ct direction reply accept\n"
            "    jump left_alone\n"
            "    meta l4proto tcp counter reject with tcp reset\n"
            "  }\n"
            "  chain outbound {\n"
            "    type nat hook output priority -100; policy accept;\n"
            "    ip daddr " RULESET_SELF_CHECK_IP " udp dport %d drop\n"
            "    jump left_alone\n"
            "    meta l4proto tcp counter redirect to :%u\n"
            "  }\n",
            RULESET_SELF_CHECK_PORT, ruleset->outbound_port);
}

// Brings the answers to a caller's own address back to the proxy, which called the service from
// there: all that the proxy calls over lo is marked in connection tracking, and the mark of an
// answer leads to a routing table by which every address is this host's.
static void put_callers(FILE *out, const struct ruleset *ruleset)
{
    if (ruleset->has_caller_addresses) {
        fprintf(out,
                "  chain callers {\n"
                "    type route hook output priority mangle; policy accept;\n"
                "    meta l4proto != tcp return\n"
                "    meta skuid %u oifname \"lo\" ct direction original ct mark set %d\n"
                "    ct direction reply ct mark %d meta mark set %d\n"
                "  }\n",
                ruleset->proxy_uid, CONTRACT_RETURN_MARK, CONTRACT_RETURN_MARK,
                CONTRACT_RETURN_MARK);
    }
}

static void put_chains(FILE *out, const struct ruleset *ruleset)
{
    put_zone(out, ruleset);
    put_callers(out, ruleset);
    // A segment that connection tracking finds invalid would pass the NAT unchanged and be answered
    // with a reset.
    fprintf(out, "  chain invalid {\n"
                 "    type filter hook prerouting priority mangle; policy accept;\n"
                 "    meta l4proto tcp ct state invalid counter drop\n"
                 "  }\n");
    put_inbound(out, ruleset);
    put_left_alone(out, ruleset);
    put_outbound(out, ruleset);
}

// The table is added, so that there is one to delete; deleted, so that nothing of an older one
// stays; and added. nftables does all of one batch or nothing.
static char *put_table(const struct ruleset *ruleset, const char *table, const char *flags)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = must_have(open_memstream(&text, &len));
    fprintf(out, "table %s\ndelete table %s\ntable %s {\n%s", table, table, table, flags);
    put_chains(out, ruleset);
    fprintf(out, "}\n");
    return must_have(fclose(out) == 0 ? text : NULL);
}

char *ruleset_up(const struct ruleset *ruleset)
{
    return put_table(ruleset, RULESET_TABLE, "");
}

char *ruleset_expected(const struct ruleset *ruleset, const char *table)
{
    return put_table(ruleset, table, "  " RULESET_DORMANT "\n");
}

char *ruleset_down(void)
{
    return must_strdup("table " RULESET_TABLE "\ndelete table " RULESET_TABLE "\n");
}
