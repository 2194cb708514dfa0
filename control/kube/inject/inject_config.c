// SPDX-License-Identifier: Apache-2.0
#include "control/kube/inject/inject_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/pb/pb_text.h"
#include "certs/der_list.h"
#include "certs/identity.h"
#include "control/kube/inject/quantity.h"
#include "proto/contract.h"

#define ROOTS_MAX         64
#define WORKERS_DEFAULT   2
#define TOKEN_SECONDS_MIN 600 // Kubernetes refuses less
#define TOKEN_SECONDS_MAX 86400

static void default_text(char **field, const char *value)
{
    if ((*field)[0] == '\0') {
        *field = must_strdup(value); // an empty field isn't owned
    }
}

static void fill_defaults(Tabard__V1__InjectConfig *config)
{
    default_text(&config->token_audience, "tabard.dev");
    default_text(&config->log_level, "info");
    default_text(&config->cpu_request, "10m");
    default_text(&config->memory_request, "32Mi");
    default_text(&config->memory_limit, "256Mi");
    config->token_seconds = config->token_seconds == 0 ? 3600 : config->token_seconds;
    config->proxy_uid = config->proxy_uid == 0 ? CONTRACT_PROXY_UID : config->proxy_uid;
    config->workers = config->workers == 0 ? WORKERS_DEFAULT : config->workers;
}

static bool check_image(const Tabard__V1__InjectConfig *config, struct err *err)
{
    static const char *const policies[] = {"", "Always", "IfNotPresent", "Never"};
    if (config->image[0] == '\0') {
        return err_set_at(err, "image", "missing: the image of init container and sidecar");
    }
    if (config->image[strcspn(config->image, " \t\r\n\"\\")] != '\0') {
        return err_set_at(err, "image", "\"%.100s\" is no name of an image", config->image);
    }
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        if (strcmp(config->image_pull_policy, policies[i]) == 0) {
            return true;
        }
    }
    return err_set_at(err, "image_pull_policy", "\"%.40s\" is none of Always, IfNotPresent, Never",
                      config->image_pull_policy);
}

static bool check_roots(const char *roots, struct err *err)
{
    struct der_list list = {0};
    if (roots[0] == '\0') {
        return true;
    }
    bool good =
        der_list_from_pem(&list, "CERTIFICATE", roots, strlen(roots), ROOTS_MAX, "PEM", err);
    der_list_cleanup(&list);
    if (!good) {
        snprintf(err->where, sizeof err->where, "roots");
    }
    return good;
}

static bool check_policy_agent(const Tabard__V1__InjectConfig *config, struct err *err)
{
    struct spiffe_id id;
    const char *colon = strrchr(config->policy_agent, ':');
    if (colon == NULL || colon == config->policy_agent || colon[1] == '\0' ||
        strpbrk(config->policy_agent, " \t\r\n\"\\/") != NULL) {
        return err_set_at(
            err, "policy_agent",
            "\"%.100s\" is no HOST:PORT, as \"tabard-policyd.tabard-system.svc:15012\"",
            config->policy_agent);
    }
    if (config->trust_domain[0] != '\0' &&
        !spiffe_trust_domain_check(config->trust_domain, strlen(config->trust_domain), err)) {
        return err_set_at(err, "trust_domain", "%s", err->text);
    }
    if (config->policy_agent_identity[0] != '\0' &&
        !spiffe_workload_parse(&id, config->policy_agent_identity,
                               strlen(config->policy_agent_identity), err)) {
        return err_set_at(err, "policy_agent_identity", "%s", err->text);
    }
    return check_roots(config->roots, err);
}

static bool check_numbers(const Tabard__V1__InjectConfig *config, struct err *err)
{
    if (config->workers > CONTRACT_WORKERS_MAX) {
        return err_set_at(err, "workers", "%u is not 1 to " CONTRACT_WORKERS_MAX_TEXT,
                          config->workers);
    }
    if (config->token_seconds < TOKEN_SECONDS_MIN || config->token_seconds > TOKEN_SECONDS_MAX) {
        return err_set_at(err, "token_seconds", "%u is not %d to %d", config->token_seconds,
                          TOKEN_SECONDS_MIN, TOKEN_SECONDS_MAX);
    }
    enum log_level level;
    return log_level_parse(&level, config->log_level) ||
           err_set_at(err, "log_level", "\"%.40s\" is none of debug, info, warn, error",
                      config->log_level);
}

static bool check_resources(const Tabard__V1__InjectConfig *config, struct err *err)
{
    const struct {
        const char *name;
        const char *request;
        const char *limit;
    } rows[] = {
        {"cpu", config->cpu_request, config->cpu_limit},
        {"memory", config->memory_request, config->memory_limit},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char where[32];
        double request = 0;
        double limit = 0;
        snprintf(where, sizeof where, "%s_request", rows[i].name);
        if (!quantity_parse(&request, rows[i].request, err)) {
            return err_set_at(err, where, "%s", err->text);
        }
        snprintf(where, sizeof where, "%s_limit", rows[i].name);
        if (rows[i].limit[0] == '\0') {
            continue;
        }
        if (!quantity_parse(&limit, rows[i].limit, err)) {
            return err_set_at(err, where, "%s", err->text);
        }
        if (limit < request) {
            return err_set_at(err, where, "%s is less than the request, %s", rows[i].limit,
                              rows[i].request);
        }
    }
    return true;
}

Tabard__V1__InjectConfig *inject_config_parse(const char *text, size_t text_len,
                                              const char *file_name, struct err *err)
{
    struct pb_text_marks *marks = NULL;
    Tabard__V1__InjectConfig *config = (Tabard__V1__InjectConfig *)pb_text_parse(
        &tabard__v1__inject_config__descriptor, text, text_len, file_name, &marks, err);
    if (config != NULL) {
        fill_defaults(config);
        if (!check_image(config, err) || !check_policy_agent(config, err) ||
            !check_numbers(config, err) || !check_resources(config, err)) {
            pb_text_marks_locate(marks, file_name, err);
            inject_config_free(config);
            config = NULL;
        }
    }
    pb_text_marks_free(marks);
    return config;
}

void inject_config_free(Tabard__V1__InjectConfig *config)
{
    if (config != NULL) {
        protobuf_c_message_free_unpacked(&config->base, NULL);
    }
}
