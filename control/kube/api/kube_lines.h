// SPDX-License-Identifier: Apache-2.0
//
// Splits the bytes of a watch into lines, one event each, however the network cut them. Pure; its
// owner bounds it by the length of a line.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_LINES_H
#define TABARD_CONTROL_KUBE_API_KUBE_LINES_H

#include "base/data/bytes.h"

// Zero state: nothing came yet.
struct kube_lines {
    struct bytes held; // owned: a line that isn't whole
};

enum kube_lines_result {
    KUBE_LINES_OK,
    KUBE_LINES_STOPPED,  // on_line said so
    KUBE_LINES_TOO_LONG, // a line has more than line_max bytes, or there is no memory for it
};

// kube_lines_push takes bytes and calls on_line for each line that is whole now, without its end.
// Empty lines are passed over. on_line returns whether to go on. After anything but OK the lines
// are to be cleaned up.
enum kube_lines_result kube_lines_push(struct kube_lines *lines, const void *bytes, size_t len,
                                       size_t line_max,
                                       bool (*on_line)(void *ctx, const char *line, size_t len),
                                       void *ctx);
void kube_lines_cleanup(struct kube_lines *lines);

#endif
