// SPDX-License-Identifier: Apache-2.0
//
// The annotations config.tabard.dev/NAME by which a pod's author sets up its sidecar: one table
// with the name, the check and what each does. docs/kubernetes.md shows the table, and a test holds
// it to this one. Pure; bounded by the pod's size and SETTINGS_LIST_MAX.
#ifndef TABARD_CONTROL_KUBE_INJECT_SETTINGS_H
#define TABARD_CONTROL_KUBE_INJECT_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "control/kube/inject/inject_config.h"

#define SETTINGS_PREFIX   "config.tabard.dev/"
#define SETTINGS_LIST_MAX 1024 // values of one annotation that is a list

enum setting {
    SETTING_INBOUND_PORTS,
    SETTING_ALPN,
    SETTING_EXCLUDE_INBOUND_PORTS,
    SETTING_EXCLUDE_INBOUND_CIDRS,
    SETTING_INCLUDE_INBOUND_PORTS,
    SETTING_EXCLUDE_OUTBOUND_PORTS,
    SETTING_EXCLUDE_OUTBOUND_CIDRS,
    SETTING_INCLUDE_OUTBOUND_PORTS,
    SETTING_INCLUDE_OUTBOUND_CIDRS,
    SETTING_CERTIFICATE_VOLUME,
    SETTING_KEY,
    SETTING_REWRITE_PROBES,
    SETTING_DRAIN_SECONDS,
    SETTING_CPU_REQUEST,
    SETTING_CPU_LIMIT,
    SETTING_MEMORY_REQUEST,
    SETTING_MEMORY_LIMIT,
    SETTING_WORKERS,
    SETTING_LOG_LEVEL,
    SETTINGS_NUM
};

struct setting_row {
    const char *name;    // behind SETTINGS_PREFIX
    const char *example; // of its value
    const char *does;
    bool (*check)(const char *value, struct err *err); // says what is wrong with a value
    bool is_intercept; // the flag of this name of `tabardctl intercept up`
};
extern const struct setting_row settings_rows[SETTINGS_NUM];

// What holds for one pod.
struct settings {
    const char *values[SETTINGS_NUM]; // borrowed from the pod; NULL: not set
};

// settings_read finds the annotations of ours and checks each value by itself. false sets err,
// whose text begins with the annotation's name: one that isn't in the table, or a wrong value.
bool settings_read(struct settings *out, const json_t *annotations, struct err *err);

// settings_refuse puts the annotation's name before err's text. It returns false.
bool settings_refuse(enum setting setting, struct err *err);

// settings_inbound_ports returns `inbound_ports` of mesh.yaml as the annotations want it, or NULL
// for none. It refuses what mesh.yaml refuses: NULL with err's text set.
json_t *settings_inbound_ports(const struct settings *settings, struct err *err);

// settings_resources returns the `resources` of a container, the configuration's where no
// annotation stands above it. NULL sets err: a request above its limit.
json_t *settings_resources(const struct settings *settings, const Tabard__V1__InjectConfig *config,
                           struct err *err);

#endif
