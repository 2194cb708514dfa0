// SPDX-License-Identifier: Apache-2.0
//
// What an API server sends of a collection, out of arbitrary bytes: as a watch, cut into pieces as
// its first byte says, and as a page of a list. Lines don't depend on how the bytes were cut, what
// was read has a name, and what is known is what the events say.
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/kube/api/kube_known.h"
#include "control/kube/api/kube_lines.h"
#include "control/kube/api/kube_status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINE_MAX_BYTES 300

struct reading {
    struct kube_known known;
    uint32_t num_events;
    size_t num_bytes; // of all lines
};

static bool on_line(void *ctx, const char *line, size_t len)
{
    struct reading *reading = ctx;
    struct kube_event event;
    struct err err = {{0}, {0}};
    invariant(len > 0 && len <= LINE_MAX_BYTES && memchr(line, '\n', len) == NULL);
    reading->num_bytes += len;
    reading->num_events++;
    if (!kube_event_read(&event, line, len, &err)) {
        invariant(err.text[0] != '\0' && event.object == NULL);
        return true;
    }
    if (event.type == KUBE_EVENT_PUT) {
        invariant(event.meta.name[0] != '\0' && event.meta.version[0] != '\0');
        kube_known_put(&reading->known, &event.meta);
        invariant(!kube_known_put(&reading->known, &event.meta));
    } else if (event.type == KUBE_EVENT_DELETE) {
        kube_known_remove(&reading->known, &event.meta);
        invariant(!kube_known_remove(&reading->known, &event.meta));
    } else if (event.type == KUBE_EVENT_ERROR) {
        kube_status_text(&err, kube_status_code(event.object), event.object);
        invariant(err.text[0] != '\0');
    }
    kube_event_cleanup(&event);
    return true;
}

static struct reading read_in_pieces(const uint8_t *data, size_t size, size_t piece,
                                     enum kube_lines_result *out)
{
    struct reading reading = {.num_events = 0};
    struct kube_lines lines = {{0}};
    *out = KUBE_LINES_OK;
    for (size_t at = 0; at < size && *out == KUBE_LINES_OK; at += piece) {
        // A copy of its own size, so that a read behind its end is found.
        size_t len = size - at < piece ? size - at : piece;
        uint8_t *copy = malloc(len);
        invariant(copy != NULL);
        memcpy(copy, data + at, len);
        *out = kube_lines_push(&lines, copy, len, LINE_MAX_BYTES, on_line, &reading);
        free(copy);
    }
    kube_lines_cleanup(&lines);
    return reading;
}

static bool on_gone(void *ctx, const struct kube_meta *meta)
{
    uint32_t *left = ctx;
    invariant(strchr(meta->namespace, '/') == NULL && strcmp(meta->version, "7") == 0);
    (*left)--;
    return true;
}

static void read_list(struct kube_known *known, const uint8_t *data, size_t size)
{
    struct kube_page page;
    struct err err = {{0}, {0}};
    json_t *list = kube_json_read((const char *)data, size, &err);
    uint32_t before = kube_known_num(known);
    kube_known_begin_list(known);
    if (list != NULL && kube_page_read(&page, list, &err)) {
        size_t index;
        json_t *object;
        json_array_foreach(page.items, index, object)
        {
            struct kube_meta meta;
            if (kube_meta_read(&meta, object, &err)) {
                kube_object_strip(object);
                before += kube_known_list(known, &meta);
            }
        }
    }
    json_decref(list);
    // What was known or listed is gone or there; one that is listed in another version counts
    // twice.
    kube_known_end_list(known, "7", on_gone, &before);
    invariant(before >= kube_known_num(known));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum kube_lines_result whole_result, cut_result;
    size_t piece = size > 0 ? (size_t)data[0] % 64 + 1 : 1;
    struct reading whole = read_in_pieces(data, size, size > 0 ? size : 1, &whole_result);
    struct reading cut = read_in_pieces(data, size, piece, &cut_result);
    invariant(whole_result == cut_result && whole.num_bytes == cut.num_bytes &&
              whole.num_events == cut.num_events);
    invariant(kube_known_num(&whole.known) == kube_known_num(&cut.known));
    read_list(&whole.known, data, size);
    kube_known_cleanup(&whole.known);
    kube_known_cleanup(&cut.known);
    return 0;
}
