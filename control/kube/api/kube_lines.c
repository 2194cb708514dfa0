// SPDX-License-Identifier: Apache-2.0
#include "control/kube/api/kube_lines.h"

#include <string.h>

enum kube_lines_result kube_lines_push(struct kube_lines *lines, const void *bytes, size_t len,
                                       size_t line_max,
                                       bool (*on_line)(void *ctx, const char *line, size_t len),
                                       void *ctx)
{
    const char *at = bytes;
    while (len > 0) {
        const char *end = memchr(at, '\n', len);
        size_t part = end != NULL ? (size_t)(end - at) : len;
        if (part > line_max - lines->held.len || !bytes_reserve(&lines->held, part)) {
            return KUBE_LINES_TOO_LONG;
        }
        if (end == NULL) {
            bytes_push(&lines->held, at, part);
            return KUBE_LINES_OK;
        }
        bool goes_on = true;
        if (lines->held.len > 0) {
            struct bytes line = lines->held;
            lines->held = (struct bytes){0};
            bytes_push(&line, at, part);
            goes_on = on_line(ctx, (const char *)line.at, line.len);
            bytes_cleanup(&line);
        } else if (part > 0) {
            goes_on = on_line(ctx, at, part);
        }
        if (!goes_on) {
            return KUBE_LINES_STOPPED;
        }
        at = end + 1;
        len -= part + 1;
    }
    return KUBE_LINES_OK;
}

void kube_lines_cleanup(struct kube_lines *lines)
{
    bytes_cleanup(&lines->held);
}
