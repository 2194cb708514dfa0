// SPDX-License-Identifier: Apache-2.0
#include "control/kube/api/kube_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log.h"
#include "base/must.h"
#include "control/kube/api/kube_status.h"
#include "control/kube/api/kube_watch_impl.h"

#define GONE              410
#define REFUSAL_BYTES_MAX 16384 // that are read of a response that isn't a watch
#define SHORT_WATCH_MS    1000  // one that ends so soon without an event is a failure
#define GOOD_WATCH_MS     10000 // one that lasted so long makes the waits short again

static uint64_t now_of(const struct kube_watch *watch)
{
    return uv_now(kube_client_loop(watch->client));
}

void kube_watch_replace(char **out, const char *text)
{
    char *copy = text == NULL ? NULL : must_strdup(text);
    free(*out);
    *out = copy;
}

// Stops what is under way.
static void halt(struct kube_watch *watch)
{
    kube_request_cancel(watch->request);
    watch->request = NULL;
    if (watch->exchange != NULL) {
        kube_exchange_cancel(watch->exchange);
        watch->exchange = NULL;
    }
    kube_lines_cleanup(&watch->lines);
    bytes_cleanup(&watch->refusal);
    uv_timer_stop(&watch->timer);
}

static void on_timer(uv_timer_t *timer)
{
    struct kube_watch *watch = (struct kube_watch *)timer;
    struct err err = {{0}, {0}};
    if (watch->exchange == NULL) {
        kube_watch_step(watch);
        return;
    }
    err_set(&err, "watch: nothing came for %u ms, not even a bookmark", watch->silence_ms);
    kube_watch_fail(watch, err.text, 0);
}

void kube_watch_fail(struct kube_watch *watch, const char *why, uint32_t after_s)
{
    static const struct backoff waits = {.first_ms = KUBE_AGAIN_MS_MIN,
                                         .min_ms = 2 * KUBE_AGAIN_MS_MIN,
                                         .max_ms = KUBE_AGAIN_MS_MAX,
                                         .jitter = BACKOFF_FROM_HALF};
    char quoted[2 * sizeof watch->trouble];
    halt(watch);
    watch->stats.num_failures++;
    watch->stats.is_failing = true;
    if (strncmp(watch->trouble, why, sizeof watch->trouble - 1) != 0) {
        snprintf(watch->trouble, sizeof watch->trouble, "%s", why);
        log_warn("msg=\"objects are not followed; what is known of them stays\" what=%s error=%s",
                 watch->name, log_quote(quoted, sizeof quoted, watch->trouble));
    }
    uint32_t wait_ms = backoff_ms(&waits, ++watch->failures_in_a_row, kube_client_random());
    uint32_t least_s = after_s < KUBE_RETRY_AFTER_S_MAX ? after_s : KUBE_RETRY_AFTER_S_MAX;
    wait_ms = wait_ms < least_s * 1000 ? least_s * 1000 : wait_ms;
    uv_timer_start(&watch->timer, on_timer, wait_ms, 0);
}

void kube_watch_well(struct kube_watch *watch)
{
    if (watch->trouble[0] != '\0') {
        log_info("msg=\"objects are followed again\" what=%s", watch->name);
        watch->trouble[0] = '\0';
    }
    watch->stats.is_failing = false;
}

// The version that the watch was to go on from is gone. Whoever says so serves again, and so the
// waits begin anew, but not each time: it may go on saying so.
static void forget_version(struct kube_watch *watch)
{
    kube_watch_list_forget(watch);
    if (!watch->has_forgotten) {
        watch->failures_in_a_row = 0;
        watch->has_forgotten = true;
    }
}

// An ERROR event. Without the version that it was to go on from a watch can't go on.
static void take_error(struct kube_watch *watch, const json_t *status)
{
    struct err err = {{0}, {0}};
    kube_status_text(&err, kube_status_code(status), status);
    err_prefix(&err, "watch");
    if (kube_status_code(status) == GONE) {
        forget_version(watch);
    }
    kube_watch_fail(watch, err.text, 0);
}

static void take_object(struct kube_watch *watch, const struct kube_event *event)
{
    bool is_put = event->type == KUBE_EVENT_PUT;
    bool is_news = is_put ? kube_known_put(&watch->known, &event->meta)
                          : kube_known_remove(&watch->known, &event->meta);
    watch->stats.num_objects = kube_known_num(&watch->known);
    if (is_news) {
        watch->hooks->on_object(watch->ctx, is_put ? KUBE_PUT : KUBE_DELETE, event->object);
    }
}

static bool on_line(void *ctx, const char *line, size_t len)
{
    struct kube_watch *watch = ctx;
    const struct kube_exchange *exchange = watch->exchange;
    struct kube_event event;
    struct err err = {{0}, {0}};
    if (!kube_event_read(&event, line, len, &err)) {
        err_prefix(&err, "watch");
        kube_watch_fail(watch, err.text, 0);
        return false;
    }
    watch->stats.num_events++;
    if (event.type == KUBE_EVENT_ERROR) {
        take_error(watch, event.object);
    } else {
        watch->failures_in_a_row = 0;
        watch->has_forgotten = false;
        kube_watch_replace(&watch->version, event.meta.version);
        kube_watch_well(watch);
        if (event.type != KUBE_EVENT_BOOKMARK) {
            take_object(watch, &event);
        }
    }
    kube_event_cleanup(&event);
    return watch->exchange == exchange; // else a hook has asked for a list, or closed the watch
}

static void on_bytes(void *ctx, unsigned status, const uint8_t *bytes, size_t len)
{
    struct kube_watch *watch = ctx;
    if (status != 200) {
        size_t room = REFUSAL_BYTES_MAX - watch->refusal.len;
        bytes_push(&watch->refusal, bytes, len < room ? len : room);
        return;
    }
    watch->stats.heard_ms = now_of(watch);
    uv_timer_start(&watch->timer, on_timer, watch->silence_ms, 0);
    // The lines are the loop's own while it runs: a hook may end the watch, which cleans them up.
    struct kube_lines lines = watch->lines;
    watch->lines = (struct kube_lines){{0}};
    enum kube_lines_result result =
        kube_lines_push(&lines, bytes, len, KUBE_EVENT_BYTES_MAX, on_line, watch);
    if (result == KUBE_LINES_OK) {
        watch->lines = lines;
        return;
    }
    kube_lines_cleanup(&lines);
    if (result == KUBE_LINES_TOO_LONG) {
        kube_watch_fail(watch, "watch: an event has more bytes than are taken (4 MiB)", 0);
    }
}

static void on_end(void *ctx, const struct kube_end *end)
{
    struct kube_watch *watch = ctx;
    struct err err = {{0}, {0}};
    uint64_t lasted_ms = now_of(watch) - watch->begun_ms;
    bool has_news = watch->stats.num_events > watch->events_at_begin;
    watch->exchange = NULL;
    if (lasted_ms >= GOOD_WATCH_MS) {
        watch->failures_in_a_row = 0;
    }
    if (end->status != 0 && end->status != 200) {
        json_t *body = kube_json_read((const char *)watch->refusal.at, watch->refusal.len, NULL);
        kube_status_text(&err, end->status, body);
        json_decref(body);
        if (end->status == GONE) {
            forget_version(watch);
        }
    } else if (!end->is_whole) {
        err_set(&err, "%s", end->why);
    } else if (watch->lines.held.len > 0) {
        err_set(&err, "the last event was cut");
    } else if (lasted_ms < SHORT_WATCH_MS && !has_news) {
        err_set(&err, "it ended at once, without an event");
    } else {
        kube_watch_well(watch);
        kube_watch_step(watch);
        return;
    }
    err_prefix(&err, "watch");
    kube_watch_fail(watch, err.text, end->retry_after_s);
}

static void begin_watch(struct kube_watch *watch)
{
    static const struct kube_exchange_hooks hooks = {.on_bytes = on_bytes, .on_end = on_end};
    uint32_t seconds =
        KUBE_WATCH_S_MIN + kube_client_random() % (KUBE_WATCH_S_MAX - KUBE_WATCH_S_MIN);
    struct bytes path = {0};
    struct err err = {{0}, {0}};
    bytes_push_format(&path,
                      "%s?watch=1&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=",
                      watch->path, seconds);
    kube_escape(&path, watch->version);
    if (watch->query != NULL) {
        bytes_push_format(&path, "&%s", watch->query);
    }
    char *text = bytes_take_text(&path);
    const struct kube_exchange_start start = {
        .method = "GET", .path = text, .hooks = &hooks, .ctx = watch};
    watch->begun_ms = now_of(watch);
    watch->events_at_begin = watch->stats.num_events;
    watch->stats.num_watches++;
    watch->exchange = kube_exchange_start(watch->client, &start, &err);
    free(text);
    if (watch->exchange == NULL) {
        err_prefix(&err, "watch");
        kube_watch_fail(watch, err.text, 0);
        return;
    }
    uv_timer_start(&watch->timer, on_timer, watch->silence_ms, 0);
}

void kube_watch_step(struct kube_watch *watch)
{
    halt(watch);
    if (watch->version == NULL) {
        kube_watch_list_page(watch);
    } else {
        begin_watch(watch);
    }
}

struct kube_watch *kube_watch_new(struct kube_client *client,
                                  const struct kube_watch_options *options)
{
    struct kube_watch *watch = must_alloc(1, sizeof *watch);
    uv_timer_init(kube_client_loop(client), &watch->timer);
    watch->client = client;
    watch->name = options->name;
    watch->silence_ms = options->silence_ms != 0 ? options->silence_ms : KUBE_SILENCE_MS;
    watch->hooks = options->hooks;
    watch->ctx = options->ctx;
    watch->path = must_strdup(options->path);
    kube_watch_replace(&watch->query, options->query);
    kube_watch_step(watch);
    return watch;
}

static void on_freed(uv_handle_t *handle)
{
    struct kube_watch *watch = (struct kube_watch *)handle;
    kube_watch_list_forget(watch);
    kube_known_cleanup(&watch->known);
    free(watch->path);
    free(watch->query);
    free(watch);
}

void kube_watch_close(struct kube_watch *watch)
{
    if (watch != NULL) {
        halt(watch);
        watch->is_closing = true;
        uv_close((uv_handle_t *)&watch->timer, on_freed);
    }
}

void kube_watch_relist(struct kube_watch *watch)
{
    kube_watch_list_forget(watch);
    kube_watch_step(watch);
}

const char *kube_watch_version(const struct kube_watch *watch)
{
    return watch->version;
}

const struct kube_watch_stats *kube_watch_stats(const struct kube_watch *watch)
{
    return &watch->stats;
}
