// SPDX-License-Identifier: Apache-2.0
#include "control/kube/api/kube_status.h"

#define MESSAGE_CHARS_MAX 500

bool kube_status_text(struct err *err, unsigned status, const json_t *body)
{
    const char *reason = json_string_value(json_object_get(body, "reason"));
    const char *message = json_string_value(json_object_get(body, "message"));
    if (message == NULL || message[0] == '\0') {
        return err_set(err, "status %u%s%s", status, reason != NULL ? " " : "",
                       reason != NULL ? reason : "");
    }
    return err_set(err, "status %u%s%.100s: %.*s", status, reason != NULL ? " " : "",
                   reason != NULL ? reason : "", MESSAGE_CHARS_MAX, message);
}

unsigned kube_status_code(const json_t *status)
{
    json_int_t code = json_integer_value(json_object_get(status, "code"));
    return code > 0 && code < 1000 ? (unsigned)code : 0;
}

json_t *kube_json_read(const char *text, size_t len, struct err *err)
{
    json_error_t error;
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL) {
        err_set(err, "it is no JSON: %s (byte %d of %zu)", error.text, error.position, len);
    }
    return value;
}
