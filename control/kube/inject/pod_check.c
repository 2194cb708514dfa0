// SPDX-License-Identifier: Apache-2.0
#include "control/kube/inject/pod_check.h"

#include <stdio.h>
#include <string.h>

#include "control/kube/inject/inject.h"
#include "proto/contract.h"

const char *const pod_lists[POD_NUM_LISTS] = {"initContainers", "containers"};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

// A part that is absent or null is fine where it may be left out.
static bool is_left_out(const json_t *value)
{
    return value == NULL || json_is_null(value);
}

static bool check_objects(const json_t *parent, const char *where, const char *key, struct err *err)
{
    const json_t *list = json_object_get(parent, key);
    const json_t *item = NULL;
    size_t i = 0;
    if (is_left_out(list)) {
        return true;
    }
    if (!json_is_array(list)) {
        return err_set(err, "%s.%s is no list", where, key);
    }
    json_array_foreach(list, i, item)
    {
        if (!json_is_object(item)) {
            return err_set(err, "%s.%s[%zu] is no object", where, key, i);
        }
    }
    return true;
}

static bool check_containers(const json_t *spec, const char *key, struct err *err)
{
    const json_t *list = json_object_get(spec, key);
    const json_t *container = NULL;
    size_t i = 0;
    if (!check_objects(spec, "spec", key, err)) {
        return false;
    }
    json_array_foreach(list, i, container)
    {
        char where[64];
        snprintf(where, sizeof where, "spec.%s[%zu]", key, i);
        if (text_of(container, "name")[0] == '\0') {
            return err_set(err, "%s has no name", where);
        }
        const json_t *security = json_object_get(container, "securityContext");
        if (!check_objects(container, where, "ports", err) ||
            !check_objects(container, where, "volumeMounts", err)) {
            return false;
        }
        if (!is_left_out(security) && !json_is_object(security)) {
            return err_set(err, "%s.securityContext is no object", where);
        }
    }
    return true;
}

bool pod_check_form(const json_t *pod, struct err *err)
{
    static const char *const parts[] = {"annotations", "labels"};
    const json_t *metadata = json_object_get(pod, "metadata");
    const json_t *spec = json_object_get(pod, "spec");
    if (!json_is_object(spec)) {
        return err_set(err, "this is no pod: it has no spec");
    }
    if (!is_left_out(metadata) && !json_is_object(metadata)) {
        return err_set(err, "metadata is no object");
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const json_t *part = json_object_get(metadata, parts[i]);
        if (!is_left_out(part) && !json_is_object(part)) {
            return err_set(err, "metadata.%s is no object", parts[i]);
        }
    }
    const json_t *security = json_object_get(spec, "securityContext");
    if (!is_left_out(security) && !json_is_object(security)) {
        return err_set(err, "spec.securityContext is no object");
    }
    for (size_t i = 0; i < POD_NUM_LISTS; i++) {
        if (!check_containers(spec, pod_lists[i], err)) {
            return false;
        }
    }
    return (json_array_size(json_object_get(spec, "containers")) > 0 ||
            err_set(err, "spec.containers: the pod has no container")) &&
           check_objects(spec, "spec", "volumes", err);
}

static const json_t *find_named(const json_t *spec, const char *list, const char *name)
{
    const json_t *item = NULL;
    size_t i = 0;
    json_array_foreach(json_object_get(spec, list), i, item)
    {
        if (strcmp(text_of(item, "name"), name) == 0) {
            return item;
        }
    }
    return NULL;
}

static bool has_status(const json_t *pod)
{
    const json_t *annotations = json_object_get(json_object_get(pod, "metadata"), "annotations");
    return json_is_string(json_object_get(annotations, INJECT_STATUS_ANNOTATION));
}

// Whether the init container at a place has a name and a restart policy; "": none.
static bool is_init(const json_t *spec, size_t place, const char *name, const char *policy)
{
    const json_t *container = json_array_get(json_object_get(spec, "initContainers"), place);
    return strcmp(text_of(container, "name"), name) == 0 &&
           strcmp(text_of(container, "restartPolicy"), policy) == 0;
}

bool pod_is_injected(const json_t *pod)
{
    const json_t *spec = json_object_get(pod, "spec");
    return has_status(pod) && is_init(spec, 0, INJECT_INIT_CONTAINER, "") &&
           is_init(spec, 1, INJECT_SIDECAR_CONTAINER, "Always");
}

bool pod_check_names(const json_t *pod, struct err *err)
{
    static const char *const containers[] = {INJECT_INIT_CONTAINER, INJECT_SIDECAR_CONTAINER};
    static const char *const volumes[] = {POD_RUN_VOLUME, POD_CONFIG_VOLUME};
    const json_t *spec = json_object_get(pod, "spec");
    if (has_status(pod)) {
        return err_set(err,
                       "annotation " INJECT_STATUS_ANNOTATION
                       " says that the sidecar is there, but the first two of spec.initContainers "
                       "are not " INJECT_INIT_CONTAINER " and " INJECT_SIDECAR_CONTAINER
                       " (with restartPolicy Always): remove the annotation and what is left of "
                       "them, and the sidecar is put in anew");
    }
    for (size_t i = 0; i < sizeof containers / sizeof containers[0]; i++) {
        for (size_t k = 0; k < POD_NUM_LISTS; k++) {
            if (find_named(spec, pod_lists[k], containers[i]) != NULL) {
                return err_set(err,
                               "spec.%s has a container %s, which is the sidecar's own name: "
                               "give it another name",
                               pod_lists[k], containers[i]);
            }
        }
    }
    for (size_t i = 0; i < sizeof volumes / sizeof volumes[0]; i++) {
        if (find_named(spec, "volumes", volumes[i]) != NULL) {
            return err_set(err,
                           "spec.volumes has a volume %s, which is the sidecar's own name: "
                           "give it another name",
                           volumes[i]);
        }
    }
    return true;
}

static bool is_ours(const char *list, const char *name)
{
    return strcmp(list, "initContainers") == 0 && (strcmp(name, INJECT_INIT_CONTAINER) == 0 ||
                                                   strcmp(name, INJECT_SIDECAR_CONTAINER) == 0);
}

static bool check_user(const json_t *spec, const char *list, const json_t *container,
                       uint32_t proxy_uid, struct err *err)
{
    const json_t *own = json_object_get(json_object_get(container, "securityContext"), "runAsUser");
    const json_t *pods = json_object_get(json_object_get(spec, "securityContext"), "runAsUser");
    const json_t *user = is_left_out(own) ? pods : own;
    if (!json_is_integer(user) || json_integer_value(user) != (json_int_t)proxy_uid) {
        return true;
    }
    return err_set(err,
                   "spec.%s: container %.63s runs as user %u (%s.runAsUser), which is the "
                   "sidecar's own, whose traffic is not intercepted: choose another user",
                   list, text_of(container, "name"), proxy_uid,
                   is_left_out(own) ? "spec.securityContext" : "its securityContext");
}

static bool check_ports(const char *list, const json_t *container, struct err *err)
{
    static const struct {
        int number;
        const char *use;
    } ours[] = {
        {CONTRACT_OUTBOUND_PORT, "outbound connections"},
        {CONTRACT_INBOUND_PORT, "inbound connections"},
        {CONTRACT_METRICS_PORT, "metrics"},
        {CONTRACT_HEALTH_PORT, "health"},
    };
    const json_t *port = NULL;
    size_t i = 0;
    json_array_foreach(json_object_get(container, "ports"), i, port)
    {
        const char *protocol = text_of(port, "protocol");
        json_int_t number = json_integer_value(json_object_get(port, "containerPort"));
        for (size_t k = 0; k < sizeof ours / sizeof ours[0]; k++) {
            if (number == ours[k].number && (protocol[0] == '\0' || strcmp(protocol, "TCP") == 0)) {
                return err_set(err,
                               "spec.%s: container %.63s has port %d, which is the sidecar's own "
                               "(%s): choose another port",
                               list, text_of(container, "name"), ours[k].number, ours[k].use);
            }
        }
    }
    return true;
}

static bool check_mounts(const char *list, const json_t *container, struct err *err)
{
    static const char *const ours[] = {POD_RUN_VOLUME, POD_CONFIG_VOLUME};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (find_named(container, "volumeMounts", ours[i]) != NULL) {
            return err_set(err,
                           "spec.%s: container %.63s mounts the volume %s, where the sidecar has "
                           "its state, token and sockets: leave the mount out",
                           list, text_of(container, "name"), ours[i]);
        }
    }
    return true;
}

bool pod_check_bypass(const json_t *pod, uint32_t proxy_uid, struct err *err)
{
    const json_t *spec = json_object_get(pod, "spec");
    if (json_is_true(json_object_get(spec, "hostNetwork"))) {
        return err_set(
            err,
            "spec.hostNetwork: the pod shares the network of its node, whose traffic "
            "must not be intercepted: leave hostNetwork out, or set the pod's label " INJECT_LABEL
            " to \"" INJECT_LABEL_DISABLED "\"");
    }
    if (strcmp(text_of(json_object_get(spec, "os"), "name"), "windows") == 0) {
        return err_set(err,
                       "spec.os: the sidecar runs on Linux only: set the pod's label " INJECT_LABEL
                       " to \"" INJECT_LABEL_DISABLED "\"");
    }
    for (size_t i = 0; i < POD_NUM_LISTS; i++) {
        const json_t *container = NULL;
        size_t k = 0;
        json_array_foreach(json_object_get(spec, pod_lists[i]), k, container)
        {
            if (!is_ours(pod_lists[i], text_of(container, "name")) &&
                (!check_user(spec, pod_lists[i], container, proxy_uid, err) ||
                 !check_ports(pod_lists[i], container, err) ||
                 !check_mounts(pod_lists[i], container, err))) {
                return false;
            }
        }
    }
    return true;
}
