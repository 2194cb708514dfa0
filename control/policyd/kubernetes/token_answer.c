// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/token_answer.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define USER_PREFIX  "system:serviceaccount:"
#define GROUP        "system:serviceaccounts"
#define EXTRA        "authentication.kubernetes.io/"
#define POD_NAME_KEY EXTRA "pod-name"
#define POD_UID_KEY  EXTRA "pod-uid"

static void refuse(struct account_answer *out, enum account_result result, const char *words)
{
    *out = (struct account_answer){.result = result};
    snprintf(out->words, sizeof out->words, "%s", words);
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

// Copies a text that is a DNS label of RFC 1123, or with has_dots a subdomain, as the API server
// has checked it. false: it is anything else, or too long.
static bool take_name(char *out, size_t size, const char *text, size_t len, bool has_dots)
{
    size_t label = 0;
    if (len == 0 || len >= size) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.' && has_dots && label > 0 && text[i - 1] != '-') {
            label = 0;
        } else if (is_name_byte(text[i]) && !(label == 0 && text[i] == '-')) {
            label++;
        } else {
            return false;
        }
    }
    if (label == 0 || text[len - 1] == '-') {
        return false;
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

static bool take_user(struct account_pod *out, const json_t *name)
{
    const char *text = json_string_value(name);
    size_t prefix = strlen(USER_PREFIX);
    if (text == NULL || strlen(text) != json_string_length(name) ||
        strncmp(text, USER_PREFIX, prefix) != 0) {
        return false;
    }
    const char *ns = text + prefix;
    const char *colon = strchr(ns, ':');
    return colon != NULL && take_name(out->ns, sizeof out->ns, ns, (size_t)(colon - ns), false) &&
           take_name(out->account, sizeof out->account, colon + 1, strlen(colon + 1), true);
}

static bool holds(const json_t *list, const char *wanted)
{
    size_t len = strlen(wanted);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (json_string_length(item) == len && json_string_value(item) != NULL &&
            memcmp(json_string_value(item), wanted, len) == 0) {
            return true;
        }
    }
    return false;
}

// The one value of an extra; NULL: it has none, or several.
static const json_t *extra_of(const json_t *user, const char *key)
{
    const json_t *values = json_object_get(json_object_get(user, "extra"), key);
    return json_array_size(values) == 1 ? json_array_get(values, 0) : NULL;
}

static bool take_pod(struct account_pod *out, const json_t *user)
{
    const json_t *name = extra_of(user, POD_NAME_KEY);
    const json_t *uid = extra_of(user, POD_UID_KEY);
    return json_is_string(name) && json_is_string(uid) &&
           take_name(out->name, sizeof out->name, json_string_value(name), json_string_length(name),
                     true) &&
           take_name(out->uid, sizeof out->uid, json_string_value(uid), json_string_length(uid),
                     false);
}

// Names the API server's reason for a refusal. Its words choose a label and nothing else.
static enum account_result reason_of(const char *error)
{
    static const struct {
        const char *words;
        enum account_result result;
    } reasons[] = {
        {"is invalid for the target audiences", ACCOUNT_OTHER_AUDIENCE},
        {"token has expired", ACCOUNT_EXPIRED},
        {"token has been invalidated", ACCOUNT_POD_GONE}, // or whatever else it was bound to
        {"serviceaccounts \"", ACCOUNT_GONE},             // ... not found
        {"service account UID", ACCOUNT_GONE},            // there is another one of the name
        {"invalid bearer token", ACCOUNT_REFUSED},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (strstr(error, reasons[i].words) != NULL) {
            return reasons[i].result;
        }
    }
    return ACCOUNT_UNAVAILABLE; // whoever asked the API server's own helpers got no answer
}

static void read_user(struct account_answer *out, const json_t *user)
{
    struct account_answer good = {.result = ACCOUNT_OK};
    const json_t *groups = json_object_get(user, "groups");
    char group[sizeof GROUP + ACCOUNT_NAMESPACE_BYTES];
    if (!take_user(&good.pod, json_object_get(user, "username"))) {
        refuse(out, ACCOUNT_NO_ACCOUNT, "the token is not one of a service account");
        return;
    }
    snprintf(group, sizeof group, GROUP ":%s", good.pod.ns);
    if (!holds(groups, GROUP) || !holds(groups, group)) {
        refuse(out, ACCOUNT_NO_ACCOUNT, "the token's user is in no group of service accounts");
        return;
    }
    if (!take_pod(&good.pod, user)) {
        refuse(out, ACCOUNT_NO_POD, "the token is bound to no pod, so nothing says when it ends");
        return;
    }
    *out = good;
}

void token_answer_read(struct account_answer *out, const json_t *body)
{
    const json_t *status = json_object_get(body, "status");
    const char *kind = json_string_value(json_object_get(body, "kind"));
    const char *version = json_string_value(json_object_get(body, "apiVersion"));
    const json_t *error = json_object_get(status, "error");
    if (kind == NULL || version == NULL || strcmp(kind, "TokenReview") != 0 ||
        strcmp(version, "authentication.k8s.io/v1") != 0 || !json_is_object(status) ||
        (error != NULL && !json_is_string(error))) {
        refuse(out, ACCOUNT_UNAVAILABLE, "the API server's answer is no TokenReview");
    } else if (json_string_length(error) > 0) {
        refuse(out, reason_of(json_string_value(error)), json_string_value(error));
    } else if (!json_is_true(json_object_get(status, "authenticated"))) {
        refuse(out, ACCOUNT_REFUSED, "the API server doesn't know the token");
    } else if (!holds(json_object_get(status, "audiences"), ACCOUNT_AUDIENCE)) {
        refuse(out, ACCOUNT_OTHER_AUDIENCE, "the token is not for the audience " ACCOUNT_AUDIENCE);
    } else {
        read_user(out, json_object_get(status, "user"));
    }
}
