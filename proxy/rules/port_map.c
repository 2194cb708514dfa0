// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/port_map.h"

#include <stdlib.h>

#include "base/must.h"

const struct port_map_row *port_map_add(struct port_map *map, struct port_range range,
                                        uint32_t value)
{
    const struct port_map_row *rows = map->rows.items;
    for (uint32_t i = 0; i < map->rows.num; i++) {
        bool holds = port_range_holds(rows[i].range, range);
        bool is_held = port_range_holds(range, rows[i].range);
        if (port_range_meets(rows[i].range, range) && holds == is_held) {
            return &rows[i];
        }
    }
    struct port_map_row *row = array_add(&map->rows, sizeof *row);
    *row = (struct port_map_row){.range = range, .value = value};
    return NULL;
}

// By the first port, and of two with the same one the wider first: what holds others comes before
// them.
static int compare_rows(const void *a, const void *b)
{
    const struct port_range *left = &((const struct port_map_row *)a)->range;
    const struct port_range *right = &((const struct port_map_row *)b)->range;
    return left->first != right->first ? (int)left->first - (int)right->first
                                       : (int)right->last - (int)left->last;
}

// Adds what the row has of the ports from *from on and before `end`, and moves *from behind it.
static void add_piece(struct array *pieces, const struct port_map_row *row, uint32_t *from,
                      uint32_t end)
{
    if (*from < end) {
        struct port_map_row *piece = array_add(pieces, sizeof *piece);
        piece->range = (struct port_range){.first = (uint16_t)*from, .last = (uint16_t)(end - 1)};
        piece->value = row->value;
        *from = end;
    }
}

void port_map_seal(struct port_map *map)
{
    struct port_map_row *rows = map->rows.items;
    const uint32_t num = map->rows.num;
    if (num == 0) {
        return;
    }
    qsort(rows, num, sizeof *rows, compare_rows);
    struct array pieces = {0};
    // The ranges that hold the port at hand, the narrowest last.
    const struct port_map_row **open = must_alloc(num, sizeof *open);
    uint32_t num_open = 0;
    uint32_t from = 0;
    for (uint32_t i = 0; i <= num; i++) {
        uint32_t next = i < num ? rows[i].range.first : UINT16_MAX + 1u;
        while (num_open > 0 && open[num_open - 1]->range.last < next) {
            const struct port_map_row *over = open[--num_open];
            add_piece(&pieces, over, &from, over->range.last + 1u);
        }
        if (num_open > 0) {
            add_piece(&pieces, open[num_open - 1], &from, next);
        }
        if (i < num) {
            from = next;
            open[num_open++] = &rows[i];
        }
    }
    free(open);
    array_cleanup(&map->rows);
    map->rows = pieces;
}

const uint32_t *port_map_find(const struct port_map *map, uint16_t port)
{
    const struct port_map_row *rows = map->rows.items;
    uint32_t low = 0;
    uint32_t high = map->rows.num;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (port_range_has(rows[middle].range, port)) {
            return &rows[middle].value;
        }
        if (rows[middle].range.last < port) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

void port_map_cleanup(struct port_map *map)
{
    array_cleanup(&map->rows);
}
