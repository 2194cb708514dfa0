// SPDX-License-Identifier: Apache-2.0
#include "certs/tls/alpn.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define NUM(array)  (sizeof(array) / sizeof((array)[0]))
#define WIRE(bytes) (const uint8_t *)(bytes), sizeof(bytes) - 1

TestSuite(alpn, .timeout = 20);

static struct alpn_list list_of(const char *const *names, size_t num_names)
{
    struct alpn_list list;
    struct err err = {{0}, {0}};
    cr_assert(alpn_list_init(&list, (char *const *)names, num_names, &err), "%s", err.text);
    return list;
}

Test(alpn, a_list_stands_as_tls_carries_it)
{
    static const char *const names[] = {"h2", "tabard/1", "http/1.1"};
    static const char wire[] = "\x02h2\x08tabard/1\x08http/1.1";
    struct alpn_list list = list_of(names, NUM(names));
    cr_assert_eq(list.len, sizeof wire - 1);
    cr_expect_eq(memcmp(list.wire, wire, list.len), 0);
    alpn_list_cleanup(&list);
    cr_expect_null(list.wire);
    struct alpn_list none = list_of(NULL, 0);
    cr_expect_eq(none.len, 0);
}

Test(alpn, what_is_no_name_is_refused_with_its_place)
{
    static const char *const rows[][2] = {
        {"", "an ALPN name has 1 to 255 bytes, this one 0"},
        {"a b", "byte 2 is not printable ASCII: write an ALPN name as IANA lists it, as in h2 or "
                "http/1.1"},
        {"h\xc3\xa4", "byte 2 is not printable ASCII: write an ALPN name as IANA lists it, as in "
                      "h2 or http/1.1"},
        {"h2", "\"h2\" is listed twice"},
        {"tabard/2", "\"tabard/2\" is one of the mesh's own names: write tabard/1"},
        {"tabard/1/10.0.0.1:80",
         "\"tabard/1/10.0.0.1:80\" is one of the mesh's own names: write tabard/1"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct alpn_list list;
        struct err err = {{0}, {0}};
        char *names[] = {(char *)"h2", (char *)rows[i][0]};
        cr_expect_not(alpn_list_init(&list, names, NUM(names), &err), "%s", rows[i][0]);
        cr_expect_str_eq(err.where, "[1]");
        cr_expect_str_eq(err.text, rows[i][1]);
        cr_expect_null(list.wire);
    }
}

Test(alpn, a_name_and_a_list_have_a_limit)
{
    char long_name[257];
    memset(long_name, 'x', sizeof long_name);
    long_name[256] = '\0';
    char *one[] = {long_name};
    struct alpn_list list;
    struct err err = {{0}, {0}};
    cr_expect_not(alpn_list_init(&list, one, 1, &err));
    cr_expect_str_eq(err.text, "an ALPN name has 1 to 255 bytes, this one 256");
    long_name[255] = '\0';
    cr_expect(alpn_list_init(&list, one, 1, &err));
    cr_expect_eq(list.len, 256);
    alpn_list_cleanup(&list);
    char texts[ALPN_NAMES_MAX + 1][8];
    char *names[ALPN_NAMES_MAX + 1];
    for (size_t i = 0; i < NUM(names); i++) {
        snprintf(texts[i], sizeof texts[i], "x%zu", i);
        names[i] = texts[i];
    }
    cr_expect(alpn_list_init(&list, names, ALPN_NAMES_MAX, &err));
    alpn_list_cleanup(&list);
    cr_expect_not(alpn_list_init(&list, names, ALPN_NAMES_MAX + 1, &err));
    cr_expect_str_eq(err.text, "17 ALPN names are over the limit of 16");
}

Test(alpn, a_name_is_found_whole_or_not_at_all)
{
    static const struct {
        const uint8_t *wire;
        size_t len;
        long at; // -1: nowhere
    } rows[] = {
        {WIRE("\x02h2"), 1},
        {WIRE("\x08tabard/1\x02h2"), 10},
        {WIRE(""), -1},
        {WIRE("\x01h"), -1},
        {WIRE("\x03h2c"), -1},
        {WIRE("\x02H2"), -1},
        {WIRE("\x03h2c\x02h2"), 5},
        {WIRE("\x02h"), -1}, // its length leads out of the list
        {WIRE("\xffh2"), -1},
        {WIRE("\x03\x02h2"), -1}, // the end of another name
        {WIRE("\x00\x02h2"), 2},  // an empty name, which BoringSSL refuses before
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        const uint8_t *found = alpn_find(rows[i].wire, rows[i].len, "h2", 2);
        cr_expect_eq(found == NULL ? -1 : found - rows[i].wire, rows[i].at, "row %zu", i);
    }
}

Test(alpn, a_bound_name_says_the_address_without_its_interface)
{
    static const struct {
        const char *called;
        uint32_t scope;
        const char *name;
    } rows[] = {
        {"10.1.2.3:8080", 0, "tabard/1/10.1.2.3:8080"},
        {"[fd00::1]:1", 0, "tabard/1/[fd00::1]:1"},
        {"[FD00:0::0001]:65535", 0, "tabard/1/[fd00::1]:65535"},
        {"[::ffff:10.1.2.3]:8080", 0, "tabard/1/10.1.2.3:8080"},
        {"[fe80::1]:8080", 3, "tabard/1/[fe80::1]:8080"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        char name[ALPN_BOUND_MAX];
        struct addr called;
        cr_assert(addr_parse(&called, rows[i].called, false, NULL));
        called.scope = rows[i].scope;
        cr_expect_eq(alpn_bound(name, &called), strlen(rows[i].name));
        cr_expect_str_eq(name, rows[i].name);
    }
}

Test(alpn, a_list_is_bound_here_or_elsewhere_or_not_at_all)
{
    static const struct {
        const uint8_t *offered;
        size_t len;
        enum alpn_binding binding;
        const char *name;
    } rows[] = {
        {WIRE("\x08tabard/1"), ALPN_UNBOUND, NULL},
        {WIRE(""), ALPN_UNBOUND, NULL},
        {WIRE("\x12tabard/1/10.0.0.1:5"), ALPN_ELSEWHERE, "tabard/1/10.0.0.1:"},
        {WIRE("\x20tabard/1/10.0.0.1:5"), ALPN_UNBOUND, NULL}, // it leads out of the list
        {WIRE("\x13tabard/1/10.0.0.1:5\x08tabard/1"), ALPN_BOUND, "tabard/1/10.0.0.1:5"},
        {WIRE("\x08tabard/1\x13tabard/1/10.0.0.1:5"), ALPN_BOUND, "tabard/1/10.0.0.1:5"},
        {WIRE("\x13tabard/1/10.0.0.1:6\x08tabard/1"), ALPN_ELSEWHERE, "tabard/1/10.0.0.1:6"},
        {WIRE("\x13tabard/1/10.0.0.2:5"), ALPN_ELSEWHERE, "tabard/1/10.0.0.2:5"},
        {WIRE("\x14tabard/1/10.0.0.1:50"), ALPN_ELSEWHERE, "tabard/1/10.0.0.1:50"},
        {WIRE("\x09tabard/1/"), ALPN_ELSEWHERE, "tabard/1/"},
        // Of several the one that fits counts.
        {WIRE("\x13tabard/1/10.0.0.2:5\x13tabard/1/10.0.0.1:5"), ALPN_BOUND, "tabard/1/10.0.0.1:5"},
        {WIRE("\x09tabard/10\x08http/1.1"), ALPN_UNBOUND, NULL},
    };
    struct addr here;
    cr_assert(addr_parse(&here, "10.0.0.1:5", false, NULL));
    for (size_t i = 0; i < NUM(rows); i++) {
        const uint8_t *name = NULL;
        uint8_t len = 0;
        enum alpn_binding binding =
            alpn_binding_of(rows[i].offered, rows[i].len, &here, &name, &len);
        cr_expect_eq(binding, rows[i].binding, "row %zu", i);
        cr_expect(rows[i].name == NULL ||
                      (len == strlen(rows[i].name) && memcmp(name, rows[i].name, len) == 0),
                  "row %zu", i);
    }
}

Test(alpn, the_first_of_our_names_that_is_offered_is_selected)
{
    static const char *const names[] = {"h2", "http/1.1"};
    static const struct {
        const uint8_t *offered;
        size_t len;
        const char *name; // NULL: none
    } rows[] = {
        {WIRE("\x02h2"), "h2"},
        {WIRE("\x08http/1.1\x02h2"), "h2"},
        {WIRE("\x08http/1.1"), "http/1.1"},
        {WIRE("\x08http/1.0\x03h2c"), NULL},
        {WIRE(""), NULL},
    };
    struct alpn_list ours = list_of(names, NUM(names));
    for (size_t i = 0; i < NUM(rows); i++) {
        const uint8_t *name = NULL;
        uint8_t len = 0;
        bool found = alpn_select(&ours, rows[i].offered, rows[i].len, &name, &len);
        cr_expect_eq(found, rows[i].name != NULL, "row %zu", i);
        if (found && rows[i].name != NULL) {
            cr_expect_eq(len, strlen(rows[i].name));
            cr_expect_eq(memcmp(name, rows[i].name, len), 0);
            cr_expect(name > rows[i].offered && name < rows[i].offered + rows[i].len);
        }
    }
    alpn_list_cleanup(&ours);
}
