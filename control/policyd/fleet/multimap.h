// SPDX-License-Identifier: Apache-2.0
//
// A map from byte strings, and from patterns of SPIFFE ids, to any number of 32-bit values each. It
// is filled once by one thread, then only read, by any. The keys' bytes are borrowed for as long as
// the map lives. Finding the patterns that match an id costs the length of the id, however many
// patterns there are.
#ifndef TABARD_CONTROL_POLICYD_FLEET_MULTIMAP_H
#define TABARD_CONTROL_POLICYD_FLEET_MULTIMAP_H

#include "base/data/array.h"
#include "base/data/keymap.h"
#include "certs/identity.h"

// Zero state: empty.
struct multimap {
    struct keymap keys;
    struct array links;
};

void multimap_cleanup(struct multimap *map);

void multimap_add(struct multimap *map, const void *bytes, size_t len, uint32_t tag,
                  uint32_t value);
void multimap_add_pattern(struct multimap *map, const struct spiffe_pattern *pattern,
                          uint32_t value);

// multimap_each calls on_value for every value of a key, multimap_each_match for every value of
// every pattern that matches an id, as often as it was added. They stop, and return false, when
// on_value returns false.
typedef bool multimap_on_value(void *ctx, uint32_t value);
bool multimap_each(const struct multimap *map, const void *bytes, size_t len, uint32_t tag,
                   multimap_on_value *on_value, void *ctx);
bool multimap_each_match(const struct multimap *map, const struct spiffe_id *id,
                         multimap_on_value *on_value, void *ctx);

#endif
