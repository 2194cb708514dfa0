// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/refusal_event.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/log.h"
#include "base/must.h"
#include "certs/cert.h"
#include "control/kube/api/kube_request.h"

#define CONFLICT        409 // another replica was quicker
#define EVENT_NAME_MAX  253
#define MESSAGE_MAX     1000 // the API server takes 1024
#define EVENT_NAME_PART 200  // of the resource's name

static void on_answer(void *ctx, const struct kube_answer *answer)
{
    (void)ctx;
    char quoted[1024];
    if (answer->error != NULL && answer->status != CONFLICT) {
        log_warn("msg=\"no Event was made of a refusal\" error=%s",
                 log_quote(quoted, sizeof quoted, answer->error));
    }
}

void refusal_event_send(struct kube_client *client, const struct refusal_event *event)
{
    char name[EVENT_NAME_MAX + 1], path[128], time_text[CERT_TIME_TEXT_MAX];
    char message[MESSAGE_MAX + 1];
    const char *namespace = event->ns[0] != '\0' ? event->ns : "default";
    snprintf(name, sizeof name, "%.*s.%.8s.%" PRId64, EVENT_NAME_PART, event->name, event->uid,
             event->generation);
    snprintf(path, sizeof path, "/api/v1/namespaces/%s/events", namespace);
    snprintf(message, sizeof message, "%s", event->message);
    cert_time_text((time_t)event->now, time_text);
    json_t *body = json_pack(
        "{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s, s:s}, s:s, s:s, s:s, s:{s:s}, s:s, s:s, "
        "s:i}",
        "apiVersion", "v1", "kind", "Event", "metadata", "name", name, "namespace", namespace,
        "involvedObject", "apiVersion", "tabard.dev/v1alpha1", "kind", event->kind, "name",
        event->name, "namespace", event->ns, "uid", event->uid, "type", "Warning", "reason",
        "Refused", "message", message, "source", "component", "tabard-policyd", "firstTimestamp",
        time_text, "lastTimestamp", time_text, "count", 1);
    if (body == NULL) {
        return; // foreign text that is no UTF-8; the status says it all the same
    }
    const struct kube_request_options options = {.method = "POST", .path = path, .body = body};
    kube_request(client, &options, on_answer, NULL);
    json_decref(body);
}
