// SPDX-License-Identifier: Apache-2.0
//
// Which pods are in the mesh, where they are, and which variant of their identity they are.
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
}

static void end(void)
{
    objects_end(&objects);
}

#define POD_TEST(name) Test(kube_pods, name, .init = start, .fini = end, .timeout = TIMEOUT)

POD_TEST(a_pod_with_our_status_and_sidecar_is_a_workload_at_its_addresses)
{
    objects_put(&objects, KUBE_NAMESPACE, "{'metadata': {'name': 'shop'}}");
    objects_pod(&objects, "shop", "web-1", "web", "10.0.0.1", "");
    objects_take(&objects);
    cr_expect_str_eq(
        objects_workload(&objects, WEB, ""),
        "{'spiffe_id':'" WEB "','by_certificate':true,'ports':['1-65535'],"
        "'by_service_account':true,'enforcement':'ENFORCE','unlisted_outbound':'DENY'}");
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), WEB);
    cr_expect_str_eq(objects.moved, "shop/web-1>" WEB " ");
    struct kube_pod_facts facts;
    cr_assert(kube_model_find_pod(objects.model, "shop", "web-1", &facts));
    cr_expect_str_eq(facts.uid, "web-1");
    cr_expect_str_eq(facts.owner, WEB);
    cr_expect_not(kube_model_find_pod(objects.model, "shop", "web-2", &facts));
}

// Each of these is the same pod but for one thing.
POD_TEST(no_other_pod_is_in_the_mesh)
{
    static const char *const rows[] = {
        "{'metadata': {'namespace': 'a', 'name': 'p'}, 'spec': {'initContainers': [{'name': "
        "'tabard'}]}, 'status': {'phase': 'Running', 'podIPs': [{'ip': '10.0.0.1'}]}}",
        "{'metadata': {'namespace': 'a', 'name': 'p', 'annotations': {'tabard.dev/status': '{}'}}, "
        "'spec': {'initContainers': [{'name': 'tabard-init'}], 'containers': [{'name': 'app'}]}, "
        "'status': {'phase': 'Running', 'podIPs': [{'ip': '10.0.0.1'}]}}",
        "{'metadata': {'namespace': 'a', 'name': 'p', 'annotations': {'tabard.dev/status': '{}'}}, "
        "'spec': {'hostNetwork': true, 'initContainers': [{'name': 'tabard'}]}, 'status': "
        "{'phase': "
        "'Running', 'podIPs': [{'ip': '10.0.0.1'}]}}",
        "{'metadata': {'namespace': 'a', 'name': 'p', 'annotations': {'tabard.dev/status': '{}'}}, "
        "'spec': {'initContainers': [{'name': 'tabard'}]}, 'status': {'phase': 'Failed', 'podIPs': "
        "[{'ip': '10.0.0.1'}]}}",
        "{'metadata': {'namespace': 'a', 'name': 'p', 'annotations': {'tabard.dev/status': '{}'}}, "
        "'spec': {'initContainers': [{'name': 'tabard'}]}, 'status': {'phase': 'Succeeded', "
        "'podIPs': [{'ip': '10.0.0.1'}]}}",
        "{'metadata': {'namespace': 'a', 'name': 'p', 'annotations': {'tabard.dev/status': '{}'}}, "
        "'spec': {'serviceAccountName': '../b', 'initContainers': [{'name': 'tabard'}]}, 'status': "
        "{'phase': 'Running', 'podIPs': [{'ip': '10.0.0.1'}]}}",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        objects_pod(&objects, "a", "p", "default", "10.0.0.1", "");
        objects_take(&objects);
        cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), TD "/ns/a/sa/default");
        objects_put(&objects, KUBE_POD, "%s", rows[i]);
        objects_take(&objects);
        cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), "", "row %zu", i);
        struct kube_pod_facts facts;
        cr_assert(kube_model_find_pod(objects.model, "a", "p", &facts));
        cr_expect_null(facts.owner, "row %zu", i);
    }
}

POD_TEST(an_address_goes_to_the_next_pod_when_the_last_one_ends)
{
    objects_pod(&objects, "shop", "web-1", "web", "10.0.0.1", "");
    objects_pod(&objects, "shop", "api-1", "api", "10.0.0.1",
                ", 'deletionTimestamp': '2026-11-28T00:00:09Z'");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), WEB, "of two the one that stays");
    kube_model_delete(objects.model, KUBE_POD, "shop", "web-1");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), API);
    cr_expect_str_eq(objects.moved, "shop/web-1>- ");
    kube_model_delete(objects.model, KUBE_POD, "shop", "api-1");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), "");
}

POD_TEST(an_address_leaves_the_older_pod_when_that_begins_to_end)
{
    objects_pod(&objects, "shop", "api-1", "api", "10.0.0.1", "");
    objects_pod(&objects, "shop", "web-1", "web", "10.0.0.1", "");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), API, "of one age the first by name");
    objects_pod(&objects, "shop", "api-1", "api", "10.0.0.1",
                ", 'deletionTimestamp': '2026-11-28T00:00:09Z'");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), WEB);
    cr_expect_str_eq(objects.moved, "", "each is what it was");
}

POD_TEST(a_pod_of_the_same_name_is_another_one)
{
    objects_pod(&objects, "shop", "db-0", "web", "10.0.0.1", "");
    objects_take(&objects);
    objects_put(
        &objects, KUBE_POD,
        "{'metadata': {'namespace': 'shop', 'name': 'db-0', 'uid': 'second', 'annotations': "
        "{'tabard.dev/status': '{}'}}, 'spec': {'serviceAccountName': 'api', "
        "'initContainers': [{'name': 'tabard'}]}, 'status': {'phase': 'Pending'}}");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), "");
    struct kube_pod_facts facts;
    cr_assert(kube_model_find_pod(objects.model, "shop", "db-0", &facts));
    cr_expect_str_eq(facts.uid, "second");
    cr_expect_str_eq(facts.owner, API, "it has an identity before it has an address");
}

POD_TEST(another_pod_of_a_known_identity_makes_no_new_fleet)
{
    objects_pod(&objects, "shop", "web-1", "web", "10.0.0.1", "");
    objects_take(&objects);
    unsigned num_configs = objects.num_configs;
    objects_pod(&objects, "shop", "web-2", "web", "10.0.0.2", "");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.2"), WEB);
    kube_model_delete(objects.model, KUBE_POD, "shop", "web-1");
    kube_model_delete(objects.model, KUBE_POD, "shop", "web-2");
    objects_take(&objects);
    objects_pod(&objects, "shop", "web-3", "web", "10.0.0.3", "");
    objects_take(&objects);
    cr_expect_eq(objects.num_configs, num_configs, "not even after the last one had gone");
    objects_pod(&objects, "shop", "api-1", "api", "10.0.0.4", "");
    objects_take(&objects);
    cr_expect_eq(objects.num_configs, num_configs + 1);
}

static void put_policy(const char *name, const char *selector)
{
    objects_put(&objects, KUBE_MESH_POLICY,
                "{'metadata': {'namespace': 'shop', 'name': '%s', 'generation': 1}, 'spec': "
                "{%s'action': 'ALLOW', 'rules': [{'from': [{'namespace': 'shop'}]}]}}",
                name, selector);
}

POD_TEST(a_policy_by_labels_reaches_the_pods_that_have_them_and_no_other_of_the_account)
{
    put_policy("front", "'selector': {'matchLabels': {'app': 'web', 'tier': 'front'}}, ");
    put_policy("all", "");
    put_policy("app", "'selector': {'serviceAccounts': ['web'], 'matchLabels': {'app': 'web'}}, ");
    objects_pod(&objects, "shop", "one", "web", "10.0.0.1",
                ", 'labels': {'tier': 'front', 'app': 'web', 'z': 'z'}");
    objects_pod(&objects, "shop", "two", "web", "10.0.0.2", ", 'labels': {'app': 'web'}");
    objects_pod(&objects, "shop", "three", "web", "10.0.0.3", ", 'labels': {'app': 'webby'}");
    objects_pod(&objects, "shop", "four", "api", "10.0.0.4", ", 'labels': {'app': 'web'}");
    objects_pod(&objects, "other", "five", "web", "10.0.0.5", ", 'labels': {'app': 'web'}");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), WEB "#app,front");
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.2"), WEB "#app");
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.3"), WEB);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.4"), API);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.5"), TD "/ns/other/sa/web");
    cr_expect_str_eq(objects_policy(&objects, "shop/front"),
                     "{'targets':['" TD "/ns/shop/'],'policy':{'name':'shop/front','action':"
                     "'ALLOW','mode':'ENFORCE','rules':[{'principals':['" TD "/ns/shop/']}]},"
                     "'variants':['app,front']}");
    cr_expect_str_eq(objects_policy(&objects, "shop/app"),
                     "{'targets':['" WEB "'],'policy':{'name':'shop/app','action':"
                     "'ALLOW','mode':'ENFORCE','rules':[{'principals':['" TD "/ns/shop/']}]},"
                     "'variants':['app','app,front']}");
    cr_expect_eq(kube_model_num_concerned(objects.model, KUBE_MESH_POLICY, "shop", "all"), 4);
    cr_expect_eq(kube_model_num_concerned(objects.model, KUBE_MESH_POLICY, "shop", "app"), 2);
    cr_expect_eq(kube_model_num_concerned(objects.model, KUBE_MESH_POLICY, "shop", "front"), 1);
    cr_expect(kube_model_concerns(objects.model, KUBE_MESH_POLICY, "shop", "front", "shop", "one"));
    cr_expect_not(
        kube_model_concerns(objects.model, KUBE_MESH_POLICY, "shop", "front", "shop", "two"));
    cr_expect_eq(kube_model_num_concerned(objects.model, KUBE_MESH_SETTINGS, "", "default"), 5);
}

POD_TEST(a_pod_whose_labels_or_policies_change_moves_to_another_variant)
{
    put_policy("app", "'selector': {'matchLabels': {'app': 'web'}}, ");
    objects_pod(&objects, "shop", "one", "web", "10.0.0.1", "");
    objects_take(&objects);
    cr_expect_str_eq(objects_policy(&objects, "shop/app"), "",
                     "a policy that selects nobody is nobody's, not everybody's");
    objects_pod(&objects, "shop", "one", "web", "10.0.0.1", ", 'labels': {'app': 'web'}");
    objects_take(&objects);
    cr_expect_str_eq(objects.moved, "shop/one>" WEB "#app ");
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), WEB "#app");
    cr_expect_str_neq(objects_workload(&objects, WEB, "app"), "");
    put_policy("app", "'selector': {'matchLabels': {'app': 'other'}}, ");
    objects_take(&objects);
    cr_expect_str_eq(objects.moved, "shop/one>" WEB " ");
    put_policy("app", "'selector': {'matchLabels': {'app': 'web'}}, ");
    objects_take(&objects);
    kube_model_delete(objects.model, KUBE_MESH_POLICY, "shop", "app");
    objects_take(&objects);
    cr_expect_str_eq(objects_owner(&objects, "10.0.0.1"), WEB);
    cr_expect_str_eq(objects_workload(&objects, WEB, "app"), "");
}

POD_TEST(a_namespace_s_annotation_goes_before_the_settings_and_what_is_unknown_enforces)
{
    static const char *const rows[][3] = {
        // the annotation, the settings' mode, what the pods do
        {"", "enforce", "ENFORCE"},
        {"", "observe", "OBSERVE"},
        {"'annotations': {'tabard.dev/mode': 'enforce'}, ", "observe", "ENFORCE"},
        {"'annotations': {'tabard.dev/mode': 'observe'}, ", "enforce", "OBSERVE"},
        {"'annotations': {'tabard.dev/mode': 'Observe'}, ", "observe", "ENFORCE"},
        {"'annotations': {'tabard.dev/mode': 7}, ", "enforce", "ENFORCE"},
    };
    objects_pod(&objects, "shop", "one", "web", "10.0.0.1", "");
    objects_put(&objects, KUBE_MESH_SETTINGS,
                "{'metadata': {'name': 'default'}, 'spec': {'trustDomain': 'demo.example', 'mode': "
                "'observe', 'unlistedOutbound': 'PLAINTEXT'}}");
    objects_take(&objects);
    cr_expect_not_null(strstr(objects_workload(&objects, WEB, ""), "'ENFORCE'"),
                       "a namespace that has not come may say so");
    cr_expect_not_null(strstr(objects_workload(&objects, WEB, ""), "'PLAINTEXT'"));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        objects_put(&objects, KUBE_NAMESPACE, "{'metadata': {%s'name': 'shop'}}", rows[i][0]);
        objects_put(&objects, KUBE_MESH_SETTINGS,
                    "{'metadata': {'name': 'default'}, 'spec': {'trustDomain': 'demo.example', "
                    "'mode': '%s'}}",
                    rows[i][1]);
        objects_take(&objects);
        cr_expect_not_null(strstr(objects_workload(&objects, WEB, ""), rows[i][2]), "row %zu: %s",
                           i, objects_workload(&objects, WEB, ""));
    }
    objects_put(&objects, KUBE_NAMESPACE,
                "{'metadata': {'name': 'shop', 'annotations': {'tabard.dev/mode': 'no'}}}");
    cr_expect_str_eq(objects_verdict(&objects, KUBE_NAMESPACE, "shop"),
                     "BadAnnotation: metadata.annotations[tabard.dev/mode]: is neither observe nor "
                     "enforce, so enforce is taken");
}

Test(kube_pods, nothing_can_be_taken_before_the_trust_domain_is_known, .timeout = TIMEOUT)
{
    struct objects early = {.model = kube_model_new("tabard-system")};
    objects_pod(&early, "shop", "one", "web", "10.0.0.1", "");
    objects_put(&early, KUBE_MESH_POLICY,
                "{'metadata': {'namespace': 'shop', 'name': 'p'}, 'spec': {'action': 'ALLOW', "
                "'rules': [{'from': [{'namespace': 'shop'}]}]}}");
    objects_put(&early, KUBE_MESH_SETTINGS,
                "{'metadata': {'name': 'other'}, 'spec': {'trustDomain': 'other.example'}}");
    struct kube_update update;
    kube_model_take(early.model, &update);
    cr_expect_null(update.trust_domain);
    cr_expect_null(update.config);
    cr_expect_eq(update.num_places, 0);
    cr_expect_eq(update.num_moved, 0);
    cr_expect_str_eq(objects_verdict(&early, KUBE_MESH_SETTINGS, "other"),
                     "NotDefault: metadata.name: only the MeshSettings that is called default "
                     "counts");
    objects_put(&early, KUBE_MESH_SETTINGS,
                "{'metadata': {'name': 'default'}, 'spec': {'trustDomain': 'demo.example'}}");
    objects_take(&early);
    cr_expect_str_eq(objects_owner(&early, "10.0.0.1"), WEB);
    cr_expect_str_neq(objects_policy(&early, "shop/p"), "");
    objects_end(&early);
}
