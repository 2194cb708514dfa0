// SPDX-License-Identifier: Apache-2.0
#include "control/kube/inject/app_probes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/digits.h"
#include "base/must.h"
#include "base/pb/pb_text.h"
#include "control/agent/probes/probes_check.h"
#include "control/kube/inject/json_patch.h"
#include "control/kube/inject/pod_check.h"
#include "proto/contract.h"

// The kubelet waits a second longer than the sidecar, whose answer says why.
#define TIMEOUT_MORE_S 1

static const struct kind {
    const char *field; // of a container
    const char *page;
} kinds[] = {
    {"startupProbe", "startupz"},
    {"livenessProbe", "livez"},
    {"readinessProbe", "readyz"},
};

// One probe under work.
struct work {
    const json_t *container;
    const json_t *probe;
    const char *page; // borrowed
    json_t *out;      // a Probe of probes.proto
    struct err *err;
};

static const char *text_of(const json_t *object, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL && text[0] != '\0' ? text : otherwise;
}

static void set(json_t *object, const char *key, json_t *value)
{
    must_have(json_object_set_new(object, key, must_have(value)) == 0 ? object : NULL);
}

// A port by its name in the container's own list, or by its digits.
static bool find_port(json_int_t *out, const struct work *work, const char *name)
{
    const json_t *port = NULL;
    size_t i = 0;
    uint64_t number = 0;
    json_array_foreach(json_object_get(work->container, "ports"), i, port)
    {
        if (strcmp(text_of(port, "name", ""), name) == 0) {
            *out = json_integer_value(json_object_get(port, "containerPort"));
            return true;
        }
    }
    bool is_number = digits_read(&number, name, strlen(name), DIGITS_REFUSE_ZEROS, UINT16_MAX);
    *out = (json_int_t)number;
    return is_number;
}

static json_t *read_port(const struct work *work, const json_t *handler)
{
    const json_t *port = json_object_get(handler, "port");
    json_int_t number = json_integer_value(port);
    if (json_is_string(port) && !find_port(&number, work, json_string_value(port))) {
        err_set(work->err, "the container has no port named \"%.63s\"", json_string_value(port));
        return NULL;
    }
    if (number < 1 || number > UINT16_MAX) {
        err_set(work->err, "there is no port from 1 to %d", UINT16_MAX);
        return NULL;
    }
    return must_have(json_integer(number));
}

static json_t *http_of(const struct work *work, const json_t *handler)
{
    json_t *port = read_port(work, handler);
    const json_t *header = NULL;
    size_t i = 0;
    if (port == NULL) {
        return NULL;
    }
    json_t *headers = must_have(json_array());
    json_array_foreach(json_object_get(handler, "httpHeaders"), i, header)
    {
        json_t *row = must_have(json_pack("{s:s}", "name", text_of(header, "name", "?")));
        if (text_of(header, "value", NULL) != NULL) {
            set(row, "value", json_incref(json_object_get(header, "value")));
        }
        must_have(json_array_append_new(headers, row) == 0 ? headers : NULL);
    }
    json_t *http =
        must_have(json_pack("{s:o, s:s}", "port", port, "path", text_of(handler, "path", "/")));
    if (strcasecmp(text_of(handler, "scheme", "HTTP"), "HTTPS") == 0) {
        set(http, "https", json_true());
    }
    if (json_array_size(headers) > 0) {
        set(http, "headers", json_incref(headers));
    }
    json_decref(headers);
    return http;
}

static json_t *tcp_of(const struct work *work, const json_t *handler)
{
    json_t *port = read_port(work, handler);
    return port == NULL ? NULL : must_have(json_pack("{s:o}", "port", port));
}

static json_t *grpc_of(const struct work *work, const json_t *handler)
{
    json_t *port = read_port(work, handler);
    if (port == NULL) {
        return NULL;
    }
    json_t *grpc = must_have(json_pack("{s:o}", "port", port));
    if (text_of(handler, "service", NULL) != NULL) {
        set(grpc, "service", json_incref(json_object_get(handler, "service")));
    }
    return grpc;
}

static const struct handler {
    const char *field; // of a probe
    const char *name;  // in probes.proto
    json_t *(*make)(const struct work *work, const json_t *handler);
} handlers[] = {
    {"httpGet", "http", http_of},
    {"tcpSocket", "tcp", tcp_of},
    {"grpc", "grpc", grpc_of},
};

// Returns the row of the handler that the sidecar can stand in for, or NULL.
static const struct handler *handler_of(const json_t *probe)
{
    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        const json_t *handler = json_object_get(probe, handlers[i].field);
        if (json_is_object(handler)) {
            return text_of(handler, "host", NULL) == NULL ? &handlers[i] : NULL;
        }
    }
    return NULL;
}

// Asks the code that the agent will ask.
static bool check(const json_t *probe, struct err *err)
{
    json_t *whole = must_have(json_pack("{s:[O]}", "probes", probe));
    char *text = must_have(json_dumps(whole, 0));
    struct err why = {{0}, {0}};
    Tabard__V1__Probes *probes = (Tabard__V1__Probes *)pb_text_parse(
        &tabard__v1__probes__descriptor, text, strlen(text), "", NULL, &why);
    bool good = probes != NULL && probes_check(probes, &why);
    if (!good) {
        const char *at = strstr(why.text, "probes[0]"); // behind a place in a file that isn't there
        char buf[sizeof why.where + sizeof why.text];
        err_set(err, "%s", at != NULL ? at : err_text(&why, buf, sizeof buf));
    }
    if (probes != NULL) {
        protobuf_c_message_free_unpacked(&probes->base, NULL);
    }
    free(text);
    json_decref(whole);
    return good;
}

// Makes the Probe that the agent reads. NULL sets err.
static json_t *agent_probe(const struct work *work, const struct handler *handler)
{
    json_t *asked = handler->make(work, json_object_get(work->probe, handler->field));
    if (asked == NULL) {
        return NULL;
    }
    const json_t *timeout = json_object_get(work->probe, "timeoutSeconds");
    json_t *probe = must_have(json_pack("{s:s, s:o}", "page", work->page, handler->name, asked));
    if (json_is_integer(timeout) && json_integer_value(timeout) > 1) {
        set(probe, "timeout_seconds", json_incref((json_t *)timeout));
    }
    if (!check(probe, work->err)) {
        json_decref(probe);
        return NULL;
    }
    return probe;
}

// Makes the probe that the kubelet sees: the same but for what it asks.
static json_t *kubelet_probe(const struct work *work, const struct handler *handler)
{
    const json_t *timeout = json_object_get(work->probe, "timeoutSeconds");
    json_int_t seconds = json_is_integer(timeout) ? json_integer_value(timeout) : 1;
    json_t *probe = must_have(json_copy((json_t *)work->probe));
    json_object_del(probe, handler->field);
    set(probe, "httpGet",
        json_pack("{s:s, s:i, s:s}", "path", work->page, "port", CONTRACT_HEALTH_PORT, "scheme",
                  "HTTP"));
    set(probe, "timeoutSeconds", json_integer((seconds < 1 ? 1 : seconds) + TIMEOUT_MORE_S));
    return probe;
}

static bool rewrite_container(json_t *patch, json_t *probes, const json_t *container,
                              const char *where, struct err *err)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const json_t *probe = json_object_get(container, kinds[i].field);
        const struct handler *handler = handler_of(probe);
        const char *name = text_of(container, "name", "");
        char page[160];
        if (handler == NULL) {
            continue;
        }
        snprintf(page, sizeof page, PROBES_PAGE_PREFIX "%s/%s", name, kinds[i].page);
        const struct work work = {.container = container, .probe = probe, .page = page, .err = err};
        json_t *asked = agent_probe(&work, handler);
        if (asked == NULL) {
            return err_prefix(err, "container %.63s: %s", name, kinds[i].field);
        }
        must_have(json_array_append_new(probes, asked) == 0 ? probes : NULL);
        json_patch_add(patch, kubelet_probe(&work, handler), "%s/%s", where, kinds[i].field);
    }
    return true;
}

// Whether a container's probes are made: those of init containers that end have none.
static bool is_probed(const char *list, const json_t *container)
{
    return strcmp(list, "containers") == 0 ||
           strcmp(text_of(container, "restartPolicy", ""), "Always") == 0;
}

bool app_probes_rewrite(json_t *patch, json_t *probes, const json_t *pod, struct err *err)
{
    const json_t *spec = json_object_get(pod, "spec");
    for (size_t i = 0; i < POD_NUM_LISTS; i++) {
        const json_t *container = NULL;
        size_t k = 0;
        json_array_foreach(json_object_get(spec, pod_lists[i]), k, container)
        {
            char where[64];
            snprintf(where, sizeof where, "/spec/%s/%zu", pod_lists[i], k);
            if (is_probed(pod_lists[i], container) &&
                !rewrite_container(patch, probes, container, where, err)) {
                return false;
            }
        }
    }
    return true;
}
