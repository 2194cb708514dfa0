// SPDX-License-Identifier: Apache-2.0
//
// Gives the heap's free memory back to the system once a flood of connections is over: what they
// held lies between what others hold, and libc keeps it by itself. A worker calls heap_init,
// heap_conn_gone for each connection that is gone, and heap_close before its loop ends. Its thread.
#ifndef TABARD_PROXY_HEAP_H
#define TABARD_PROXY_HEAP_H

#include <stdint.h>
#include <uv.h>

// A flood is over when three of four connections are gone, of so many at least.
#define HEAP_FLOOD_MIN 256

struct heap {
    uv_timer_t timer;
    uint32_t num_conns_max; // since the memory was given back last
};

void heap_init(struct heap *heap, uv_loop_t *loop);
void heap_close(struct heap *heap);

// heap_conn_gone takes note that num_conns are left.
void heap_conn_gone(struct heap *heap, uint32_t num_conns);

#endif
