// SPDX-License-Identifier: Apache-2.0
//
// Which row is for a port, where rows are for ports and ranges of them. A range may lie whole in
// another one: the narrowest counts. The route index adds all ranges, seals the map, and from then
// on it is only read, by any thread; a lookup halves what is left. Bounded by PORT_MAP_MAX.
#ifndef TABARD_PROXY_RULES_PORT_MAP_H
#define TABARD_PROXY_RULES_PORT_MAP_H

#include "base/data/array.h"
#include "base/data/port_range.h"

#define PORT_MAP_MAX 1024 // ranges in one map

struct port_map_row {
    struct port_range range;
    uint32_t value;
};

// Zero state: no ranges.
struct port_map {
    struct array rows; // struct port_map_row: until the map is sealed what was added, then pieces
                       // that don't meet, in order
};

// port_map_add adds a range. NULL: it is in the map. Else the row that it is the same as, or that
// it meets without one holding the other; the map is then as it was.
const struct port_map_row *port_map_add(struct port_map *map, struct port_range range,
                                        uint32_t value);

// port_map_seal makes the map ready for lookups. Call it once, after the last port_map_add.
void port_map_seal(struct port_map *map);

// port_map_find returns the value of the narrowest range that has the port, or NULL.
const uint32_t *port_map_find(const struct port_map *map, uint16_t port);

void port_map_cleanup(struct port_map *map);

#endif
