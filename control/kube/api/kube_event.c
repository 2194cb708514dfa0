// SPDX-License-Identifier: Apache-2.0
#include "control/kube/api/kube_event.h"

#include <string.h>

#include "control/kube/api/kube_status.h"

static const char *text_of(const json_t *object, const char *field)
{
    const char *text = json_string_value(json_object_get(object, field));
    return text != NULL ? text : "";
}

bool kube_meta_read(struct kube_meta *out, const json_t *object, struct err *err)
{
    const json_t *metadata = json_object_get(object, "metadata");
    *out = (struct kube_meta){.namespace = text_of(metadata, "namespace"),
                              .name = text_of(metadata, "name"),
                              .uid = text_of(metadata, "uid"),
                              .version = text_of(metadata, "resourceVersion")};
    if (out->name[0] == '\0') {
        return err_set(err, "an object has no name");
    }
    if (out->uid[0] == '\0' || out->version[0] == '\0') {
        return err_set(err, "%s/%s has no %s", out->namespace, out->name,
                       out->uid[0] == '\0' ? "uid" : "resourceVersion");
    }
    return true;
}

void kube_object_strip(json_t *object)
{
    json_object_del(json_object_get(object, "metadata"), "managedFields");
}

static bool read_type(enum kube_event_type *out, const char *text, struct err *err)
{
    static const struct {
        const char *text;
        enum kube_event_type type;
    } types[] = {{"ADDED", KUBE_EVENT_PUT},
                 {"MODIFIED", KUBE_EVENT_PUT},
                 {"DELETED", KUBE_EVENT_DELETE},
                 {"BOOKMARK", KUBE_EVENT_BOOKMARK},
                 {"ERROR", KUBE_EVENT_ERROR}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(text, types[i].text) == 0) {
            *out = types[i].type;
            return true;
        }
    }
    return err_set(err, "an event's type is \"%.60s\"", text);
}

static bool check(struct kube_event *event, struct err *err)
{
    if (!json_is_object(event->object)) {
        return err_set(err, "an event has no object");
    }
    if (event->type == KUBE_EVENT_ERROR) {
        return true;
    }
    bool is_good = kube_meta_read(&event->meta, event->object, err);
    if (event->type == KUBE_EVENT_BOOKMARK) {
        return event->meta.version[0] != '\0' || err_set(err, "a bookmark has no resourceVersion");
    }
    return is_good;
}

bool kube_event_read(struct kube_event *out, const char *line, size_t len, struct err *err)
{
    json_t *event = kube_json_read(line, len, err);
    *out = (struct kube_event){.type = KUBE_EVENT_ERROR};
    if (event == NULL) {
        return err_prefix(err, "an event");
    }
    out->object = json_incref(json_object_get(event, "object"));
    bool ok = read_type(&out->type, text_of(event, "type"), err) && check(out, err);
    json_decref(event);
    if (!ok) {
        kube_event_cleanup(out);
        return false;
    }
    kube_object_strip(out->object);
    return true;
}

void kube_event_cleanup(struct kube_event *event)
{
    json_decref(event->object);
    *event = (struct kube_event){.type = KUBE_EVENT_ERROR};
}

bool kube_page_read(struct kube_page *out, const json_t *list, struct err *err)
{
    const json_t *metadata = json_object_get(list, "metadata");
    *out = (struct kube_page){.items = json_object_get(list, "items"),
                              .version = text_of(metadata, "resourceVersion"),
                              .continue_at = text_of(metadata, "continue")};
    // A list of nothing may have null for its items.
    if (!json_is_array(out->items) && !json_is_null(out->items)) {
        return err_set(err, "a list has no items");
    }
    return out->version[0] != '\0' || err_set(err, "a list has no resourceVersion");
}
