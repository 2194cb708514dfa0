// SPDX-License-Identifier: Apache-2.0
//
// Reads what the API server sends of a collection: an event of a watch, a page of a list, and what
// every object has in its metadata. Pure.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_EVENT_H
#define TABARD_CONTROL_KUBE_API_KUBE_EVENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

// What is read of an object's metadata, borrowed from it.
struct kube_meta {
    const char *namespace; // "" of an object of the whole cluster
    const char *name;
    const char *uid;
    const char *version; // resourceVersion
};

// kube_meta_read reads an object's metadata. false sets err: a text is missing or is no text.
bool kube_meta_read(struct kube_meta *out, const json_t *object, struct err *err);

enum kube_event_type { KUBE_EVENT_PUT, KUBE_EVENT_DELETE, KUBE_EVENT_BOOKMARK, KUBE_EVENT_ERROR };

struct kube_event {
    enum kube_event_type type;
    json_t *object;        // owned: without managedFields; of an ERROR a Status
    struct kube_meta meta; // but for an ERROR; of a BOOKMARK the version alone
};

// kube_event_read reads one line of a watch. false sets err; a success is cleaned up by
// kube_event_cleanup.
bool kube_event_read(struct kube_event *out, const char *line, size_t len, struct err *err);
void kube_event_cleanup(struct kube_event *event);

// A page of a list, borrowed from the answer.
struct kube_page {
    json_t *items;           // an array of objects
    const char *version;     // of the list
    const char *continue_at; // where the next page begins; "": this was the last one
};

// kube_page_read reads an answer to a list. false sets err.
bool kube_page_read(struct kube_page *out, const json_t *list, struct err *err);

// kube_object_strip takes out of an object what nobody here reads and what is a third of it: who
// manages which of its fields.
void kube_object_strip(json_t *object);

#endif
