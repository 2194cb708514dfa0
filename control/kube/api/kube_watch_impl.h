// SPDX-License-Identifier: Apache-2.0
//
// The inside of a watch: kube_watch.c holds its life, its failures and the events,
// kube_watch_list.c its lists. Nobody else includes this.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_WATCH_IMPL_H
#define TABARD_CONTROL_KUBE_API_KUBE_WATCH_IMPL_H

#include "base/data/bytes.h"
#include "control/kube/api/kube_event.h"
#include "control/kube/api/kube_exchange.h"
#include "control/kube/api/kube_known.h"
#include "control/kube/api/kube_lines.h"
#include "control/kube/api/kube_request.h"
#include "control/kube/api/kube_watch.h"

struct kube_watch {
    uv_timer_t timer;           // first: the next try, or the end of a silence
    struct kube_client *client; // borrowed
    const char *name;           // borrowed
    const struct kube_watch_hooks *hooks;
    void *ctx;
    char *path;                     // owned, with the next four
    char *query;                    // NULL: none
    char *continue_at;              // where the list under way goes on; NULL: its first page
    char *list_version;             // of its first page
    char *version;                  // to watch from; NULL: a list is needed
    struct kube_request *request;   // a page under way
    struct kube_exchange *exchange; // a watch under way
    struct kube_known known;
    struct kube_lines lines;
    struct bytes refusal; // the body of a response that isn't a watch
    struct kube_watch_stats stats;
    uint32_t silence_ms;
    uint64_t begun_ms;        // the watch under way
    uint64_t events_at_begin; // of stats.num_events
    uint32_t failures_in_a_row;
    bool has_forgotten; // a version, since the last event: the server said 410
    bool has_news;      // the list under way has brought some
    char trouble[600];  // what was logged last; "": all is well
    bool is_closing;
};

// kube_watch_fail ends what is under way and tries again after a wait, of after_s at least.
// kube_watch_well says that the API server does what it was asked for.
void kube_watch_fail(struct kube_watch *watch, const char *why, uint32_t after_s);
void kube_watch_well(struct kube_watch *watch);

// kube_watch_step begins what is to be done next: a page of a list, or a watch.
void kube_watch_step(struct kube_watch *watch);

// kube_watch_replace sets one of the owned texts. NULL is allowed.
void kube_watch_replace(char **out, const char *text);

// In kube_watch_list.c. kube_watch_list_page asks for the list's next page.
// kube_watch_list_forget begins the list anew with the next page.
void kube_watch_list_page(struct kube_watch *watch);
void kube_watch_list_forget(struct kube_watch *watch);

#endif
