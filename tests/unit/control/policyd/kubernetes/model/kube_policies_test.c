// SPDX-License-Identifier: Apache-2.0
//
// MeshPolicy: what it becomes, and the reason why not.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/control/policyd/kubernetes/model/objects.h"

#define TIMEOUT 20

static struct objects objects;

static void start(void)
{
    objects_start(&objects);
}

static void end(void)
{
    objects_end(&objects);
}

#define POLICY_TEST(name) Test(kube_policies, name, .init = start, .fini = end, .timeout = TIMEOUT)

static void put_generation(const char *ns, int generation, const char *spec)
{
    objects_put(&objects, KUBE_MESH_POLICY,
                "{'metadata': {'namespace': '%s', 'name': 'p', 'generation': %d}, 'spec': {%s}, "
                "'status': {'conditions': []}}",
                ns, generation, spec);
}

static void put_policy(const char *ns, const char *spec)
{
    put_generation(ns, 3, spec);
}

#define FROM_SHOP "'rules': [{'from': [{'namespace': 'shop'}]}]"
#define ALLOW     "'action': 'ALLOW', "

POLICY_TEST(every_field_becomes_that_of_a_policy)
{
    put_policy("shop",
               "'action': 'DENY', 'mode': 'AUDIT', 'ports': [8080, '9000-9999'], 'selector': "
               "{'serviceAccounts': ['web', 'api.v2']}, 'rules': [{'from': [{'namespace': 'a', "
               "'serviceAccount': 'b'}, {'namespace': 'c'}], 'notFrom': [{'namespace': 'c', "
               "'serviceAccount': 'd'}], 'principals': ['spiffe://other.example'], 'sourceIps': "
               "['10.0.0.0/8'], 'notSourceIps': ['10.1.0.0/16']}]");
    objects_take(&objects);
    cr_expect_str_eq(objects_policy(&objects, "shop/p"),
                     "{'targets':['" TD "/ns/shop/sa/web','" TD "/ns/shop/sa/api.v2'],'policy':{"
                     "'name':'shop/p','action':'DENY','mode':'AUDIT','ports':[8080,'9000-9999'],"
                     "'rules':[{'principals':['spiffe://other.example','" TD "/ns/a/sa/b','" TD
                     "/ns/c/'],'not_principals':['" TD "/ns/c/sa/d'],'source_ips':['10.0.0.0/8'],"
                     "'not_source_ips':['10.1.0.0/16']}]}}");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_POLICY, "p"), "Accepted: ");
}

POLICY_TEST(two_of_one_name_in_two_namespaces_don_t_meet)
{
    put_policy("shop", ALLOW FROM_SHOP);
    put_policy("bank", ALLOW FROM_SHOP);
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_policy(&objects, "shop/p"), "'" TD "/ns/shop/'],'policy'"));
    cr_expect_not_null(strstr(objects_policy(&objects, "bank/p"), "'" TD "/ns/bank/'],'policy'"));
}

struct refused {
    const char *spec;
    const char *verdict;
};

POLICY_TEST(what_is_refused_says_where_and_what_was_in_force_stays)
{
    static const struct refused rows[] = {
        {FROM_SHOP, "spec.action: the action must be written: ALLOW or DENY"},
        {ALLOW "'rules': []", "spec.rules: a policy without rules matches nothing"},
        {ALLOW "'rules': [{}]", "spec.rules[0]: "},
        {ALLOW "'rules': [{'from': []}]", "spec.rules[0].from: is no list, or an empty one"},
        {ALLOW "'rules': [{'from': [{}]}]", "spec.rules[0].from[0].namespace: missing"},
        {ALLOW "'rules': [{'from': [{'serviceAccount': 'web'}]}]",
         "spec.rules[0].from[0].namespace: missing"},
        {ALLOW "'rules': [{'from': [{'namespace': 'shop'}, {'namespace': 'a/b'}]}]",
         "spec.rules[0].from[1].namespace: is no name of a namespace"},
        {ALLOW "'rules': [{'from': [{'namespace': 'shop', 'serviceAccount': ''}]}]",
         "spec.rules[0].from[0].serviceAccount: is no name of a service account"},
        {ALLOW "'rules': [{'from': [{'namespace': 'shop', 'labels': {}}]}]",
         "spec.rules[0].from[0].labels: there is no such field"},
        {ALLOW "'rules': [{'from': [{'namespace': 'shop'}], 'notFrom': [{'namespace': 'SHOP'}]}]",
         "spec.rules[0].notFrom[0].namespace: is no name of a namespace"},
        {ALLOW "'rules': [{'principals': ["
               "'spiffe://a.example/x', 'a.example']}]",
         "spec.rules[0].principals[1]: "},
        {ALLOW "'rules': [{'from': [{'namespace': 'shop'}], 'principals': []}]",
         "spec.rules[0].principals: is no list, or an empty one"},
        {ALLOW "'rules': [{'notPrincipals': ['spiffe://a.example/x']}]", "spec.rules[0]: "},
        {ALLOW "'rules': [{'sourceIps': ['10.0.0.1/8']}]", "spec.rules[0].sourceIps[0]: "},
        {ALLOW "'rules': [{'source_ips': ['10.0.0.0/8']}]",
         "spec.rules[0].source_ips: there is no such field"},
        {ALLOW "'rules': [{'from': [{'namespace': 'shop'}], 'sourceIp': ['10.0.0.0/8']}]",
         "spec.rules[0]: unknown key \"sourceIp\", did you mean sourceIps?"},
        {ALLOW FROM_SHOP ", 'ports': [70000]", "spec.ports[0]: "},
        {ALLOW FROM_SHOP ", 'ports': ['80']", "spec.ports[0]: "},
        {ALLOW FROM_SHOP ", 'ports': []", "spec.ports: the list is empty"},
        {ALLOW FROM_SHOP ", 'mode': 'LAX'", "spec.mode: \"LAX\" is not one of ENFORCE, AUDIT"},
        {ALLOW FROM_SHOP ", 'mode': null", "spec.mode: "},
        {ALLOW FROM_SHOP ", 'name': 'x'", "spec.name: there is no such field"},
        {ALLOW FROM_SHOP ", 'selector': {}", "spec.selector: selects nothing"},
        {ALLOW FROM_SHOP ", 'selector': {'serviceAccounts': []}",
         "spec.selector.serviceAccounts: is no list of names, or an empty one"},
        {ALLOW FROM_SHOP ", 'selector': {'serviceAccounts': ['a', 'B']}",
         "spec.selector.serviceAccounts[1]: is no name of a service account"},
        {ALLOW FROM_SHOP ", 'selector': {'matchLabels': {}}",
         "spec.selector.matchLabels: has no labels"},
        {ALLOW FROM_SHOP ", 'selector': {'matchExpressions': []}",
         "spec.selector.matchExpressions: there is no such field"},
        {ALLOW FROM_SHOP ", 'selector': null", "spec.selector: is no object"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char good[512];
        put_policy("shop", "'action': 'DENY', 'rules': [{}]");
        objects_take(&objects);
        snprintf(good, sizeof good, "%s", objects_policy(&objects, "shop/p"));
        cr_expect_str_neq(good, "");
        put_policy("shop", rows[i].spec);
        objects_take(&objects);
        const char *verdict = objects_verdict(&objects, KUBE_MESH_POLICY, "p");
        cr_expect_eq(strncmp(verdict, "Refused: ", 9), 0, "row %zu: %s", i, verdict);
        cr_expect_eq(strncmp(verdict + 9, rows[i].verdict, strlen(rows[i].verdict)), 0,
                     "row %zu: %s", i, verdict);
        cr_expect_not_null(strstr(verdict, "what was in force before stays"), "row %zu", i);
        cr_expect_str_eq(objects_policy(&objects, "shop/p"), good, "row %zu", i);
        put_generation("bank", 1, rows[i].spec);
        put_policy("other", ALLOW FROM_SHOP);
        objects_take(&objects);
        cr_expect_str_eq(objects_policy(&objects, "bank/p"), "", "row %zu", i);
        cr_expect_str_neq(objects_policy(&objects, "other/p"), "", "one that is bad holds up none");
        kube_model_delete(objects.model, KUBE_MESH_POLICY, "other", "p");
    }
}

POLICY_TEST(a_name_that_is_too_long_for_a_policy_is_refused_in_every_form)
{
    static const char *const specs[] = {ALLOW FROM_SHOP, "'action': 'DENY', 'rules': [{}]",
                                        "'rules': 7"};
    char name[140];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        objects_put(&objects, KUBE_MESH_POLICY,
                    "{'metadata': {'namespace': 'shop', 'name': '%s', 'generation': %zu}, 'spec': "
                    "{%s}}",
                    name, i + 1, specs[i]);
        objects_take(&objects);
        const char *verdict = objects_verdict(&objects, KUBE_MESH_POLICY, name);
        cr_expect_eq(strncmp(verdict, "Refused: ", 9), 0, "row %zu: %s", i, verdict);
        cr_expect_null(strstr(verdict, "denies all"), "no form of it ever was in force");
        cr_expect_eq(objects.config->n_policies, 0, "row %zu", i);
    }
}

POLICY_TEST(a_status_that_changes_is_no_news_and_a_new_generation_is)
{
    put_policy("shop", ALLOW FROM_SHOP);
    objects_take(&objects);
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_POLICY, "p"), "Accepted: ");
    unsigned num_configs = objects.num_configs;
    put_policy("shop", FROM_SHOP ", 'action': 'ALLOW'");
    objects_take(&objects);
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_POLICY, "p"), "");
    objects_put(&objects, KUBE_MESH_POLICY,
                "{'metadata': {'namespace': 'shop', 'name': 'p', 'generation': 4}, 'spec': "
                "{" ALLOW FROM_SHOP "}}");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_POLICY, "p"), "Accepted: ");
    objects_take(&objects);
    cr_expect_eq(objects.num_configs, num_configs);
}

POLICY_TEST(a_namespace_that_ends_keeps_what_denies_to_its_end)
{
    objects_put(&objects, KUBE_NAMESPACE, "{'metadata': {'name': 'shop'}}");
    objects_pod(&objects, "shop", "one", "web", "10.0.0.1", "");
    put_policy("shop", "'action': 'DENY', " FROM_SHOP);
    objects_put(&objects, KUBE_MESH_POLICY,
                "{'metadata': {'namespace': 'shop', 'name': 'q'}, 'spec': {" ALLOW FROM_SHOP "}}");
    objects_put(&objects, KUBE_NAMESPACE,
                "{'metadata': {'name': 'shop', 'deletionTimestamp': '2026-11-28T00:00:00Z'}}");
    kube_model_delete(objects.model, KUBE_MESH_POLICY, "shop", "p");
    objects_take(&objects);
    cr_expect_str_neq(objects_policy(&objects, "shop/p"), "", "the pod still serves");
    cr_expect_str_neq(objects_policy(&objects, "shop/q"), "");
    kube_model_delete(objects.model, KUBE_MESH_POLICY, "shop", "q");
    objects_take(&objects);
    cr_expect_str_eq(objects_policy(&objects, "shop/q"), "", "what allows goes at once");
    kube_model_delete(objects.model, KUBE_POD, "shop", "one");
    kube_model_delete(objects.model, KUBE_NAMESPACE, "", "shop");
    objects_take(&objects);
    cr_expect_str_eq(objects_policy(&objects, "shop/p"), "");
    cr_expect_eq(objects.config->n_workloads + objects.config->n_policies, 0);
}

// What policyd finds when it starts: a policy that was good, and denied, before it was changed.
POLICY_TEST(a_form_that_may_have_denied_and_is_not_known_any_more_denies_all)
{
    static const struct {
        const char *spec;
        int generation;
        const char *targets; // "": nothing is in force
    } rows[] = {
        {"'action': 'DENY', 'rules': [{'sourceIps': ['10.0.0.1/8']}]", 1, ""},
        {"'action': 'DENY', 'rules': [{'sourceIps': ['10.0.0.1/8']}]", 2, "'" TD "/ns/shop/'"},
        {"'action': 'DENY', 'selector': {'serviceAccounts': ['web']}, 'rules': []", 2,
         "'" TD "/ns/shop/sa/web'"},
        {"'action': 'DENY', 'selector': {'serviceAccounts': ['web']}, 'rules': [{}], 'ports': [0]",
         2, "'" TD "/ns/shop/sa/web'"},
        {"'action': 'DENY', 'selector': {'serviceAccounts': ['W']}, 'rules': [{}]", 2,
         "'" TD "/ns/shop/'"},
        {"'action': 'DENI', 'rules': [{}]", 2, "'" TD "/ns/shop/'"},
        {"'rules': 7", 2, "'" TD "/ns/shop/'"},
        {"'action': 'ALLOW', 'rules': []", 2, ""},
        {"'action': 'DENY', 'mode': 'AUDIT', 'rules': []", 2, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char wanted[512] = "";
        if (rows[i].targets[0] != '\0') {
            snprintf(wanted, sizeof wanted,
                     "{'targets':[%s],'policy':{'name':'shop/p','action':'DENY','mode':'ENFORCE',"
                     "'rules':[{}]}}",
                     rows[i].targets);
        }
        put_generation("shop", rows[i].generation, rows[i].spec);
        objects_take(&objects);
        const char *verdict = objects_verdict(&objects, KUBE_MESH_POLICY, "p");
        cr_expect_str_eq(objects_policy(&objects, "shop/p"), wanted, "row %zu", i);
        cr_expect_eq(strncmp(verdict, "Refused: spec", 13), 0, "row %zu: %s", i, verdict);
        cr_expect_eq(strstr(verdict, "so it denies all") != NULL, wanted[0] != '\0', "row %zu: %s",
                     i, verdict);
        put_generation("shop", 4, ALLOW FROM_SHOP); // mended
        objects_take(&objects);
        cr_expect_not_null(strstr(objects_policy(&objects, "shop/p"), "'action':'ALLOW'"));
        kube_model_delete(objects.model, KUBE_MESH_POLICY, "shop", "p");
        objects_take(&objects);
        cr_expect_str_eq(objects_policy(&objects, "shop/p"), "", "row %zu", i);
    }
}

// As after an upgrade to a policyd that refuses what the one before took.
POLICY_TEST(what_another_policyd_accepted_and_this_one_refuses_denies_all_too)
{
    static const char *const statuses[] = {"'False'", "'True'"};
    for (size_t i = 0; i < 2; i++) {
        objects_put(&objects, KUBE_MESH_POLICY,
                    "{'metadata': {'namespace': 'shop', 'name': 'p%zu', 'generation': 1}, 'spec': "
                    "{'action': 'DENY', 'rules': [{'later': 1}]}, 'status': {'conditions': [{"
                    "'type': 'InForce', 'status': 'True'}, {'type': 'Accepted', 'status': %s}]}}",
                    i, statuses[i]);
    }
    objects_take(&objects);
    cr_expect_str_eq(objects_policy(&objects, "shop/p0"), "");
    cr_expect_not_null(strstr(objects_policy(&objects, "shop/p1"), "'action':'DENY'"));
}

POLICY_TEST(what_denies_all_in_place_of_another_form_is_made_anew_with_each_change)
{
    put_generation("shop", 2, "'action': 'DENY', 'rules': []");
    put_generation("shop", 3,
                   "'action': 'DENY', 'selector': {'serviceAccounts': ['web']}, 'rules': []");
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_policy(&objects, "shop/p"), "'" TD "/ns/shop/sa/web'"));
    put_generation("shop", 4, "'action': 'ALLOW', 'rules': []");
    objects_take(&objects);
    cr_expect_str_eq(objects_policy(&objects, "shop/p"), "");
}

POLICY_TEST(the_settings_are_judged_too_and_the_trust_domain_stays)
{
    static const struct refused rows[] = {
        {"'trustDomain': 'other.example'",
         "spec.trustDomain: can't be changed: it is demo.example in every identity"},
        {"'trustDomain': 'demo.example', 'mode': 'OBSERVE'",
         "spec.mode: is neither observe nor enforce"},
        {"'trustDomain': 'demo.example', 'mode': null", "spec.mode: is neither"},
        {"'trustDomain': 'demo.example', 'unlistedOutbound': 'plaintext'",
         "spec.unlistedOutbound: is neither DENY nor PLAINTEXT"},
        {"'trustDomain': 'demo.example', 'keyExchange': 'post_quantum'",
         "spec.keyExchange: is neither ANY nor POST_QUANTUM"},
        {"'trustDomain': 'demo.example', 'keyExchange': null", "spec.keyExchange: is neither"},
        {"'trustDomain': 'demo.example', 'keyExchange': 2", "spec.keyExchange: is neither"},
        {"'trustDomain': 'demo.example', 'certificateSeconds': 59",
         "spec.certificateSeconds: is not a whole number of 60 to 86400 seconds"},
        {"'trustDomain': 'demo.example', 'certificateSeconds': 86401", "spec.certificateSeconds: "},
        {"'trustDomain': 'demo.example', 'certificateSeconds': 4294967356", // 60, in 32 bits
         "spec.certificateSeconds: "},
        {"'trustDomain': 'demo.example', 'certificateSeconds': -60", "spec.certificateSeconds: "},
        {"'trustDomain': 'demo.example', 'certificateSeconds': 0", "spec.certificateSeconds: "},
        {"'trustDomain': 'demo.example', 'certificateSeconds': 60.5", "spec.certificateSeconds: "},
        {"'trustDomain': 'demo.example', 'certificateSeconds': '60'", "spec.certificateSeconds: "},
        {"'trustDomain': 'demo.example', 'certificateSeconds': null", "spec.certificateSeconds: "},
        {"'trustDomain': 'demo.example', 'unlisted': 'PLAINTEXT'",
         "spec.unlisted: there is no such field"},
        {"'mode': 'observe'", "spec.trustDomain: "},
    };
    objects_put(&objects, KUBE_NAMESPACE, "{'metadata': {'name': 'shop'}}");
    objects_pod(&objects, "shop", "one", "web", "10.0.0.1", "");
    objects_take(&objects);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        objects_put(&objects, KUBE_MESH_SETTINGS,
                    "{'metadata': {'name': 'default'}, 'spec': {'trustDomain': 'demo.example'}}");
        objects_put(&objects, KUBE_MESH_SETTINGS, "{'metadata': {'name': 'default'}, 'spec': {%s}}",
                    rows[i].spec);
        objects_take(&objects);
        const char *verdict = objects_verdict(&objects, KUBE_MESH_SETTINGS, "default");
        cr_expect_not_null(strstr(verdict, rows[i].verdict), "row %zu: %s", i, verdict);
        cr_expect_not_null(strstr(objects_workload(&objects, TD "/ns/shop/sa/web", ""),
                                  "'enforcement':'ENFORCE','unlisted_outbound':'DENY'"),
                           "row %zu", i);
    }
    kube_model_delete(objects.model, KUBE_MESH_SETTINGS, "", "default");
    objects_pod(&objects, "shop", "two", "api", "10.0.0.2", "");
    objects_take(&objects);
    cr_expect_str_neq(objects_workload(&objects, TD "/ns/shop/sa/api", ""), "",
                      "what they said stays");
}

POLICY_TEST(the_key_exchange_is_what_the_settings_say_and_the_last_good_one_stays)
{
    static const char *const rows[][3] = {
        // the settings' field, what a workload then has, the verdict
        {", 'keyExchange': 'POST_QUANTUM'", "'key_exchange':'POST_QUANTUM'", "Accepted: "},
        {", 'keyExchange': 'NONE'", "'key_exchange':'POST_QUANTUM'", "spec.keyExchange: "},
        {", 'keyExchange': 'ANY'", "'key_exchange':'ANY'", "Accepted: "},
        {", 'keyExchange': ''", "'key_exchange':'ANY'", "spec.keyExchange: "},
        {"", "'unlisted_outbound':'DENY'}", "Accepted: "},
    };
    objects_put(&objects, KUBE_NAMESPACE, "{'metadata': {'name': 'shop'}}");
    objects_pod(&objects, "shop", "one", "web", "10.0.0.1", "");
    objects_take(&objects);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        objects_put(&objects, KUBE_MESH_SETTINGS,
                    "{'metadata': {'name': 'default'}, 'spec': {'trustDomain': 'demo.example'%s}}",
                    rows[i][0]);
        objects_take(&objects);
        const char *verdict = objects_verdict(&objects, KUBE_MESH_SETTINGS, "default");
        const char *workload = objects_workload(&objects, TD "/ns/shop/sa/web", "");
        cr_expect_not_null(strstr(verdict, rows[i][2]), "row %zu: %s", i, verdict);
        cr_expect_not_null(strstr(workload, rows[i][1]), "row %zu: %s", i, workload);
    }
}

POLICY_TEST(the_life_of_certificates_is_what_the_settings_say_and_the_last_good_one_stays)
{
    static const char *const rows[][3] = {
        // the settings' field, what a workload then has (nothing: an hour), the verdict
        {", 'certificateSeconds': 60", "'certificate_seconds':60", "Accepted: "},
        {", 'certificateSeconds': 30", "'certificate_seconds':60", "spec.certificateSeconds: "},
        {", 'certificateSeconds': 86400", "'certificate_seconds':86400", "Accepted: "},
        {", 'certificateSeconds': 86401", "'certificate_seconds':86400",
         "spec.certificateSeconds: "},
        {"", NULL, "Accepted: "},
    };
    objects_put(&objects, KUBE_NAMESPACE, "{'metadata': {'name': 'shop'}}");
    objects_pod(&objects, "shop", "one", "web", "10.0.0.1", "");
    objects_take(&objects);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        objects_put(&objects, KUBE_MESH_SETTINGS,
                    "{'metadata': {'name': 'default'}, 'spec': {'trustDomain': 'demo.example'%s}}",
                    rows[i][0]);
        objects_take(&objects);
        const char *verdict = objects_verdict(&objects, KUBE_MESH_SETTINGS, "default");
        const char *workload = objects_workload(&objects, TD "/ns/shop/sa/web", "");
        cr_expect_not_null(strstr(verdict, rows[i][2]), "row %zu: %s", i, verdict);
        cr_expect_not_null(strstr(workload, rows[i][1] == NULL ? "'DENY'}" : rows[i][1]),
                           "row %zu: %s", i, workload);
    }
}

static void put_aged(unsigned number)
{
    objects_put(&objects, KUBE_MESH_POLICY,
                "{'metadata': {'namespace': 'shop', 'name': 'p%u', 'creationTimestamp': "
                "'2026-11-28T00:%02u:%02uZ'}, 'spec': {" ALLOW FROM_SHOP "}}",
                number, number / 60, number % 60);
}

POLICY_TEST(a_namespace_has_a_thousand_policies_in_force_and_the_younger_ones_wait)
{
    put_policy("bank", ALLOW FROM_SHOP);
    for (unsigned i = 0; i <= 1000; i++) {
        put_aged(1000 - i); // the youngest comes first
    }
    objects_take(&objects);
    cr_expect_eq(objects.config->n_policies, 1001);
    cr_expect_str_eq(objects_policy(&objects, "shop/p1000"), "");
    cr_expect_str_neq(objects_policy(&objects, "shop/p999"), "");
    cr_expect_str_neq(objects_policy(&objects, "bank/p"), "", "others have their own thousand");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_POLICY, "p1000"),
                     "OverLimit: the namespace has 1000 MeshPolicies that are older, and may have "
                     "no more");
    kube_model_delete(objects.model, KUBE_MESH_POLICY, "shop", "p0");
    objects_take(&objects);
    cr_expect_str_neq(objects_policy(&objects, "shop/p1000"), "");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_POLICY, "p1000"), "Accepted: ");
}
