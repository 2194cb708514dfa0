// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/policyd/kubernetes/status_write.h"

#define NOW 1764300000 // 2025-11-28T03:20:00Z

static bool is_alive(void *ctx, const char *replica)
{
    (void)ctx;
    return strcmp(replica, "gone") != 0;
}

// A policy of five sidecars, of which this replica steers two that have it.
static struct status_facts facts_of(void)
{
    return (struct status_facts){.kind = "MeshPolicy",
                                 .ns = "shop",
                                 .name = "p",
                                 .uid = "u",
                                 .generation = 3,
                                 .is_accepted = true,
                                 .reason = "Accepted",
                                 .message = "good",
                                 .num_concerned = 5,
                                 .num_in_force = 2,
                                 .replica = "one",
                                 .is_alive = is_alive};
}

// Applies writes as the API server would, until there is nothing to write; returns how many.
static unsigned settle(const struct status_facts *facts, json_t *status)
{
    for (unsigned num = 0; num < 10; num++) {
        struct status_write write = status_write_next(facts, status, NOW);
        if (write.object == NULL) {
            return num;
        }
        json_t *applied = json_object_get(write.object, "status");
        json_t *conditions = json_object_get(applied, "conditions");
        if (conditions != NULL) {
            cr_expect_str_eq(write.manager, "tabard-policyd");
            json_object_set(status, "conditions", conditions);
        } else {
            // What this manager had, and hasn't now, goes.
            const char *replica = write.manager + strlen("tabard-policyd-");
            json_t *entry = json_array_get(json_object_get(applied, "replicas"), 0);
            json_t *replicas = json_object_get(status, "replicas");
            size_t index;
            json_t *item;
            json_array_foreach(replicas, index, item)
            {
                if (strcmp(json_string_value(json_object_get(item, "name")), replica) == 0) {
                    json_array_remove(replicas, index);
                    break;
                }
            }
            if (entry != NULL) {
                json_array_append(replicas, entry);
            }
        }
        json_decref(write.object);
    }
    cr_assert_fail("it never ends");
    return 0;
}

// "STATUS REASON MESSAGE" of a condition.
static const char *condition(const json_t *status, const char *type)
{
    static char text[2000];
    size_t index;
    const json_t *item;
    text[0] = '\0';
    json_array_foreach(json_object_get(status, "conditions"), index, item)
    {
        if (strcmp(json_string_value(json_object_get(item, "type")), type) == 0) {
            snprintf(text, sizeof text, "%s %s %s",
                     json_string_value(json_object_get(item, "status")),
                     json_string_value(json_object_get(item, "reason")),
                     json_string_value(json_object_get(item, "message")));
        }
    }
    return text;
}

static json_t *status_of(const char *replicas)
{
    json_t *status = json_object();
    json_object_set_new(status, "replicas", json_loads(replicas, 0, NULL));
    return status;
}

Test(status_write, counts_the_sidecars_of_all_replicas_that_run, .timeout = 10)
{
    struct status_facts facts = facts_of();
    json_t *status = status_of(
        "[{\"name\": \"two\", \"observedGeneration\": 3, \"inForce\": 2, \"refused\": 0},"
        " {\"name\": \"gone\", \"observedGeneration\": 3, \"inForce\": 9, \"refused\": 0},"
        " {\"name\": \"late\", \"observedGeneration\": 2, \"inForce\": 9, \"refused\": 0}]");
    cr_expect_eq(settle(&facts, status), 3, "our entry, the dead one's, the conditions");
    cr_expect_str_eq(condition(status, "Accepted"), "True Accepted good");
    cr_expect_str_eq(condition(status, "InForce"), "False Pending 4 of 5 sidecars");
    cr_expect_eq(json_array_size(json_object_get(status, "replicas")), 3);
    facts.num_in_force = 3;
    cr_expect_eq(settle(&facts, status), 2);
    cr_expect_str_eq(condition(status, "InForce"), "True InForce 5 of 5 sidecars");
    cr_expect_eq(settle(&facts, status), 0, "what is as it should be is not written");
    json_decref(status);
}

Test(status_write, another_replica_that_sees_the_same_writes_nothing, .timeout = 10)
{
    struct status_facts one = facts_of();
    struct status_facts two = facts_of();
    two.replica = "two";
    two.num_in_force = 3;
    json_t *status = status_of("[]");
    settle(&one, status);
    settle(&two, status);
    cr_expect_eq(settle(&one, status), 0);
    cr_expect_eq(settle(&two, status), 0);
    cr_expect_str_eq(condition(status, "InForce"), "True InForce 5 of 5 sidecars");
    json_decref(status);
}

Test(status_write, says_what_a_sidecar_says_that_refuses, .timeout = 10)
{
    struct status_facts facts = facts_of();
    facts.num_refused = 1;
    facts.refusal = "policies[0]: \xff\nno";
    json_t *status = status_of("[]");
    settle(&facts, status);
    cr_expect_str_eq(condition(status, "InForce"),
                     "False Refused 2 of 5 sidecars; 1 refuse what they are sent: "
                     "policies[0]: ?\?no");
    json_decref(status);
}

Test(status_write, what_is_not_accepted_is_in_force_nowhere, .timeout = 10)
{
    struct status_facts facts = facts_of();
    facts.is_accepted = false;
    facts.reason = "Refused";
    facts.message = "spec.ports[0]: 0 is not a TCP port (1 to 65535)";
    facts.num_in_force = 5;
    json_t *status = status_of("[]");
    settle(&facts, status);
    cr_expect_str_eq(condition(status, "Accepted"),
                     "False Refused spec.ports[0]: 0 is not a TCP port (1 to 65535)");
    cr_expect_str_eq(condition(status, "InForce"),
                     "False NotAccepted what was accepted before, if anything, stays in force");
    json_decref(status);
}

Test(status_write, keeps_the_time_of_a_condition_whose_status_stays, .timeout = 10)
{
    struct status_facts facts = facts_of();
    json_t *status = status_of("[]");
    settle(&facts, status);
    facts.num_in_force = 4;
    struct status_write write = status_write_next(&facts, status, NOW + 100); // our entry
    json_object_set(status, "replicas",
                    json_object_get(json_object_get(write.object, "status"), "replicas"));
    json_decref(write.object);
    write = status_write_next(&facts, status, NOW + 100);
    char *text = json_dumps(write.object, JSON_COMPACT | JSON_SORT_KEYS);
    cr_expect_not_null(strstr(text, "4 of 5"), "%s", text);
    cr_expect_null(strstr(text, "03:21"), "%s", text);
    free(text);
    json_decref(write.object);
    facts.num_in_force = 5;
    json_array_clear(json_object_get(status, "replicas"));
    settle(&facts, status);
    json_decref(status);
}

Test(status_write, no_sidecar_at_all_is_everywhere, .timeout = 10)
{
    struct status_facts facts = facts_of();
    facts.num_concerned = facts.num_in_force = 0;
    json_t *status = status_of("[]");
    cr_expect_eq(settle(&facts, status), 1, "no entry is needed");
    cr_expect_str_eq(condition(status, "InForce"), "True InForce 0 of 0 sidecars");
    json_decref(status);
}
