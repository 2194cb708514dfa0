// SPDX-License-Identifier: Apache-2.0
#include "base/addr.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>

#define NUM(array) (sizeof(array) / sizeof((array)[0]))

TestSuite(addr, .timeout = 10);

Test(addr, addresses_print_as_they_are_known)
{
    static const struct {
        const char *text;
        const char *printed;
        bool is_v4;
    } rows[] = {
        {"10.1.2.3", "10.1.2.3", true},
        {"0.0.0.0", "0.0.0.0", true},
        {"255.255.255.255", "255.255.255.255", true},
        {"::ffff:10.1.2.3", "10.1.2.3", true}, // a mapped address is the IPv4 address
        {"::FFFF:0a01:0203", "10.1.2.3", true},
        {"fd00::1", "fd00::1", false},
        {"FD00:0:0:0::1", "fd00::1", false},
        {"::", "::", false},
        {"::1", "::1", false},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", false},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct ip ip;
        struct err err = {{0}, {0}};
        char buf[ADDR_TEXT_MAX];
        cr_assert(ip_parse(&ip, rows[i].text, &err), "%s: %s", rows[i].text, err.text);
        cr_expect_str_eq(ip_text(&ip, buf), rows[i].printed, "%s", rows[i].text);
        cr_expect_eq(ip_is_v4(&ip), rows[i].is_v4, "%s", rows[i].text);
    }
}

Test(addr, a_bad_address_is_named)
{
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"", "\"\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"10.1.2", "\"10.1.2\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"10.1.2.256", "\"10.1.2.256\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"010.1.2.3", "\"010.1.2.3\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"10.1.2.3 ", "\"10.1.2.3 \" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"10.1.2.3.4", "\"10.1.2.3.4\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"0x0a.1.2.3", "\"0x0a.1.2.3\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"[fd00::1]", "\"[fd00::1]\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"fd00:::1", "\"fd00:::1\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"localhost", "\"localhost\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"fe80::1%eth0",
         "\"fe80::1%eth0\" has a zone, which is not supported: leave out \"%eth0\""},
        {"a\nb", "\"a?b\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct ip ip;
        struct err err = {{0}, {0}};
        cr_expect_not(ip_parse(&ip, rows[i].text, &err), "%s", rows[i].text);
        cr_expect_str_eq(err.text, rows[i].message, "%s", err.text);
    }
}

Test(addr, an_address_and_port_prints_as_it_was_read)
{
    static const char *const rows[] = {"10.1.2.3:80", "[fd00::1]:65535", "[::]:1", "0.0.0.0:15006"};
    for (size_t i = 0; i < NUM(rows); i++) {
        struct addr addr;
        struct err err = {{0}, {0}};
        char buf[ADDR_TEXT_MAX];
        cr_assert(addr_parse(&addr, rows[i], false, &err), "%s: %s", rows[i], err.text);
        cr_expect_str_eq(addr_text(&addr, buf), rows[i]);
    }
}

Test(addr, the_longest_address_fits_its_buffer)
{
    struct addr addr = {.port = 65535};
    char buf[ADDR_TEXT_MAX];
    memset(addr.ip.bytes, 0xfd, sizeof addr.ip.bytes);
    cr_expect_str_eq(addr_text(&addr, buf), "[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:65535");
}

Test(addr, a_link_local_address_keeps_its_interface_from_the_kernel_and_back)
{
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_port = htons(80), .sin6_scope_id = 1};
    struct sockaddr_storage back;
    struct addr addr;
    char buf[ADDR_TEXT_MAX];
    cr_assert_eq(inet_pton(AF_INET6, "fe80::1", &sa.sin6_addr), 1);
    cr_assert(addr_from_sockaddr(&addr, (const struct sockaddr *)&sa));
    cr_expect_eq(addr.scope, 1);
    cr_expect_str_eq(addr_text(&addr, buf), "[fe80::1%lo]:80"); // 1 is lo everywhere
    cr_assert_eq(addr_to_sockaddr(&addr, &back), sizeof sa);
    cr_expect_eq(((const struct sockaddr_in6 *)&back)->sin6_scope_id, 1);
    struct addr other = addr;
    other.scope = 2;
    cr_expect_not(addr_equal(&addr, &other));
    addr.scope = UINT32_MAX; // no interface
    cr_expect_str_eq(addr_text(&addr, buf), "[fe80::1%4294967295]:80");
    cr_assert_eq(inet_pton(AF_INET6, "fd00::1", &sa.sin6_addr), 1);
    cr_assert(addr_from_sockaddr(&addr, (const struct sockaddr *)&sa));
    cr_expect_eq(addr.scope, 0); // only a link-local one has a scope
}

Test(addr, link_local_is_fe80_10)
{
    static const struct {
        const char *text;
        bool is_link_local;
    } rows[] = {{"fe80::", true},   {"febf:ffff::1", true}, {"fec0::1", false},
                {"fe7f::1", false}, {"fd00::1", false},     {"169.254.1.1", false}};
    for (size_t i = 0; i < NUM(rows); i++) {
        struct ip ip;
        cr_assert(ip_parse(&ip, rows[i].text, NULL));
        cr_expect_eq(ip_is_link_local6(&ip), rows[i].is_link_local, "%s", rows[i].text);
    }
}

Test(addr, a_bad_address_and_port_is_named)
{
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"10.1.2.3", "\"10.1.2.3\" is not an address and port (as in 10.1.2.3:80 or [fd00::1]:80)"},
        {"", "\"\" is not an address and port (as in 10.1.2.3:80 or [fd00::1]:80)"},
        {"10.1.2.3:", "\"10.1.2.3:\": \"\" is not a TCP port (1 to 65535)"},
        {"10.1.2.3:0", "\"10.1.2.3:0\": \"0\" is not a TCP port (1 to 65535)"},
        {"10.1.2.3:70000", "\"10.1.2.3:70000\": \"70000\" is not a TCP port (1 to 65535)"},
        {"10.1.2.3:4294967376",
         "\"10.1.2.3:4294967376\": \"4294967376\" is not a TCP port (1 to 65535)"},
        {"10.1.2.3:080", "\"10.1.2.3:080\": \"080\" is not a TCP port (1 to 65535)"},
        {"10.1.2.3:+80", "\"10.1.2.3:+80\": \"+80\" is not a TCP port (1 to 65535)"},
        {"10.1.2.3:80 ", "\"10.1.2.3:80 \": \"80 \" is not a TCP port (1 to 65535)"},
        {"10.1.2.3:http", "\"10.1.2.3:http\": \"http\" is not a TCP port (1 to 65535)"},
        {":80", "\"\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"[]:80", "\"\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"web:80", "\"web\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"[10.1.2.3]:80", "\"[10.1.2.3]:80\": only an IPv6 address takes brackets"},
        {"fd00::1", "\"fd00::1\" has no port, or no brackets before it: write [fd00::1]:80"},
        {"fd00::1:70000",
         "\"fd00::1:70000\": an IPv6 address wants brackets before its port, [fd00::1]:70000"},
        {"[fd00::1]",
         "\"[fd00::1]\" is not an address and port (as in 10.1.2.3:80 or [fd00::1]:80)"},
        {"[fd00::1:80",
         "\"[fd00::1:80\" is not an address and port (as in 10.1.2.3:80 or [fd00::1]:80)"},
        {"[fd00::1]x:80",
         "\"[fd00::1]x:80\" is not an address and port (as in 10.1.2.3:80 or [fd00::1]:80)"},
        {"[:80", "\"[:80\" is not an address and port (as in 10.1.2.3:80 or [fd00::1]:80)"},
        {"[fe80::1%lo]:80", "\"fe80::1%lo\" has a zone, which is not supported: leave out \"%lo\""},
        {"1111111111222222222233333333334444444444555555555566666666667777:80",
         "\"1111111111222222222233333333334444444444555555555566666666667777:80\" is too long for "
         "an "
         "address and port"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct addr addr;
        struct err err = {{0}, {0}};
        cr_expect_not(addr_parse(&addr, rows[i].text, false, &err), "%s", rows[i].text);
        cr_expect_str_eq(err.text, rows[i].message, "%s", err.text);
    }
}

Test(addr, port_zero_is_taken_only_where_it_is_allowed)
{
    struct addr addr;
    cr_expect(addr_parse(&addr, "127.0.0.1:0", true, NULL));
    cr_expect_eq(addr.port, 0);
    cr_expect_not(addr_parse(&addr, "127.0.0.1:0", false, NULL));
}

Test(addr, a_block_prints_as_it_was_read)
{
    static const struct {
        const char *text;
        const char *printed;
        uint8_t prefix_bits;
    } rows[] = {
        {"10.1.0.0/16", "10.1.0.0/16", 112},
        {"0.0.0.0/0", "0.0.0.0/0", 96},
        {"10.1.2.3", "10.1.2.3/32", 128},
        {"10.1.2.3/32", "10.1.2.3/32", 128},
        {"128.0.0.0/1", "128.0.0.0/1", 97},
        {"::/0", "::/0", 0},
        {"8000::/1", "8000::/1", 1},
        {"fd00::/8", "fd00::/8", 8},
        {"fd00::1", "fd00::1/128", 128},
        {"fd00::2/127", "fd00::2/127", 127},
        {"::ffff:10.0.0.0/104", "10.0.0.0/8", 104},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct cidr cidr;
        struct err err = {{0}, {0}};
        char buf[ADDR_TEXT_MAX];
        cr_assert(cidr_parse(&cidr, rows[i].text, &err), "%s: %s", rows[i].text, err.text);
        cr_expect_str_eq(cidr_text(&cidr, buf), rows[i].printed, "%s", rows[i].text);
        cr_expect_eq(cidr.prefix_bits, rows[i].prefix_bits, "%s", rows[i].text);
    }
}

Test(addr, a_bad_block_is_named)
{
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"10.1.2.3/24",
         "\"10.1.2.3/24\" has host bits set: write 10.1.2.0/24, or the address alone"},
        {"10.0.0.1/0", "\"10.0.0.1/0\" has host bits set: write 0.0.0.0/0, or the address alone"},
        {"fd00::1/64", "\"fd00::1/64\" has host bits set: write fd00::/64, or the address alone"},
        {"::1/0", "\"::1/0\" has host bits set: write ::/0, or the address alone"},
        {"10.0.0.0/33", "\"10.0.0.0/33\": \"33\" is not a prefix length (0 to 32)"},
        {"fd00::/129", "\"fd00::/129\": \"129\" is not a prefix length (0 to 128)"},
        {"10.0.0.0/", "\"10.0.0.0/\": \"\" is not a prefix length (0 to 32)"},
        {"10.0.0.0/08", "\"10.0.0.0/08\": \"08\" is not a prefix length (0 to 32)"},
        {"10.0.0.0/-1", "\"10.0.0.0/-1\": \"-1\" is not a prefix length (0 to 32)"},
        {"10.0.0.0/8/8", "\"10.0.0.0/8/8\": \"8/8\" is not a prefix length (0 to 32)"},
        {"10.0.0.0/255.0.0.0",
         "\"10.0.0.0/255.0.0.0\": \"255.0.0.0\" is not a prefix length (0 to 32)"},
        {"/8", "\"\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"10.0.0/8", "\"10.0.0\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {"fe80::%lo/64", "\"fe80::%lo\" has a zone, which is not supported: leave out \"%lo\""},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct cidr cidr;
        struct err err = {{0}, {0}};
        cr_expect_not(cidr_parse(&cidr, rows[i].text, &err), "%s", rows[i].text);
        cr_expect_str_eq(err.text, rows[i].message, "%s", err.text);
    }
}

Test(addr, a_block_holds_its_own_family_only)
{
    static const struct {
        const char *block;
        const char *ip;
        bool holds;
    } rows[] = {
        {"10.1.0.0/16", "10.1.255.255", true},
        {"10.1.0.0/16", "10.2.0.0", false},
        {"10.1.2.0/23", "10.1.3.9", true},
        {"10.1.2.0/23", "10.1.4.0", false},
        {"0.0.0.0/0", "255.1.1.1", true},
        {"0.0.0.0/0", "fd00::1", false},
        {"0.0.0.0/0", "::", false},
        {"::/0", "fd00::1", true},
        {"::/0", "10.1.2.3", false},
        {"::/64", "10.1.2.3", false},
        {"::/64", "::1", true},
        {"10.1.2.3", "10.1.2.3", true},
        {"10.1.2.3", "10.1.2.2", false},
        {"10.1.2.3", "::ffff:10.1.2.3", true},
        {"fd00::/8", "fdff::1", true},
        {"fd00::/9", "fdff::1", false},
        {"fd00::1", "fd00::1", true},
        {"fd00::1", "fd00::2", false},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct cidr cidr;
        struct ip ip;
        cr_assert(cidr_parse(&cidr, rows[i].block, NULL) && ip_parse(&ip, rows[i].ip, NULL));
        cr_expect_eq(cidr_contains(&cidr, &ip), rows[i].holds, "%s in %s", rows[i].ip,
                     rows[i].block);
    }
}

Test(addr, loopback_and_unspecified_are_known_in_both_families)
{
    static const struct {
        const char *ip;
        bool is_loopback;
        bool is_unspecified;
    } rows[] = {
        {"127.0.0.1", true, false},  {"127.255.0.9", true, false},
        {"128.0.0.1", false, false}, {"::1", true, false},
        {"::2", false, false},       {"0.0.0.0", false, true},
        {"0.0.0.1", false, false},   {"::", false, true},
        {"fd00::1", false, false},   {"::ffff:127.0.0.1", true, false},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct ip ip;
        cr_assert(ip_parse(&ip, rows[i].ip, NULL));
        cr_expect_eq(ip_is_loopback(&ip), rows[i].is_loopback, "%s", rows[i].ip);
        cr_expect_eq(ip_is_unspecified(&ip), rows[i].is_unspecified, "%s", rows[i].ip);
    }
}

Test(addr, the_kernels_form_and_back_is_the_same_address)
{
    static const struct {
        const char *text;
        int family;
    } rows[] = {
        {"10.1.2.3:80", AF_INET}, {"[fd00::1]:65535", AF_INET6}, {"[::ffff:10.0.0.1]:9", AF_INET}};
    for (size_t i = 0; i < NUM(rows); i++) {
        struct addr addr;
        struct addr back;
        struct sockaddr_storage kernel;
        cr_assert(addr_parse(&addr, rows[i].text, false, NULL));
        socklen_t len = addr_to_sockaddr(&addr, &kernel);
        cr_expect_eq(kernel.ss_family, rows[i].family, "%s", rows[i].text);
        cr_expect_eq(len, rows[i].family == AF_INET ? sizeof(struct sockaddr_in)
                                                    : sizeof(struct sockaddr_in6));
        cr_expect(addr_from_sockaddr(&back, (struct sockaddr *)&kernel));
        cr_expect(addr_equal(&addr, &back), "%s", rows[i].text);
    }
}

Test(addr, a_unix_socket_has_no_address)
{
    struct addr addr;
    struct sockaddr_storage kernel = {.ss_family = AF_UNIX};
    cr_expect_not(addr_from_sockaddr(&addr, (struct sockaddr *)&kernel));
}

Test(addr, a_port_is_1_to_65535)
{
    struct err err = {{0}, {0}};
    cr_expect(port_check(1, &err) && port_check(65535, &err));
    cr_expect_not(port_check(0, &err));
    cr_expect_str_eq(err.text, "0 is not a TCP port (1 to 65535)");
    cr_expect_not(port_check(70000, &err));
    cr_expect_str_eq(err.text, "70000 is not a TCP port (1 to 65535)");
}

#define LABEL_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *text;
    const char *name; // NULL: refused
    uint16_t port;
} hosts[] = {
    {"tabard-policyd.tabard-system.svc:15012", "tabard-policyd.tabard-system.svc", 15012},
    {"localhost:1", "localhost", 1},
    {"a.b.:65535", "a.b.", 65535},
    {"_grpc.1a:80", "_grpc.1a", 80},
    {"10.example:80", "10.example", 80},
    {LABEL_63 ".x:80", LABEL_63 ".x", 80},
    {"a" LABEL_63 ".x:80", NULL, 0},
    {LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_63 ":80", NULL, 0},
    {"localhost", NULL, 0},
    {"localhost:", NULL, 0},
    {"localhost:0", NULL, 0},
    {"localhost:080", NULL, 0},
    {"localhost:65536", NULL, 0},
    {":80", NULL, 0},
    {".:80", NULL, 0},
    {"a..b:80", NULL, 0},
    {".a:80", NULL, 0},
    {"-a:80", NULL, 0},
    {"a-:80", NULL, 0},
    {"a b:80", NULL, 0},
    {"a/b:80", NULL, 0},
    {"[::1]:80", NULL, 0},
    {"fd00::1:80", NULL, 0},
    {"10.1.2:80", NULL, 0}, // resolvers read it as 10.1.0.2
    {"1:80", NULL, 0},
    {"10.1.2.3.:80", NULL, 0},
};

Test(addr, a_host_and_port_is_read_and_what_could_be_an_address_is_not, .timeout = 5)
{
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        struct host_port out = {.name = ""};
        struct err err = {{0}, {0}};
        bool ok = host_port_parse(&out, hosts[i].text, &err);
        cr_expect_eq(ok, hosts[i].name != NULL, "%s: %s", hosts[i].text, err.text);
        cr_expect(ok || strstr(err.text, hosts[i].text) != NULL, "%s", err.text);
        if (ok && hosts[i].name != NULL) {
            cr_expect_str_eq(out.name, hosts[i].name);
            cr_expect_eq(out.port, hosts[i].port);
        }
    }
}
