// SPDX-License-Identifier: Apache-2.0
//
// policyd's pages for its operator: /metrics, and /healthz/live and /healthz/ready on a port of
// their own, since whoever probes need not see figures. policyd.c starts them first of all, so that
// they say why nothing else is there yet, and stops them last. The loop's thread only.
#ifndef TABARD_CONTROL_POLICYD_POLICYD_PAGES_H
#define TABARD_CONTROL_POLICYD_POLICYD_PAGES_H

#include <uv.h>

#include "base/err.h"
#include "control/host/http.h"
#include "control/notify/notify.h"
#include "control/policyd/policyd_flags.h"

struct policyd_pages_hooks {
    void *ctx;
    char *(*metrics)(void *ctx);                  // malloc'd text; NULL: out of memory
    bool (*is_ready)(void *ctx, struct err *why); // sets why if not
};

// Zero state: none is served.
struct policyd_pages {
    struct policyd_pages_hooks hooks;
    struct http_server *metrics; // owned; NULL: not wanted
    struct http_server *health;
    struct notify *notify; // owned; NULL: nobody is told
};

// policyd_pages_start serves those that the flags ask for, and tells the service manager
// (control/notify/notify.h). false sets err.
bool policyd_pages_start(struct policyd_pages *pages, uv_loop_t *loop,
                         const struct policyd_flags *flags, const struct policyd_pages_hooks *hooks,
                         struct err *err);
void policyd_pages_tell(struct policyd_pages *pages, enum notify_event event);
void policyd_pages_stop(struct policyd_pages *pages);

#endif
