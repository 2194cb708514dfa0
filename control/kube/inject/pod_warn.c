// SPDX-License-Identifier: Apache-2.0
#include "control/kube/inject/pod_warn.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/must.h"
#include "control/kube/inject/pod_check.h"

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static void add(json_t *warnings, json_t *text)
{
    must_have(json_array_append_new(warnings, must_have(text)) == 0 ? warnings : NULL);
}

// Whether a container may change the network that it shares with the sidecar.
static bool rules_the_network(const json_t *container)
{
    const json_t *security = json_object_get(container, "securityContext");
    const json_t *name = NULL;
    size_t i = 0;
    json_array_foreach(json_object_get(json_object_get(security, "capabilities"), "add"), i, name)
    {
        const char *text = json_string_value(name);
        // Runtimes take the names in small letters, too.
        if (text != NULL &&
            (strcasecmp(text, "NET_ADMIN") == 0 || strcasecmp(text, "CAP_NET_ADMIN") == 0 ||
             strcasecmp(text, "ALL") == 0)) {
            return true;
        }
    }
    return json_is_true(json_object_get(security, "privileged"));
}

static void warn_handlers(json_t *warnings, const json_t *container)
{
    static const char *const events[] = {"postStart", "preStop"};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        const json_t *handler = json_object_get(
            json_object_get(json_object_get(container, "lifecycle"), events[i]), "httpGet");
        if (handler != NULL && text_of(handler, "host")[0] == '\0') {
            add(warnings,
                json_sprintf("container %.63s: lifecycle.%s.httpGet: the kubelet calls without a "
                             "certificate, which its port refuses unless "
                             "config.tabard.dev/inbound-ports or exclude-inbound-ports says "
                             "otherwise; exec needs neither",
                             text_of(container, "name"), events[i]));
        }
    }
}

void pod_warn(json_t *warnings, const json_t *pod)
{
    const json_t *spec = json_object_get(pod, "spec");
    if (json_is_true(json_object_get(spec, "shareProcessNamespace"))) {
        add(warnings, json_string("spec.shareProcessNamespace: a process of this pod that runs as "
                                  "root or as the sidecar's user can reach into the sidecar"));
    }
    if (json_is_true(json_object_get(spec, "hostPID"))) {
        add(warnings, json_string("spec.hostPID: a process of this pod that runs as root or as the "
                                  "sidecars' user can reach into every sidecar of its node"));
    }
    for (size_t i = 0; i < POD_NUM_LISTS; i++) {
        const json_t *container = NULL;
        size_t k = 0;
        json_array_foreach(json_object_get(spec, pod_lists[i]), k, container)
        {
            if (rules_the_network(container)) {
                add(warnings, json_sprintf("container %.63s is privileged or has NET_ADMIN: it can "
                                           "take the pod's traffic out of the mesh",
                                           text_of(container, "name")));
            }
            warn_handlers(warnings, container);
        }
    }
}
