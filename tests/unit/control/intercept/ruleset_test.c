// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/intercept/ruleset.h"

#define NUM(array) (sizeof(array) / sizeof((array)[0]))

static struct ruleset ruleset; // large for a stack

static void setup(void)
{
    ruleset_init(&ruleset);
}

TestSuite(intercept, .timeout = 10, .init = setup);

Test(intercept, the_default_catches_everything_but_loopback_the_proxy_and_its_own_pages)
{
    char *text = ruleset_up(&ruleset);
    cr_expect_str_eq(text, "table inet tabard\n"
                           "delete table inet tabard\n"
                           "table inet tabard {\n"
                           "  chain apart {\n"
                           "    type filter hook output priority raw; policy accept;\n"
                           "    meta l4proto != tcp return\n"
                           "    meta skuid 1337 ct original zone set 1337\n"
                           "  }\n"
                           "  chain invalid {\n"
                           "    type filter hook prerouting priority mangle; policy accept;\n"
                           "    meta l4proto tcp ct state invalid counter drop\n"
                           "  }\n"
                           "  chain inbound {\n"
                           "    type nat hook prerouting priority dstnat; policy accept;\n"
                           "    iifname \"lo\" return\n"
                           "    meta l4proto != tcp return\n"
                           "    tcp dport { 15020-15021 } counter return\n"
                           "    meta l4proto tcp counter redirect to :15006\n"
                           "  }\n"
                           "  chain left_alone {\n"
                           "    meta l4proto != tcp accept\n"
                           "    meta skuid 1337 counter accept\n"
                           "    oifname \"lo\" accept\n"
                           "  }\n"
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
                           "    ip daddr 127.0.0.133 udp dport 133 drop\n"
                           "    jump left_alone\n"
                           "    meta l4proto tcp counter redirect to :15001\n"
                           "  }\n"
                           "}\n");
    free(text);
}

Test(intercept, every_list_has_its_rule_in_its_chain_and_order)
{
    struct err err = {{0}, {0}};
    ruleset.outbound_port = 16001;
    ruleset.inbound_port = 16006;
    ruleset.proxy_uid = 2000;
    cr_assert(ruleset_add_uids(&ruleset.exclude_uids, "0,500-502", &err));
    cr_assert(ruleset_add_ports(&ruleset.exclude_inbound_ports, "22", &err));
    cr_assert(ruleset_add_ports(&ruleset.include_inbound_ports, "80,443", &err));
    cr_assert(ruleset_add_cidrs(&ruleset.exclude_inbound_cidrs, "10.0.0.0/8,fd00::/8", &err));
    cr_assert(ruleset_add_ports(&ruleset.exclude_outbound_ports, "53", &err));
    cr_assert(ruleset_add_ports(&ruleset.include_outbound_ports, "1-1000", &err));
    cr_assert(ruleset_add_cidrs(&ruleset.exclude_outbound_cidrs, "169.254.0.0/16", &err));
    cr_assert(ruleset_add_cidrs(&ruleset.include_outbound_cidrs, "0.0.0.0/0,::/0", &err));
    char *text = ruleset_up(&ruleset);
    cr_expect_not_null(strstr(text, "    meta skuid 2000 ct original zone set 1337\n"
                                    "    meta skuid { 0, 500-502 } ct original zone set 1337\n"));
    static const char want[] = "    iifname \"lo\" return\n"
                               "    meta l4proto != tcp return\n"
                               "    tcp dport { 22, 15020-15021 } counter return\n"
                               "    ip saddr { 10.0.0.0/8 } counter return\n"
                               "    ip6 saddr { fd00::/8 } counter return\n"
                               "    tcp dport != { 80, 443 } counter return\n"
                               "    meta l4proto tcp counter redirect to :16006\n"
                               "  }\n"
                               "  chain left_alone {\n"
                               "    meta l4proto != tcp accept\n"
                               "    meta skuid 2000 counter accept\n"
                               "    meta skuid { 0, 500-502 } counter accept\n"
                               "    oifname \"lo\" accept\n"
                               "    tcp dport { 53 } counter accept\n"
                               "    ip daddr { 169.254.0.0/16 } counter accept\n"
                               "    tcp dport != { 1-1000 } counter accept\n"
                               "    ip daddr != { 0.0.0.0/0 } counter accept\n"
                               "    ip6 daddr != { ::/0 } counter accept\n"
                               "  }\n";
    cr_expect_not_null(strstr(text, want), "%s", text);
    cr_expect_not_null(strstr(text, "    jump left_alone\n"
                                    "    meta l4proto tcp counter redirect to :16001\n"));
    free(text);
}

Test(intercept, answers_to_callers_come_back_only_where_that_is_asked_for)
{
    char *text = ruleset_up(&ruleset);
    cr_expect_null(strstr(text, "chain callers"));
    free(text);
    ruleset.has_caller_addresses = true;
    text = ruleset_up(&ruleset);
    cr_expect_not_null(
        strstr(text, "  chain callers {\n"
                     "    type route hook output priority mangle; policy accept;\n"
                     "    meta l4proto != tcp return\n"
                     "    meta skuid 1337 oifname \"lo\" ct direction original ct mark set 1337\n"
                     "    ct direction reply ct mark 1337 meta mark set 1337\n"),
        "%s", text);
    free(text);
}

Test(intercept, what_comes_in_by_an_excluded_interface_is_left_alone)
{
    struct err err = {{0}, {0}};
    cr_assert(ruleset_add_interfaces(&ruleset.exclude_inbound_interfaces, "eth1,wg-0.5", &err));
    char *text = ruleset_up(&ruleset);
    cr_expect_not_null(strstr(text, "    meta l4proto != tcp return\n"
                                    "    iifname \"eth1\" counter return\n"
                                    "    iifname \"wg-0.5\" counter return\n"));
    free(text);
    cr_expect(ruleset_excludes_interface(&ruleset, "wg-0.5"));
    cr_expect_not(ruleset_excludes_interface(&ruleset, "eth"));
    static const char *const bad[] = {"eth 1", "a/b", "\"", "eth*", "sixteen-letters-", "a\"}"};
    for (size_t i = 0; i < NUM(bad); i++) {
        cr_expect_not(ruleset_add_interfaces(&ruleset.exclude_inbound_interfaces, bad[i], &err));
        cr_expect_not_null(strstr(err.text, "is not the name of an interface (as in eth0)"), "%s",
                           err.text);
    }
}

Test(intercept, including_blocks_of_one_family_leaves_the_other_alone)
{
    cr_assert(ruleset_add_cidrs(&ruleset.include_outbound_cidrs, "10.0.0.0/8", NULL));
    char *text = ruleset_up(&ruleset);
    cr_expect_not_null(strstr(text, "    ip daddr != { 10.0.0.0/8 } counter accept\n"
                                    "    meta nfproto ipv6 counter accept\n"),
                       "%s", text);
    free(text);
    ruleset_init(&ruleset);
    cr_assert(ruleset_add_cidrs(&ruleset.include_outbound_cidrs, "fd00::/8", NULL));
    text = ruleset_up(&ruleset);
    cr_expect_not_null(strstr(text, "    meta nfproto ipv4 counter accept\n"
                                    "    ip6 daddr != { fd00::/8 } counter accept\n"),
                       "%s", text);
    free(text);
}

Test(intercept, ranges_that_overlap_or_touch_become_one)
{
    static const struct {
        const char *lists[3]; // one call each, as a repeated flag makes them
        const char *merged;
    } rows[] = {
        {{"80"}, "80"},
        {{"443,80"}, "80, 443"},
        {{"80,80"}, "80"},
        {{"80-90,85-100"}, "80-100"},
        {{"85-100,80-90"}, "80-100"},
        {{"80-100,85"}, "80-100"},
        {{"80,81,82"}, "80-82"},
        {{"80,82"}, "80, 82"},
        {{"82,80", "81"}, "80-82"},
        {{"1-10,20-30,40-50", "5-45"}, "1-50"},
        {{"20-30", "1-5", "100"}, "1-5, 20-30, 100"},
        {{"1-65535", "80"}, "1-65535"},
        {{"65535", "65534"}, "65534-65535"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        char want[128];
        ruleset_init(&ruleset);
        for (size_t k = 0; k < 3 && rows[i].lists[k] != NULL; k++) {
            struct err err = {{0}, {0}};
            cr_assert(ruleset_add_ports(&ruleset.exclude_outbound_ports, rows[i].lists[k], &err),
                      "%s", err.text);
        }
        char *text = ruleset_up(&ruleset);
        snprintf(want, sizeof want, "    tcp dport { %s } counter accept\n  }\n", rows[i].merged);
        cr_expect_not_null(strstr(text, want), "row %zu: %s", i, text);
        free(text);
    }
}

Test(intercept, a_user_id_at_the_end_of_the_range_merges_without_wrapping)
{
    cr_assert(ruleset_add_uids(&ruleset.exclude_uids, "4294967294,0,1", NULL));
    char *text = ruleset_up(&ruleset);
    cr_expect_not_null(strstr(text, "meta skuid { 0-1, 4294967294 } counter accept"), "%s", text);
    free(text);
}

Test(intercept, blocks_that_another_holds_are_left_out)
{
    static const struct {
        const char *list;
        const char *v4;
        const char *v6;
    } rows[] = {
        {"10.0.0.0/8,10.1.0.0/16,10.1.2.3", "10.0.0.0/8", NULL},
        {"10.1.2.3,10.1.0.0/16,10.0.0.0/8", "10.0.0.0/8", NULL},
        {"10.0.0.0/8,10.0.0.0/8", "10.0.0.0/8", NULL},
        {"10.0.0.0/9,10.128.0.0/9", "10.0.0.0/9, 10.128.0.0/9", NULL},
        {"10.1.2.3", "10.1.2.3/32", NULL},
        {"::/0,10.0.0.0/8,fd00::1", "10.0.0.0/8", "::/0"}, // a block holds its own family only
        {"fd00::/8,fd00::1,fe80::/10", NULL, "fd00::/8, fe80::/10"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        char want[128];
        ruleset_init(&ruleset);
        cr_assert(ruleset_add_cidrs(&ruleset.exclude_outbound_cidrs, rows[i].list, NULL));
        char *text = ruleset_up(&ruleset);
        snprintf(want, sizeof want, "    ip daddr { %s } counter accept\n",
                 rows[i].v4 == NULL ? "" : rows[i].v4);
        cr_expect_eq(strstr(text, rows[i].v4 == NULL ? "ip daddr {" : want) != NULL,
                     rows[i].v4 != NULL, "row %zu: %s", i, text);
        snprintf(want, sizeof want, "    ip6 daddr { %s } counter accept\n",
                 rows[i].v6 == NULL ? "" : rows[i].v6);
        cr_expect_eq(strstr(text, rows[i].v6 == NULL ? "ip6 daddr {" : want) != NULL,
                     rows[i].v6 != NULL, "row %zu: %s", i, text);
        free(text);
    }
}

Test(intercept, a_bad_list_is_named)
{
    static const struct {
        const char *list;
        const char *message;
    } ports[] = {
        {"", "\"\" has an empty entry"},
        {"80,", "\"80,\" has an empty entry"},
        {",80", "\",80\" has an empty entry"},
        {"80,,81", "\"80,,81\" has an empty entry"},
        {"0", "\"0\" is not a TCP port or a range of them (1 to 65535)"},
        {"65536", "\"65536\" is not a TCP port or a range of them (1 to 65535)"},
        {"80,70000", "\"70000\" is not a TCP port or a range of them (1 to 65535)"},
        {"80-", "\"80-\" is not a TCP port or a range of them (1 to 65535)"},
        {"-80", "\"-80\" is not a TCP port or a range of them (1 to 65535)"},
        {"80-90-100", "\"80-90-100\" is not a TCP port or a range of them (1 to 65535)"},
        {"90-80", "\"90-80\" ends before it begins"},
        {"80 ", "\"80 \" is not a TCP port or a range of them (1 to 65535)"},
        {"http", "\"http\" is not a TCP port or a range of them (1 to 65535)"},
        {"80; drop", "\"80; drop\" is not a TCP port or a range of them (1 to 65535)"},
        {"99999999999999999999",
         "\"99999999999999999999\" is not a TCP port or a range of them (1 to 65535)"},
    };
    struct err err = {{0}, {0}};
    for (size_t i = 0; i < NUM(ports); i++) {
        cr_expect_not(ruleset_add_ports(&ruleset.exclude_inbound_ports, ports[i].list, &err), "%s",
                      ports[i].list);
        cr_expect_str_eq(err.text, ports[i].message, "%s", err.text);
    }
    cr_expect_not(ruleset_add_cidrs(&ruleset.exclude_inbound_cidrs, "10.0.0.1/8", &err));
    cr_expect_str_eq(err.text,
                     "\"10.0.0.1/8\" has host bits set: write 10.0.0.0/8, or the address alone");
    cr_expect_not(ruleset_add_cidrs(&ruleset.exclude_inbound_cidrs, "10.0.0.0/8,web", &err));
    cr_expect_str_eq(err.text, "\"web\" is not an IP address (as in 10.1.2.3 or fd00::1)");
    cr_expect_not(ruleset_add_uids(&ruleset.exclude_uids, "4294967295", &err));
    cr_expect_str_eq(err.text,
                     "\"4294967295\" is not a user id or a range of them (0 to 4294967294)");
}

Test(intercept, ports_and_the_proxy_s_user_are_checked)
{
    struct err err = {{0}, {0}};
    uint16_t port = 0;
    uint32_t uid = 0;
    cr_expect(ruleset_set_port(&port, "65535", &err) && port == 65535);
    cr_expect_not(ruleset_set_port(&port, "65536", &err));
    cr_expect_str_eq(err.text, "\"65536\" is not a TCP port (1 to 65535)");
    cr_expect_not(ruleset_set_port(&port, "0", &err));
    cr_expect(ruleset_set_uid(&uid, "4294967294", &err) && uid == 4294967294);
    cr_expect_not(ruleset_set_uid(&uid, "root", &err));
    cr_expect_str_eq(err.text, "\"root\" is not a user id (1 to 4294967294)");
    cr_expect_not(ruleset_set_uid(&uid, "0", &err));
    cr_expect_str_eq(err.text, "user 0 is root, all of whose traffic would bypass the sidecar");
    ruleset.outbound_port = 15006;
    cr_expect_not(ruleset_check(&ruleset, &err));
    cr_expect_str_eq(err.text, "port 15006 can't be the outbound port and the inbound port");
}

Test(intercept, a_list_has_a_limit)
{
    struct err err = {{0}, {0}};
    char text[16];
    for (unsigned i = 0; i < RULESET_RANGES_MAX - 1; i++) { // one is there already
        snprintf(text, sizeof text, "%u", 20000 + 2 * i);
        cr_assert(ruleset_add_ports(&ruleset.exclude_inbound_ports, text, &err), "%s", err.text);
    }
    cr_expect_not(ruleset_add_ports(&ruleset.exclude_inbound_ports, "10", &err));
    cr_expect_str_eq(err.text, "more than 1024 entries in one list");
    cr_expect(ruleset_add_ports(&ruleset.exclude_inbound_ports, "20001", &err),
              "what merges needs no room");
    for (unsigned i = 0; i < RULESET_RANGES_MAX; i++) {
        snprintf(text, sizeof text, "10.0.%u.%u", i >> 8, i & 255);
        cr_assert(ruleset_add_cidrs(&ruleset.exclude_inbound_cidrs, text, &err), "%s", err.text);
    }
    cr_expect_not(ruleset_add_cidrs(&ruleset.exclude_inbound_cidrs, "10.9.9.9", &err));
    cr_expect_str_eq(err.text, "more than 1024 entries in one list");
}

Test(intercept, down_deletes_what_it_first_makes_sure_is_there)
{
    char *text = ruleset_down();
    cr_expect_str_eq(text, "table inet tabard\ndelete table inet tabard\n");
    free(text);
}
