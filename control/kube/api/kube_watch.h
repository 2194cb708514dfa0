// SPDX-License-Identifier: Apache-2.0
//
// Keeps one collection of the API server known, as client-go's reflector does: a list in pages,
// then a watch from the list's version on, resumed by version after each end, and a new list where
// the server has forgotten that version (410 Gone). It hands over one object at a time and keeps of
// each only its name, uid and version, by which a list finds what has gone. Trouble is logged once
// while its text stays the same; what was handed over stays as it is meanwhile. Heap; the loop's
// thread only.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_WATCH_H
#define TABARD_CONTROL_KUBE_API_KUBE_WATCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "control/kube/api/kube_client.h"

struct kube_watch; // opaque

#define KUBE_PAGE_OBJECTS    200         // of a list, in one answer
#define KUBE_PAGE_BYTES_MAX  (64u << 20) // of such an answer
#define KUBE_EVENT_BYTES_MAX (4u << 20)  // of one event of a watch
#define KUBE_LIST_MS         60000       // that one page may take
#define KUBE_WATCH_S_MIN     240         // a watch is asked for as many seconds, at random
#define KUBE_WATCH_S_MAX     420
#define KUBE_SILENCE_MS      150000 // a watch brings a bookmark each minute
#define KUBE_AGAIN_MS_MIN    250    // between tries, doubling, with jitter
#define KUBE_AGAIN_MS_MAX    30000

enum kube_change { KUBE_PUT, KUBE_DELETE };

struct kube_watch_hooks {
    // An object is there, new or changed, or has gone. Borrowed during the hook; json_incref keeps
    // it. Its metadata has no managedFields. Of one that a list no longer holds, it has only
    // metadata: namespace, name, uid, and as resourceVersion the list's. A hook may close the watch
    // or ask for a list.
    void (*on_object)(void *ctx, enum kube_change change, json_t *object);
    // A list is complete: all that is there was handed over, and all that has gone. For each list,
    // with its resourceVersion, and whether it brought anything that was not known.
    void (*on_synced)(void *ctx, const char *version, bool has_news);
};

struct kube_watch_options {
    const char *path;    // of the collection: "/api/v1/pods". Copied
    const char *query;   // encoded, "fieldSelector=..."; NULL: everything. Copied
    uint32_t silence_ms; // 0: KUBE_SILENCE_MS
    const char *name;    // for the log and metrics: "pods". Borrowed until the watch is closed
    const struct kube_watch_hooks *hooks; // borrowed
    void *ctx;
};

struct kube_watch_stats {
    uint32_t num_objects;
    uint64_t num_lists;    // completed
    uint64_t num_watches;  // begun
    uint64_t num_events;   // bookmarks too
    uint64_t num_failures; // lists and watches that ended by anything but their time
    uint64_t heard_ms;     // loop time of the last event or page; 0: none yet
    bool is_synced;        // a list has been completed
    bool is_failing;       // and the last try failed
};

// kube_watch_new begins to list.
struct kube_watch *kube_watch_new(struct kube_client *client,
                                  const struct kube_watch_options *options);
void kube_watch_close(struct kube_watch *watch); // NULL is allowed; no hook comes any more

// kube_watch_relist lists anew, from the store and not from a cache; on_synced comes when that is
// done.
void kube_watch_relist(struct kube_watch *watch);

// kube_watch_version returns the resourceVersion up to which everything was handed over; NULL: a
// list is under way. Borrowed until the next event.
const char *kube_watch_version(const struct kube_watch *watch);

const struct kube_watch_stats *kube_watch_stats(const struct kube_watch *watch);

#endif
