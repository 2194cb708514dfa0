// SPDX-License-Identifier: Apache-2.0
//
// MeshDestination: what it becomes, for whom, and what it may not be beside others.
#include <criterion/criterion.h>
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

#define DESTINATION_TEST(name)                                                                     \
    Test(kube_destinations, name, .init = start, .fini = end, .timeout = TIMEOUT)

static void put(const char *ns, const char *name, const char *spec)
{
    objects_put(&objects, KUBE_MESH_DESTINATION,
                "{'metadata': {'namespace': '%s', 'name': '%s', 'generation': 1, "
                "'creationTimestamp': '2026-11-28T00:00:0%zuZ'}, 'spec': {%s}}",
                ns, name, strlen(name), spec);
}

DESTINATION_TEST(it_is_for_its_namespace_or_its_accounts_and_in_policyd_s_own_for_everybody)
{
    put("shop", "db",
        "'addresses': ['10.9.0.0/16', '10.8.0.1'], 'ports': [5432], 'mode': 'MTLS', 'identities': "
        "['spiffe://other.example/db'], 'alpn': ['postgresql'], 'binding': 'NONE'");
    put("shop", "cache",
        "'selector': {'serviceAccounts': ['web', 'api']}, 'addresses': ['10.7.0.1'], 'mode': "
        "'PLAINTEXT'");
    put("tabard-system", "dns", "'addresses': ['10.96.0.10'], 'ports': [53], 'mode': 'PLAINTEXT'");
    put("tabard-system", "own",
        "'selector': {'serviceAccounts': ['tabard']}, 'addresses': ['10.96.0.11'], 'mode': "
        "'PLAINTEXT'");
    objects_take(&objects);
    cr_expect_str_eq(objects_destination(&objects, "shop/db"),
                     "{'callers':['" TD "/ns/shop/'],'destination':{'name':'shop/db','addresses':["
                     "'10.9.0.0/16','10.8.0.1'],'ports':[5432],'mode':'MTLS','identities':["
                     "'spiffe://other.example/db'],'alpn':['postgresql'],'binding':'NONE'}}");
    cr_expect_str_eq(objects_destination(&objects, "shop/cache"),
                     "{'callers':['" TD "/ns/shop/sa/web','" TD "/ns/shop/sa/api'],'destination':{"
                     "'name':'shop/cache','addresses':['10.7.0.1'],'mode':'PLAINTEXT'}}");
    cr_expect_str_eq(objects_destination(&objects, "tabard-system/dns"),
                     "{'callers':['" TD "'],'destination':{'name':'tabard-system/dns','addresses':["
                     "'10.96.0.10'],'ports':[53],'mode':'PLAINTEXT'}}");
    cr_expect_not_null(strstr(objects_destination(&objects, "tabard-system/own"),
                              "{'callers':['" TD "/ns/tabard-system/sa/tabard']"));
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_DESTINATION, "db"), "Accepted: ");
    objects_pod(&objects, "shop", "one", "web", "10.0.0.1", "");
    objects_pod(&objects, "shop", "two", "other", "10.0.0.2", "");
    objects_pod(&objects, "bank", "three", "web", "10.0.0.3", "");
    const struct kube_model *model = objects.model;
    cr_expect_eq(kube_model_num_concerned(model, KUBE_MESH_DESTINATION, "shop", "db"), 2);
    cr_expect_eq(kube_model_num_concerned(model, KUBE_MESH_DESTINATION, "shop", "cache"), 1);
    cr_expect_eq(kube_model_num_concerned(model, KUBE_MESH_DESTINATION, "tabard-system", "dns"), 3);
    cr_expect_eq(kube_model_num_concerned(model, KUBE_MESH_DESTINATION, "tabard-system", "own"), 0);
}

static void put_service(const char *name, const char *cluster_ips)
{
    objects_put(&objects, KUBE_SERVICE,
                "{'metadata': {'namespace': 'data', 'name': '%s'}, 'spec': {'clusterIPs': [%s], "
                "'ports': [{'port': 80}]}}",
                name, cluster_ips);
}

static void put_slice(const char *service, const char *endpoints)
{
    objects_put(&objects, KUBE_ENDPOINT_SLICE,
                "{'metadata': {'namespace': 'data', 'name': '%s-1', 'labels': "
                "{'kubernetes.io/service-name': '%s'}}, 'ports': [{'port': 8080}], 'endpoints': "
                "[%s]}",
                service, service, endpoints);
}

DESTINATION_TEST(services_by_name_bring_their_addresses_when_they_are_there)
{
    put("shop", "db",
        "'addresses': ['10.9.0.1'], 'services': [{'namespace': 'data', 'name': 'db'}, "
        "{'namespace': 'data', 'name': 'sts'}], 'mode': 'PLAINTEXT'");
    put("shop", "none", "'services': [{'namespace': 'data', 'name': 'gone'}], 'mode': 'PLAINTEXT'");
    objects_take(&objects);
    cr_expect_not_null(
        strstr(objects_destination(&objects, "shop/db"), "'addresses':['10.9.0.1'],'mode'"));
    cr_expect_str_eq(objects_destination(&objects, "shop/none"), "");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_DESTINATION, "none"),
                     "Accepted: data/gone isn't there");
    put_service("db", "'10.96.0.1', 'fd00::1'");
    put_service("sts", "'None'");
    objects_pod(&objects, "data", "meshed", "db", "10.0.0.2", "");
    put_slice("sts", "{'addresses': ['10.0.0.1']}, {'addresses': ['10.0.0.2']}");
    put_slice("db", "{'addresses': ['10.0.0.3']}");
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_destination(&objects, "shop/db"),
                              "'addresses':['10.9.0.1','10.96.0.1','fd00::1','10.0.0.1'],'mode'"),
                       "%s", objects_destination(&objects, "shop/db"));
    kube_model_delete(objects.model, KUBE_SERVICE, "data", "db");
    put_slice("sts", "{'addresses': ['10.0.0.7']}");
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_destination(&objects, "shop/db"),
                              "'addresses':['10.9.0.1','10.0.0.7'],'mode'"),
                       "%s", objects_destination(&objects, "shop/db"));
}

DESTINATION_TEST(a_service_s_address_that_the_destination_names_otherwise_stands_there_once)
{
    put("shop", "db",
        "'addresses': ['10.96.0.1/32', 'FD00:0::1'], 'services': [{'namespace': 'data', 'name': "
        "'db'}], 'mode': 'PLAINTEXT'");
    put_service("db", "'10.96.0.1', 'fd00::1'");
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_destination(&objects, "shop/db"),
                              "'addresses':['10.96.0.1/32','FD00:0::1'],'mode'"),
                       "%s", objects_destination(&objects, "shop/db"));
}

DESTINATION_TEST(a_service_of_more_addresses_than_a_destination_may_have_holds_up_nobody)
{
    put_service("sts", "'None'");
    for (unsigned slice = 0; slice < 11; slice++) {
        char addresses[2048];
        size_t len = 0;
        for (unsigned i = 0; i < 100; i++) {
            len += (size_t)snprintf(addresses + len, sizeof addresses - len, "%s'10.9.%u.%u'",
                                    i == 0 ? "" : ", ", slice, i);
        }
        objects_put(&objects, KUBE_ENDPOINT_SLICE,
                    "{'metadata': {'namespace': 'data', 'name': 'sts-%u', 'labels': "
                    "{'kubernetes.io/service-name': 'sts'}}, 'endpoints': [{'addresses': [%s]}]}",
                    slice, addresses);
    }
    put("shop", "db",
        "'addresses': ['10.8.0.0/16'], 'services': [{'namespace': 'data', 'name': 'sts'}], 'mode': "
        "'PLAINTEXT'");
    objects_take(&objects);
    cr_assert_eq(objects.config->n_destinations, 1);
    cr_expect_eq(objects.config->destinations[0]->destination->n_addresses, 1024);
    cr_expect_str_eq(objects.config->destinations[0]->destination->addresses[0], "10.8.0.0/16");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_DESTINATION, "db"),
                     "Accepted: data/sts has more addresses than a destination may have, and the "
                     "rest is left out");
}

DESTINATION_TEST(an_endpoint_that_is_another_service_s_cluster_ip_is_that_service_s_alone)
{
    put("shop", "logs", "'services': [{'namespace': 'data', 'name': 'sts'}], 'mode': 'PLAINTEXT'");
    put_service("sts", "'None'");
    put_slice("sts", "{'addresses': ['10.96.0.9']}, {'addresses': ['10.9.0.1']}");
    put_service("bank", "'10.96.0.9'");
    objects_take(&objects);
    cr_expect_not_null(
        strstr(objects_destination(&objects, "shop/logs"), "'addresses':['10.9.0.1'],"), "%s",
        objects_destination(&objects, "shop/logs"));
    kube_model_delete(objects.model, KUBE_SERVICE, "data", "bank");
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_destination(&objects, "shop/logs"), "'10.96.0.9'"));
}

DESTINATION_TEST(an_endpoint_takes_no_address_that_another_destination_of_its_callers_names)
{
    static const char mtls[] = "'mode': 'MTLS', 'identities': ['spiffe://other.example/db']";
    char spec[256];
    put("shop", "logs", "'services': [{'namespace': 'data', 'name': 'sts'}], 'mode': 'PLAINTEXT'");
    snprintf(spec, sizeof spec, "'addresses': ['10.9.0.1'], %s", mtls);
    put("shop", "younger", spec);
    snprintf(spec, sizeof spec, "'addresses': ['10.9.0.2'], %s", mtls);
    put("bank", "younger", spec);
    snprintf(spec, sizeof spec, "'addresses': ['10.9.0.3'], %s", mtls);
    put("tabard-system", "younger", spec);
    put_service("sts", "'None'");
    put_slice("sts", "{'addresses': ['10.9.0.1', '10.9.0.2', '10.9.0.3']}");
    objects_take(&objects);
    cr_expect_not_null(
        strstr(objects_destination(&objects, "shop/logs"), "'addresses':['10.9.0.2'],"), "%s",
        objects_destination(&objects, "shop/logs"));
    cr_expect_str_neq(objects_destination(&objects, "shop/younger"), "");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_DESTINATION, "logs"), "Accepted: ");
}

DESTINATION_TEST(an_address_that_a_pod_in_the_mesh_has_is_the_pod_s)
{
    put("shop", "db", "'addresses': ['10.9.0.1', '10.0.0.1'], 'mode': 'PLAINTEXT'");
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_destination(&objects, "shop/db"), "'10.0.0.1'"));
    objects_pod(&objects, "shop", "one", "web", "10.0.0.1", "");
    objects_take(&objects);
    cr_expect_null(strstr(objects_destination(&objects, "shop/db"), "'10.0.0.1'"));
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_DESTINATION, "db"),
                     "Accepted: 10.0.0.1 is a pod in the mesh and left out");
    kube_model_delete(objects.model, KUBE_POD, "shop", "one");
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_destination(&objects, "shop/db"), "'10.0.0.1'"));
}

DESTINATION_TEST(of_two_that_a_sidecar_would_refuse_together_the_younger_one_is_refused)
{
    put("shop", "older", "'addresses': ['10.9.0.0/16'], 'ports': [80], 'mode': 'PLAINTEXT'");
    put("shop", "younger",
        "'addresses': ['10.9.0.0/16'], 'ports': [80], 'mode': 'MTLS', 'identities': "
        "['spiffe://other.example/db']");
    put("bank", "other", "'addresses': ['10.9.0.0/16'], 'ports': [80], 'mode': 'PLAINTEXT'");
    objects_take(&objects);
    cr_expect_str_neq(objects_destination(&objects, "shop/older"), "");
    cr_expect_str_eq(objects_destination(&objects, "shop/younger"), "");
    cr_expect_str_neq(objects_destination(&objects, "bank/other"), "");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_DESTINATION, "younger"),
                     "Conflict: spec: 10.9.0.0/16 at port 80 is that of shop/older too");
    kube_model_delete(objects.model, KUBE_MESH_DESTINATION, "shop", "older");
    objects_take(&objects);
    cr_expect_str_neq(objects_destination(&objects, "shop/younger"), "");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_DESTINATION, "younger"), "Accepted: ");
    put("tabard-system", "the-youngest",
        "'addresses': ['10.9.0.0/16'], 'ports': [80], 'mode': 'PLAINTEXT'");
    objects_take(&objects);
    cr_expect_str_eq(objects_destination(&objects, "shop/younger"), "",
                     "none of policyd's namespace is refused for one of another");
    cr_expect_str_neq(objects_destination(&objects, "tabard-system/the-youngest"), "");
}

DESTINATION_TEST(two_for_different_accounts_may_say_different_things_of_one_address)
{
    put("shop", "a",
        "'selector': {'serviceAccounts': ['web']}, 'addresses': ['10.9.0.1'], 'mode': 'PLAINTEXT'");
    put("shop", "bb",
        "'selector': {'serviceAccounts': ['api']}, 'addresses': ['10.9.0.1'], 'mode': "
        "'PLAINTEXT'");
    put("shop", "ccc",
        "'selector': {'serviceAccounts': ['job', 'api']}, 'addresses': ['10.9.0.1'], 'mode': "
        "'PLAINTEXT'");
    objects_take(&objects);
    cr_expect_str_neq(objects_destination(&objects, "shop/a"), "");
    cr_expect_str_neq(objects_destination(&objects, "shop/bb"), "");
    cr_expect_str_eq(objects_destination(&objects, "shop/ccc"), "",
                     "of api it would be the second");
}

DESTINATION_TEST(what_is_refused_says_where_and_what_was_in_force_stays)
{
    static const char *const rows[][2] = {
        {"'mode': 'PLAINTEXT'", "spec.addresses: a destination needs at least one address"},
        {"'addresses': ['10.9.0.1']", "spec.mode: the mode must be written: MTLS or PLAINTEXT"},
        {"'addresses': ['db.example'], 'mode': 'PLAINTEXT'", "spec.addresses[0]: "},
        {"'addresses': ['10.9.0.1'], 'mode': 'MTLS'", "spec.identities: "},
        {"'addresses': ['10.9.0.1'], 'mode': 'PLAINTEXT', 'services': []",
         "spec.services: is no list of 1 to 64 services"},
        {"'services': [{'name': 'db'}], 'mode': 'PLAINTEXT'",
         "spec.services[0].namespace: is missing or no name of a namespace"},
        {"'services': [{'namespace': 'a', 'name': 'b', 'port': 1}], 'mode': 'PLAINTEXT'",
         "spec.services[0].port: there is no such field"},
        {"'addresses': ['10.9.0.1'], 'mode': 'PLAINTEXT', 'selector': {'matchLabels': {'a': 'b'}}",
         "spec.selector.matchLabels: there is no such field"},
        {"'addresses': ['10.9.0.1'], 'mode': 'PLAINTEXT', 'name': 'spiffe://x'",
         "spec.name: there is no such field"},
        {"'addresses': ['10.9.0.1'], 'mode': 'PLAINTEXT', 'binding': 'NONE'", "spec.binding: "},
    };
    put("shop", "d", "'addresses': ['10.1.1.1'], 'mode': 'PLAINTEXT'");
    objects_take(&objects);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put("shop", "d", rows[i][0]);
        objects_take(&objects);
        const char *verdict = objects_verdict(&objects, KUBE_MESH_DESTINATION, "d");
        cr_expect_eq(strncmp(verdict, "Refused: ", 9), 0, "row %zu: %s", i, verdict);
        cr_expect_eq(strncmp(verdict + 9, rows[i][1], strlen(rows[i][1])), 0, "row %zu: %s", i,
                     verdict);
        cr_expect_not_null(strstr(objects_destination(&objects, "shop/d"), "'10.1.1.1'"));
    }
}

static void put_changed(const char *ns, int generation, const char *spec)
{
    objects_put(&objects, KUBE_MESH_DESTINATION,
                "{'metadata': {'namespace': '%s', 'name': 'd', 'generation': %d}, 'spec': {%s}}",
                ns, generation, spec);
    objects_take(&objects);
}

static bool may_call_unlisted(const char *id)
{
    return strstr(objects_workload(&objects, id, ""), "'unlisted_outbound':'PLAINTEXT'") != NULL;
}

// What policyd finds when it starts: a destination that was good, and by mutual TLS, before it was
// changed. As one that is unlisted it would be called in plaintext.
DESTINATION_TEST(where_a_form_is_not_known_any_more_its_callers_call_nothing_that_is_unlisted)
{
    static const char bad[] = "'mode': 'MTLS', 'addresses': ['10.9.0.1/8']";
    static const char good[] = "'mode': 'PLAINTEXT', 'addresses': ['10.9.0.1']";
    objects_put(&objects, KUBE_MESH_SETTINGS,
                "{'metadata': {'name': 'default'}, 'spec': {'trustDomain': 'demo.example', "
                "'unlistedOutbound': 'PLAINTEXT'}}");
    objects_pod(&objects, "shop", "web-1", "web", "10.0.0.1", "");
    objects_pod(&objects, "bank", "web-1", "web", "10.0.0.2", "");
    put_changed("shop", 1, bad); // it never was another
    cr_expect(may_call_unlisted(TD "/ns/shop/sa/web"));
    put_changed("shop", 2, "'mode': 'PLAINTEXT', 'addresses': ['10.9.0.1/8']");
    cr_expect(may_call_unlisted(TD "/ns/shop/sa/web"), "in plaintext, as it says");
    put_changed("shop", 3, bad);
    put_changed("shop", 4, bad);
    cr_expect_not(may_call_unlisted(TD "/ns/shop/sa/web"));
    cr_expect(may_call_unlisted(TD "/ns/bank/sa/web"), "no caller of it");
    const char *verdict = objects_verdict(&objects, KUBE_MESH_DESTINATION, "d");
    cr_expect_not_null(strstr(verdict, "may call nothing that is unlisted"), "%s", verdict);
    put_changed("shop", 5, good);
    cr_expect(may_call_unlisted(TD "/ns/shop/sa/web"));
    put_changed("shop", 6, bad);
    cr_expect(may_call_unlisted(TD "/ns/shop/sa/web"), "the good one stays");
    put_changed("tabard-system", 2, bad);
    cr_expect_not(may_call_unlisted(TD "/ns/bank/sa/web"), "it is for everybody");
    kube_model_delete(objects.model, KUBE_MESH_DESTINATION, "tabard-system", "d");
    objects_take(&objects);
    cr_expect(may_call_unlisted(TD "/ns/bank/sa/web"));
}

DESTINATION_TEST(a_namespace_has_two_hundred_in_force_and_the_younger_ones_wait)
{
    for (unsigned i = 0; i <= 200; i++) {
        objects_put(&objects, KUBE_MESH_DESTINATION,
                    "{'metadata': {'namespace': 'shop', 'name': 'd%u', 'creationTimestamp': "
                    "'2026-11-28T00:%02u:%02uZ'}, 'spec': {'addresses': ['10.9.0.%u'], 'mode': "
                    "'PLAINTEXT'}}",
                    i, i / 60, i % 60, i);
    }
    objects_take(&objects);
    cr_expect_eq(objects.config->n_destinations, 200);
    cr_expect_str_eq(objects_destination(&objects, "shop/d200"), "");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_MESH_DESTINATION, "d200"),
                     "OverLimit: the namespace has 200 MeshDestinations that are older, and may "
                     "have no more");
    kube_model_delete(objects.model, KUBE_MESH_DESTINATION, "shop", "d7");
    objects_take(&objects);
    cr_expect_str_neq(objects_destination(&objects, "shop/d200"), "");
}
