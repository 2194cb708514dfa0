// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/first_settings.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/file.h"
#include "base/log.h"
#include "base/must.h"
#include "control/kube/api/kube_request.h"

#define CONFLICT 409
#define PATH     "/apis/tabard.dev/v1alpha1/meshsettings"

enum seen { SEEN_NOTHING, SEEN_THERE, SEEN_ABSENT };

struct first_settings {
    uv_timer_t again;
    struct first_settings_config config; // `path` is owned
    enum seen settings;
    enum seen ca;
    struct kube_request *request;
    uint32_t num_failures;             // in a row
    char reported[sizeof(struct err)]; // the failure passed on; empty: none
};

static void make(uv_timer_t *timer);

static void fail(struct first_settings *first, const struct err *err)
{
    static const struct backoff waits = {.first_ms = FIRST_SETTINGS_AGAIN_MS_MIN,
                                         .min_ms = 2 * FIRST_SETTINGS_AGAIN_MS_MIN,
                                         .max_ms = FIRST_SETTINGS_AGAIN_MS_MAX,
                                         .jitter = BACKOFF_FROM_HALF};
    char text[sizeof first->reported];
    err_text(err, text, sizeof text);
    if (strcmp(first->reported, text) != 0) {
        memcpy(first->reported, text, sizeof text);
        first->config.on_failed(first->config.ctx, text);
    }
    uv_timer_start(&first->again, make,
                   backoff_ms(&waits, ++first->num_failures, kube_client_random()), 0);
}

static void on_answer(void *ctx, const struct kube_answer *answer)
{
    struct first_settings *first = ctx;
    struct err err = {{0}, {0}};
    first->request = NULL;
    if (answer->error == NULL) {
        log_info("msg=\"made the MeshSettings default, for the first start of this mesh\"");
    } else if (answer->status == CONFLICT) {
        log_info("msg=\"somebody else has made the MeshSettings default\"");
    } else {
        err_set(&err, "the MeshSettings default can't be made: %s", answer->error);
        fail(first, &err);
    }
}

// The object, or NULL, which sets err. What its spec may hold is for the API server to say.
static json_t *read_object(const char *path, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    json_error_t error;
    if (!file_read_text(&text, &len, path, FIRST_SETTINGS_BYTES_MAX, err)) {
        return NULL;
    }
    json_t *spec = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (!json_is_object(spec)) {
        err_set(err, "%s: no JSON object: %s in line %d", path,
                spec == NULL ? error.text : "a value", error.line);
        json_decref(spec);
        return NULL;
    }
    return must_have(json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", "tabard.dev/v1alpha1",
                               "kind", "MeshSettings", "metadata", "name", "default", "spec",
                               spec));
}

static void make(uv_timer_t *timer)
{
    struct first_settings *first = timer->data;
    struct err err = {{0}, {0}};
    json_t *object = read_object(first->config.path, &err);
    if (object == NULL) {
        err_prefix(&err, "the MeshSettings default can't be made");
        fail(first, &err);
        return;
    }
    const struct kube_request_options options = {.method = "POST", .path = PATH, .body = object};
    first->request = kube_request(first->config.client, &options, on_answer, first);
    json_decref(object);
}

static void see(struct first_settings *first, enum seen *seen, bool is_there)
{
    if (*seen != SEEN_NOTHING) {
        return;
    }
    *seen = is_there ? SEEN_THERE : SEEN_ABSENT;
    if (first->settings == SEEN_ABSENT && first->ca == SEEN_ABSENT) {
        make(&first->again);
    } else if (first->settings == SEEN_ABSENT && first->ca == SEEN_THERE) {
        log_warn("msg=\"the MeshSettings default is gone, although the mesh has a CA: make it "
                 "again, with the trust domain "
                 "that it had\"");
    }
}

void first_settings_see_settings(struct first_settings *first, bool is_there)
{
    see(first, &first->settings, is_there);
}

void first_settings_see_ca(struct first_settings *first, bool is_there)
{
    see(first, &first->ca, is_there);
}

struct first_settings *first_settings_new(const struct first_settings_config *config)
{
    struct first_settings *first = must_alloc(1, sizeof *first);
    first->config = *config;
    first->config.path = must_strdup(config->path);
    uv_timer_init(kube_client_loop(config->client), &first->again);
    first->again.data = first;
    return first;
}

static void on_closed(uv_handle_t *handle)
{
    struct first_settings *first = handle->data;
    free((char *)first->config.path);
    free(first);
}

void first_settings_close(struct first_settings *first)
{
    if (first != NULL) {
        kube_request_cancel(first->request);
        uv_close((uv_handle_t *)&first->again, on_closed);
    }
}
