// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/model/kube_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pb/pb_text.h"

#define LABEL_MAX    63
#define NAME_MAX_LEN 253
#define MESSAGE_NAME "spec"

static const json_t *at(const json_t *object, va_list keys)
{
    for (const char *key; object != NULL && (key = va_arg(keys, const char *)) != NULL;) {
        object = json_object_get(object, key);
    }
    return object;
}

const json_t *kube_json_at(const json_t *object, ...)
{
    va_list keys;
    va_start(keys, object);
    const json_t *found = at(object, keys);
    va_end(keys);
    return found;
}

const char *kube_json_text(const json_t *object, ...)
{
    va_list keys;
    va_start(keys, object);
    const char *text = json_string_value(at(object, keys));
    va_end(keys);
    return text == NULL ? "" : text;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// Says whether a text is one or more labels with dots between them.
static bool is_labels(const char *text, size_t label_max, size_t len_max, bool has_dots)
{
    size_t len = strlen(text);
    size_t start = 0;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && (is_alphanumeric(text[i]) || text[i] == '-')) {
            continue;
        }
        if ((i < len && (text[i] != '.' || !has_dots)) || i == start || i - start > label_max ||
            text[start] == '-' || text[i - 1] == '-') {
            return false;
        }
        start = i + 1;
    }
    return len <= len_max;
}

bool kube_json_is_label(const char *text)
{
    return is_labels(text, LABEL_MAX, LABEL_MAX, false);
}

bool kube_json_is_name(const char *text)
{
    return is_labels(text, NAME_MAX_LEN, NAME_MAX_LEN, true);
}

char *kube_json_canonical(const json_t *value)
{
    return must_have(json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY));
}

bool kube_json_only(const json_t *object, struct err *err, ...)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object)) {
        return err_set(err, "is no object");
    }
    json_object_foreach((json_t *)object, key, value)
    {
        va_list keys;
        const char *known;
        va_start(keys, err);
        while ((known = va_arg(keys, const char *)) != NULL && strcmp(known, key) != 0) {
        }
        va_end(keys);
        if (known == NULL) {
            char where[64];
            snprintf(where, sizeof where, "%s", key);
            return err_set_at(err, where, "there is no such field");
        }
    }
    return true;
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

// Writes a name as protobuf has it. false: the name is none, or already of that form.
static bool to_snake(const char *name, char *out, size_t size)
{
    size_t len = 0;
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '_' || len + 3 > size) {
            return false;
        }
        if (is_upper(*c)) {
            out[len++] = '_';
        }
        out[len++] = is_upper(*c) ? (char)(*c - 'A' + 'a') : *c;
    }
    out[len] = '\0';
    return len > 0;
}

// Turns names of protobuf into those of JSON, in place.
static void to_camel(char *text)
{
    char *out = text;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '_' && c[1] >= 'a' && c[1] <= 'z') {
            *out++ = (char)(*++c - 'a' + 'A');
        } else {
            *out++ = *c;
        }
    }
    *out = '\0';
}

// Names the place of an error as the author of the resource knows it. Returns false.
bool kube_json_place(struct err *err, const char *message)
{
    size_t len = strlen(message);
    if (len > 0 && strncmp(err->where, message, len) == 0 &&
        (err->where[len] == '.' || err->where[len] == '\0')) {
        const char *rest = err->where + len + (err->where[len] == '.');
        memmove(err->where, rest, strlen(rest) + 1);
    }
    if (strcmp(err->where, "name") == 0) {
        snprintf(err->where, sizeof err->where, "metadata.name");
        return false;
    }
    if (len > 0) {
        to_camel(err->where);
    }
    return err_prefix_where(err, "spec");
}

// Copies a value with the keys of its objects as protobuf names them. NULL sets err.
static json_t *renamed(const json_t *value, struct err *err)
{
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_array(value)) {
        json_t *list = must_have(json_array());
        json_array_foreach(value, i, item)
        {
            json_t *copy = renamed(item, err);
            if (copy == NULL || json_array_append_new(list, copy) != 0) {
                err_prefix_where(err, "[%zu]", i);
                json_decref(list);
                return NULL;
            }
        }
        return list;
    }
    if (!json_is_object(value)) {
        return must_have(json_deep_copy(value));
    }
    json_t *object = must_have(json_object());
    json_object_foreach((json_t *)value, key, item)
    {
        char name[64];
        json_t *copy = NULL;
        if (!to_snake(key, name, sizeof name)) {
            snprintf(name, sizeof name, "%s", key);
            err_set_at(err, name, "there is no such field");
        } else if ((copy = renamed(item, err)) == NULL) {
            err_prefix_where(err, "%s", key);
        }
        if (copy == NULL || json_object_set_new(object, name, copy) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

// Takes "spec:1:34: rules[0].source_ips[1]: text" apart.
static void take_apart(struct err *err)
{
    char text[sizeof err->text];
    snprintf(text, sizeof text, "%s", err->text);
    const char *rest = text;
    for (int colon = 0; colon < 3 && rest != NULL; colon++) {
        rest = strchr(rest, ':');
        rest = rest == NULL ? NULL : rest + 1;
    }
    if (strncmp(text, MESSAGE_NAME ":", strlen(MESSAGE_NAME) + 1) != 0 || rest == NULL) {
        return;
    }
    rest += *rest == ' ';
    size_t path_len = strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
                                   "[].");
    bool has_path = path_len > 0 && rest[path_len] == ':' && rest[path_len + 1] == ' ';
    err_set(err, "%s", has_path ? rest + path_len + 2 : rest);
    if (strncmp(err->text, "unknown key", 11) == 0) {
        to_camel(err->text); // it names those that are known
    }
    if (has_path) {
        snprintf(err->where, sizeof err->where, "%.*s", (int)path_len, rest);
    }
}

void *kube_json_message(const ProtobufCMessageDescriptor *descriptor, const json_t *object,
                        struct err *err)
{
    json_t *named = renamed(object, err);
    if (named == NULL) {
        return NULL;
    }
    char *text = kube_json_canonical(named);
    json_decref(named);
    ProtobufCMessage *message =
        pb_text_parse(descriptor, text, strlen(text), MESSAGE_NAME, NULL, err);
    free(text);
    if (message == NULL) {
        take_apart(err);
        to_camel(err->where);
    }
    return message;
}
