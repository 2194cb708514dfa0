// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "control/kube/api/kube_watch_impl.h"

#define GONE 410

void kube_watch_list_forget(struct kube_watch *watch)
{
    kube_watch_replace(&watch->continue_at, NULL);
    kube_watch_replace(&watch->list_version, NULL);
    kube_watch_replace(&watch->version, NULL);
}

// A hook has closed the watch, or asked for a new list.
static bool is_over(const struct kube_watch *watch)
{
    return watch->is_closing || watch->request != NULL;
}

// Hands over the objects of a page. false: one has no metadata, or the list is over.
static bool take_items(struct kube_watch *watch, json_t *items, struct err *err)
{
    size_t index;
    json_t *object;
    json_array_foreach(items, index, object)
    {
        struct kube_meta meta;
        if (!kube_meta_read(&meta, object, err)) {
            return err_prefix(err, "a list");
        }
        kube_object_strip(object);
        if (kube_known_list(&watch->known, &meta)) {
            watch->has_news = true;
            watch->hooks->on_object(watch->ctx, KUBE_PUT, object);
        }
        if (is_over(watch)) {
            return false;
        }
    }
    return true;
}

static bool on_gone(void *ctx, const struct kube_meta *meta)
{
    struct kube_watch *watch = ctx;
    json_t *object =
        json_pack("{s:{s:s,s:s,s:s,s:s}}", "metadata", "namespace", meta->namespace, "name",
                  meta->name, "uid", meta->uid, "resourceVersion", meta->version);
    watch->has_news = true;
    if (object != NULL) {
        watch->hooks->on_object(watch->ctx, KUBE_DELETE, object);
    }
    json_decref(object);
    return !is_over(watch);
}

static void end_list(struct kube_watch *watch)
{
    kube_known_end_list(&watch->known, watch->list_version, on_gone, watch);
    if (is_over(watch)) {
        return;
    }
    kube_watch_replace(&watch->version, watch->list_version);
    kube_watch_replace(&watch->continue_at, NULL);
    kube_watch_replace(&watch->list_version, NULL);
    watch->stats.num_lists++;
    watch->stats.is_synced = true;
    watch->stats.num_objects = kube_known_num(&watch->known);
    kube_watch_well(watch);
    if (watch->hooks->on_synced != NULL) {
        watch->hooks->on_synced(watch->ctx, watch->version, watch->has_news);
    }
    if (!is_over(watch)) {
        kube_watch_step(watch);
    }
}

static void on_page(void *ctx, const struct kube_answer *answer)
{
    struct kube_watch *watch = ctx;
    struct kube_page page;
    struct err err = {{0}, {0}};
    watch->request = NULL;
    if (answer->error != NULL) {
        // A list that took longer than the server remembers begins anew.
        if (answer->status == GONE) {
            kube_watch_list_forget(watch);
        }
        err_set(&err, "list: %s", answer->error);
        kube_watch_fail(watch, err.text, answer->retry_after_s);
        return;
    }
    watch->stats.heard_ms = uv_now(kube_client_loop(watch->client));
    bool is_first = watch->list_version == NULL;
    if (!kube_page_read(&page, answer->body, &err)) {
        kube_watch_list_forget(watch);
        kube_watch_fail(watch, err.text, 0);
        return;
    }
    if (is_first) {
        kube_known_begin_list(&watch->known);
        watch->has_news = false;
        kube_watch_replace(&watch->list_version, page.version);
    }
    bool ok = take_items(watch, page.items, &err);
    if (is_over(watch)) {
        return;
    }
    if (!ok) {
        kube_watch_list_forget(watch);
        kube_watch_fail(watch, err.text, 0);
        return;
    }
    if (page.continue_at[0] == '\0') {
        end_list(watch);
        return;
    }
    kube_watch_replace(&watch->continue_at, page.continue_at);
    kube_watch_list_page(watch);
}

void kube_watch_list_page(struct kube_watch *watch)
{
    struct bytes path = {0};
    bytes_push_format(&path, "%s?limit=%d", watch->path, KUBE_PAGE_OBJECTS);
    if (watch->query != NULL) {
        bytes_push_format(&path, "&%s", watch->query);
    }
    if (watch->continue_at != NULL) {
        bytes_push_text(&path, "&continue=");
        kube_escape(&path, watch->continue_at);
    }
    char *text = bytes_take_text(&path);
    const struct kube_request_options options = {.path = text,
                                                 .timeout_ms = KUBE_LIST_MS,
                                                 .bytes_max = KUBE_PAGE_BYTES_MAX,
                                                 .is_single = true};
    watch->request = kube_request(watch->client, &options, on_page, watch);
    free(text);
}
