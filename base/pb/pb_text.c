// SPDX-License-Identifier: Apache-2.0
#include "base/pb/pb_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/must.h"
#include "base/pb/pb_text_internal.h"

#define FIELDS_MAX 64 // of one message; a schema with more would need a longer `lines`

struct parser {
    yaml_parser_t yaml;
    yaml_event_t event; // the one under way
    bool has_event;
    const char *text; // borrowed
    size_t text_len;
    const char *file_name; // borrowed
    struct pb_text_marks *marks;
    size_t *num_unknown; // borrowed: what was passed over; NULL: the unknown is an error
    struct err *err;
};

static bool parse_message(struct parser *p, ProtobufCMessage *message, uint32_t node,
                          unsigned depth);

// Writes "file:line:column: path: text"; `text` is the message of an error without a place. Returns
// false.
static bool fail_at(struct parser *p, uint32_t node, size_t line, size_t column, const char *text)
{
    char path[PB_TEXT_PATH_MAX];
    pb_text_mark_path(p->marks, node, path);
    return err_set(p->err, "%s:%zu:%zu: %s%s%s", p->file_name, line, column, path,
                   path[0] == '\0' ? "" : ": ", text);
}

// fail is fail_at where the event under way begins.
static bool fail(struct parser *p, uint32_t node, const char *text)
{
    return fail_at(p, node, p->event.start_mark.line + 1, p->event.start_mark.column + 1, text);
}

static bool fail_depth(struct parser *p, uint32_t node)
{
    char text[80];
    snprintf(text, sizeof text, "too deep: keys and lists may be nested %d levels deep",
             PB_TEXT_DEPTH_MAX);
    return fail(p, node, text);
}

// libyaml gives bytes that are no text an offset, and everything else a line and column from 0.
static bool fail_yaml(struct parser *p, uint32_t node)
{
    struct err err = {{0}, {0}};
    const yaml_parser_t *yaml = &p->yaml;
    const char *problem = yaml->problem == NULL ? "unreadable" : yaml->problem;
    if (yaml->error == YAML_MEMORY_ERROR) {
        return err_set(p->err, "%s: out of memory", p->file_name);
    }
    if (yaml->error == YAML_READER_ERROR) {
        size_t line = 1;
        size_t column = 1;
        for (size_t i = 0; i < yaml->problem_offset && i < p->text_len; i++) {
            column = p->text[i] == '\n' ? 1 : column + 1;
            line += p->text[i] == '\n';
        }
        err_set(&err, "not text in UTF-8 (%s)", problem);
        return fail_at(p, node, line, column, err.text);
    }
    err_set(&err, "not YAML (%s%s%s)", yaml->context == NULL ? "" : yaml->context,
            yaml->context == NULL ? "" : ": ", problem);
    return fail_at(p, node, yaml->problem_mark.line + 1, yaml->problem_mark.column + 1, err.text);
}

// Takes the next event. Aliases, anchors and tags are refused here, so that a text means what it
// shows and no small text can stand for a large one.
static bool next(struct parser *p, uint32_t node)
{
    if (p->has_event) {
        yaml_event_delete(&p->event);
    }
    p->has_event = yaml_parser_parse(&p->yaml, &p->event) == 1;
    if (!p->has_event) {
        return fail_yaml(p, node);
    }
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    switch (p->event.type) {
    case YAML_ALIAS_EVENT:
        return fail(p, node, "aliases (*name) are not supported: write the value out");
    case YAML_SCALAR_EVENT:
        anchor = p->event.data.scalar.anchor;
        tag = p->event.data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = p->event.data.sequence_start.anchor;
        tag = p->event.data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = p->event.data.mapping_start.anchor;
        tag = p->event.data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (anchor != NULL) {
        return fail(p, node, "anchors (&name) are not supported");
    }
    if (tag != NULL) {
        return fail(p, node, "tags (!name) are not supported: the schema knows the types");
    }
    return true;
}

static struct pb_text_scalar scalar_of(const yaml_event_t *event)
{
    return (struct pb_text_scalar){
        .text = (const char *)event->data.scalar.value,
        .len = event->data.scalar.length,
        .is_quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE,
    };
}

static bool is_null(const struct pb_text_scalar *scalar)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; !scalar->is_quoted && i < sizeof nulls / sizeof nulls[0]; i++) {
        if (strlen(nulls[i]) == scalar->len && memcmp(nulls[i], scalar->text, scalar->len) == 0) {
            return true;
        }
    }
    return false;
}

// Adds a mark for what begins at the event under way, and returns its number.
static uint32_t mark(struct parser *p, uint32_t parent, const char *name, size_t index)
{
    struct pb_text_mark place = {
        .name = name,
        .parent = parent,
        .index = (uint32_t)index,
        .line = (uint32_t)p->event.start_mark.line + 1,
        .column = (uint32_t)p->event.start_mark.column + 1,
    };
    return pb_text_marks_add(p->marks, place);
}

static bool fail_unknown_key(struct parser *p, const ProtobufCMessageDescriptor *descriptor,
                             const struct pb_text_scalar *key, uint32_t node)
{
    struct err err = {{0}, {0}};
    pb_text_unknown_key(descriptor, key, &err);
    return fail(p, node, err.text);
}

// Finds the field that the key under way names and checks that it is the first of its name (lines[]
// is 0 until then). *out is NULL where the key is unknown and may be passed over.
static bool take_key(struct parser *p, const ProtobufCMessageDescriptor *descriptor, uint32_t node,
                     uint32_t lines[FIELDS_MAX], const ProtobufCFieldDescriptor **out)
{
    *out = NULL;
    if (p->event.type != YAML_SCALAR_EVENT) {
        return fail(p, node, "a key must be a plain word");
    }
    struct pb_text_scalar key = scalar_of(&p->event);
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        if (strlen(field->name) != key.len || memcmp(field->name, key.text, key.len) != 0) {
            continue;
        }
        if (i >= FIELDS_MAX) {
            return fail(p, node, "the schema has too many fields in one message");
        }
        if (lines[i] != 0) {
            struct err err = {{0}, {0}};
            err_set(&err, "the key \"%s\" stands here twice, first in line %u", field->name,
                    lines[i]);
            return fail(p, node, err.text);
        }
        lines[i] = (uint32_t)p->event.start_mark.line + 1;
        *out = field;
        return true;
    }
    return p->num_unknown != NULL || fail_unknown_key(p, descriptor, &key, node);
}

// Passes over the value of an unknown key, whatever it holds.
static bool pass_over(struct parser *p, uint32_t node)
{
    size_t depth = 0;
    ++*p->num_unknown;
    do {
        if (!next(p, node)) {
            return false;
        }
        depth +=
            p->event.type == YAML_SEQUENCE_START_EVENT || p->event.type == YAML_MAPPING_START_EVENT;
        depth -=
            p->event.type == YAML_SEQUENCE_END_EVENT || p->event.type == YAML_MAPPING_END_EVENT;
    } while (depth > 0);
    return true;
}

// Checks that the value whose event is under way has the shape that its field wants, and else says
// which shape that is.
static bool check_shape(struct parser *p, const ProtobufCFieldDescriptor *field, bool want_list,
                        uint32_t node)
{
    yaml_event_type_t type = p->event.type;
    struct pb_text_scalar scalar = {0};
    if (type == YAML_SCALAR_EVENT) {
        scalar = scalar_of(&p->event);
        if (is_null(&scalar)) {
            return fail(p, node, "there is no value: write one, or leave the key out");
        }
    }
    if (want_list) {
        return type == YAML_SEQUENCE_START_EVENT ||
               fail(p, node, "this is a list, so write [...] or one \"- \" line for each value");
    }
    if (type == YAML_SEQUENCE_START_EVENT) {
        return fail(p, node, "this takes one value, not a list");
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return type == YAML_MAPPING_START_EVENT ||
               fail(p, node, "this takes keys and their values, not a single value");
    }
    return type == YAML_SCALAR_EVENT || fail(p, node, "this takes a single value, not keys");
}

// Parses one value, which begins with the event under way, to where it lives in memory.
static bool parse_value(struct parser *p, const ProtobufCFieldDescriptor *field, void *at,
                        uint32_t node, unsigned depth)
{
    if (!check_shape(p, field, false, node)) {
        return false;
    }
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        struct err err = {{0}, {0}};
        struct pb_text_scalar scalar = scalar_of(&p->event);
        if (pb_text_scalar_store(field, &scalar, at, &err)) {
            return true;
        }
        if (p->num_unknown != NULL && field->type == PROTOBUF_C_TYPE_ENUM) {
            ++*p->num_unknown; // it keeps its zero value
            return true;
        }
        return fail(p, node, err.text);
    }
    const ProtobufCMessageDescriptor *descriptor = field->descriptor;
    ProtobufCMessage *message = must_alloc(1, descriptor->sizeof_message);
    protobuf_c_message_init(descriptor, message);
    *(ProtobufCMessage **)at = message; // from here the whole message's free covers it
    return parse_message(p, message, node, depth + 1);
}

// Makes room for one more value of a repeated field. The room doubles, so it is full exactly when
// num is a power of two.
static void *append(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    char **values = pb_text_field_at(message, field);
    size_t *num = (size_t *)((char *)message + field->quantifier_offset);
    size_t size = pb_text_value_size(field);
    if ((*num & (*num - 1)) == 0) {
        *values = must_grow(*values, *num == 0 ? 1 : *num * 2, size);
    }
    void *at = *values + *num * size;
    memset(at, 0, size);
    return at;
}

static bool parse_list(struct parser *p, ProtobufCMessage *message,
                       const ProtobufCFieldDescriptor *field, uint32_t node, unsigned depth)
{
    size_t *num = (size_t *)((char *)message + field->quantifier_offset);
    const yaml_mark_t begin = p->event.start_mark;
    if (depth >= PB_TEXT_DEPTH_MAX) {
        return fail_depth(p, node);
    }
    while (next(p, node) && p->event.type != YAML_SEQUENCE_END_EVENT) {
        uint32_t item = mark(p, node, NULL, *num);
        void *at = append(message, field);
        bool parsed = parse_value(p, field, at, item, depth + 1);
        // A message counts from its allocation on, for the free; a scalar only when it is whole.
        bool has_value = field->type == PROTOBUF_C_TYPE_MESSAGE ? *(void **)at != NULL : parsed;
        *num += has_value;
        if (!parsed) {
            return false;
        }
    }
    if (!p->has_event || p->event.type != YAML_SEQUENCE_END_EVENT) {
        return false;
    }
    // Without values a field means "any" or a default, which is wider than any list that somebody
    // would write. Without rows there is nothing, which is what "[]" says.
    return *num > 0 || field->type == PROTOBUF_C_TYPE_MESSAGE ||
           fail_at(p, node, begin.line + 1, begin.column + 1,
                   "the list is empty, which would mean the same as no list: write at least one "
                   "value, or leave the key out");
}

static bool parse_field(struct parser *p, ProtobufCMessage *message,
                        const ProtobufCFieldDescriptor *field, uint32_t node, unsigned depth)
{
    uint32_t here = mark(p, node, field->name, 0);
    if (!next(p, here)) {
        return false;
    }
    if (p->event.type == YAML_SCALAR_EVENT) { // the value is the place to look at, else the key
        p->marks->marks[here].line = (uint32_t)p->event.start_mark.line + 1;
        p->marks->marks[here].column = (uint32_t)p->event.start_mark.column + 1;
    }
    void *at = pb_text_field_at(message, field);
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return check_shape(p, field, true, here) && parse_list(p, message, field, here, depth);
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        uint32_t *oneof_case = (uint32_t *)((char *)message + field->quantifier_offset);
        if (*oneof_case != 0) {
            return fail(p, here, "only one of the kinds may be given, and another stands above");
        }
        // protobuf-c's free looks at the case first, so the value must be valid before it is set.
        memset(at, 0, pb_text_value_size(field));
        *oneof_case = field->id;
        return parse_value(p, field, at, here, depth);
    }
    if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->quantifier_offset != 0) {
        *(protobuf_c_boolean *)((char *)message + field->quantifier_offset) = 1;
    }
    return parse_value(p, field, at, here, depth);
}

static bool parse_message(struct parser *p, ProtobufCMessage *message, uint32_t node,
                          unsigned depth)
{
    uint32_t lines[FIELDS_MAX] = {0};
    if (depth >= PB_TEXT_DEPTH_MAX) {
        return fail_depth(p, node);
    }
    while (next(p, node) && p->event.type != YAML_MAPPING_END_EVENT) {
        const ProtobufCFieldDescriptor *field = NULL;
        if (!take_key(p, message->descriptor, node, lines, &field) ||
            !(field == NULL ? pass_over(p, node) : parse_field(p, message, field, node, depth))) {
            return false;
        }
    }
    return p->has_event && p->event.type == YAML_MAPPING_END_EVENT;
}

// Stream start, at most one document, stream end.
static bool parse_stream(struct parser *p, ProtobufCMessage *message)
{
    uint32_t root = pb_text_marks_add(p->marks, (struct pb_text_mark){.line = 1, .column = 1});
    if (!next(p, root) || !next(p, root)) {
        return false;
    }
    if (p->event.type == YAML_STREAM_END_EVENT) {
        return true;
    }
    if (!next(p, root)) {
        return false;
    }
    p->marks->marks[root].line = (uint32_t)p->event.start_mark.line + 1;
    p->marks->marks[root].column = (uint32_t)p->event.start_mark.column + 1;
    if (p->event.type == YAML_MAPPING_START_EVENT) {
        if (!parse_message(p, message, root, 0)) {
            return false;
        }
    } else {
        struct pb_text_scalar scalar = {0};
        if (p->event.type == YAML_SCALAR_EVENT) {
            scalar = scalar_of(&p->event);
        }
        if (p->event.type != YAML_SCALAR_EVENT || !is_null(&scalar)) {
            return fail(p, root, "the document must consist of keys and their values");
        }
    }
    if (!next(p, root) || !next(p, root)) { // the document's end, and what follows it
        return false;
    }
    return p->event.type == YAML_STREAM_END_EVENT ||
           fail(p, root, "a second document begins here; only one is read");
}

static ProtobufCMessage *parse(const ProtobufCMessageDescriptor *descriptor, const char *text,
                               size_t text_len, const char *file_name,
                               struct pb_text_marks **out_marks, size_t *num_unknown,
                               struct err *err)
{
    struct parser p = {.text = text,
                       .text_len = text_len,
                       .file_name = file_name,
                       .num_unknown = num_unknown,
                       .err = err};
    if (out_marks != NULL) {
        *out_marks = NULL;
    }
    if (text_len > PB_TEXT_BYTES_MAX) {
        err_set(err, "%s: %zu bytes are over the limit of %u", file_name, text_len,
                PB_TEXT_BYTES_MAX);
        return NULL;
    }
    p.marks = must_alloc(1, sizeof *p.marks);
    ProtobufCMessage *message = must_alloc(1, descriptor->sizeof_message);
    protobuf_c_message_init(descriptor, message);
    must_have(yaml_parser_initialize(&p.yaml) == 1 ? &p : NULL);
    yaml_parser_set_encoding(&p.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p.yaml, (const unsigned char *)text, text_len);
    bool good = parse_stream(&p, message);
    if (p.has_event) {
        yaml_event_delete(&p.event);
    }
    yaml_parser_delete(&p.yaml);
    if (!good) {
        protobuf_c_message_free_unpacked(message, NULL);
        message = NULL;
    }
    if (good && out_marks != NULL) {
        *out_marks = p.marks;
    } else {
        pb_text_marks_free(p.marks);
    }
    return message;
}

ProtobufCMessage *pb_text_parse(const ProtobufCMessageDescriptor *descriptor, const char *text,
                                size_t text_len, const char *file_name,
                                struct pb_text_marks **out_marks, struct err *err)
{
    return parse(descriptor, text, text_len, file_name, out_marks, NULL, err);
}

ProtobufCMessage *pb_text_parse_known(const ProtobufCMessageDescriptor *descriptor,
                                      const char *text, size_t text_len, const char *file_name,
                                      size_t *out_num_unknown, struct err *err)
{
    *out_num_unknown = 0;
    return parse(descriptor, text, text_len, file_name, NULL, out_num_unknown, err);
}
