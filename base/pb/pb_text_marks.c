// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pb/pb_text_internal.h"

uint32_t pb_text_marks_add(struct pb_text_marks *marks, struct pb_text_mark mark)
{
    if (marks->num_marks == marks->cap) {
        marks->cap = marks->cap == 0 ? 64 : marks->cap * 2;
        marks->marks = must_grow(marks->marks, marks->cap, sizeof *marks->marks);
    }
    marks->marks[marks->num_marks] = mark;
    return marks->num_marks++;
}

void pb_text_marks_free(struct pb_text_marks *marks)
{
    if (marks != NULL) {
        free(marks->marks);
        free(marks);
    }
}

bool pb_text_marks_are_none(const struct pb_text_marks *marks)
{
    return marks->num_marks <= 1; // the first is the document's own
}

void pb_text_mark_path(const struct pb_text_marks *marks, uint32_t number, char *buf)
{
    uint32_t chain[2 * PB_TEXT_DEPTH_MAX + 2];
    size_t num_chain = 0;
    for (; number != 0 && num_chain < sizeof chain / sizeof chain[0];
         number = marks->marks[number].parent) {
        chain[num_chain++] = number;
    }
    size_t len = 0;
    buf[0] = '\0';
    while (num_chain > 0 && len < PB_TEXT_PATH_MAX) {
        const struct pb_text_mark *mark = &marks->marks[chain[--num_chain]];
        int more = mark->name == NULL
                       ? snprintf(buf + len, PB_TEXT_PATH_MAX - len, "[%u]", mark->index)
                       : snprintf(buf + len, PB_TEXT_PATH_MAX - len, "%s%s", len == 0 ? "" : ".",
                                  mark->name);
        len += more > 0 ? (size_t)more : 0;
    }
}

// Reads one step of a path, ".name", "name" or "[3]", and moves *path past it. false at the end or
// at what is no path.
static bool next_step(const char **path, const char **out_name, size_t *out_name_len,
                      uint32_t *out_index)
{
    const char *at = *path;
    if (*at == '[') {
        char *end = NULL;
        unsigned long index = strtoul(at + 1, &end, 10);
        if (end == at + 1 || *end != ']') {
            return false;
        }
        *out_name = NULL;
        *out_index = (uint32_t)index;
        *path = end + 1;
        return true;
    }
    at += *at == '.';
    *out_name = at;
    *out_name_len = strcspn(at, ".[");
    *path = at + *out_name_len;
    return *out_name_len > 0;
}

bool pb_text_marks_locate(const struct pb_text_marks *marks, const char *file_name, struct err *err)
{
    if (err == NULL) {
        return false;
    }
    struct pb_text_mark place = {.line = 1, .column = 1};
    uint32_t from = 0;
    if (marks != NULL && marks->num_marks > 0) {
        place = marks->marks[0];
        from = 1;
    }
    const char *path = err->where;
    const char *name = NULL;
    size_t name_len = 0;
    uint32_t index = 0;
    uint32_t parent = 0;
    // Children follow their parents, so one pass over the marks serves the whole path.
    for (bool found = from != 0; found && next_step(&path, &name, &name_len, &index);) {
        found = false;
        for (; !found && from < marks->num_marks; from++) {
            const struct pb_text_mark *mark = &marks->marks[from];
            bool same = name == NULL
                            ? mark->name == NULL && mark->index == index
                            : mark->name != NULL && strncmp(mark->name, name, name_len) == 0 &&
                                  mark->name[name_len] == '\0';
            if (mark->parent == parent && same) {
                place = *mark;
                parent = from;
                found = true;
            }
        }
    }
    struct err located = {{0}, {0}};
    err_set(&located, "%s:%u:%u: %s%s%s", file_name, place.line, place.column, err->where,
            err->where[0] == '\0' ? "" : ": ", err->text);
    *err = located;
    return false;
}
