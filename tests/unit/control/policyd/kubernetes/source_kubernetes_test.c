// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "control/policyd/kubernetes/source_kubernetes.h"
#include "tests/unit/control/kube/api/fake_store.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define WAIT_MS    20000
#define PODS       "/api/v1/pods"
#define NAMESPACES "/api/v1/namespaces"
#define SETTINGS   "/apis/tabard.dev/v1alpha1/meshsettings"
#define POLICIES   "/apis/tabard.dev/v1alpha1/meshpolicies"

// A source and its API server in one loop, and what was passed on.
static struct {
    uv_loop_t loop;
    struct fake_store store;
    char dir[TEMP_PATH_BYTES];
    struct kube_client *client;
    struct source_kubernetes *source;
    struct ca_trust *trust;
    struct fleet *fleet;
    char order[200]; // "t": a trust, "f": a fleet, "p": places, "r": relisted
    char places[400];
    char moved[400];
    char failure[900];
    uint64_t revision;
    uint64_t complete;
} stage;

static void note(char what)
{
    size_t len = strlen(stage.order);
    snprintf(stage.order + len, sizeof stage.order - len, "%c", what);
}

static const struct ca_trust *in_force(void *ctx)
{
    (void)ctx;
    return stage.trust;
}

static void on_trust(void *ctx, struct ca_trust *trust, uint64_t began_ns)
{
    (void)ctx;
    (void)began_ns;
    ca_trust_free(stage.trust);
    stage.trust = trust;
    note('t');
}

static void on_revised(void *ctx, uint64_t revision, uint64_t complete)
{
    (void)ctx;
    cr_expect(revision >= stage.revision && complete >= stage.complete);
    stage.revision = revision;
    stage.complete = complete;
}

static void on_update(void *ctx, struct fleet *fleet, const struct kube_update *update,
                      uint64_t began_ns)
{
    (void)ctx;
    (void)began_ns;
    if (fleet != NULL) {
        fleet_free(stage.fleet);
        stage.fleet = fleet;
        note('f');
    }
    for (size_t i = 0; i < update->num_places; i++) {
        char text[ADDR_TEXT_MAX];
        size_t len = strlen(stage.places);
        const char *owner = update->places[i].owner;
        snprintf(stage.places + len, sizeof stage.places - len, "%s=%s ",
                 ip_text(&update->places[i].ip, text), owner != NULL ? owner : "nobody");
    }
    for (size_t i = 0; i < update->num_moved; i++) {
        size_t len = strlen(stage.moved);
        snprintf(stage.moved + len, sizeof stage.moved - len, "%s/%s ", update->moved[i].ns,
                 update->moved[i].pod);
    }
    if (update->num_places > 0) {
        note('p');
    }
}

static void on_failed(void *ctx, const char *what, const char *text)
{
    (void)ctx;
    snprintf(stage.failure, sizeof stage.failure, "%s: %s", what, text);
}

static void on_relisted(void *ctx)
{
    (void)ctx;
    note('r');
}

static void set_up(void)
{
    struct err err = {{0}, {0}};
    signal(SIGPIPE, SIG_IGN);
    memset(&stage, 0, sizeof stage);
    temp_set_up();
    temp_make(stage.dir);
    uv_loop_init(&stage.loop);
    fake_store_start(&stage.store, &stage.loop, temp_folder);
    stage.client = kube_client_new(&stage.loop, &stage.store.api.config, &err);
    cr_assert_not_null(stage.client, "%s", err.text);
}

static void tear_down(void)
{
    source_kubernetes_close(stage.source);
    kube_client_close(stage.client);
    fake_store_stop(&stage.store);
    loop_end(&stage.loop);
    ca_trust_free(stage.trust);
    fleet_free(stage.fleet);
    temp_remove(stage.dir);
    temp_tear_down();
}

TestSuite(source_kubernetes, .init = set_up, .fini = tear_down, .timeout = 60);

#define wait_for(cond) cr_assert(run_until(&stage, (cond), WAIT_MS), "%s", #cond)

static void begin(void)
{
    stage.source = source_kubernetes_new(
        &(struct source_kubernetes_config){.client = stage.client,
                                           .dir = stage.dir,
                                           .namespace = "tabard-system",
                                           .hooks = {.in_force = in_force,
                                                     .on_trust = on_trust,
                                                     .on_revised = on_revised,
                                                     .on_update = on_update,
                                                     .on_failed = on_failed,
                                                     .on_relisted = on_relisted}});
}

static void put_settings(void)
{
    fake_store_put(&stage.store, SETTINGS,
                   "{\"metadata\": {\"name\": \"default\", \"generation\": 1},"
                   " \"spec\": {\"trustDomain\": \"prod.example\"}}");
}

static void put_pod(const char *name, const char *ip)
{
    char text[600];
    snprintf(text, sizeof text,
             "{\"metadata\": {\"namespace\": \"shop\", \"name\": \"%s\", \"creationTimestamp\": "
             "\"2026-01-01T00:00:00Z\", \"annotations\": {\"tabard.dev/status\": \"{}\"}},"
             " \"spec\": {\"serviceAccountName\": \"web\", \"initContainers\": [{\"name\": "
             "\"tabard\"}]},"
             " \"status\": {\"phase\": \"Running\", \"podIPs\": [{\"ip\": \"%s\"}]}}",
             name, ip);
    fake_store_put(&stage.store, PODS, text);
}

static void put_world(void)
{
    fake_store_put(&stage.store, NAMESPACES, "{\"metadata\": {\"name\": \"shop\"}}");
    put_settings();
    put_pod("web-1", "10.0.0.1");
}

Test(source_kubernetes, passes_on_the_trust_and_then_the_fleet_with_its_addresses)
{
    struct err why = {{0}, {0}};
    put_world();
    begin();
    cr_expect_not(source_kubernetes_is_ready(stage.source, &why));
    wait_for(stage.fleet != NULL);
    cr_expect(source_kubernetes_is_ready(stage.source, &why), "%s", why.text);
    cr_expect_str_eq(stage.order, "tfp");
    cr_expect_str_eq(stage.places, "10.0.0.1=spiffe://prod.example/ns/shop/sa/web ");
    cr_expect_eq(stage.fleet->workloads.num, 1);
    cr_expect_str_eq(stage.trust->domain, "prod.example");
}

Test(source_kubernetes, waits_for_the_settings_and_says_so)
{
    struct err why = {{0}, {0}};
    put_pod("web-1", "10.0.0.1");
    begin();
    wait_for(!source_kubernetes_is_ready(stage.source, &why) &&
             strstr(why.text, "there is no MeshSettings") != NULL);
    cr_expect_str_eq(why.text, "there is no MeshSettings `default`, which names the trust domain");
    cr_expect_str_eq(stage.order, "");
    put_settings();
    wait_for(stage.fleet != NULL);
    cr_expect_str_eq(stage.order, "tfp");
}

Test(source_kubernetes, changes_that_come_together_are_one_fleet)
{
    put_world();
    begin();
    wait_for(stage.fleet != NULL);
    stage.order[0] = stage.places[0] = '\0';
    put_pod("web-2", "10.0.0.2");
    put_pod("web-3", "10.0.0.3");
    fake_store_put(&stage.store, POLICIES,
                   "{\"metadata\": {\"namespace\": \"shop\", \"name\": \"p\", \"generation\": 1},"
                   " \"spec\": {\"action\": \"ALLOW\", \"rules\": [{\"from\": [{\"namespace\": "
                   "\"shop\"}]}]}}");
    unsigned version = stage.store.version;
    wait_for(strstr(stage.order, "f") != NULL);
    cr_expect_str_eq(stage.order, "fp");
    cr_expect_eq(stage.fleet->policies.num, 1);
    cr_expect_not_null(strstr(stage.places, "10.0.0.2=spiffe://"));
    cr_expect_not_null(strstr(stage.places, "10.0.0.3=spiffe://"));
    cr_expect_eq(stage.revision, version);
    cr_expect_lt(stage.complete, version, "the other watches have told of nothing so new");
}

Test(source_kubernetes, an_address_goes_with_its_pod)
{
    put_world();
    begin();
    wait_for(stage.fleet != NULL);
    stage.places[0] = stage.moved[0] = '\0';
    fake_store_delete(&stage.store, PODS, "shop/web-1");
    wait_for(strcmp(stage.places, "10.0.0.1=nobody ") == 0);
    cr_expect_str_eq(stage.moved, "shop/web-1 ");
}

Test(source_kubernetes, a_list_that_was_asked_for_is_told_of_once_everything_was_listed)
{
    put_world();
    begin();
    wait_for(stage.fleet != NULL);
    uint64_t complete = stage.complete;
    // What the watches have missed.
    stage.store.is_quiet = true;
    put_pod("web-2", "10.0.0.2");
    stage.store.is_quiet = false;
    stage.order[0] = stage.places[0] = '\0';
    source_kubernetes_relist(stage.source, UINT64_MAX);
    source_kubernetes_relist(stage.source, UINT64_MAX);
    wait_for(strchr(stage.order, 'r') != NULL);
    cr_expect_str_eq(stage.places, "10.0.0.2=spiffe://prod.example/ns/shop/sa/web ");
    cr_expect_eq(stage.order[strlen(stage.order) - 1], 'r', "after what it has brought");
    cr_expect_gt(stage.complete, complete);
    cr_expect_geq(stage.complete, stage.store.version);
}

// Returns how often a collection was listed, watches aside.
static unsigned num_lists(const char *path)
{
    unsigned num = 0;
    for (unsigned i = 0; i < stage.store.api.num_calls; i++) {
        const char *asked = stage.store.api.calls[i]->path;
        num += strncmp(asked, path, strlen(path)) == 0 && asked[strlen(path)] == '?' &&
               strstr(asked, "watch=1") == NULL;
    }
    return num;
}

Test(source_kubernetes, only_kinds_that_may_be_behind_are_listed_anew)
{
    put_world();
    begin();
    wait_for(stage.fleet != NULL);
    stage.places[0] = stage.order[0] = '\0';
    put_pod("web-2", "10.0.0.2");
    wait_for(stage.places[0] != '\0');
    unsigned num_pods = num_lists(PODS);
    unsigned num_policies = num_lists(POLICIES);
    uint64_t revision = stage.revision;
    source_kubernetes_relist(stage.source, revision);
    wait_for(strchr(stage.order, 'r') != NULL);
    cr_expect_eq(num_lists(PODS), num_pods, "an event of that version has come");
    cr_expect_eq(num_lists(POLICIES), num_policies + 1, "nothing was heard since the first list");
    cr_expect_geq(stage.complete, revision);
    stage.order[0] = '\0';
    source_kubernetes_relist(stage.source, 1);
    wait_for(strchr(stage.order, 'r') != NULL);
    cr_expect_eq(num_lists(POLICIES), num_policies + 1);
}

Test(source_kubernetes, a_change_of_nothing_but_a_status_makes_no_fleet)
{
    static const char policy[] =
        "{\"metadata\": {\"namespace\": \"shop\", \"name\": \"p\", \"generation\": 1},"
        " \"spec\": {\"action\": \"ALLOW\", \"rules\": [{\"from\": [{\"namespace\": \"shop\"}]}]},"
        " \"status\": {\"conditions\": [{\"type\": \"InForce\", \"message\": \"%u of 2\"}]}}";
    char text[600];
    put_world();
    snprintf(text, sizeof text, policy, 1u);
    fake_store_put(&stage.store, POLICIES, text);
    begin();
    wait_for(stage.fleet != NULL);
    stage.order[0] = '\0';
    snprintf(text, sizeof text, policy, 2u);
    fake_store_put(&stage.store, POLICIES, text);
    unsigned version = stage.store.version;
    wait_for(stage.revision == version);
    cr_expect_str_eq(stage.order, "");
}
