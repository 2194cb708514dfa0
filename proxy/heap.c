// SPDX-License-Identifier: Apache-2.0
#include "proxy/heap.h"

#include <malloc.h>

// Once for a flood, and not in the middle of the turn that ends it.
enum { TRIM_AFTER_MS = 1000 };

static void on_trim(uv_timer_t *timer)
{
    struct heap *heap = timer->data;
    heap->num_conns_max = 0;
    malloc_trim(0);
}

void heap_init(struct heap *heap, uv_loop_t *loop)
{
    uv_timer_init(loop, &heap->timer);
    heap->timer.data = heap;
}

void heap_close(struct heap *heap)
{
    uv_close((uv_handle_t *)&heap->timer, NULL);
}

void heap_conn_gone(struct heap *heap, uint32_t num_conns)
{
    if (num_conns + 1 > heap->num_conns_max) {
        heap->num_conns_max = num_conns + 1;
    }
    if (heap->num_conns_max >= HEAP_FLOOD_MIN && num_conns <= heap->num_conns_max / 4 &&
        !uv_is_active((const uv_handle_t *)&heap->timer)) {
        uv_timer_start(&heap->timer, on_trim, TRIM_AFTER_MS, 0);
    }
}
