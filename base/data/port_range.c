// SPDX-License-Identifier: Apache-2.0
#include "base/data/port_range.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digits.h"

bool port_range_of(struct port_range *out, uint32_t value, struct err *err)
{
    uint16_t first = (uint16_t)value;
    uint16_t last = (uint16_t)(value >> 16);
    if (first == 0 || (last != 0 && last <= first)) {
        return err_set(err, "%u is not a TCP port (1 to 65535)", value);
    }
    *out = (struct port_range){.first = first, .last = last == 0 ? first : last};
    return true;
}

uint32_t port_range_value(struct port_range range)
{
    return range.last == range.first ? range.first : (uint32_t)range.last << 16 | range.first;
}

static bool read_port(uint16_t *out, const char *text, size_t len)
{
    uint64_t port;
    bool good = digits_read(&port, text, len, DIGITS_REFUSE_ZEROS, UINT16_MAX) && port > 0;
    *out = good ? (uint16_t)port : 0;
    return good;
}

bool port_range_parse(struct port_range *out, const char *text, size_t len, struct err *err)
{
    const char *dash = memchr(text, '-', len);
    size_t first_len = dash == NULL ? len : (size_t)(dash - text);
    bool good = read_port(&out->first, text, first_len);
    out->last = out->first;
    if (good && dash != NULL) {
        good = read_port(&out->last, dash + 1, len - first_len - 1);
    }
    int shown_len = len < 40 ? (int)len : 40;
    if (!good) {
        return err_set(err,
                       "%.*s is not a TCP port (1 to 65535) or a range of them, as in 8000-8999",
                       shown_len, text);
    }
    return out->first <= out->last ||
           err_set(err, "the range %.*s ends before it begins: write the lower port first",
                   shown_len, text);
}

static int compare_ranges(const void *a, const void *b)
{
    return (int)((const struct port_range *)a)->first - (int)((const struct port_range *)b)->first;
}

// Says of two ranges of a list that they meet, at the one that stands later. Returns false.
static bool refuse_meeting(struct port_range a, struct port_range b, const uint32_t *values,
                           size_t num_values, struct err *err)
{
    char text[2][PORT_RANGE_TEXT_MAX];
    size_t last = num_values - 1;
    while (values[last] != port_range_value(a) && values[last] != port_range_value(b)) {
        last--;
    }
    if (port_range_value(a) == port_range_value(b)) {
        err_set(err, "%s is listed twice", port_range_text(a, text[0]));
    } else {
        err_set(err, "%s and %s have ports in common: list each port once",
                port_range_text(a, text[0]), port_range_text(b, text[1]));
    }
    return err_prefix_where(err, "[%zu]", last);
}

bool port_range_list(struct array *to, const uint32_t *values, size_t num_values, struct err *err)
{
    const uint32_t first = to->num;
    for (size_t i = 0; i < num_values; i++) {
        struct port_range *range = array_add(to, sizeof *range);
        if (!port_range_of(range, values[i], err)) {
            return err_prefix_where(err, "[%zu]", i);
        }
    }
    if (num_values < 2) {
        return true;
    }
    struct port_range *sorted = (struct port_range *)to->items + first;
    qsort(sorted, num_values, sizeof *sorted, compare_ranges);
    for (size_t i = 1; i < num_values; i++) {
        if (port_range_meets(sorted[i - 1], sorted[i])) {
            return refuse_meeting(sorted[i - 1], sorted[i], values, num_values, err);
        }
    }
    return true;
}

const char *port_range_text(struct port_range range, char *buf)
{
    if (range.first == range.last) {
        snprintf(buf, PORT_RANGE_TEXT_MAX, "%u", range.first);
    } else {
        snprintf(buf, PORT_RANGE_TEXT_MAX, "%u-%u", range.first, range.last);
    }
    return buf;
}
