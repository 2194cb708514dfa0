// SPDX-License-Identifier: Apache-2.0
#include "control/kube/yaml/yaml_read.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/must.h"

struct reader {
    yaml_parser_t yaml;
    yaml_event_t event; // the one under way
    bool has_event;
    size_t line; // of the document's first line
    json_t *anchors;
    size_t num_nodes;
    bool has_tags;
    struct err *err;
};

static json_t *read_node(struct reader *reader, unsigned depth);

static bool fail(struct reader *reader, const char *text)
{
    return err_set(reader->err, "line %zu: %s", reader->line + reader->event.start_mark.line, text);
}

static bool next(struct reader *reader)
{
    if (reader->has_event) {
        yaml_event_delete(&reader->event);
    }
    reader->has_event = yaml_parser_parse(&reader->yaml, &reader->event) == 1;
    if (!reader->has_event) {
        const char *problem = reader->yaml.problem;
        err_set(reader->err, "line %zu: not YAML (%s)",
                reader->line + reader->yaml.problem_mark.line,
                problem == NULL ? "unreadable" : problem);
    }
    return reader->has_event;
}

// Counts what a node stands for. false: the document is too large.
static bool count(struct reader *reader, const json_t *node)
{
    const json_t *value = NULL;
    const char *key = NULL;
    size_t i = 0;
    if (++reader->num_nodes > YAML_READ_NODES_MAX) {
        return fail(reader, "the document is too large");
    }
    json_array_foreach(node, i, value)
    {
        if (!count(reader, value)) {
            return false;
        }
    }
    json_object_foreach((json_t *)node, key, value)
    {
        if (!count(reader, value)) {
            return false;
        }
    }
    return true;
}

static json_t *read_alias(struct reader *reader)
{
    const json_t *found =
        json_object_get(reader->anchors, (const char *)reader->event.data.alias.anchor);
    if (found == NULL) {
        fail(reader, "an alias (*name) of nothing that stands before it");
        return NULL;
    }
    return count(reader, found) ? must_have(json_deep_copy(found)) : NULL;
}

static json_t *read_scalar(struct reader *reader)
{
    const char *text = (const char *)reader->event.data.scalar.value;
    size_t len = reader->event.data.scalar.length;
    bool is_plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
                    reader->event.data.scalar.tag == NULL;
    json_t *value = memchr(text, '\0', len) != NULL ? NULL
                    : is_plain                      ? yaml_plain(text, len)
                                                    : json_stringn(text, len);
    if (value == NULL) {
        fail(reader, "this is no text in UTF-8, or has a NUL in it");
    }
    return value;
}

static json_t *read_sequence(struct reader *reader, unsigned depth)
{
    json_t *list = must_have(json_array());
    while (next(reader) && reader->event.type != YAML_SEQUENCE_END_EVENT) {
        json_t *item = read_node(reader, depth);
        if (item == NULL) {
            json_decref(list);
            return NULL;
        }
        must_have(json_array_append_new(list, item) == 0 ? list : NULL);
    }
    if (!reader->has_event) {
        json_decref(list);
        return NULL;
    }
    return list;
}

// The text that a key stands for, malloc'd. NULL sets err.
static char *read_key(struct reader *reader, bool *out_is_merge)
{
    if (reader->event.type != YAML_SCALAR_EVENT) {
        fail(reader, "a key must be a word");
        return NULL;
    }
    json_t *key = read_scalar(reader);
    if (key == NULL) {
        return NULL;
    }
    const char *raw = (const char *)reader->event.data.scalar.value;
    bool is_plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    *out_is_merge = is_plain && strcmp(raw, "<<") == 0;
    const char *text = json_is_true(key) ? "true" : json_is_false(key) ? "false" : raw;
    char *copy = must_strdup(text);
    json_decref(key);
    return copy;
}

// Adds the members of `from`, an object or a list of them, that are not in `to` yet.
static bool merge(struct reader *reader, json_t *to, const json_t *from)
{
    const json_t *item = NULL;
    size_t i = 0;
    if (json_is_object(from)) {
        must_have(json_object_update_missing(to, (json_t *)from) == 0 ? to : NULL);
        return true;
    }
    json_array_foreach(from, i, item)
    {
        if (!json_is_object(item) || !merge(reader, to, item)) {
            return fail(reader, "a merge key (<<) takes keys and values, or a list of such");
        }
    }
    return json_is_array(from) ||
           fail(reader, "a merge key (<<) takes keys and values, or a list of such");
}

static bool read_member(struct reader *reader, json_t *object, json_t **merged, unsigned depth)
{
    bool is_merge = false;
    char *key = read_key(reader, &is_merge);
    if (key == NULL) {
        return false;
    }
    bool good = is_merge ? *merged == NULL : json_object_get(object, key) == NULL;
    if (!good) {
        err_set(reader->err, "line %zu: the key \"%.60s\" stands here twice",
                reader->line + reader->event.start_mark.line, key);
    }
    json_t *value = good && next(reader) ? read_node(reader, depth) : NULL;
    if (value != NULL && is_merge) {
        *merged = value;
    } else if (value != NULL) {
        must_have(json_object_set_new(object, key, value) == 0 ? object : NULL);
    }
    free(key);
    return value != NULL;
}

static json_t *read_mapping(struct reader *reader, unsigned depth)
{
    json_t *object = must_have(json_object());
    json_t *merged = NULL;
    bool good = true;
    while (good && next(reader) && reader->event.type != YAML_MAPPING_END_EVENT) {
        good = read_member(reader, object, &merged, depth);
    }
    good = good && reader->has_event && (merged == NULL || merge(reader, object, merged));
    json_decref(merged);
    if (!good) {
        json_decref(object);
        return NULL;
    }
    return object;
}

// Notes a tag, and returns the anchor, malloc'd, or NULL.
static char *take_properties(struct reader *reader)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    switch (reader->event.type) {
    case YAML_SCALAR_EVENT:
        anchor = reader->event.data.scalar.anchor;
        tag = reader->event.data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = reader->event.data.sequence_start.anchor;
        tag = reader->event.data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = reader->event.data.mapping_start.anchor;
        tag = reader->event.data.mapping_start.tag;
        break;
    default:
        break;
    }
    reader->has_tags = reader->has_tags || tag != NULL;
    return anchor == NULL ? NULL : must_strdup((const char *)anchor);
}

// Reads the node that begins with the event under way.
static json_t *read_node(struct reader *reader, unsigned depth)
{
    if (depth >= YAML_READ_DEPTH_MAX || ++reader->num_nodes > YAML_READ_NODES_MAX) {
        fail(reader, "the document is too deep or too large");
        return NULL;
    }
    char *anchor = take_properties(reader);
    json_t *node = NULL;
    switch (reader->event.type) {
    case YAML_ALIAS_EVENT:
        node = read_alias(reader);
        break;
    case YAML_SCALAR_EVENT:
        node = read_scalar(reader);
        break;
    case YAML_SEQUENCE_START_EVENT:
        node = read_sequence(reader, depth + 1);
        break;
    case YAML_MAPPING_START_EVENT:
        node = read_mapping(reader, depth + 1);
        break;
    default:
        fail(reader, "a value is missing");
        break;
    }
    if (node != NULL && anchor != NULL) {
        // A copy, since what carries the anchor may be changed later, and its aliases not.
        json_t *copy = count(reader, node) ? must_have(json_deep_copy(node)) : NULL;
        if (copy == NULL || json_object_set_new(reader->anchors, anchor, copy) != 0) {
            json_decref(node);
            node = NULL;
        }
    }
    free(anchor);
    return node;
}

static json_t *read_document(struct reader *reader)
{
    if (!next(reader) || !next(reader)) { // the stream's start
        return NULL;
    }
    if (reader->event.type != YAML_DOCUMENT_START_EVENT) {
        fail(reader, "there is no document");
        return NULL;
    }
    json_t *root = next(reader) ? read_node(reader, 0) : NULL;
    if (root != NULL && next(reader) && next(reader) &&
        reader->event.type == YAML_STREAM_END_EVENT) {
        return root;
    }
    if (root != NULL && reader->has_event) {
        fail(reader, "a second document begins here");
    }
    json_decref(root);
    return NULL;
}

json_t *yaml_read(const char *text, size_t len, size_t line, bool *out_has_tags, struct err *err)
{
    struct reader reader = {.line = line, .err = err, .anchors = must_have(json_object())};
    must_have(yaml_parser_initialize(&reader.yaml) == 1 ? &reader : NULL);
    yaml_parser_set_encoding(&reader.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.yaml, (const unsigned char *)text, len);
    json_t *root = read_document(&reader);
    if (reader.has_event) {
        yaml_event_delete(&reader.event);
    }
    yaml_parser_delete(&reader.yaml);
    json_decref(reader.anchors);
    *out_has_tags = reader.has_tags;
    return root;
}
