// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "net/grpc/call_impl.h"

#define GRPC_TYPE "application/grpc"

static bool is_name(const char *name, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(name, text, len) == 0;
}

static bool is_grpc_type(const char *value, size_t len)
{
    size_t type_len = strlen(GRPC_TYPE);
    return len >= type_len && memcmp(value, GRPC_TYPE, type_len) == 0 &&
           (len == type_len || value[type_len] == '+' || value[type_len] == ';');
}

void call_headers_take(struct call_headers *headers, const char *name, size_t name_len,
                       const char *value, size_t value_len)
{
    if (is_name(name, name_len, ":method")) {
        headers->is_post = is_name(value, value_len, "POST");
    } else if (is_name(name, name_len, "content-type") && !headers->has_type) {
        headers->has_type = true;
        headers->is_grpc_type = is_grpc_type(value, value_len);
    } else if (is_name(name, name_len, "grpc-timeout") && !headers->has_timeout) {
        headers->has_timeout = true;
        headers->is_timeout_fine = grpc_timeout_parse(&headers->timeout_ms, value, value_len);
    } else if (is_name(name, name_len, "grpc-encoding") && !headers->has_encoding) {
        headers->has_encoding = true;
        headers->is_identity = is_name(value, value_len, "identity");
    } else if (is_name(name, name_len, "grpc-status") && !headers->has_code) {
        headers->has_code = true;
        grpc_code_parse(&headers->code, value, value_len);
    } else if (is_name(name, name_len, "grpc-message") && headers->message == NULL) {
        char message[GRPC_STATUS_MESSAGE_MAX];
        grpc_message_decode(message, sizeof message, value, value_len);
        headers->message = must_strdup(message);
    }
}

void call_headers_cleanup(struct call_headers *headers)
{
    free(headers->message);
    *headers = (struct call_headers){0};
}
