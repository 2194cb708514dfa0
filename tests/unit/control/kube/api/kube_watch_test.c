// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "control/kube/api/kube_watch.h"
#include "tests/unit/control/kube/api/fake_api.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define WAIT_MS 20000

// A watch and its API server in one loop, and what the watch has told.
static struct {
    uv_loop_t loop;
    struct fake_api api;
    struct kube_client *client;
    struct kube_watch *watch;
    // "+a/x:5 -a/y:9 !7 !8= " for a put, a deletion, and a list that brought news and one that
    // brought none.
    char told[4096];
    unsigned num_synced;
} stage;

static void on_object(void *ctx, enum kube_change change, json_t *object)
{
    (void)ctx;
    const json_t *meta = json_object_get(object, "metadata");
    size_t len = strlen(stage.told);
    cr_expect_null(json_object_get(meta, "managedFields"));
    snprintf(stage.told + len, sizeof stage.told - len, "%c%s/%s:%s ",
             change == KUBE_PUT ? '+' : '-', json_string_value(json_object_get(meta, "namespace")),
             json_string_value(json_object_get(meta, "name")),
             json_string_value(json_object_get(meta, "resourceVersion")));
}

static void on_synced(void *ctx, const char *version, bool has_news)
{
    (void)ctx;
    size_t len = strlen(stage.told);
    stage.num_synced++;
    snprintf(stage.told + len, sizeof stage.told - len, "!%s%s ", version, has_news ? "" : "=");
}

static const struct kube_watch_hooks hooks = {.on_object = on_object, .on_synced = on_synced};

static void begin(uint32_t silence_ms)
{
    const struct kube_watch_options options = {.path = "/api/v1/pods",
                                               .query = "fieldSelector=a%3Db",
                                               .name = "pods",
                                               .silence_ms = silence_ms,
                                               .hooks = &hooks};
    stage.watch = kube_watch_new(stage.client, &options);
}

static void set_up(void)
{
    struct err err = {{0}, {0}};
    signal(SIGPIPE, SIG_IGN);
    memset(&stage, 0, sizeof stage);
    temp_set_up();
    uv_loop_init(&stage.loop);
    fake_api_start(&stage.api, &stage.loop, temp_folder);
    stage.client = kube_client_new(&stage.loop, &stage.api.config, &err);
    cr_assert_not_null(stage.client, "%s", err.text);
}

static void tear_down(void)
{
    kube_watch_close(stage.watch);
    kube_client_close(stage.client);
    fake_api_stop(&stage.api);
    loop_end(&stage.loop);
    temp_tear_down();
}

TestSuite(kube_watch, .init = set_up, .fini = tear_down, .timeout = 60);

#define wait_for(cond)                                                                             \
    cr_assert(run_until(&stage, (cond), WAIT_MS), "%s; told: %s", #cond, stage.told)

// The next request after the first `num`, which must be a list or a watch.
static struct fake_call *next_call(unsigned num)
{
    wait_for(stage.api.num_calls > num && stage.api.calls[num]->is_whole);
    return stage.api.calls[num];
}

static bool is_watch(const struct fake_call *call)
{
    return strstr(call->path, "watch=1") != NULL;
}

#define OBJECT(name, version)                                                                      \
    "{\"metadata\":{\"namespace\":\"a\",\"name\":\"" name "\",\"uid\":\"u-" name                   \
    "\",\"resourceVersion\":\"" version "\",\"managedFields\":[{\"manager\":\"m\"}]}}"
#define LIST(version, continue_at, items)                                                          \
    "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"" version                           \
    "\",\"continue\":\"" continue_at "\"},\"items\":[" items "]}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define BOOKMARK(version)                                                                          \
    EVENT("BOOKMARK", "{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"" version "\"}}")
#define EXPIRED                                                                                    \
    EVENT("ERROR", "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\",\"message\":\"too "   \
                   "old resource version\"}")

// Answers the first list with two objects and the watch with its beginning; returns the watch.
static struct fake_call *synced(void)
{
    begin(0);
    fake_answer(next_call(0), "200", LIST("10", "", OBJECT("x", "3") "," OBJECT("y", "4")));
    struct fake_call *watch = next_call(1);
    fake_begin(watch, "200");
    cr_assert_str_eq(stage.told, "+a/x:3 +a/y:4 !10 ");
    stage.told[0] = '\0';
    return watch;
}

#define wait_told(text) wait_for(strcmp(stage.told, (text)) == 0)

Test(kube_watch, lists_in_pages_and_then_watches_from_the_lists_version)
{
    begin(0);
    struct fake_call *first = next_call(0);
    cr_expect_str_eq(first->path, "/api/v1/pods?limit=200&fieldSelector=a%3Db");
    fake_answer(first, "200", LIST("10", "next/one", OBJECT("x", "3")));
    struct fake_call *second = next_call(1);
    cr_expect_str_eq(second->path,
                     "/api/v1/pods?limit=200&fieldSelector=a%3Db&continue=next%2Fone");
    cr_expect_eq(stage.num_synced, 0);
    fake_answer(second, "200", LIST("10", "", OBJECT("y", "4")));
    struct fake_call *watch = next_call(2);
    cr_expect(is_watch(watch));
    cr_expect_not_null(strstr(watch->path, "&resourceVersion=10&fieldSelector=a%3Db"));
    cr_expect_not_null(strstr(watch->path, "allowWatchBookmarks=true"));
    cr_expect_str_eq(stage.told, "+a/x:3 +a/y:4 !10 ");
    cr_expect_eq(kube_watch_stats(stage.watch)->num_objects, 2);
}

Test(kube_watch, tells_events_however_they_are_cut)
{
    struct fake_call *watch = synced();
    const char *text = EVENT("ADDED", OBJECT("z", "11")) EVENT("MODIFIED", OBJECT("x", "12"))
        EVENT("DELETED", OBJECT("y", "13"));
    for (const char *at = text; *at != '\0'; at++) {
        const char byte[2] = {*at, '\0'};
        fake_send(watch, byte);
        if ((at - text) % 50 == 0) {
            uv_run(&stage.loop, UV_RUN_NOWAIT);
        }
    }
    wait_told("+a/z:11 +a/x:12 -a/y:13 ");
    cr_expect_eq(kube_watch_stats(stage.watch)->num_objects, 2);
}

Test(kube_watch, goes_on_from_the_last_bookmark_when_the_server_ends_the_watch)
{
    struct fake_call *watch = synced();
    fake_send(watch, EVENT("ADDED", OBJECT("z", "11")) BOOKMARK("20"));
    wait_told("+a/z:11 ");
    fake_end(watch);
    struct fake_call *again = next_call(2);
    cr_expect_not_null(strstr(again->path, "resourceVersion=20&"), "%s", again->path);
    cr_expect_eq(kube_watch_stats(stage.watch)->num_failures, 0);
}

Test(kube_watch, goes_on_from_the_last_event_when_the_connection_is_lost)
{
    struct fake_call *watch = synced();
    fake_send(watch, EVENT("ADDED", OBJECT("z", "11")));
    wait_told("+a/z:11 ");
    fake_break(&stage.api);
    struct fake_call *again = next_call(2);
    cr_expect(is_watch(again));
    cr_expect_not_null(strstr(again->path, "resourceVersion=11&"), "%s", again->path);
}

// What a list finds: one gone, one new, one changed, one as it was.
static void expect_relist(void)
{
    struct fake_call *list = next_call(2);
    cr_expect_not(is_watch(list));
    cr_expect_str_eq(stage.told, "", "until then all stays as it was");
    fake_answer(list, "200", LIST("30", "", OBJECT("y", "25") "," OBJECT("z", "26")));
    wait_told("+a/y:25 +a/z:26 -a/x:30 !30 ");
    cr_expect_not_null(strstr(next_call(3)->path, "resourceVersion=30&"));
    cr_expect_eq(kube_watch_stats(stage.watch)->num_objects, 2);
}

Test(kube_watch, lists_anew_when_an_event_says_that_its_version_has_expired)
{
    fake_send(synced(), EXPIRED);
    expect_relist();
}

Test(kube_watch, lists_anew_when_the_answer_is_410_and_tells_what_has_gone)
{
    struct fake_call *watch = synced();
    fake_send(watch, BOOKMARK("11"));
    wait_for(kube_watch_stats(stage.watch)->num_events == 1);
    fake_end(watch);
    fake_answer(next_call(2), "410", "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Gone\"}");
    struct fake_call *list = next_call(3);
    cr_expect_not(is_watch(list));
    fake_answer(list, "200", LIST("30", "", OBJECT("x", "3")));
    wait_told("-a/y:30 !30 ");
}

Test(kube_watch, a_new_list_that_brings_nothing_new_tells_nothing)
{
    synced();
    kube_watch_relist(stage.watch);
    fake_answer(next_call(2), "200", LIST("30", "", OBJECT("x", "3") "," OBJECT("y", "4")));
    wait_told("!30= ");
}

Test(kube_watch, a_list_that_the_server_forgets_half_way_begins_anew_and_loses_nothing)
{
    synced();
    kube_watch_relist(stage.watch);
    fake_answer(next_call(2), "200", LIST("30", "more", OBJECT("z", "25")));
    fake_answer(next_call(3), "410", "{\"code\":410,\"reason\":\"Expired\"}");
    struct fake_call *list = next_call(4);
    cr_expect_null(strstr(list->path, "continue="));
    fake_answer(list, "200", LIST("40", "", OBJECT("y", "4")));
    wait_told("+a/z:25 -a/x:40 -a/z:40 !40 ");
}

// What the server sends instead of an event, and what then is in the log and in the statistics.
static struct {
    const char *name;
    const char *bytes;
} const bad_events[] = {
    {"no JSON", "<html>\n"},
    {"cut JSON", "{\"type\":\"ADDED\",\"object\":{\"metadata\"\n"},
    {"an unknown type", EVENT("RENAMED", OBJECT("z", "11"))},
    {"no object", "{\"type\":\"ADDED\"}\n"},
    {"an object that is a text", EVENT("ADDED", "\"z\"")},
    {"no name", EVENT("ADDED", "{\"metadata\":{\"uid\":\"u\",\"resourceVersion\":\"1\"}}")},
    {"no version", EVENT("ADDED", "{\"metadata\":{\"name\":\"z\",\"uid\":\"u\"}}")},
    {"a bookmark without version", EVENT("BOOKMARK", "{\"metadata\":{}}")},
    {"an error", EVENT("ERROR", "{\"kind\":\"Status\",\"code\":500,\"message\":\"etcd\"}")},
};

Test(kube_watch, what_is_no_event_ends_the_watch_which_goes_on_from_the_last_good_one)
{
    struct fake_call *watch = synced();
    size_t num = sizeof bad_events / sizeof *bad_events;
    for (unsigned i = 0; i < num; i++) {
        // A good event before makes the wait short again.
        char good[300];
        snprintf(good, sizeof good,
                 "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"%u\"}}}\n",
                 100 + i);
        fake_send(watch, good);
        fake_send(watch, bad_events[i].bytes);
        struct fake_call *again = next_call(2 + i);
        char part[40];
        snprintf(part, sizeof part, "resourceVersion=%u&", 100 + i);
        cr_expect_not_null(strstr(again->path, part), "%s: %s", bad_events[i].name, again->path);
        cr_expect_eq(kube_watch_stats(stage.watch)->num_failures, i + 1, "%s", bad_events[i].name);
        fake_begin(again, "200");
        watch = again;
    }
    cr_expect_str_eq(stage.told, "");
}

Test(kube_watch, an_event_without_end_is_not_collected_for_ever)
{
    struct fake_call *watch = synced();
    char text[65536];
    memset(text, ' ', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 70; i++) {
        fake_send(watch, text);
    }
    wait_for(kube_watch_stats(stage.watch)->num_failures == 1);
    wait_for(watch->is_gone);
    fake_begin(next_call(2), "200");
}

Test(kube_watch, a_watch_that_is_silent_is_begun_anew_from_where_it_was)
{
    begin(300);
    fake_answer(next_call(0), "200", LIST("10", "", OBJECT("x", "3")));
    struct fake_call *watch = next_call(1);
    fake_begin(watch, "200");
    struct fake_call *again = next_call(2);
    cr_expect_not_null(strstr(again->path, "resourceVersion=10&"));
    cr_expect(watch->is_gone);
    cr_expect_eq(kube_watch_stats(stage.watch)->num_failures, 1);
}

Test(kube_watch, refusals_are_waited_out_longer_and_longer_and_lose_nothing)
{
    struct fake_call *watch = synced();
    fake_send(watch, BOOKMARK("11"));
    wait_for(kube_watch_stats(stage.watch)->num_events == 1);
    uint64_t began = uv_now(&stage.loop);
    fake_end(watch);
    static const char *const statuses[] = {"401", "403", "500"};
    for (unsigned i = 0; i < 3; i++) {
        fake_answer(next_call(2 + i), statuses[i], "{\"message\":\"no\"}");
    }
    struct fake_call *again = next_call(5);
    cr_expect_geq(uv_now(&stage.loop) - began, (250 + 500 + 1000) / 2);
    cr_expect(kube_watch_stats(stage.watch)->is_failing);
    fake_begin(again, "200");
    fake_send(again, EVENT("MODIFIED", OBJECT("x", "14")));
    wait_told("+a/x:14 ");
    cr_expect_not(kube_watch_stats(stage.watch)->is_failing);
}

Test(kube_watch, lists_soon_when_a_server_that_was_away_has_forgotten_the_version_but_not_in_a_loop)
{
    fake_end(synced());
    for (unsigned i = 2; i < 5; i++) {
        fake_answer(next_call(i), "500", "{\"message\":\"no\"}");
    }
    struct fake_call *watch = next_call(5); // the next wait is 1 s at least
    uint64_t began = uv_now(&stage.loop);
    fake_answer(watch, "410", "{\"code\":410,\"reason\":\"Expired\"}");
    struct fake_call *list = next_call(6);
    cr_expect_leq(uv_now(&stage.loop) - began, 900);
    began = uv_now(&stage.loop);
    for (unsigned i = 6; i < 10; i += 2) {
        fake_answer(list, "200", LIST("30", "", OBJECT("x", "3")));
        fake_answer(next_call(i + 1), "410", "{\"code\":410,\"reason\":\"Expired\"}");
        list = next_call(i + 2);
    }
    cr_expect_geq(uv_now(&stage.loop) - began, (500 + 1000) / 2);
}

Test(kube_watch, a_server_that_ends_every_watch_at_once_is_not_asked_in_a_loop)
{
    fake_end(synced());
    uint64_t began = uv_now(&stage.loop);
    for (unsigned i = 2; i < 5; i++) {
        struct fake_call *watch = next_call(i);
        fake_begin(watch, "200");
        fake_end(watch);
    }
    cr_expect_geq(uv_now(&stage.loop) - began, (250 + 500 + 1000) / 2);
}

Test(kube_watch, retry_after_is_heeded)
{
    begin(0);
    uint64_t began = uv_now(&stage.loop);
    fake_put_off(next_call(0), "429", "1", "{\"message\":\"slow down\"}");
    next_call(1);
    cr_expect_geq(uv_now(&stage.loop) - began, 1000);
}
