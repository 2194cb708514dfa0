// SPDX-License-Identifier: Apache-2.0
//
// Which Services become destinations, with whom behind them.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/control/policyd/kubernetes/model/objects.h"

#define TIMEOUT 20
#define WEB     TD "/ns/shop/sa/web"
#define API     TD "/ns/shop/sa/api"

static struct objects objects;

static void start(void)
{
    objects_start(&objects);
    objects_pod(&objects, "shop", "web-1", "web", "10.0.0.1", "");
    objects_pod(&objects, "shop", "api-1", "api", "10.0.0.2", "");
}

static void end(void)
{
    objects_end(&objects);
}

#define SERVICE_TEST(name) Test(kube_services, name, .init = start, .fini = end, .timeout = TIMEOUT)

static void put_service(const char *name, const char *spec)
{
    objects_put(&objects, KUBE_SERVICE,
                "{'metadata': {'namespace': 'shop', 'name': '%s'}, 'spec': {%s}}", name, spec);
}

static void put_slice(const char *name, const char *service, const char *ports,
                      const char *endpoints)
{
    objects_put(&objects, KUBE_ENDPOINT_SLICE,
                "{'metadata': {'namespace': 'shop', 'name': '%s', 'labels': "
                "{'kubernetes.io/service-name': '%s'}}, 'addressType': 'IPv4', 'ports': [%s], "
                "'endpoints': [%s]}",
                name, service, ports, endpoints);
}

#define HTTP                                                                                       \
    "'clusterIPs': ['10.96.0.1'], 'ports': [{'port': 80, 'protocol': 'TCP', 'targetPort': 8080}]"
#define TO_8080  "{'name': '', 'port': 8080, 'protocol': 'TCP'}"
#define WEB_1    "{'addresses': ['10.0.0.1'], 'targetRef': {'kind': 'Pod', 'name': 'web-1'}}"
#define API_1    "{'addresses': ['10.0.0.2'], 'targetRef': {'kind': 'Pod', 'name': 'api-1'}}"
#define STRANGER "{'addresses': ['10.0.9.9']}"

SERVICE_TEST(a_cluster_ip_is_a_service_of_the_identities_behind_it)
{
    put_service("web", HTTP);
    put_slice("web-a", "web", TO_8080, WEB_1 ", " API_1);
    objects_take(&objects);
    cr_expect_str_eq(objects_service(&objects, "service/shop/web"),
                     "{'name':'service/shop/web','addresses':['10.96.0.1'],'ports':[{'port':80,"
                     "'targets':[8080]}],'members':[{'spiffe_id':'" API "'},{'spiffe_id':'" WEB
                     "'}]}");
}

SERVICE_TEST(two_families_and_a_named_port_that_is_another_one_in_some_pods)
{
    put_service("web",
                "'clusterIPs': ['10.96.0.1', 'fd00::1'], 'ports': [{'name': 'http', 'port': 80, "
                "'targetPort': 'http'}, {'name': 'dns', 'port': 53, 'protocol': 'UDP'}]");
    put_slice("web-a", "web", "{'name': 'http', 'port': 8080}, {'name': 'dns', 'port': 53}", WEB_1);
    put_slice("web-b", "web", "{'name': 'http', 'port': 8081}", API_1);
    objects_take(&objects);
    cr_expect_str_eq(objects_service(&objects, "service/shop/web"),
                     "{'name':'service/shop/web','addresses':['10.96.0.1','fd00::1'],'ports':[{"
                     "'port':80,'targets':[8080,8081]}],'members':[{'spiffe_id':'" API
                     "'},{'spiffe_id':'" WEB "'}]}");
}

SERVICE_TEST(what_has_nobody_in_the_mesh_behind_a_cluster_ip_is_no_service)
{
    static const char *const rows[][3] = {
        // the Service, its slice's ports, its endpoints
        {"'clusterIPs': ['None'], 'ports': [{'port': 80}]", TO_8080, WEB_1},
        {"'type': 'ExternalName', 'externalName': 'db.example', 'clusterIPs': ['10.96.0.1'], "
         "'ports': [{'port': 80}]",
         TO_8080, WEB_1},
        {HTTP, TO_8080, ""},
        {HTTP, TO_8080, STRANGER},
        {HTTP, "", WEB_1},
        {HTTP, "{'name': 'other', 'port': 8080}", WEB_1},
        {"'clusterIPs': ['10.96.0.1'], 'externalIPs': ['10.0.7.7']", TO_8080, WEB_1},
        {"'externalIPs': ['10.0.7.7'], 'ports': [{'port': 80}]", TO_8080, WEB_1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put_service("web", HTTP);
        put_slice("web-a", "web", TO_8080, WEB_1);
        objects_take(&objects);
        cr_expect_str_neq(objects_service(&objects, "service/shop/web"), "");
        put_service("web", rows[i][0]);
        put_slice("web-a", "web", rows[i][1], rows[i][2]);
        objects_take(&objects);
        cr_expect_str_eq(objects_service(&objects, "service/shop/web"), "", "row %zu", i);
    }
    put_slice("web-a", "other", TO_8080, WEB_1);
    put_service("web", HTTP);
    objects_take(&objects);
    cr_expect_str_eq(objects_service(&objects, "service/shop/web"), "", "a slice of another one");
}

SERVICE_TEST(an_endpoint_that_is_not_ready_or_ends_counts_and_one_that_nobody_knows_yet_does_not)
{
    put_service("web", HTTP);
    put_slice("web-a", "web", TO_8080,
              "{'addresses': ['10.0.0.1'], 'conditions': {'ready': false}}, {'addresses': "
              "['10.0.0.2'], 'conditions': {'ready': false, 'terminating': true}}, {'addresses': "
              "['10.0.0.3'], 'targetRef': {'kind': 'Pod', 'name': 'not-seen-yet'}}");
    objects_take(&objects);
    cr_expect_str_eq(objects_service(&objects, "service/shop/web"),
                     "{'name':'service/shop/web','addresses':['10.96.0.1'],'ports':[{'port':80,"
                     "'targets':[8080]}],'members':[{'spiffe_id':'" API "'},{'spiffe_id':'" WEB
                     "'}]}");
}

SERVICE_TEST(an_endpoint_outside_the_mesh_makes_strangers_whatever_it_says_it_is)
{
    static const char *const rows[] = {
        STRANGER,
        "{'addresses': ['10.0.9.9'], 'targetRef': {'kind': 'Node', 'name': 'web-1'}}",
        "{'addresses': ['10.0.0.8'], 'targetRef': {'kind': 'Pod', 'name': 'plain'}}",
        "{'addresses': ['a.example']}",
    };
    objects_put(&objects, KUBE_POD,
                "{'metadata': {'namespace': 'shop', 'name': 'plain'}, 'status': {'podIPs': [{'ip': "
                "'10.0.0.8'}]}}");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char endpoints[256];
        put_service("web", HTTP);
        snprintf(endpoints, sizeof endpoints, "%s, %s", WEB_1, rows[i]);
        put_slice("web-a", "web", TO_8080, endpoints);
        objects_take(&objects);
        cr_expect_not_null(strstr(objects_service(&objects, "service/shop/web"),
                                  "'members':[{'spiffe_id':'" WEB "'}],'has_strangers':true}"),
                           "row %zu: %s", i, objects_service(&objects, "service/shop/web"));
    }
    // The pod comes into the mesh: its endpoint is a member as soon as it is known.
    put_slice("web-a", "web", TO_8080, "{'addresses': ['10.0.0.8']}");
    objects_pod(&objects, "shop", "plain", "api", "10.0.0.8", "");
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_service(&objects, "service/shop/web"),
                              "'members':[{'spiffe_id':'" API "'}]}"));
}

SERVICE_TEST(members_by_their_address_whatever_pod_a_slice_made_by_hand_names)
{
    put_service("web", HTTP);
    put_slice("web-a", "web", TO_8080,
              "{'addresses': ['10.0.0.2'], 'targetRef': {'kind': 'Pod', 'name': 'web-1'}}");
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_service(&objects, "service/shop/web"),
                              "'members':[{'spiffe_id':'" API "'}]}"));
}

SERVICE_TEST(a_cluster_ip_is_no_pod_s_whatever_its_status_says)
{
    objects_pod(&objects, "shop", "evil", "evil", "10.96.0.1", "");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.96.0.1"), TD "/ns/shop/sa/evil");
    put_service("web", HTTP);
    put_slice("web-a", "web", TO_8080, WEB_1);
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.96.0.1"), "");
    cr_expect_str_neq(objects_service(&objects, "service/shop/web"), "");
    kube_model_delete(objects.model, KUBE_SERVICE, "shop", "web");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.96.0.1"), TD "/ns/shop/sa/evil");
    cr_expect_str_eq(objects_service(&objects, "service/shop/web"), "");
}

SERVICE_TEST(a_pod_that_comes_to_a_service_of_its_kind_makes_no_new_fleet)
{
    put_service("web", HTTP);
    put_slice("web-a", "web", TO_8080, WEB_1);
    objects_take(&objects);
    unsigned num_configs = objects.num_configs;
    objects_pod(&objects, "shop", "web-2", "web", "10.0.0.3", "");
    put_slice("web-a", "web", TO_8080,
              WEB_1 ", {'addresses': ['10.0.0.3'], 'targetRef': {'kind': 'Pod', 'name': 'web-2'}}");
    put_service("web", HTTP);
    objects_take(&objects);
    kube_model_delete(objects.model, KUBE_POD, "shop", "web-2");
    put_slice("web-a", "web", TO_8080, WEB_1);
    objects_take(&objects);
    cr_expect_eq(objects.num_configs, num_configs);
    put_slice("web-a", "web", TO_8080, WEB_1 ", " API_1);
    objects_take(&objects);
    cr_expect_eq(objects.num_configs, num_configs + 1, "another identity is news");
}

SERVICE_TEST(of_more_identities_than_a_destination_may_have_no_service_is_made_and_its_log_says_so)
{
    char endpoints[8192] = "";
    for (int i = 0; i < 65; i++) {
        char name[32], ip[32];
        snprintf(name, sizeof name, "a-%d", i);
        snprintf(ip, sizeof ip, "10.1.0.%d", i + 1);
        objects_pod(&objects, "shop", name, name, ip, "");
        snprintf(endpoints + strlen(endpoints), sizeof endpoints - strlen(endpoints),
                 "%s{'addresses': ['%s']}", i == 0 ? "" : ", ", ip);
    }
    put_service("web", HTTP);
    put_slice("web-a", "web", TO_8080, endpoints);
    objects_take(&objects);
    cr_expect_str_eq(objects_service(&objects, "service/shop/web"), "");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_SERVICE, "web"),
                     "OverLimit: its pods have more service accounts than a destination may have "
                     "identities");
    kube_model_delete(objects.model, KUBE_POD, "shop", "a-0");
    objects_take(&objects);
    cr_expect_str_neq(objects_service(&objects, "service/shop/web"), "");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_SERVICE, "web"), "Accepted: ");
}

SERVICE_TEST(a_namespace_whose_services_would_fill_every_sidecar_has_as_many_as_fit)
{
    char endpoints[4096] = "";
    for (int i = 0; i < 64; i++) {
        char name[32], account[256], ip[32];
        snprintf(name, sizeof name, "a-%d", i);
        memset(account, 'a', 250);
        snprintf(account + 250, sizeof account - 250, "%d", 100 + i);
        snprintf(ip, sizeof ip, "10.1.0.%d", i + 1);
        objects_pod(&objects, "shop", name, account, ip, "");
        snprintf(endpoints + strlen(endpoints), sizeof endpoints - strlen(endpoints),
                 "%s{'addresses': ['%s']}", i == 0 ? "" : ", ", ip);
    }
    for (int i = 0; i < 130; i++) {
        char name[32];
        snprintf(name, sizeof name, "web-%03d", i);
        objects_put(&objects, KUBE_SERVICE,
                    "{'metadata': {'namespace': 'shop', 'name': '%s'}, 'spec': {'clusterIPs': "
                    "['10.96.1.%d'], 'ports': [{'port': 80}]}}",
                    name, i);
        objects_put(&objects, KUBE_ENDPOINT_SLICE,
                    "{'metadata': {'namespace': 'shop', 'name': '%s', 'labels': "
                    "{'kubernetes.io/service-name': '%s'}}, 'ports': [{'port': 8080}], "
                    "'endpoints': [%s]}",
                    name, name, endpoints);
    }
    objects_take(&objects);
    cr_expect_gt(objects.config->n_services, 100);
    cr_expect_lt(objects.config->n_services, 120, "%zu", objects.config->n_services);
    cr_expect_str_eq(objects_verdict(&objects, KUBE_SERVICE, "web-129"),
                     "OverLimit: the namespace has more Services, or larger ones, than the mesh "
                     "takes from one");
}
