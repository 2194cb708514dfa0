// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/control/kube/api/fake_store.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 300

static struct fake_store *store_of(struct fake_call *call)
{
    return call->api->ctx;
}

static const char *text_of(const json_t *object, const char *field)
{
    const char *text =
        json_string_value(json_object_get(json_object_get(object, "metadata"), field));
    return text != NULL ? text : "";
}

// In a collection of all namespaces an object's name says which one it is of.
static void name_of(char out[NAME_BYTES], const json_t *object)
{
    const char *namespace = text_of(object, "namespace");
    snprintf(out, NAME_BYTES, "%s%s%s", namespace, namespace[0] != '\0' ? "/" : "",
             text_of(object, "name"));
}

static void stamp(struct fake_store *store, json_t *object)
{
    char text[16];
    json_t *meta = json_object_get(object, "metadata");
    snprintf(text, sizeof text, "%u", ++store->version);
    json_object_set_new(meta, "resourceVersion", json_string(text));
    if (json_object_get(meta, "uid") == NULL) {
        snprintf(text, sizeof text, "uid-%u", store->version);
        json_object_set_new(meta, "uid", json_string(text));
    }
}

// The path as the collection of all namespaces has it: "/api/v1/namespaces/a/pods" too is
// "/api/v1/pods".
static void collection_of(char out[NAME_BYTES], const char *path)
{
    const char *namespaces = strstr(path, "/namespaces/");
    const char *rest = namespaces == NULL ? NULL : strchr(namespaces + 12, '/');
    size_t len = strcspn(path, "?");
    if (rest == NULL || rest > path + len) {
        snprintf(out, NAME_BYTES, "%.*s", (int)len, path);
    } else {
        snprintf(out, NAME_BYTES, "%.*s%.*s", (int)(namespaces - path), path,
                 (int)(path + len - rest), rest);
    }
}

static json_t *collection(const struct fake_store *store, const char *path)
{
    char name[NAME_BYTES];
    collection_of(name, path);
    json_t *found = json_object_get(store->collections, name);
    if (found == NULL) {
        found = json_object();
        json_object_set_new(store->collections, name, found);
    }
    return found;
}

static void answer(struct fake_call *call, const char *status, const json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    fake_answer(call, status, text);
    free(text);
}

static void answer_conflict(struct fake_call *call)
{
    store_of(call)->num_conflicts++;
    fake_answer(call, "409", "{\"code\":409,\"reason\":\"Conflict\",\"message\":\"no\"}");
}

static void send_event(struct fake_call *call, const char *type, const json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    fake_send(call, "{\"type\":\"");
    fake_send(call, type);
    fake_send(call, "\",\"object\":");
    fake_send(call, text);
    fake_send(call, "}\n");
    free(text);
}

void fake_store_tell(struct fake_store *store, const char *path, const char *type,
                     const json_t *object)
{
    char wanted[NAME_BYTES], watched[NAME_BYTES];
    collection_of(wanted, path);
    for (unsigned i = 0; i < store->api.num_calls && !store->is_quiet; i++) {
        struct fake_call *call = store->api.calls[i];
        collection_of(watched, call->path);
        if (strstr(call->path, "watch=1") != NULL && !call->is_gone && call->is_whole &&
            strcmp(wanted, watched) == 0) {
            send_event(call, type, object);
        }
    }
}

json_t *fake_store_get(const struct fake_store *store, const char *path, const char *name)
{
    return json_object_get(collection(store, path), name);
}

void fake_store_touch(struct fake_store *store, const char *path, json_t *object)
{
    stamp(store, object);
    fake_store_tell(store, path, "MODIFIED", object);
}

static void put(struct fake_store *store, const char *path, json_t *object)
{
    char name[NAME_BYTES];
    name_of(name, object);
    bool is_new = fake_store_get(store, path, name) == NULL;
    stamp(store, object);
    json_object_set(collection(store, path), name, object);
    fake_store_tell(store, path, is_new ? "ADDED" : "MODIFIED", object);
}

void fake_store_put(struct fake_store *store, const char *path, const char *text)
{
    json_error_t error;
    json_t *object = json_loads(text, 0, &error);
    cr_assert_not_null(object, "%s: %s", error.text, text);
    put(store, path, object);
    json_decref(object);
}

void fake_store_delete(struct fake_store *store, const char *path, const char *name)
{
    json_t *object = json_incref(fake_store_get(store, path, name));
    cr_assert_not_null(object, "%s", name);
    json_object_del(collection(store, path), name);
    stamp(store, object);
    fake_store_tell(store, path, "DELETED", object);
    json_decref(object);
}

static void take_post(struct fake_call *call)
{
    struct fake_store *store = store_of(call);
    char name[NAME_BYTES];
    json_t *object = json_loads(call->body, 0, NULL);
    cr_assert_not_null(object);
    name_of(name, object);
    if (fake_store_get(store, call->path, name) != NULL) {
        answer_conflict(call);
    } else {
        put(store, call->path, object);
        store->num_writes++;
        answer(call, "201", object);
    }
    json_decref(object);
}

// Splits ".../namespaces/NS/PLURAL/NAME[/status]" into the collection's path and the name in it.
static void split(const char *path, char out_path[NAME_BYTES], char out_name[NAME_BYTES])
{
    char whole[NAME_BYTES];
    snprintf(whole, sizeof whole, "%.*s", (int)strcspn(path, "?"), path);
    char *status = strstr(whole, "/status");
    if (status != NULL && strcmp(status, "/status") == 0) {
        *status = '\0';
    }
    char *slash = strrchr(whole, '/');
    *slash = '\0';
    const char *namespaces = strstr(whole, "/namespaces/");
    snprintf(out_path, NAME_BYTES, "%s", whole);
    if (namespaces == NULL) {
        snprintf(out_name, NAME_BYTES, "%s", slash + 1);
    } else {
        const char *ns = namespaces + 12;
        snprintf(out_name, NAME_BYTES, "%.*s/%s", (int)strcspn(ns, "/"), ns, slash + 1);
    }
}

static void take_patch(struct fake_call *call)
{
    struct fake_store *store = store_of(call);
    char path[NAME_BYTES], name[NAME_BYTES];
    split(call->path, path, name);
    json_t *patch = json_loads(call->body, 0, NULL);
    json_t *object = fake_store_get(store, path, name);
    const char *version = text_of(patch, "resourceVersion");
    cr_assert_not_null(patch);
    if (object == NULL) {
        fake_answer(call, "404", "{\"code\":404,\"reason\":\"NotFound\",\"message\":\"gone\"}");
    } else if (version[0] != '\0' && strcmp(version, text_of(object, "resourceVersion")) != 0) {
        answer_conflict(call);
    } else {
        json_object_del(json_object_get(patch, "metadata"), "resourceVersion");
        json_object_update_recursive(object, patch);
        store->num_writes++;
        fake_store_touch(store, path, object);
        answer(call, "200", object);
    }
    json_decref(patch);
}

static void answer_list(struct fake_call *call)
{
    struct fake_store *store = store_of(call);
    json_t *items = json_array();
    const char *name;
    json_t *object;
    char version[16];
    json_object_foreach(collection(store, call->path), name, object)
    {
        json_array_append(items, object);
    }
    snprintf(version, sizeof version, "%u", store->version);
    json_t *list =
        json_pack("{s:{s:s}, s:o}", "metadata", "resourceVersion", version, "items", items);
    answer(call, "200", list);
    json_decref(list);
}

// Begins with what has changed since the version that was asked for; deletions are forgotten.
static void begin_watch(struct fake_call *call)
{
    const char *at = strstr(call->path, "resourceVersion=");
    unsigned long since = strtoul(at + strlen("resourceVersion="), NULL, 10);
    const char *name;
    json_t *object;
    fake_begin(call, "200");
    json_object_foreach(collection(store_of(call), call->path), name, object)
    {
        if (strtoul(text_of(object, "resourceVersion"), NULL, 10) > since) {
            send_event(call, "MODIFIED", object);
        }
    }
}

static void on_call(struct fake_call *call)
{
    if (strcmp(call->method, "POST") == 0) {
        take_post(call);
    } else if (strcmp(call->method, "PATCH") == 0) {
        take_patch(call);
    } else if (strstr(call->path, "watch=1") != NULL) {
        begin_watch(call);
    } else {
        answer_list(call);
    }
}

void fake_store_start(struct fake_store *store, uv_loop_t *loop, const char *folder)
{
    store->collections = json_object();
    store->api.on_call = on_call;
    store->api.ctx = store;
    fake_api_start(&store->api, loop, folder);
}

void fake_store_stop(struct fake_store *store)
{
    fake_api_stop(&store->api);
    json_decref(store->collections);
}
