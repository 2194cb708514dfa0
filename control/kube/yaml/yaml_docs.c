// SPDX-License-Identifier: Apache-2.0
#include "control/kube/yaml/yaml_docs.h"

#include <string.h>

// The length of the line at `text` with its LF.
static size_t line_len(const char *text, size_t len)
{
    const char *end = memchr(text, '\n', len);
    return end == NULL ? len : (size_t)(end - text) + 1;
}

static bool is_marker(const char *text, size_t len, const char *marker)
{
    return len >= 3 && memcmp(text, marker, 3) == 0 &&
           (len == 3 || text[3] == ' ' || text[3] == '\t' || text[3] == '\r' || text[3] == '\n');
}

// Whether a line holds nothing of a document: blanks, a comment, a directive, an end.
static bool is_empty_line(const char *text, size_t len)
{
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { // a byte order mark
        text += 3;
        len -= 3;
    }
    if (len > 0 && text[0] == '%') {
        return true;
    }
    if (is_marker(text, len, "...")) {
        text += 3;
        len -= 3;
    }
    size_t blanks = 0;
    while (blanks < len && strchr(" \t\r\n", text[blanks]) != NULL && text[blanks] != '\0') {
        blanks++;
    }
    return blanks == len || text[blanks] == '#';
}

bool yaml_docs_next(struct yaml_doc *out, const char **text, size_t *len, size_t *line)
{
    if (*len == 0) {
        return false;
    }
    *out = (struct yaml_doc){.marker = *text, .line = *line, .is_empty = true};
    out->marker_len = is_marker(*text, *len, "---") ? 3 : 0;
    const char *at = *text + out->marker_len;
    const char *end = *text + *len;
    out->body = at;
    bool has_ended = false;
    for (bool is_first = true; at < end; is_first = false) {
        size_t left = (size_t)(end - at);
        size_t length = line_len(at, left);
        bool is_line_begin = !is_first || out->marker_len == 0;
        bool is_empty = is_empty_line(at, length);
        if (is_line_begin &&
            ((!is_first && is_marker(at, left, "---")) || (has_ended && !is_empty))) {
            break;
        }
        has_ended = has_ended || (is_line_begin && is_marker(at, left, "..."));
        out->is_empty = out->is_empty && is_empty;
        *line += at[length - 1] == '\n';
        at += length;
    }
    out->body_len = (size_t)(at - out->body);
    *len = (size_t)(end - at);
    *text = at;
    return true;
}
