// SPDX-License-Identifier: Apache-2.0
//
// Routes where enforcement is OBSERVE.
#include <criterion/criterion.h>
#include <string.h>

#include "base/pb/pb_text.h"
#include "proxy/rules/route.h"

TestSuite(route_observe, .timeout = 10);

#define NUM(array) (sizeof(array) / sizeof((array)[0]))

static struct route_index *index_of(const char *text)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Snapshot *snapshot = (Tabard__V1__Snapshot *)pb_text_parse(
        &tabard__v1__snapshot__descriptor, text, strlen(text), "t", NULL, &err);
    cr_assert_not_null(snapshot, "%s in %s", err.text, text);
    struct route_index *index = route_index_new(snapshot, &err);
    cr_assert_not_null(index, "%s: %s in %s", err.where, err.text, text);
    tabard__v1__snapshot__free_unpacked(snapshot, NULL);
    return index;
}

Test(route_observe, what_is_not_listed_is_served_and_told_apart_where_enforcement_is_observe)
{
    static const struct {
        const char *text;
        bool is_observing;
        uint32_t detect_ms;
        enum route_mode route;
        bool is_route_observed;
    } rows[] = {
        {"settings: {enforcement: ENFORCE}", false, 0, ROUTE_DENY, false},
        {"settings: {enforcement: OBSERVE}", true, 1000, ROUTE_PLAINTEXT, true},
        {"settings: {enforcement: OBSERVE, unlisted_outbound: DENY}", true, 1000, ROUTE_PLAINTEXT,
         true},
        {"settings: {enforcement: OBSERVE, unlisted_outbound: PLAINTEXT}", true, 1000,
         ROUTE_PLAINTEXT, false},
        {"settings: {enforcement: OBSERVE, limits: {detect_ms: 7000}}", true, 0, ROUTE_PLAINTEXT,
         true},
        {"settings: {enforcement: ENFORCE, unlisted_outbound: PLAINTEXT}", false, 0,
         ROUTE_PLAINTEXT, false},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct addr addr = {.port = 1};
        struct route_index *index = index_of(rows[i].text);
        const struct inbound inbound = route_inbound(index, 80);
        const struct route route = route_outbound(index, &addr);
        cr_expect_eq(route_is_observing(index), rows[i].is_observing, "%s", rows[i].text);
        cr_expect_eq(inbound.mode, rows[i].is_observing ? INBOUND_PERMISSIVE : INBOUND_MTLS);
        cr_expect_eq(inbound.is_observed, rows[i].is_observing);
        cr_expect_eq(inbound.foreign_tls_is_application, rows[i].is_observing);
        cr_expect_eq(inbound.detect_ms, rows[i].detect_ms, "%s", rows[i].text);
        cr_expect_eq(route.mode, rows[i].route, "%s", rows[i].text);
        cr_expect_eq(route.is_observed, rows[i].is_route_observed, "%s", rows[i].text);
        route_index_free(index);
    }
}

Test(route_observe, observe_changes_nothing_of_what_is_listed)
{
    struct route_index *index =
        index_of("settings: {enforcement: OBSERVE}\n"
                 "inbound_ports: [{port: 80, mode: MTLS}, {port: 81, mode: PLAINTEXT}]\n"
                 "destinations: [{name: a, addresses: [10.1.2.3], mode: MTLS, identities: "
                 "['spiffe://a/h']}]\n");
    struct addr addr;
    cr_assert(addr_parse(&addr, "10.1.2.3:80", false, NULL));
    cr_expect_eq(route_inbound(index, 80).mode, INBOUND_MTLS);
    cr_expect_eq(route_inbound(index, 81).mode, INBOUND_PLAINTEXT);
    cr_expect_not(route_inbound(index, 80).is_observed);
    cr_expect_not(route_inbound(index, 81).is_observed);
    cr_expect_eq(route_outbound(index, &addr).mode, ROUTE_MTLS);
    cr_expect_not(route_outbound(index, &addr).is_observed);
    route_index_free(index);
}
