// SPDX-License-Identifier: Apache-2.0
#include "control/kube/api/kube_known.h"

#include <stdlib.h>
#include <string.h>

#include "base/data/bytes.h"
#include "base/must.h"

void kube_known_cleanup(struct kube_known *known)
{
    json_decref(known->objects);
    json_decref(known->listed);
    *known = (struct kube_known){.objects = NULL};
}

uint32_t kube_known_num(const struct kube_known *known)
{
    return (uint32_t)json_object_size(known->objects);
}

// A name holds no slash, so that no two objects share a key.
static char *key_of(const struct kube_meta *meta)
{
    struct bytes key = {0};
    bytes_push_format(&key, "%s/%s", meta->namespace, meta->name);
    return bytes_take_text(&key);
}

static char *value_of(const struct kube_meta *meta)
{
    struct bytes value = {0};
    bytes_push_format(&value, "%s %s", meta->uid, meta->version);
    return bytes_take_text(&value);
}

static void set(json_t *objects, const char *key, json_t *value)
{
    must_have(json_object_set(objects, key, value) == 0 ? objects : NULL);
}

static bool put(struct kube_known *known, const struct kube_meta *meta, json_t *also)
{
    char *key = key_of(meta);
    char *text = value_of(meta);
    if (known->objects == NULL) {
        known->objects = must_have(json_object());
    }
    const char *before = json_string_value(json_object_get(known->objects, key));
    bool is_new = before == NULL || strcmp(before, text) != 0;
    json_t *value = must_have(json_string(text));
    set(known->objects, key, value);
    if (also != NULL) {
        set(also, key, value);
    }
    json_decref(value);
    free(text);
    free(key);
    return is_new;
}

bool kube_known_put(struct kube_known *known, const struct kube_meta *meta)
{
    return put(known, meta, NULL);
}

bool kube_known_remove(struct kube_known *known, const struct kube_meta *meta)
{
    char *key = key_of(meta);
    bool was_known = json_object_del(known->objects, key) == 0;
    free(key);
    return was_known;
}

void kube_known_begin_list(struct kube_known *known)
{
    json_decref(known->listed);
    known->listed = must_have(json_object());
}

bool kube_known_list(struct kube_known *known, const struct kube_meta *meta)
{
    return put(known, meta, known->listed);
}

// Takes a key and its value apart, in place.
static struct kube_meta meta_of(char *key, char *value, const char *version)
{
    char *slash = strchr(key, '/');
    char *space = strchr(value, ' ');
    *slash = '\0';
    *space = '\0';
    return (struct kube_meta){
        .namespace = key, .name = slash + 1, .uid = value, .version = version};
}

void kube_known_end_list(struct kube_known *known, const char *version,
                         bool (*on_gone)(void *ctx, const struct kube_meta *meta), void *ctx)
{
    json_t *before = known->objects;
    const char *key;
    json_t *value;
    known->objects = known->listed;
    known->listed = NULL;
    json_object_foreach(before, key, value)
    {
        if (json_object_get(known->objects, key) == NULL) {
            char *key_copy = must_strdup(key);
            char *value_copy = must_strdup(json_string_value(value));
            const struct kube_meta meta = meta_of(key_copy, value_copy, version);
            bool goes_on = on_gone(ctx, &meta);
            free(key_copy);
            free(value_copy);
            if (!goes_on) {
                break;
            }
        }
    }
    json_decref(before);
}
