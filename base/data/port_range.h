// SPDX-License-Identifier: Apache-2.0
//
// One TCP port or a range of them, in the three forms that it has. In memory: the struct. In text:
// "8080" or "8000-8999". In a message, where a uint32 field named `port` or `ports` holds it: a
// port as itself, a range as its first port plus 65536 times its last. Pure; any thread.
#ifndef TABARD_BASE_PORT_RANGE_H
#define TABARD_BASE_PORT_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/data/array.h"
#include "base/err.h"

#define PORT_RANGE_TEXT_MAX 12 // of a text with its NUL

// Both ends belong to it, and neither is 0.
struct port_range {
    uint16_t first;
    uint16_t last;
};

// port_range_of reads what a message holds. false sets err: port 0, or a number that is neither a
// port nor a range that ends behind its beginning.
bool port_range_of(struct port_range *out, uint32_t value, struct err *err);

// port_range_value returns what a message holds for a range; one of a single port is that port.
uint32_t port_range_value(struct port_range range);

// port_range_parse reads a text. false sets err, which says what would be right.
bool port_range_parse(struct port_range *out, const char *text, size_t len, struct err *err);

// port_range_list appends a message's list to `to`, an array of struct port_range, in order. false
// sets err, with err.where "[i]": one of them is refused by port_range_of, or two have a port in
// common.
bool port_range_list(struct array *to, const uint32_t *values, size_t num_values, struct err *err);

// port_range_text writes the text into buf of PORT_RANGE_TEXT_MAX bytes, and returns buf.
const char *port_range_text(struct port_range range, char *buf);

static inline bool port_range_has(struct port_range range, uint16_t port)
{
    return range.first <= port && port <= range.last;
}

static inline bool port_range_meets(struct port_range a, struct port_range b)
{
    return a.first <= b.last && b.first <= a.last;
}

// port_range_holds says whether all of `b` lies in `a`.
static inline bool port_range_holds(struct port_range a, struct port_range b)
{
    return a.first <= b.first && b.last <= a.last;
}

#endif
