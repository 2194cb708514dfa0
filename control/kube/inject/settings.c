// SPDX-License-Identifier: Apache-2.0
#include "control/kube/inject/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/data/port_range.h"
#include "base/digits.h"
#include "base/log.h"
#include "base/must.h"
#include "control/kube/inject/inbound_ports.h"
#include "control/kube/inject/quantity.h"
#include "proto/contract.h"

#define OWN_PREFIX     "tabard.dev/"
#define DRAIN_MAX      86400
#define VOLUME_LEN_MAX 63 // of a volume's name (RFC 1123 label)

static bool check_each(const char *value, struct err *err,
                       bool (*check)(const char *item, struct err *err))
{
    size_t num = 0;
    for (const char *at = value;; at++) {
        size_t len = strcspn(at, ",");
        char item[128];
        if (len >= sizeof item) {
            return err_set(err, "\"%.40s...\" is too long for one value of a list", at);
        }
        snprintf(item, sizeof item, "%.*s", (int)len, at);
        if (!check(item, err)) {
            return false;
        }
        if (++num > SETTINGS_LIST_MAX) {
            return err_set(err, "more than %d values", SETTINGS_LIST_MAX);
        }
        at += len;
        if (*at == '\0') {
            return true;
        }
    }
}

static bool check_port(const char *item, struct err *err)
{
    struct port_range range;
    return port_range_parse(&range, item, strlen(item), err);
}

static bool check_cidr(const char *item, struct err *err)
{
    struct cidr cidr;
    return cidr_parse(&cidr, item, err);
}

static bool check_ports(const char *value, struct err *err)
{
    return check_each(value, err, check_port);
}

static bool check_cidrs(const char *value, struct err *err)
{
    return check_each(value, err, check_cidr);
}

static bool check_quantity(const char *value, struct err *err)
{
    double amount = 0;
    return quantity_parse(&amount, value, err);
}

static bool check_bool(const char *value, struct err *err)
{
    return strcmp(value, "true") == 0 || strcmp(value, "false") == 0 ||
           err_set(err, "\"%.40s\" is neither true nor false", value);
}

static bool check_number(const char *value, uint32_t max, struct err *err)
{
    uint64_t number = 0;
    return (digits_read(&number, value, strlen(value), DIGITS_REFUSE_ZEROS, max) && number > 0) ||
           err_set(err, "\"%.40s\" is no number from 1 to %u", value, max);
}

static bool check_seconds(const char *value, struct err *err)
{
    return check_number(value, DRAIN_MAX, err);
}

static bool check_workers(const char *value, struct err *err)
{
    return check_number(value, CONTRACT_WORKERS_MAX, err);
}

static bool check_log_level(const char *value, struct err *err)
{
    enum log_level level;
    return log_level_parse(&level, value) ||
           err_set(err, "\"%.40s\" is none of debug, info, warn, error", value);
}

static bool check_volume(const char *value, struct err *err)
{
    size_t len = strlen(value);
    return (len > 0 && len <= VOLUME_LEN_MAX &&
            strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-") == len) ||
           err_set(err, "\"%.80s\" is no name of a volume", value);
}

static bool check_key(const char *value, struct err *err)
{
    const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value_by_name(
        &tabard__v1__mesh_config__policy_agent_access__key__descriptor, value);
    return (known != NULL && known->value != 0) ||
           err_set(err, "\"%.40s\" is none of P256, ED25519, ML_DSA_44, ML_DSA_65", value);
}

static bool check_inbound_ports(const char *value, struct err *err)
{
    return inbound_ports_check_modes(value, err);
}

static bool check_alpn(const char *value, struct err *err)
{
    return inbound_ports_check_alpn(value, err);
}

const struct setting_row settings_rows[SETTINGS_NUM] = {
    [SETTING_INBOUND_PORTS] =
        {"inbound-ports", "9090=PLAINTEXT,3306=PERMISSIVE,8000-8010=TLS_PASSTHROUGH",
         "Ports of the application that are not served by mutual TLS alone: `MTLS`, `PERMISSIVE`, "
         "`PLAINTEXT` or `TLS_PASSTHROUGH`, as `inbound_ports` of mesh.yaml.",
         check_inbound_ports, false},
    [SETTING_ALPN] = {"alpn", "50051=h2,8080=h2+http/1.1",
                      "The application protocols that a port selects for clients without the "
                      "mesh's own, the preferred one first.",
                      check_alpn, false},
    [SETTING_EXCLUDE_INBOUND_PORTS] = {"exclude-inbound-ports", "22,9000-9010",
                                       "Callers reach these ports directly, past the sidecar and "
                                       "past policy.",
                                       check_ports, true},
    [SETTING_EXCLUDE_INBOUND_CIDRS] = {"exclude-inbound-cidrs", "10.0.0.0/24",
                                       "Callers from there reach the pod directly.", check_cidrs,
                                       true},
    [SETTING_INCLUDE_INBOUND_PORTS] = {"include-inbound-ports", "8080,8443",
                                       "Only these ports are intercepted.", check_ports, true},
    [SETTING_EXCLUDE_OUTBOUND_PORTS] = {"exclude-outbound-ports", "25,5432",
                                        "Calls to these ports leave directly.", check_ports, true},
    [SETTING_EXCLUDE_OUTBOUND_CIDRS] = {"exclude-outbound-cidrs", "10.9.0.0/16,fd00:9::/32",
                                        "Calls to these addresses leave directly.", check_cidrs,
                                        true},
    [SETTING_INCLUDE_OUTBOUND_PORTS] = {"include-outbound-ports", "80,443",
                                        "Only calls to these ports are intercepted.", check_ports,
                                        true},
    [SETTING_INCLUDE_OUTBOUND_CIDRS] = {"include-outbound-cidrs", "10.96.0.0/16",
                                        "Only calls to these addresses are intercepted.",
                                        check_cidrs, true},
    [SETTING_CERTIFICATE_VOLUME] =
        {"certificate-volume", "tls",
         "A volume of the pod (cert-manager's CSI driver, a Secret) with `tls.crt` and `tls.key`: "
         "the sidecar uses that certificate instead of one from policyd.",
         check_volume, false},
    [SETTING_KEY] = {"key", "ML_DSA_44",
                     "The kind of key of the sidecar's certificate: `P256`, `ED25519`, `ML_DSA_44` "
                     "or `ML_DSA_65`. Every peer must know it.",
                     check_key, false},
    [SETTING_REWRITE_PROBES] = {"rewrite-probes", "false",
                                "`\"false\"` leaves the probes of the application as they are.",
                                check_bool, false},
    [SETTING_DRAIN_SECONDS] = {"drain-seconds", "20",
                               "How long connections may go on when the sidecar ends; less "
                               "than `terminationGracePeriodSeconds`.",
                               check_seconds, false},
    [SETTING_CPU_REQUEST] = {"cpu-request", "50m", "What the sidecar asks for.", check_quantity,
                             false},
    [SETTING_CPU_LIMIT] = {"cpu-limit", "1", "What the sidecar may use.", check_quantity, false},
    [SETTING_MEMORY_REQUEST] = {"memory-request", "64Mi", "What the sidecar asks for.",
                                check_quantity, false},
    [SETTING_MEMORY_LIMIT] = {"memory-limit", "512Mi", "What the sidecar may use.", check_quantity,
                              false},
    [SETTING_WORKERS] = {"workers", "4", "Worker threads of the proxy.", check_workers, false},
    [SETTING_LOG_LEVEL] = {"log-level", "debug", "`debug`, `info`, `warn` or `error`.",
                           check_log_level, false},
};

bool settings_refuse(enum setting setting, struct err *err)
{
    return err_prefix(err, "annotation " SETTINGS_PREFIX "%s", settings_rows[setting].name);
}

static bool refuse_unknown(const char *key, struct err *err)
{
    char known[600] = "";
    size_t len = 0;
    for (size_t i = 0; i < SETTINGS_NUM && len < sizeof known; i++) {
        len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", i == 0 ? "" : ", ",
                                settings_rows[i].name);
    }
    return err_set(err, "annotation %.120s is unknown; behind " SETTINGS_PREFIX " may stand %s",
                   key, known);
}

// Annotations that injection itself writes, and that come back with a pod that has them.
static bool is_injected(const char *name)
{
    static const char *const names[] = {"status", "mesh.yaml", "roots.pem", "probes.yaml"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_own(struct settings *out, const char *key, const json_t *value, struct err *err)
{
    const char *name = key + strlen(SETTINGS_PREFIX);
    if (!json_is_string(value)) {
        return err_set(err, "annotation %.120s is no text", key);
    }
    for (size_t i = 0; i < SETTINGS_NUM; i++) {
        if (strcmp(settings_rows[i].name, name) == 0) {
            out->values[i] = json_string_value(value);
            if (settings_rows[i].check(out->values[i], err)) {
                return true;
            }
            err_set(err, "%s (for instance: %s)", err->text, settings_rows[i].example);
            return settings_refuse((enum setting)i, err);
        }
    }
    return refuse_unknown(key, err);
}

bool settings_read(struct settings *out, const json_t *annotations, struct err *err)
{
    void *at = NULL;
    *out = (struct settings){.values = {0}};
    for (at = json_object_iter((json_t *)annotations); at != NULL;
         at = json_object_iter_next((json_t *)annotations, at)) {
        const char *key = json_object_iter_key(at);
        if (strncmp(key, SETTINGS_PREFIX, strlen(SETTINGS_PREFIX)) == 0) {
            if (!read_own(out, key, json_object_iter_value(at), err)) {
                return false;
            }
        } else if (strncmp(key, OWN_PREFIX, strlen(OWN_PREFIX)) == 0) {
            const char *name = key + strlen(OWN_PREFIX);
            if (strcmp(name, "inject") == 0) {
                return err_set(err,
                               "annotation tabard.dev/inject counts for nothing: it is a label");
            }
            if (!is_injected(name)) {
                return refuse_unknown(key, err);
            }
        }
    }
    return true;
}

json_t *settings_inbound_ports(const struct settings *settings, struct err *err)
{
    return inbound_ports_make(settings->values[SETTING_INBOUND_PORTS],
                              settings->values[SETTING_ALPN], err);
}

static const char *either(const char *value, const char *otherwise)
{
    return value != NULL ? value : otherwise;
}

// Adds one resource's request and limit; an empty limit is none.
static bool add_resource(json_t *requests, json_t *limits, const struct settings *settings,
                         enum setting request_setting, enum setting limit_setting,
                         const char *request_default, const char *limit_default, struct err *err)
{
    const char *resource = request_setting == SETTING_CPU_REQUEST ? "cpu" : "memory";
    const char *request = either(settings->values[request_setting], request_default);
    const char *limit = either(settings->values[limit_setting], limit_default);
    double least = 0;
    double most = 0;
    if (limit[0] != '\0' && quantity_parse(&least, request, NULL) &&
        quantity_parse(&most, limit, NULL) && most < least) {
        bool is_request = settings->values[limit_setting] == NULL;
        if (is_request) {
            err_set(err, "%s is more than the limit, %s: set " SETTINGS_PREFIX "%s too", request,
                    limit, settings_rows[limit_setting].name);
        } else {
            err_set(err, "%s is less than the request, %s", limit, request);
        }
        return settings_refuse(is_request ? request_setting : limit_setting, err);
    }
    must_have(json_object_set_new(requests, resource, json_string(request)) == 0 ? requests : NULL);
    if (limit[0] != '\0') {
        must_have(json_object_set_new(limits, resource, json_string(limit)) == 0 ? limits : NULL);
    }
    return true;
}

json_t *settings_resources(const struct settings *settings, const Tabard__V1__InjectConfig *config,
                           struct err *err)
{
    json_t *requests = must_have(json_object());
    json_t *limits = must_have(json_object());
    bool good =
        add_resource(requests, limits, settings, SETTING_CPU_REQUEST, SETTING_CPU_LIMIT,
                     config->cpu_request, config->cpu_limit, err) &&
        add_resource(requests, limits, settings, SETTING_MEMORY_REQUEST, SETTING_MEMORY_LIMIT,
                     config->memory_request, config->memory_limit, err);
    json_t *resources = must_have(json_pack("{s:o, s:o}", "requests", requests, "limits", limits));
    if (!good) {
        json_decref(resources);
        return NULL;
    }
    return resources;
}
