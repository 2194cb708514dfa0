// SPDX-License-Identifier: Apache-2.0
//
// Where calls to an application on this host come from, as it is written in
// settings.service_source.
#include <criterion/criterion.h>
#include <string.h>

#include "base/pb/pb_text.h"
#include "proxy/rules/route.h"

#define NUM(array)   (sizeof(array) / sizeof((array)[0]))
#define SOURCE(rest) "settings: {interception: {}, service_source: {" rest "}}\n"

TestSuite(route_source, .timeout = 10);

static Tabard__V1__Snapshot *snapshot_of(const char *yaml)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Snapshot *snapshot = (Tabard__V1__Snapshot *)pb_text_parse(
        &tabard__v1__snapshot__descriptor, yaml, strlen(yaml), "t", NULL, &err);
    cr_assert_not_null(snapshot, "%s in %s", err.text, yaml);
    return snapshot;
}

Test(route_source, each_family_has_its_default_or_what_is_written_in_that_order)
{
    static const struct {
        const char *yaml;
        const char *v4[3];
        const char *v6[3];
    } rows[] = {
        {"", {"127.0.0.6"}, {"::6"}},
        {SOURCE(""), {"127.0.0.6"}, {"::6"}},
        {SOURCE("mode: SIDECAR"), {"127.0.0.6"}, {"::6"}},
        {SOURCE("addresses: ['127.9.9.9']"), {"127.9.9.9"}, {"::6"}},
        {SOURCE("addresses: ['fd00::9', '10.9.9.8', 'fd00::8', '10.9.9.9']"),
         {"10.9.9.8", "10.9.9.9"},
         {"fd00::9", "fd00::8"}},
        {SOURCE("addresses: ['127.0.0.1', '::1']"), {"127.0.0.1"}, {"::1"}}, // who wants it so
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err = {{0}, {0}};
        Tabard__V1__Snapshot *snapshot = snapshot_of(rows[i].yaml);
        struct route_index *index = route_index_new(snapshot, &err);
        cr_assert(index != NULL, "%s: %s", rows[i].yaml, err.text);
        const struct service_source *source = route_service_source(index);
        cr_expect_not(source->is_caller);
        for (int is_v4 = 0; is_v4 < 2; is_v4++) {
            const char *const *want = is_v4 ? rows[i].v4 : rows[i].v6;
            size_t num = 0;
            for (; want[num] != NULL; num++) {
                char buf[ADDR_TEXT_MAX];
                cr_assert(num < source->num_ips[is_v4]);
                cr_expect_str_eq(ip_text(&source->ips[is_v4][num], buf), want[num]);
            }
            cr_expect_eq(source->num_ips[is_v4], num, "%s", rows[i].yaml);
        }
        route_index_free(index);
        tabard__v1__snapshot__free_unpacked(snapshot, NULL);
    }
}

Test(route_source, a_bad_source_is_named)
{
    static const char loopback[] =
        "CALLER is not for an application on 127.0.0.1, which can answer nobody else: give "
        "inbound_ports[1].application another address of this host";
    static const struct {
        const char *yaml;
        const char *where;
        const char *text;
    } rows[] = {
        {SOURCE("addresses: ['127.0.0.6', 'localhost']"), "settings.service_source.addresses[1]",
         "\"localhost\" is not an IP address (as in 10.1.2.3 or fd00::1)"},
        {SOURCE("addresses: ['0.0.0.0']"), "settings.service_source.addresses[0]",
         "\"0.0.0.0\" is no address that a call can come from: write one as 127.0.0.6"},
        {SOURCE("addresses: ['224.0.0.1']"), "settings.service_source.addresses[0]",
         "\"224.0.0.1\" is no address that a call can come from: write one as 127.0.0.6"},
        {SOURCE("addresses: ['255.255.255.255']"), "settings.service_source.addresses[0]",
         "\"255.255.255.255\" is no address that a call can come from: write one as 127.0.0.6"},
        {SOURCE("addresses: ['ff02::1']"), "settings.service_source.addresses[0]",
         "\"ff02::1\" is no address that a call can come from: write one as 127.0.0.6"},
        {SOURCE("addresses: ['fe80::7']"), "settings.service_source.addresses[0]",
         "\"fe80::7\" is no address that a call can come from: write one as 127.0.0.6"},
        {SOURCE("addresses: ['127.0.0.6', '::ffff:127.0.0.6']"),
         "settings.service_source.addresses[1]", "\"::ffff:127.0.0.6\" stands there twice"},
        {SOURCE("mode: CALLER, addresses: ['127.0.0.6']"), "settings.service_source.addresses",
         "mode CALLER has no addresses of its own: leave them out"},
        {"settings: {service_source: {mode: CALLER}}\n", "settings.service_source.mode",
         "CALLER needs settings.interception, which brings the answers back"},
        {SOURCE("mode: CALLER") "inbound_ports: [{port: 1, mode: MTLS}, {port: 2, mode: MTLS, "
                                "listen: '0.0.0.0:9'}]\n",
         "settings.service_source.mode", loopback},
        {SOURCE("mode: CALLER") "inbound_ports: [{port: 1, mode: MTLS}, {port: 2, mode: MTLS, "
                                "listen: '0.0.0.0:9', application: '127.3.4.5:8'}]\n",
         "settings.service_source.mode", loopback},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err = {{0}, {0}};
        Tabard__V1__Snapshot *snapshot = snapshot_of(rows[i].yaml);
        cr_expect_null(route_index_new(snapshot, &err), "%s", rows[i].yaml);
        cr_expect_str_eq(err.where, rows[i].where, "%s", rows[i].yaml);
        cr_expect_str_eq(err.text, rows[i].text, "%s", rows[i].yaml);
        tabard__v1__snapshot__free_unpacked(snapshot, NULL);
    }
}

Test(route_source, a_caller_s_own_address_is_for_applications_that_can_answer_it)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Snapshot *snapshot = snapshot_of(
        SOURCE("mode: CALLER") "inbound_ports: [{port: 1, mode: MTLS}, {port: 2, mode: MTLS, "
                               "listen: '0.0.0.0:9', application: '10.0.0.1:8'}]\n");
    struct route_index *index = route_index_new(snapshot, &err);
    cr_assert(index != NULL, "%s", err.text);
    cr_expect(route_service_source(index)->is_caller);
    route_index_free(index);
    tabard__v1__snapshot__free_unpacked(snapshot, NULL);
}
