// SPDX-License-Identifier: Apache-2.0
#include "control/kube/yaml/yaml_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/data/quote.h"
#include "base/must.h"
#include "control/kube/yaml/yaml_read.h"

#define KEY_MAX 1000

static void write_node(struct bytes *out, const json_t *node, unsigned indent);

static void write_indent(struct bytes *out, unsigned indent)
{
    for (unsigned i = 0; i < indent; i++) {
        bytes_push_text(out, " ");
    }
}

// Whether a text can stand without quotes and is read as itself: a word of plain letters that no
// version of YAML takes for something else.
static bool is_plain_word(const char *text, size_t len)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/_";
    static const char others[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-@+";
    if (len == 0 || strchr(first, text[0]) == NULL) {
        return false;
    }
    for (size_t i = 1; i < len; i++) {
        // A colon is fine where it ends nothing, as in an image's name.
        bool is_inner_colon = text[i] == ':' && i + 1 < len;
        if (strchr(others, text[i]) == NULL && !is_inner_colon) {
            return false;
        }
    }
    json_t *read = yaml_plain(text, len);
    bool is_text = json_is_string(read);
    json_decref(read);
    return is_text;
}

// Whether a text can be a literal block (YAML 1.2, section 8.1.2): lines of printable characters,
// the first of which begins with none of the blanks that an indentation is made of.
static bool is_block(const char *text, size_t len)
{
    if (len < 2 || memchr(text, '\n', len - 1) == NULL || strchr(" \t\n", text[0]) != NULL) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool is_blank_end = (c == ' ' || c == '\t') && (i + 1 == len || text[i + 1] == '\n');
        if ((c < ' ' && c != '\n') || c > 0x7e || is_blank_end) {
            return false;
        }
    }
    return true;
}

// One newline at the end is what a block has by itself; none is "-", more are "+".
static void write_block(struct bytes *out, const char *text, size_t len, unsigned indent)
{
    bool ends = text[len - 1] == '\n';
    bool ends_twice = ends && text[len - 2] == '\n';
    bytes_push_text(out, ends_twice ? "|+\n" : ends ? "|\n" : "|-\n");
    for (size_t at = 0; at < len;) {
        const char *newline = memchr(text + at, '\n', len - at);
        size_t line = newline == NULL ? len - at : (size_t)(newline - text) - at;
        if (line > 0) {
            write_indent(out, indent);
        }
        bytes_push(out, text + at, line);
        bytes_push_text(out, "\n");
        at += line + 1;
    }
}

static void write_scalar(struct bytes *out, const json_t *value, unsigned indent)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (text != NULL && is_plain_word(text, len)) {
        bytes_push(out, text, len);
        bytes_push_text(out, "\n");
    } else if (text != NULL && is_block(text, len)) {
        write_block(out, text, len, indent);
    } else if (text != NULL) {
        quote_push(out, text, len);
        bytes_push_text(out, "\n");
    } else {
        char *word = must_have(json_dumps(value, JSON_ENCODE_ANY)); // 17 digits give a real back
        bytes_push_format(out, "%s\n", word);
        free(word);
    }
}

static bool is_empty(const json_t *node)
{
    return json_is_object(node) ? json_object_size(node) == 0
                                : json_is_array(node) && json_array_size(node) == 0;
}

// A key of more than 1024 characters needs a mark of its own (YAML 1.2, section 8.2.2).
static void write_key(struct bytes *out, const char *key, unsigned indent)
{
    struct bytes quoted = {0};
    if (is_plain_word(key, strlen(key))) {
        bytes_push_text(&quoted, key);
    } else {
        quote_push(&quoted, key, strlen(key));
    }
    if (quoted.len > KEY_MAX) {
        bytes_push_text(out, "? ");
    }
    bytes_push(out, quoted.at, quoted.len);
    if (quoted.len > KEY_MAX) {
        bytes_push_text(out, "\n");
        write_indent(out, indent);
    }
    bytes_push_text(out, ":");
    bytes_cleanup(&quoted);
}

// Writes what stands behind a key: on the same line what has one, else below.
static void write_value(struct bytes *out, const json_t *value, unsigned indent)
{
    bool is_list = json_is_array(value);
    if (is_empty(value) || (!is_list && !json_is_object(value))) {
        bytes_push_text(out, " ");
        write_node(out, value, indent + 2);
        return;
    }
    bytes_push_text(out, "\n");
    write_indent(out, is_list ? indent : indent + 2);
    write_node(out, value, is_list ? indent : indent + 2);
}

static void write_object(struct bytes *out, const json_t *object, unsigned indent)
{
    const char *key = NULL;
    json_t *value = NULL;
    bool is_first = true;
    json_object_foreach((json_t *)object, key, value)
    {
        if (!is_first) {
            write_indent(out, indent);
        }
        is_first = false;
        write_key(out, key, indent);
        write_value(out, value, indent);
    }
}

static void write_list(struct bytes *out, const json_t *list, unsigned indent)
{
    json_t *item = NULL;
    size_t i = 0;
    json_array_foreach(list, i, item)
    {
        if (i > 0) {
            write_indent(out, indent);
        }
        bytes_push_text(out, "- ");
        write_node(out, item, indent + 2);
    }
}

// Writes a node whose first line is indented already.
static void write_node(struct bytes *out, const json_t *node, unsigned indent)
{
    if (is_empty(node)) {
        bytes_push_text(out, json_is_object(node) ? "{}\n" : "[]\n");
    } else if (json_is_object(node)) {
        write_object(out, node, indent);
    } else if (json_is_array(node)) {
        write_list(out, node, indent);
    } else {
        write_scalar(out, node, indent);
    }
}

void yaml_write(struct bytes *out, const json_t *root)
{
    // A text alone is a block below its "|", and not beside it.
    write_node(out, root, json_is_string(root) ? 2 : 0);
}
