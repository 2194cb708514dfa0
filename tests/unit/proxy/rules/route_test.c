// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/route.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb/pb_text.h"

#define NUM(array) (sizeof(array) / sizeof((array)[0]))

static Tabard__V1__Snapshot *snapshot_of(const char *text)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Snapshot *snapshot = (Tabard__V1__Snapshot *)pb_text_parse(
        &tabard__v1__snapshot__descriptor, text, strlen(text), "t", NULL, &err);
    cr_assert_not_null(snapshot, "%s in %s", err.text, text);
    return snapshot;
}

static struct route_index *index_of(const char *text)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Snapshot *snapshot = snapshot_of(text);
    struct route_index *index = route_index_new(snapshot, &err);
    cr_assert_not_null(index, "%s: %s in %s", err.where, err.text, text);
    tabard__v1__snapshot__free_unpacked(snapshot, NULL); // the index must not need it
    return index;
}

static const char destinations[] =
    "destinations:\n"
    "- {name: ten, addresses: [10.0.0.0/8], mode: PLAINTEXT}\n"
    "- {name: ten-one, addresses: [10.1.0.0/16], ports: [80, 443], mode: MTLS, identities: "
    "['spiffe://a/x/']}\n"
    "- {name: ten-one-any, addresses: [10.1.0.0/16], mode: PLAINTEXT}\n"
    "- {name: host, addresses: [10.1.2.3, fd00::5], ports: [80], mode: MTLS, identities: "
    "['spiffe://a/h', "
    "'spiffe://b']}\n"
    "- {name: six, addresses: ['fd00::/8'], mode: PLAINTEXT}\n"
    "- {name: all-six, addresses: ['::/0'], ports: [7], mode: PLAINTEXT}\n"
    "- {name: odd, addresses: [192.0.2.128/25], mode: PLAINTEXT}\n";

TestSuite(route, .timeout = 60);

Test(route, the_longest_prefix_that_has_the_port_wins)
{
    static const struct {
        const char *to;
        const char *name;
        enum route_mode mode;
        size_t num_identities;
    } rows[] = {
        {"10.9.9.9:80", "ten", ROUTE_PLAINTEXT, 0},
        {"10.1.9.9:80", "ten-one", ROUTE_MTLS, 1},
        {"10.1.9.9:443", "ten-one", ROUTE_MTLS, 1},
        {"10.1.9.9:81", "ten-one-any", ROUTE_PLAINTEXT,
         0}, // at one prefix, a port before every port
        {"10.1.2.3:80", "host", ROUTE_MTLS, 2},
        {"10.1.2.3:443", "ten-one", ROUTE_MTLS, 1}, // the longest doesn't have the port
        {"10.1.2.3:9", "ten-one-any", ROUTE_PLAINTEXT, 0},
        {"[::ffff:10.1.2.3]:80", "host", ROUTE_MTLS, 2},
        {"[fd00::5]:80", "host", ROUTE_MTLS, 2},
        {"[fd00::5]:81", "six", ROUTE_PLAINTEXT, 0},
        {"[fdff::1]:7", "six", ROUTE_PLAINTEXT, 0},
        {"[fe00::1]:7", "all-six", ROUTE_PLAINTEXT, 0},
        {"[fe00::1]:8", "", ROUTE_DENY, 0},
        {"11.0.0.1:7", "", ROUTE_DENY, 0}, // ::/0 is IPv6 only
        {"192.0.2.127:1", "", ROUTE_DENY, 0},
        {"192.0.2.128:1", "odd", ROUTE_PLAINTEXT, 0},
    };
    struct route_index *index = index_of(destinations);
    for (size_t i = 0; i < NUM(rows); i++) {
        struct addr addr;
        cr_assert(addr_parse(&addr, rows[i].to, false, NULL));
        struct route route = route_outbound(index, &addr);
        cr_expect_str_eq(route.name, rows[i].name, "%s goes to \"%s\"", rows[i].to, route.name);
        cr_expect_eq(route.mode, rows[i].mode, "%s", rows[i].to);
        cr_expect_eq(route.num_identities, rows[i].num_identities, "%s", rows[i].to);
    }
    struct addr addr;
    cr_assert(addr_parse(&addr, "10.1.2.3:80", false, NULL));
    struct route route = route_outbound(index, &addr);
    cr_expect_eq(route.identities[0].kind, SPIFFE_PATTERN_EXACT);
    cr_expect_eq(strncmp(route.identities[0].text, "spiffe://a/h", route.identities[0].text_len),
                 0);
    cr_expect_eq(route.identities[1].kind, SPIFFE_PATTERN_TRUST_DOMAIN);
    addr.port = 0;
    cr_expect_eq(route_outbound(index, &addr).mode, ROUTE_DENY);
    route_index_free(index);
    route_index_free(NULL);
}

Test(route, what_is_unlisted_is_denied_unless_settings_say_plaintext)
{
    static const struct {
        const char *text;
        enum route_mode mode;
    } rows[] = {
        {"", ROUTE_DENY},
        {"settings: {}", ROUTE_DENY},
        {"settings: {unlisted_outbound: DENY}", ROUTE_DENY},
        {"settings: {unlisted_outbound: PLAINTEXT}", ROUTE_PLAINTEXT},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct addr addr = {.port = 1};
        struct route_index *index = index_of(rows[i].text);
        struct route route = route_outbound(index, &addr);
        cr_expect_eq(route.mode, rows[i].mode, "%s", rows[i].text);
        cr_expect_str_eq(route.name, "");
        cr_expect_eq(route.num_identities, 0);
        route_index_free(index);
    }
}

Test(route, inbound_ports_are_served_as_listed_and_others_as_mtls)
{
    struct route_index *index =
        index_of("inbound_ports:\n"
                 "- {port: 9000, mode: TLS_PASSTHROUGH}\n"
                 "- {port: 80, mode: PERMISSIVE}\n"
                 "- {port: 443, mode: PERMISSIVE, foreign_tls: APPLICATION}\n"
                 "- {port: 444, mode: PERMISSIVE, foreign_tls: MESH}\n"
                 "- {port: 65535, mode: PLAINTEXT}\n"
                 "- {port: 1, mode: MTLS}\n");
    static const struct {
        uint16_t port;
        enum inbound_mode mode;
        bool foreign;
    } rows[] = {
        {1, INBOUND_MTLS, false},          {2, INBOUND_MTLS, false},
        {80, INBOUND_PERMISSIVE, false},   {443, INBOUND_PERMISSIVE, true},
        {444, INBOUND_PERMISSIVE, false},  {9000, INBOUND_TLS_PASSTHROUGH, false},
        {65535, INBOUND_PLAINTEXT, false}, {0, INBOUND_MTLS, false},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct inbound inbound = route_inbound(index, rows[i].port);
        cr_expect_eq(inbound.mode, rows[i].mode, "port %u", rows[i].port);
        cr_expect_eq(inbound.foreign_tls_is_application, rows[i].foreign, "port %u", rows[i].port);
    }
    route_index_free(index);
}

Test(route, the_narrowest_entry_says_how_a_port_is_served)
{
    struct route_index *index = index_of("inbound_ports:\n"
                                         "- {port: 8000-8999, mode: PERMISSIVE, detect_ms: 50}\n"
                                         "- {port: 8443, mode: TLS_PASSTHROUGH}\n"
                                         "- {port: 8100-8199, mode: PLAINTEXT}\n");
    static const struct {
        uint16_t port;
        enum inbound_mode mode;
        uint32_t detect_ms;
    } rows[] = {
        {7999, INBOUND_MTLS, 0},
        {8000, INBOUND_PERMISSIVE, 50},
        {8443, INBOUND_TLS_PASSTHROUGH, 0},
        {8444, INBOUND_PERMISSIVE, 50},
        {8150, INBOUND_PLAINTEXT, 0},
        {8200, INBOUND_PERMISSIVE, 50},
        {8999, INBOUND_PERMISSIVE, 50},
        {9000, INBOUND_MTLS, 0},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct inbound inbound = route_inbound(index, rows[i].port);
        cr_expect_eq(inbound.mode, rows[i].mode, "port %u", rows[i].port);
        cr_expect_eq(inbound.detect_ms, rows[i].detect_ms, "port %u", rows[i].port);
    }
    route_index_free(index);
}

Test(route, at_one_prefix_the_narrowest_ports_win)
{
    struct route_index *index = index_of(
        "destinations:\n"
        "- {name: any, addresses: [10.1.0.0/16], mode: PLAINTEXT}\n"
        "- {name: wide, addresses: [10.1.0.0/16], ports: [8000-8999, 9100-9199], mode: PLAINTEXT}\n"
        "- {name: narrow, addresses: [10.1.0.0/16], ports: [8100-8199], mode: PLAINTEXT}\n"
        "- {name: one, addresses: [10.1.0.0/16], ports: [8150], mode: PLAINTEXT}\n"
        "- {name: longer, addresses: [10.1.2.0/24], ports: [8150-8160], mode: PLAINTEXT}\n"
        "- {name: elsewhere, addresses: [10.2.0.0/16], ports: [1-65535], mode: PLAINTEXT}\n");
    static const char *const rows[][2] = {
        {"10.1.9.9:7999", "any"},    {"10.1.9.9:8000", "wide"},   {"10.1.9.9:8100", "narrow"},
        {"10.1.9.9:8150", "one"},    {"10.1.9.9:8151", "narrow"}, {"10.1.9.9:8200", "wide"},
        {"10.1.9.9:9199", "wide"},   {"10.1.9.9:9200", "any"},    {"10.1.2.3:8150", "longer"},
        {"10.1.2.3:8161", "narrow"}, {"10.2.0.1:1", "elsewhere"}, {"10.2.0.1:65535", "elsewhere"},
        {"10.3.0.1:80", ""},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct addr to;
        cr_assert(addr_parse(&to, rows[i][0], false, NULL));
        cr_expect_str_eq(route_outbound(index, &to).name, rows[i][1], "%s goes to \"%s\"",
                         rows[i][0], route_outbound(index, &to).name);
    }
    route_index_free(index);
}

Test(route, listens_come_in_the_snapshots_order)
{
    static const struct {
        enum listen_kind kind;
        const char *listen;
        const char *target;
        uint16_t port;
    } want[] = {
        {LISTEN_OUTBOUND, "[::]:15001", "[::]:0", 0},
        {LISTEN_INBOUND, "[::]:16006", "[::]:0", 0},
        {LISTEN_FORWARD, "127.0.0.1:7000", "127.0.0.1:9443",
         0}, // through the mesh to its own inbound port
        {LISTEN_FORWARD, "127.0.0.1:0", "10.0.0.1:1", 0},
        {LISTEN_FORWARD, "127.0.0.1:0", "10.0.0.1:1", 0},
        {LISTEN_INBOUND_PORT, "127.0.0.1:9443", "127.0.0.1:8080", 8080},
        {LISTEN_INBOUND_PORT, "[::]:0", "[fd00::1]:5", 82},
    };
    struct route_index *index =
        index_of("settings: {interception: {inbound_port: 16006}}\n"
                 "inbound_ports:\n"
                 "- {port: 8080, mode: MTLS, listen: '127.0.0.1:9443'}\n"
                 "- {port: 81, mode: MTLS}\n"
                 "- {port: 82, mode: MTLS, listen: '[::]:0', application: '[fd00::1]:5'}\n"
                 "forwards:\n"
                 "- {listen: '127.0.0.1:7000', destination: '127.0.0.1:9443'}\n"
                 "- {listen: '127.0.0.1:0', destination: '10.0.0.1:1'}\n"
                 "- {listen: '127.0.0.1:0', destination: '10.0.0.1:1'}\n");
    cr_assert_eq(route_num_listens(index), NUM(want));
    for (size_t i = 0; i < NUM(want); i++) {
        char buf[ADDR_TEXT_MAX];
        const struct listen_spec *spec = &route_listens(index)[i];
        cr_expect_eq(spec->kind, want[i].kind, "%zu", i);
        cr_expect_str_eq(addr_text(&spec->listen, buf), want[i].listen, "%zu: %s", i, buf);
        cr_expect_str_eq(addr_text(&spec->target, buf), want[i].target, "%zu: %s", i, buf);
        cr_expect_eq(spec->port, want[i].port, "%zu", i);
    }
    route_index_free(index);
}

Test(route, without_interception_nothing_of_it_is_listened_on)
{
    struct route_index *index = index_of("settings: {}");
    cr_expect_eq(route_num_listens(index), 0);
    route_index_free(index);
}

#define OUT(rest) "destinations:\n- {name: d, " rest "}\n"
#define IN(rest)  "inbound_ports:\n- {" rest "}\n"
#define FORWARD(listen, destination)                                                               \
    "forwards:\n- {listen: '" listen "', destination: '" destination "'}\n"
#define LIMIT(rest) "settings: {limits: {" rest "}}"

Test(route, what_is_refused_is_named)
{
    static const struct {
        const char *text;
        const char *where;
        const char *message;
    } rows[] = {
        // Destinations.
        {"destinations: [{addresses: [10.0.0.1], mode: PLAINTEXT}]", "destinations[0].name",
         "there is no name"},
        {"destinations: [{name: 'a b', addresses: [10.0.0.1], mode: PLAINTEXT}]",
         "destinations[0].name",
         "byte 2 of \"a b\" is not allowed in a name: no spaces, quotes, backslashes, # or =, "
         "and ASCII only"},
        {"destinations:\n- {name: d, addresses: [10.0.0.1], mode: PLAINTEXT}\n- {name: d, "
         "addresses: [10.0.0.2], mode: "
         "PLAINTEXT}\n",
         "destinations[1].name", "the name \"d\" is that of destinations[0] too"},
        {OUT("addresses: [10.0.0.1]"), "destinations[0].mode",
         "the mode must be written: MTLS or PLAINTEXT"},
        {OUT("mode: PLAINTEXT"), "destinations[0].addresses",
         "a destination needs at least one address"},
        {OUT("addresses: [10.0.0.1, 10.0.0.1/8], mode: PLAINTEXT"), "destinations[0].addresses[1]",
         "\"10.0.0.1/8\" has host bits set: write 10.0.0.0/8, or the address alone"},
        {OUT("addresses: [web.example], mode: PLAINTEXT"), "destinations[0].addresses[0]",
         "\"web.example\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {OUT("addresses: [10.0.0.1], ports: [80, 70-90], mode: PLAINTEXT"),
         "destinations[0].ports[1]", "70-90 and 80 have ports in common: list each port once"},
        {OUT("addresses: [10.0.0.1], ports: [70-90], mode: PLAINTEXT") "- {name: e, addresses: "
                                                                       "[10.0.0.1], ports: "
                                                                       "[90-99], "
                                                                       "mode: PLAINTEXT}\n",
         "destinations[1].addresses[0]",
         "ports 90-99 and ports 70-90 of destinations[0] have some ports of this block in common, "
         "and neither lies in the other"},
        {OUT("addresses: [10.0.0.1], ports: [70-90], mode: PLAINTEXT") "- {name: e, addresses: "
                                                                       "[10.0.0.1], ports: "
                                                                       "[70-90], "
                                                                       "mode: PLAINTEXT}\n",
         "destinations[1].addresses[0]",
         "10.0.0.1/32 at ports 70-90 is that of destinations[0] too"},
        {OUT("addresses: [10.0.0.1, 10.0.0.1], ports: [70-90], mode: PLAINTEXT"),
         "destinations[0].addresses[1]",
         "10.0.0.1/32 at ports 70-90 is listed twice in this destination"},
        {OUT("addresses: [10.0.0.1], mode: MTLS"), "destinations[0].identities",
         "mode MTLS needs the identities of which the server must prove one"},
        {OUT("addresses: [10.0.0.1], mode: PLAINTEXT, identities: ['spiffe://a/b']"),
         "destinations[0].identities", "mode PLAINTEXT proves no identities: leave them out"},
        {OUT("addresses: [10.0.0.1, 10.0.0.1], mode: PLAINTEXT"), "destinations[0].addresses[1]",
         "10.0.0.1/32 at every port is listed twice in this destination"},
        {OUT("addresses: [10.0.0.1], ports: [80, 80], mode: PLAINTEXT"), "destinations[0].ports[1]",
         "80 is listed twice"},
        {OUT("addresses: [10.0.0.1, 10.0.0.1], ports: [80], mode: PLAINTEXT"),
         "destinations[0].addresses[1]",
         "10.0.0.1/32 at port 80 is listed twice in this destination"},
        {OUT("addresses: [10.0.0.0/8], ports: [80], mode: PLAINTEXT") "- {name: e, addresses: "
                                                                      "[11.0.0.1, 10.0.0.0/8], "
                                                                      "ports: [81, 80], mode: "
                                                                      "PLAINTEXT}\n",
         "destinations[1].addresses[1]", "10.0.0.0/8 at port 80 is that of destinations[0] too"},
        {OUT("addresses: ['::ffff:10.0.0.1'], mode: PLAINTEXT") "- {name: e, addresses: "
                                                                "[10.0.0.1], mode: PLAINTEXT}\n",
         "destinations[1].addresses[0]",
         "10.0.0.1/32 at every port is that of destinations[0] too"},
        {OUT("addresses: [10.0.0.1], mode: PLAINTEXT, binding: NONE"), "destinations[0].binding",
         "this is only for mode MTLS"},
        {OUT("addresses: [10.0.0.1], mode: MTLS, identities: ['spiffe://a/b'], alpn: [h2], "
             "binding: REQUIRED"),
         "destinations[0].binding",
         "only a sidecar can confirm it: add tabard/1 to alpn, or leave this out"},
        {OUT("addresses: [10.0.0.1], mode: PLAINTEXT, alpn: [h2]"), "destinations[0].alpn",
         "this is only for mode MTLS"},
        {OUT("addresses: [10.0.0.1], mode: MTLS, identities: ['spiffe://a/b'], alpn: [h2, h2]"),
         "destinations[0].alpn[1]", "\"h2\" is listed twice"},
        // Inbound ports.
        {IN("port: 80, mode: PLAINTEXT, alpn: [h2]"), "inbound_ports[0].alpn",
         "this is only for modes MTLS and PERMISSIVE, without foreign_tls APPLICATION"},
        {IN("port: 80, mode: TLS_PASSTHROUGH, alpn: [h2]"), "inbound_ports[0].alpn",
         "this is only for modes MTLS and PERMISSIVE, without foreign_tls APPLICATION"},
        {IN("port: 80, mode: PERMISSIVE, foreign_tls: APPLICATION, alpn: [h2]"),
         "inbound_ports[0].alpn",
         "this is only for modes MTLS and PERMISSIVE, without foreign_tls APPLICATION"},
        {IN("port: 80, mode: MTLS, alpn: [tabard/2]"), "inbound_ports[0].alpn[0]",
         "\"tabard/2\" is one of the mesh's own names: write tabard/1"},
        {IN("mode: MTLS"), "inbound_ports[0].port", "0 is not a TCP port (1 to 65535)"},
        {IN("port: 80-90, mode: MTLS") "- {port: 90-99, mode: MTLS}\n", "inbound_ports[1].port",
         "90-99 has ports in common with 80-90 of inbound_ports[0], and neither lies in the other"},
        {IN("port: 80-90, mode: MTLS") "- {port: 80-90, mode: PLAINTEXT}\n",
         "inbound_ports[1].port", "port 80-90 is that of inbound_ports[0] too"},
        {IN("port: 80-90, mode: MTLS, listen: '0.0.0.0:80'"), "inbound_ports[0].port",
         "a range is for traffic that is intercepted: with listen, write one port"},
        {IN("port: 80, mode: MTLS, detect_ms: 5"), "inbound_ports[0].detect_ms",
         "this is for mode PERMISSIVE only"},
        {IN("port: 80, mode: PERMISSIVE, detect_ms: 86400001"), "inbound_ports[0].detect_ms",
         "86400001 is out of range (1 to 86400000; 0 means limits.detect_ms)"},
        {IN("port: 80"), "inbound_ports[0].mode",
         "the mode must be written: MTLS, PERMISSIVE, PLAINTEXT or TLS_PASSTHROUGH"},
        {IN("port: 80, mode: MTLS") "- {port: 80, mode: PLAINTEXT}\n", "inbound_ports[1].port",
         "port 80 is that of inbound_ports[0] too"},
        {IN("port: 80, mode: MTLS, foreign_tls: APPLICATION"), "inbound_ports[0].foreign_tls",
         "this is for mode PERMISSIVE only"},
        {IN("port: 80, mode: PLAINTEXT, foreign_tls: MESH"), "inbound_ports[0].foreign_tls",
         "this is for mode PERMISSIVE only"},
        {IN("port: 80, mode: MTLS, application: '127.0.0.1:81'"), "inbound_ports[0].application",
         "this is used only with listen; with interception, traffic goes to the address it was "
         "sent to"},
        {IN("port: 80, mode: MTLS, listen: '0.0.0.0'"), "inbound_ports[0].listen",
         "\"0.0.0.0\" is not an address and port (as in 10.1.2.3:80 or [fd00::1]:80)"},
        {IN("port: 80, mode: MTLS, listen: '0.0.0.0:81', application: '0.0.0.0:80'"),
         "inbound_ports[0].application",
         "\"0.0.0.0:80\" is no address to connect to: write one of a host, or 127.0.0.1"},
        {IN("port: 80, mode: MTLS, listen: '0.0.0.0:81', application: '127.0.0.1:0'"),
         "inbound_ports[0].application", "\"127.0.0.1:0\": \"0\" is not a TCP port (1 to 65535)"},
        {IN("port: 80, mode: MTLS, listen: '127.0.0.1:80'"), "inbound_ports[0].application",
         "127.0.0.1:80 is listened on by this sidecar itself: a loop"},
        {IN("port: 80, mode: MTLS, listen: '0.0.0.0:80'"), "inbound_ports[0].application",
         "127.0.0.1:80 is listened on by this sidecar itself: a loop"},
        {IN("port: 79, mode: MTLS") "- {port: 80, mode: MTLS, listen: '[::]:80', application: "
                                    "'[::1]:80'}\n",
         "inbound_ports[1].application", "[::1]:80 is listened on by this sidecar itself: a loop"},
        // Forwards.
        {"forwards: [{destination: '10.0.0.1:80'}]", "forwards[0].listen",
         "\"\" is not an address and port (as in 10.1.2.3:80 or [fd00::1]:80)"},
        {"forwards: [{listen: '127.0.0.1:1'}]", "forwards[0].destination",
         "\"\" is not an address and port (as in 10.1.2.3:80 or [fd00::1]:80)"},
        {FORWARD("127.0.0.1:1", "[::]:80"), "forwards[0].destination",
         "\"[::]:80\" is no address to connect to: write one of a host, or 127.0.0.1"},
        {FORWARD("127.0.0.1:1", "127.0.0.1:1"), "forwards[0].destination",
         "127.0.0.1:1 is listened on by this sidecar itself: a loop"},
        {FORWARD("127.0.0.1:1",
                 "127.0.0.1:2") "- {listen: '127.0.0.1:2', destination: '10.0.0.1:1'}\n",
         "forwards[0].destination", "127.0.0.1:2 is listened on by this sidecar itself: a loop"},
        {FORWARD("0.0.0.0:1", "127.0.0.9:1"), "forwards[0].destination",
         "127.0.0.9:1 is listened on by this sidecar itself: a loop"},
        {FORWARD("127.0.0.1:1",
                 "10.0.0.1:1") "- {listen: '127.0.0.1:1', destination: '10.0.0.1:2'}\n",
         "forwards[1].listen", "127.0.0.1:1 is listened on already"},
        {FORWARD("127.0.0.1:1", "10.0.0.1:1") IN("port: 80, mode: MTLS, listen: '127.0.0.1:1'"),
         "inbound_ports[0].listen", "127.0.0.1:1 is listened on already"},
        {FORWARD("127.0.0.1:1", "10.0.0.1:1")
             IN("port: 80, mode: MTLS, listen: '127.0.0.1:2', application: "
                "'127.0.0.1:1'"),
         "inbound_ports[0].application",
         "127.0.0.1:1 is listened on by this sidecar itself: a loop"},
        {FORWARD("127.0.0.1:15006", "10.0.0.1:1") "settings: {interception: {}}",
         "forwards[0].listen", "port 15006 is one of settings.interception"},
        {FORWARD("127.0.0.1:1", "127.0.0.1:15001") "settings: {interception: {}}",
         "forwards[0].destination",
         "\"127.0.0.1:15001\" is the sidecar itself (settings.interception): a loop"},
        {FORWARD("127.0.0.1:1", "127.0.0.1:1") "settings: {interception: {}}",
         "forwards[0].destination", "127.0.0.1:1 is listened on by this sidecar itself: a loop"},
        {IN("port: 80, mode: MTLS, listen: '127.0.0.1:80'") "settings: {interception: {}}",
         "inbound_ports[0].application",
         "127.0.0.1:80 is listened on by this sidecar itself: a loop"},
        // Settings.
        {"settings: {interception: {outbound_port: 15006}}", "settings.interception.inbound_port",
         "port 15006 is the outbound_port too"},
        {"settings: {interception: {outbound_port: 70000}}", "settings.interception.outbound_port",
         "70000 is not a TCP port (1 to 65535)"},
        {"settings: {drain_seconds: 86401}", "settings.drain_seconds",
         "86401 is out of range (1 to 86400; 0 means 25)"},
        {"settings: {drain_delay_seconds: 25}", "settings.drain_delay_seconds",
         "25 is not less than settings.drain_seconds, 25, of which it is a part"},
        {"settings: {drain_seconds: 3, drain_delay_seconds: 4294967295}",
         "settings.drain_delay_seconds",
         "4294967295 is not less than settings.drain_seconds, 3, of which it is a part"},
        {LIMIT("connections: 1000001"), "settings.limits.connections",
         "1000001 is out of range (1 to 1000000; 0 means 65536)"},
        {LIMIT("denials: 2049"), "settings.limits.denials",
         "2049 is out of range (1 to 2048; 0 means 1024)"},
        {LIMIT("identity_connections: 1000001"), "settings.limits.identity_connections",
         "1000001 is out of range (1 to 1000000; 0 means 1000000)"},
        {LIMIT("handshakes: 1000001"), "settings.limits.handshakes",
         "1000001 is out of range (1 to 1000000; 0 means 4096)"},
        {LIMIT("buffer_bytes: 1048575"), "settings.limits.buffer_bytes",
         "1048575 is out of range (1048576 to 1099511627776; 0 means 536870912)"},
        {LIMIT("handshake_ms: 86400001"), "settings.limits.handshake_ms",
         "86400001 is out of range (1 to 86400000; 0 means 10000)"},
        {LIMIT("connect_ms: 86400001"), "settings.limits.connect_ms",
         "86400001 is out of range (1 to 86400000; 0 means 10000)"},
        {LIMIT("detect_ms: 86400001"), "settings.limits.detect_ms",
         "86400001 is out of range (1 to 86400000; 0 means 5000)"},
        {LIMIT("idle_ms: 86400001"), "settings.limits.idle_ms",
         "86400001 is out of range (1 to 86400000; 0 means 3600000)"},
        {LIMIT("half_closed_ms: 86400001"), "settings.limits.half_closed_ms",
         "86400001 is out of range (1 to 86400000; 0 means 300000)"},
        {LIMIT("stall_ms: 86400001"), "settings.limits.stall_ms",
         "86400001 is out of range (1 to 86400000; 0 means 60000)"},
        {LIMIT("key_records: 15"), "settings.limits.key_records",
         "15 is out of range (16 to 16777216; 0 means 4194304)"},
        {LIMIT("key_records: 16777217"), "settings.limits.key_records",
         "16777217 is out of range (16 to 16777216; 0 means 4194304)"},
        {LIMIT("closing_ms: 86400001"), "settings.limits.closing_ms",
         "86400001 is out of range (1 to 86400000; 0 means 5000)"},
        {LIMIT("peer_expiry_grace_ms: 4294967295"), "settings.limits.peer_expiry_grace_ms",
         "4294967295 is out of range (1 to 86400000; 0 means 30000)"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err = {{0}, {0}};
        Tabard__V1__Snapshot *snapshot = snapshot_of(rows[i].text);
        struct route_index *index = route_index_new(snapshot, &err);
        cr_expect_null(index, "%s was taken", rows[i].text);
        cr_expect_str_eq(err.where, rows[i].where, "%s: %s", rows[i].text, err.where);
        cr_expect_str_eq(err.text, rows[i].message, "%s: %s", rows[i].text, err.text);
        route_index_free(index);
        tabard__v1__snapshot__free_unpacked(snapshot, NULL);
    }
}

Test(route, what_stands_at_a_bound_is_taken)
{
    static const char *const rows[] = {
        "settings: {drain_seconds: 86400, drain_delay_seconds: 86399}",
        "settings: {drain_delay_seconds: 24}",
        LIMIT("connections: 1000000"),
        LIMIT("handshakes: 1000000"),
        LIMIT("buffer_bytes: 1048576"),
        LIMIT("buffer_bytes: 1099511627776"),
        LIMIT("handshake_ms: 86400000"),
        LIMIT("stall_ms: 86400000"),
        LIMIT("connections: 1"),
        OUT("addresses: [10.0.0.1], ports: [1, 65535], mode: PLAINTEXT"),
        IN("port: 65535, mode: MTLS"),
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err = {{0}, {0}};
        Tabard__V1__Snapshot *snapshot = snapshot_of(rows[i]);
        struct route_index *index = route_index_new(snapshot, &err);
        cr_expect_not_null(index, "%s: %s: %s", rows[i], err.where, err.text);
        route_index_free(index);
        tabard__v1__snapshot__free_unpacked(snapshot, NULL);
    }
}

Test(route, an_identity_that_is_no_pattern_is_refused_with_its_place)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Snapshot *snapshot =
        snapshot_of(OUT("addresses: [10.0.0.1], mode: MTLS, identities: ['spiffe://a/b', '*']"));
    cr_expect_null(route_index_new(snapshot, &err));
    cr_expect_str_eq(err.where, "destinations[0].identities[1]");
    cr_expect_neq(err.text[0], '\0');
    tabard__v1__snapshot__free_unpacked(snapshot, NULL);
}

Test(route, unknown_fields_and_values_are_refused_wherever_they_are)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Snapshot *snapshot =
        snapshot_of("settings: {limits: {}}\ninbound_ports: [{port: 80, mode: MTLS}]\n");
    ProtobufCMessageUnknownField unknown = {.tag = 99};
    snapshot->settings->limits->base.n_unknown_fields = 1;
    snapshot->settings->limits->base.unknown_fields = &unknown;
    cr_expect_null(route_index_new(snapshot, &err));
    cr_expect_str_eq(err.where, "settings.limits");
    snapshot->settings->limits->base.n_unknown_fields = 0;
    snapshot->settings->limits->base.unknown_fields = NULL;
    snapshot->inbound_ports[0]->mode = (Tabard__V1__InboundPort__Mode)5;
    cr_expect_null(route_index_new(snapshot, &err));
    cr_expect_str_eq(err.where, "inbound_ports[0].mode");
    cr_expect_str_eq(err.text, "there is a field or value here that this version doesn't know");
    tabard__v1__snapshot__free_unpacked(snapshot, NULL);
}

Test(route, limits_have_the_defaults_of_the_schema)
{
    static const char *const rows[] = {"", "settings: {}", "settings: {limits: {}}"};
    for (size_t i = 0; i < NUM(rows); i++) {
        struct route_index *index = index_of(rows[i]);
        const struct limits *limits = route_limits(index);
        cr_expect_eq(limits->connections, 65536);
        cr_expect_eq(limits->identity_connections, 1000000);
        cr_expect_eq(limits->handshakes, 4096);
        cr_expect_eq(limits->buffer_bytes, 536870912);
        cr_expect_eq(limits->handshake_ms, 10000);
        cr_expect_eq(limits->connect_ms, 10000);
        cr_expect_eq(limits->detect_ms, 5000);
        cr_expect_eq(limits->idle_ms, 3600000);
        cr_expect_eq(limits->half_closed_ms, 300000);
        cr_expect_eq(limits->stall_ms, 60000);
        cr_expect_eq(limits->closing_ms, 5000);
        cr_expect_eq(limits->key_records, 4194304);
        cr_expect_eq(limits->denials, 1024);
        cr_expect_eq(limits->peer_expiry_grace_ms, 30000);
        cr_expect_eq(limits->drain_seconds, 25);
        cr_expect_eq(limits->drain_delay_seconds, 0);
        route_index_free(index);
    }
}

Test(route, limits_are_taken_as_written)
{
    struct route_index *index = index_of(
        "settings: {drain_seconds: 5, drain_delay_seconds: 4, limits: {connections: 1, handshakes: "
        "2, buffer_bytes: "
        "1099511627776, "
        "handshake_ms: 3, connect_ms: 4, detect_ms: 5, idle_ms: 6, half_closed_ms: 7, stall_ms: 8, "
        "closing_ms: 9, key_records: 16, denials: 11, identity_connections: 10, "
        "peer_expiry_grace_ms: "
        "86400000}}");
    const struct limits *limits = route_limits(index);
    cr_expect_eq(limits->connections, 1);
    cr_expect_eq(limits->identity_connections, 10);
    cr_expect_eq(limits->handshakes, 2);
    cr_expect_eq(limits->buffer_bytes, UINT64_C(1) << 40);
    cr_expect_eq(limits->handshake_ms, 3);
    cr_expect_eq(limits->connect_ms, 4);
    cr_expect_eq(limits->detect_ms, 5);
    cr_expect_eq(limits->idle_ms, 6);
    cr_expect_eq(limits->half_closed_ms, 7);
    cr_expect_eq(limits->stall_ms, 8);
    cr_expect_eq(limits->closing_ms, 9);
    cr_expect_eq(limits->key_records, 16);
    cr_expect_eq(limits->denials, 11);
    cr_expect_eq(limits->peer_expiry_grace_ms, 86400000);
    cr_expect_eq(limits->drain_seconds, 5);
    cr_expect_eq(limits->drain_delay_seconds, 4);
    route_index_free(index);
}

Test(route, too_many_of_anything_is_refused_before_it_is_read)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    static Tabard__V1__Destination destination = TABARD__V1__DESTINATION__INIT;
    static Tabard__V1__Destination *many[DESTINATIONS_MAX + 1];
    for (size_t i = 0; i < NUM(many); i++) {
        many[i] = &destination;
    }
    snapshot.destinations = many;
    snapshot.n_destinations = DESTINATIONS_MAX + 1;
    cr_expect_null(route_index_new(&snapshot, &err));
    cr_expect_str_eq(err.text, "200001 destinations are over the limit of 200000");

    static char address[] = "10.0.0.1";
    static char *addresses[DESTINATION_ADDRESSES_MAX + 1];
    static char *identities[DESTINATION_IDENTITIES_MAX + 1];
    static char identity[] = "spiffe://a/b";
    static char name[DESTINATION_NAME_LEN_MAX + 2];
    for (size_t i = 0; i < NUM(addresses); i++) {
        addresses[i] = address;
    }
    for (size_t i = 0; i < NUM(identities); i++) {
        identities[i] = identity;
    }
    memset(name, 'n', sizeof name - 1);
    snapshot.n_destinations = 1;
    destination.name = name;
    destination.mode = TABARD__V1__DESTINATION__MODE__MTLS;
    destination.addresses = addresses;
    destination.n_addresses = NUM(addresses);
    destination.identities = identities;
    destination.n_identities = NUM(identities);
    cr_expect_null(route_index_new(&snapshot, &err));
    cr_expect_str_eq(err.text, "the name has 254 bytes, over the limit of 253");
    name[DESTINATION_NAME_LEN_MAX] = '\0';
    cr_expect_null(route_index_new(&snapshot, &err));
    cr_expect_str_eq(err.text, "65 identities are over the limit of 64");
    destination.n_identities = 64;
    cr_expect_null(route_index_new(&snapshot, &err));
    cr_expect_str_eq(err.text, "1025 addresses are over the limit of 1024");
    destination.n_addresses = 1;
    struct route_index *index = route_index_new(&snapshot, &err);
    cr_expect_not_null(index, "%s", err.text);
    route_index_free(index);

    snapshot.n_destinations = 0;
    snapshot.n_inbound_ports = INBOUND_PORTS_MAX + 1;
    static Tabard__V1__InboundPort port = TABARD__V1__INBOUND_PORT__INIT;
    static Tabard__V1__InboundPort *ports[INBOUND_PORTS_MAX + 1];
    static Tabard__V1__Forward forward = TABARD__V1__FORWARD__INIT;
    static Tabard__V1__Forward *forwards[FORWARDS_MAX + 1];
    for (size_t i = 0; i < NUM(ports); i++) {
        ports[i] = &port;
        forwards[i] = &forward;
    }
    snapshot.inbound_ports = ports;
    cr_expect_null(route_index_new(&snapshot, &err));
    cr_expect_str_eq(err.text, "1025 ports are over the limit of 1024");
    snapshot.n_inbound_ports = 0;
    snapshot.forwards = forwards;
    snapshot.n_forwards = FORWARDS_MAX + 1;
    cr_expect_null(route_index_new(&snapshot, &err));
    cr_expect_str_eq(err.text, "1025 forwards are over the limit of 1024");
}

Test(route, many_destinations_are_each_found)
{
    enum { NUM_ROWS = 50000 };
    char *text = malloc(NUM_ROWS * 100);
    size_t len = (size_t)sprintf(text, "destinations:\n");
    for (unsigned i = 0; i < NUM_ROWS; i++) {
        len += (size_t)sprintf(
            text + len, "- {name: d%u, addresses: [10.%u.%u.%u], ports: [80], mode: PLAINTEXT}\n",
            i, i >> 16, i >> 8 & 255, i & 255);
    }
    struct route_index *index = index_of(text);
    for (unsigned i = 0; i < NUM_ROWS; i++) {
        char name[16];
        struct addr addr = {.ip = {{[10] = 0xff, [11] = 0xff, [12] = 10}}, .port = 80};
        addr.ip.bytes[13] = (uint8_t)(i >> 16);
        addr.ip.bytes[14] = (uint8_t)(i >> 8);
        addr.ip.bytes[15] = (uint8_t)i;
        snprintf(name, sizeof name, "d%u", i);
        cr_assert_str_eq(route_outbound(index, &addr).name, name);
    }
    route_index_free(index);
    free(text);
}
