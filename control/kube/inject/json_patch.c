// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // vasprintf
#include "control/kube/inject/json_patch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/bytes.h"
#include "base/digits.h"
#include "base/must.h"

void json_patch_add(json_t *patch, json_t *value, const char *path, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, path);
    int len = vasprintf(&text, path, args);
    va_end(args);
    must_have(len < 0 ? NULL : text);
    json_t *operation = must_have(
        json_pack("{s:s, s:s, s:o}", "op", "add", "path", text, "value", must_have(value)));
    must_have(json_array_append_new(patch, operation) == 0 ? patch : NULL);
    free(text);
}

char *json_patch_escape(const char *name)
{
    struct bytes out = {0};
    for (const char *at = name; *at != '\0'; at++) {
        if (*at == '~' || *at == '/') {
            bytes_push_text(&out, *at == '~' ? "~0" : "~1");
        } else {
            bytes_push(&out, at, 1);
        }
    }
    return bytes_take_text(&out);
}

// Takes the next token, unescaped, from behind the slash at *path, and moves *path to the next
// slash or the end. NULL: there is no slash, or "~" stands before neither 0 nor 1.
static char *take_token(const char **path)
{
    struct bytes out = {0};
    const char *at = *path;
    bool is_good = *at == '/';
    for (at++; is_good && *at != '/' && *at != '\0'; at++) {
        if (*at == '~') {
            at++;
            is_good = *at == '0' || *at == '1';
            bytes_push(&out, *at == '0' ? "~" : "/", 1);
        } else {
            bytes_push(&out, at, 1);
        }
    }
    *path = at;
    if (!is_good) {
        bytes_cleanup(&out);
        return NULL;
    }
    return bytes_take_text(&out);
}

// An index of an array (RFC 6901, section 4); "-" is the one behind the last.
static bool read_index(size_t *out, const json_t *array, const char *token)
{
    uint64_t index = 0;
    if (strcmp(token, "-") == 0) {
        *out = json_array_size(array);
        return true;
    }
    if (!digits_read(&index, token, strlen(token), DIGITS_REFUSE_ZEROS, UINT32_MAX)) {
        return false;
    }
    *out = (size_t)index;
    return true;
}

static json_t *child(json_t *parent, const char *token)
{
    size_t index = 0;
    if (json_is_object(parent)) {
        return json_object_get(parent, token);
    }
    return read_index(&index, parent, token) ? json_array_get(parent, index) : NULL;
}

// Finds the parent of what the path names, and the last token, which the caller frees.
static json_t *find(json_t *document, const char *path, char **out_token)
{
    json_t *at = document;
    char *token = take_token(&path);
    while (token != NULL && *path != '\0') {
        at = child(at, token);
        free(token);
        token = at == NULL ? NULL : take_token(&path);
    }
    *out_token = token;
    return token == NULL ? NULL : at;
}

static bool add_at(json_t *parent, const char *token, json_t *value)
{
    size_t index = 0;
    if (json_is_object(parent)) {
        return json_object_set(parent, token, value) == 0;
    }
    return read_index(&index, parent, token) && json_array_insert(parent, index, value) == 0;
}

static bool remove_at(json_t *parent, const char *token)
{
    size_t index = 0;
    if (json_is_object(parent)) {
        return json_object_del(parent, token) == 0;
    }
    return read_index(&index, parent, token) && json_array_remove(parent, index) == 0;
}

static bool replace_at(json_t *parent, const char *token, json_t *value)
{
    size_t index = 0;
    if (json_is_object(parent)) {
        return json_object_get(parent, token) != NULL && json_object_set(parent, token, value) == 0;
    }
    return read_index(&index, parent, token) && json_array_set(parent, index, value) == 0;
}

static bool apply_one(json_t *document, const json_t *operation)
{
    const char *op = json_string_value(json_object_get(operation, "op"));
    const char *path = json_string_value(json_object_get(operation, "path"));
    const json_t *value = json_object_get(operation, "value");
    if (op == NULL || path == NULL) {
        return false;
    }
    char *token = NULL;
    json_t *parent = find(document, path, &token);
    json_t *copy = value == NULL ? NULL : must_have(json_deep_copy(value));
    bool is_done = false;
    if (parent == NULL) {
        is_done = false;
    } else if (strcmp(op, "remove") == 0) {
        is_done = remove_at(parent, token);
    } else if (copy != NULL && strcmp(op, "add") == 0) {
        is_done = add_at(parent, token, copy);
    } else if (copy != NULL && strcmp(op, "replace") == 0) {
        is_done = replace_at(parent, token, copy);
    }
    json_decref(copy);
    free(token);
    return is_done;
}

bool json_patch_apply(json_t *document, const json_t *patch, struct err *err)
{
    size_t i = 0;
    const json_t *operation = NULL;
    json_array_foreach(patch, i, operation)
    {
        if (!apply_one(document, operation)) {
            const char *path = json_string_value(json_object_get(operation, "path"));
            return err_set(err, "operation %zu of the patch (%s) can't be done", i,
                           path == NULL ? "without a path" : path);
        }
    }
    return true;
}
