// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/ca_root.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/data/hex.h"
#include "base/log.h"
#include "base/must.h"
#include "control/kube/api/kube_request.h"
#include "control/policyd/kubernetes/ca_secret.h"

#define CONFLICT   409
#define HASH_BYTES 4 // of a root, that tell its Secret from an older one's

struct ca_root {
    uv_timer_t timer;           // first: until the next try
    struct kube_client *client; // borrowed
    char *path;                 // owned
    json_t *secret;             // owned; NULL: it is stored
    struct kube_request *request;
    uint32_t num_failures;
    bool is_renamed;
    char reported[sizeof(struct err)]; // the failure that was logged; empty: none
};

static void on_timer(uv_timer_t *timer);

static const char *name_of(const struct ca_root *root)
{
    return json_string_value(json_object_get(json_object_get(root->secret, "metadata"), "name"));
}

// Names the Secret by the root, beside one of the usual name.
static void rename_by_hash(struct ca_root *root)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char hash[HEX_TEXT_LEN(HASH_BYTES)];
    char name[64];
    const char *pem =
        json_string_value(json_object_get(json_object_get(root->secret, "data"), "ca.pem"));
    SHA256((const uint8_t *)pem, strlen(pem), digest);
    snprintf(name, sizeof name, CA_SECRET_ROOT_NAME "-%s", hex_text(digest, HASH_BYTES, hash));
    json_object_set_new(json_object_get(root->secret, "metadata"), "name",
                        must_have(json_string(name)));
    root->is_renamed = true;
}

static void on_answer(void *ctx, const struct kube_answer *answer)
{
    static const struct backoff waits = {.first_ms = CA_ROOT_AGAIN_MS_MIN,
                                         .min_ms = 2 * CA_ROOT_AGAIN_MS_MIN,
                                         .max_ms = CA_ROOT_AGAIN_MS_MAX,
                                         .jitter = BACKOFF_FROM_HALF};
    struct ca_root *root = ctx;
    char quoted[2 * sizeof root->reported];
    root->request = NULL;
    if (answer->error == NULL) {
        log_info("msg=\"the root's key is stored\" secret=%s", name_of(root));
        json_decref(root->secret);
        root->secret = NULL;
        return;
    }
    if (answer->status == CONFLICT && !root->is_renamed) {
        rename_by_hash(root);
        on_timer(&root->timer);
        return;
    }
    if (strcmp(root->reported, answer->error) != 0) {
        snprintf(root->reported, sizeof root->reported, "%s", answer->error);
        log_error("msg=\"the root's key is not stored yet\" secret=%s error=%s", name_of(root),
                  log_quote(quoted, sizeof quoted, root->reported));
    }
    uint32_t wait_ms = backoff_ms(&waits, ++root->num_failures, kube_client_random());
    uv_timer_start(&root->timer, on_timer, wait_ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct ca_root *root = (struct ca_root *)timer;
    const struct kube_request_options options = {
        .method = "POST", .path = root->path, .body = root->secret};
    root->request = kube_request(root->client, &options, on_answer, root);
}

struct ca_root *ca_root_store(struct kube_client *client, const char *path, json_t *secret)
{
    struct ca_root *root = must_alloc(1, sizeof *root);
    root->client = client;
    root->path = must_strdup(path);
    root->secret = secret;
    uv_timer_init(kube_client_loop(client), &root->timer);
    on_timer(&root->timer);
    return root;
}

static void on_closed(uv_handle_t *handle)
{
    struct ca_root *root = (struct ca_root *)handle;
    json_decref(root->secret);
    free(root->path);
    free(root);
}

void ca_root_close(struct ca_root *root)
{
    if (root != NULL) {
        kube_request_cancel(root->request);
        uv_close((uv_handle_t *)&root->timer, on_closed);
    }
}
