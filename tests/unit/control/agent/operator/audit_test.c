// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/audit.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb/pb_text.h"
#include "tabard/v1/admin.pb-c.h"

#define DENIAL(...)                                                                                \
    {                                                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&tabard__v1__denial__descriptor), __VA_ARGS__              \
    }

// Texts that a row does not name.
static void fill(Tabard__V1__Denial *denial)
{
    char **texts[] = {&denial->peer,      &denial->source, &denial->policy,
                      &denial->direction, &denial->reason, &denial->destination};
    static const char *const usual[] = {"", "", "", "inbound", "policy_denied", "80"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (*texts[i] == NULL) {
            *texts[i] = (char *)usual[i];
        }
    }
}

// Makes the page of these and reads it again; to be freed by the caller.
static Tabard__V1__Audit *audit_of(Tabard__V1__Denial *denials, size_t num, bool is_observing)
{
    struct err err = {{0}, {0}};
    Tabard__V1__Denial *list[16];
    Tabard__V1__InspectResult result = TABARD__V1__INSPECT_RESULT__INIT;
    const struct report_facts facts = {.spiffe_id = "spiffe://a/self",
                                       .generation = 7,
                                       .applied_unix_ms = 5,
                                       .is_observing = is_observing};
    for (size_t i = 0; i < num; i++) {
        fill(&denials[i]);
        list[i] = &denials[i];
    }
    result.denials = list;
    result.n_denials = num;
    result.denials_dropped = 3;
    char *text = audit_text(&facts, &result);
    cr_assert_not_null(text);
    Tabard__V1__Audit *audit = (Tabard__V1__Audit *)pb_text_parse(
        &tabard__v1__audit__descriptor, text, strlen(text), "audit", NULL, &err);
    cr_assert_not_null(audit, "%s in %s", err.text, text);
    free(text);
    return audit;
}

Test(audit, what_the_workers_counted_of_the_same_is_added_up, .timeout = 10)
{
    Tabard__V1__Denial denials[] = {
        DENIAL(.peer = (char *)"spiffe://a/x", .count = 2, .first_unix_ms = 20, .last_unix_ms = 30,
               .generation = 6),
        DENIAL(.source = (char *)"10.1.2.3", .count = 9),
        DENIAL(.peer = (char *)"spiffe://a/x", .count = 5, .first_unix_ms = 10, .last_unix_ms = 25,
               .generation = 5),
        DENIAL(.peer = (char *)"spiffe://a/x", .count = 1, .first_unix_ms = 15, .last_unix_ms = 40,
               .generation = 7),
    };
    Tabard__V1__Audit *audit = audit_of(denials, 4, true);
    cr_expect_eq(audit->enforcement, TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE);
    cr_expect_eq(audit->generation, 7);
    cr_expect_eq(audit->applied_unix_ms, 5);
    cr_expect_eq(audit->denials_dropped, 3);
    cr_expect_str_eq(audit->spiffe_id, "spiffe://a/self");
    cr_assert_eq(audit->n_denials, 2);
    cr_expect_str_eq(audit->denials[0]->source, "10.1.2.3", "the most frequent comes first");
    const Tabard__V1__Denial *sum = audit->denials[1];
    cr_expect_eq(sum->count, 8);
    cr_expect_eq(sum->first_unix_ms, 10);
    cr_expect_eq(sum->last_unix_ms, 40);
    cr_expect_eq(sum->generation, 7);
    cr_expect_eq(denials[0].count, 2, "the proxy's answer is not changed");
    tabard__v1__audit__free_unpacked(audit, NULL);
}

Test(audit, whatever_differs_stays_apart, .timeout = 10)
{
    Tabard__V1__Denial denials[] = {
        DENIAL(.count = 1),
        DENIAL(.direction = (char *)"outbound"),
        DENIAL(.reason = (char *)"audit_policy"),
        DENIAL(.peer = (char *)"spiffe://a/x"),
        DENIAL(.source = (char *)"10.1.2.3"),
        DENIAL(.destination = (char *)"81"),
        DENIAL(.policy = (char *)"p"),
        DENIAL(.deciding_case = TABARD__V1__DENIAL__DECIDING_RULE, .rule = 0),
        DENIAL(.deciding_case = TABARD__V1__DENIAL__DECIDING_RULE, .rule = 1),
    };
    Tabard__V1__Audit *audit = audit_of(denials, sizeof denials / sizeof denials[0], false);
    cr_expect_eq(audit->enforcement, TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCE);
    cr_expect_eq(audit->n_denials, sizeof denials / sizeof denials[0]);
    tabard__v1__audit__free_unpacked(audit, NULL);
}

Test(audit, an_empty_list_is_a_list, .timeout = 10)
{
    Tabard__V1__Audit *audit = audit_of(NULL, 0, true);
    cr_expect_eq(audit->n_denials, 0);
    tabard__v1__audit__free_unpacked(audit, NULL);
}
