// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_token.h"

#include <openssl/mem.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/must.h"

char *pa_token_parse(const char *bytes, size_t len, size_t len_max)
{
    while (len > 0 && (bytes[len - 1] == '\n' || bytes[len - 1] == '\r')) {
        len--;
    }
    bool ok = len > 0 && len <= len_max;
    for (size_t i = 0; ok && i < len; i++) {
        ok = bytes[i] > 0x20 && bytes[i] < 0x7f;
    }
    return ok ? must_have(strndup(bytes, len)) : NULL;
}

char *pa_token_read(const char *path, struct err *err)
{
    struct file file = {.bytes = NULL};
    char *token = NULL;
    if (file_read(&file, path, PA_TOKEN_LEN_MAX + 2, FILE_ANY, err)) {
        token = pa_token_parse(file.bytes, file.len, PA_TOKEN_LEN_MAX);
        if (token == NULL) {
            err_set(err, "one line of 1 to %d printable characters is needed", PA_TOKEN_LEN_MAX);
        }
    }
    file_cleanup(&file);
    if (token == NULL) {
        err_prefix(err, "the service account's token: %s", path);
    }
    return token;
}

void pa_token_free(char *token)
{
    if (token != NULL) {
        OPENSSL_cleanse(token, strlen(token));
    }
    free(token);
}
