// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "control/policyd/kubernetes/first_settings.h"
#include "tests/unit/control/kube/api/fake_api.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define WAIT_MS 20000
#define SPEC    "{\"trustDomain\": \"prod.example\", \"mode\": \"observe\"}\n"

static struct {
    uv_loop_t loop;
    struct fake_api api;
    struct kube_client *client;
    struct first_settings *first;
    const char *status;  // that the API server answers with
    unsigned num_posts;  // that it got
    char posted[512];    // the last one's body
    char failure[900];   // the last one passed on
    unsigned num_failed; // that were
} stage;

static void on_call(struct fake_call *call)
{
    cr_expect_str_eq(call->method, "POST");
    cr_expect_str_eq(call->path, "/apis/tabard.dev/v1alpha1/meshsettings");
    stage.num_posts++;
    snprintf(stage.posted, sizeof stage.posted, "%.*s", (int)call->body_len, call->body);
    fake_answer(call, stage.status, "{\"kind\":\"Status\",\"message\":\"no\"}");
}

static void on_failed(void *ctx, const char *text)
{
    (void)ctx;
    snprintf(stage.failure, sizeof stage.failure, "%s", text);
    stage.num_failed++;
}

static void start(const char *spec)
{
    char path[TEMP_PATH_BYTES + 20];
    snprintf(path, sizeof path, "%s/settings.json", temp_folder);
    if (spec != NULL) {
        temp_write(temp_folder, "settings.json", spec, strlen(spec));
    }
    stage.first = first_settings_new(&(struct first_settings_config){
        .client = stage.client, .path = path, .on_failed = on_failed});
}

static void set_up(void)
{
    struct err err = {{0}, {0}};
    signal(SIGPIPE, SIG_IGN);
    memset(&stage, 0, sizeof stage);
    temp_set_up();
    uv_loop_init(&stage.loop);
    fake_api_start(&stage.api, &stage.loop, temp_folder);
    stage.api.on_call = on_call;
    stage.status = "201";
    stage.client = kube_client_new(&stage.loop, &stage.api.config, &err);
    cr_assert_not_null(stage.client, "%s", err.text);
}

static void tear_down(void)
{
    first_settings_close(stage.first);
    kube_client_close(stage.client);
    fake_api_stop(&stage.api);
    loop_end(&stage.loop);
    temp_tear_down();
}

TestSuite(first_settings, .init = set_up, .fini = tear_down, .timeout = 60);

#define wait_for(cond) cr_assert(run_until(&stage, (cond), WAIT_MS), "%s", #cond)

// Nothing is under way that could still lead to a request: it would have been begun by the call.
#define expect_nothing() cr_expect_not(run_until(&stage, stage.num_posts > 0, 50))

Test(first_settings, are_made_where_neither_settings_nor_a_ca_is_there)
{
    start(SPEC);
    first_settings_see_settings(stage.first, false);
    expect_nothing();
    first_settings_see_ca(stage.first, false);
    wait_for(stage.num_posts == 1);
    json_t *posted = json_loads(stage.posted, 0, NULL);
    json_t *wanted = json_pack("{s:s, s:s, s:{s:s}, s:{s:s, s:s}}", "apiVersion",
                               "tabard.dev/v1alpha1", "kind", "MeshSettings", "metadata", "name",
                               "default", "spec", "trustDomain", "prod.example", "mode", "observe");
    cr_expect(json_equal(posted, wanted), "%s", stage.posted);
    json_decref(posted);
    json_decref(wanted);
}

Test(first_settings, are_made_once)
{
    start(SPEC);
    first_settings_see_ca(stage.first, false);
    first_settings_see_settings(stage.first, false);
    wait_for(stage.num_posts == 1);
    first_settings_see_settings(stage.first, false);
    first_settings_see_ca(stage.first, false);
    cr_expect_not(run_until(&stage, stage.num_posts > 1, 50));
}

Test(first_settings, are_left_alone_where_they_are_there)
{
    start(SPEC);
    first_settings_see_settings(stage.first, true);
    first_settings_see_ca(stage.first, false);
    first_settings_see_settings(stage.first, false); // deleted since
    expect_nothing();
}

Test(first_settings, that_somebody_deleted_from_a_mesh_with_a_ca_stay_absent)
{
    start(SPEC);
    first_settings_see_ca(stage.first, true);
    first_settings_see_settings(stage.first, false);
    expect_nothing();
    cr_expect_eq(stage.num_failed, 0);
}

Test(first_settings, of_another_replica_are_as_good)
{
    start(SPEC);
    stage.status = "409";
    first_settings_see_ca(stage.first, false);
    first_settings_see_settings(stage.first, false);
    wait_for(stage.num_posts == 1);
    cr_expect_not(run_until(&stage, stage.num_posts > 1, 50));
    cr_expect_eq(stage.num_failed, 0);
}

Test(first_settings, that_are_refused_are_tried_again_and_complained_of_once)
{
    start(SPEC);
    stage.status = "403";
    first_settings_see_ca(stage.first, false);
    first_settings_see_settings(stage.first, false);
    wait_for(stage.num_posts == 2);
    cr_expect_eq(stage.num_failed, 1);
    cr_expect_eq(strncmp(stage.failure, "the MeshSettings default can't be made: ", 40), 0, "%s",
                 stage.failure);
    stage.status = "201";
    wait_for(stage.num_posts == 3);
}

Test(first_settings, of_a_file_that_is_missing_or_no_json_are_not_made)
{
    start(NULL);
    first_settings_see_ca(stage.first, false);
    first_settings_see_settings(stage.first, false);
    cr_expect_not_null(strstr(stage.failure, "settings.json"), "%s", stage.failure);
    temp_write(temp_folder, "settings.json", "[]", 2);
    wait_for(strstr(stage.failure, "no JSON object") != NULL);
    temp_write(temp_folder, "settings.json", SPEC, strlen(SPEC));
    wait_for(stage.num_posts == 1);
}

Test(first_settings, closing_ends_what_is_under_way)
{
    start(SPEC);
    stage.api.on_call = NULL; // it never answers
    first_settings_see_ca(stage.first, false);
    first_settings_see_settings(stage.first, false);
    wait_for(fake_last(&stage.api, "meshsettings") != NULL);
}
