// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // mlock2
#include "base/secret/secret.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GRAIN      64
#define NUM_GRAINS (SECRET_BYTES / GRAIN)
#define LOCKED_MIN (16 << 10)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *arena;                              // NULL until secret_open
static size_t locked_len;                        // from its front
static void (*tell_overflow)(size_t locked_len); // NULL: it was told
static size_t first_free;                        // no grain before it is free
static uint16_t runs[NUM_GRAINS]; // at the first grain of an allocation, how many it has

static _Thread_local unsigned depth; // of secret_begin

// Locks as much from the front as the limit allows. Pages are locked when they are first used.
static size_t lock_front(void)
{
    for (size_t len = SECRET_BYTES; len >= LOCKED_MIN; len /= 2) {
        if (mlock2(arena, len, MLOCK_ONFAULT) == 0 ||
            ((errno == ENOSYS || errno == EINVAL) && mlock(arena, len) == 0)) {
            return len;
        }
    }
    return 0;
}

struct secret_facts secret_open(void (*on_overflow)(size_t locked_len))
{
    void *made = mmap(NULL, SECRET_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena != NULL || made == MAP_FAILED) {
        abort();
    }
    arena = made;
    tell_overflow = on_overflow;
    locked_len = lock_front();
    return (struct secret_facts){
        .locked_len = locked_len,
        .is_left_out = madvise(arena, SECRET_BYTES, MADV_DONTDUMP) == 0 &&
                       madvise(arena, SECRET_BYTES, MADV_WIPEONFORK) == 0,
    };
}

static bool is_ours(const void *ptr)
{
    return arena != NULL && (uintptr_t)ptr - (uintptr_t)arena < SECRET_BYTES;
}

// Finds the first `num` free grains in a row. Returns NUM_GRAINS if there are none.
static size_t find_free(size_t num)
{
    size_t start = first_free;
    size_t at = start;
    while (at < NUM_GRAINS && at - start < num) {
        if (runs[at] != 0) {
            at += runs[at];
            start = at;
        } else {
            at++;
        }
    }
    return at - start >= num ? start : NUM_GRAINS;
}

static void *take(size_t num)
{
    pthread_mutex_lock(&lock);
    size_t start = find_free(num);
    if (start < NUM_GRAINS) {
        runs[start] = (uint16_t)num;
        if (start == first_free) {
            first_free += num;
        }
    }
    void (*tell)(size_t locked_len) = NULL;
    if ((start + num) * GRAIN > locked_len) {
        tell = tell_overflow;
        tell_overflow = NULL;
    }
    pthread_mutex_unlock(&lock);
    if (tell != NULL) {
        tell(locked_len);
    }
    return start < NUM_GRAINS ? arena + start * GRAIN : NULL;
}

void *secret_alloc(size_t len)
{
    size_t num = len / GRAIN + 1;
    void *ptr = arena == NULL ? NULL : take(num);
    return ptr != NULL ? ptr : malloc(len > 0 ? len : 1);
}

size_t secret_len(void *ptr)
{
    if (!is_ours(ptr)) {
        return ptr == NULL ? 0 : malloc_usable_size(ptr);
    }
    return (size_t)runs[((char *)ptr - arena) / GRAIN] * GRAIN;
}

void secret_free(void *ptr)
{
    size_t at = (uintptr_t)ptr - (uintptr_t)arena;
    if (arena == NULL ||
        at >= SECRET_BYTES) { // most often: of a peer's, or in a program without keys
        if (ptr != NULL) {
            explicit_bzero(ptr, malloc_usable_size(ptr));
            free(ptr);
        }
        return;
    }
    size_t start = at / GRAIN;
    explicit_bzero(ptr, (size_t)runs[start] * GRAIN);
    pthread_mutex_lock(&lock);
    if (runs[start] == 0) {
        abort(); // freed twice
    }
    runs[start] = 0;
    first_free = start < first_free ? start : first_free;
    pthread_mutex_unlock(&lock);
}

void secret_begin(void)
{
    depth++;
}

bool secret_is_begun(void)
{
    return depth > 0;
}

__attribute__((noinline)) static void wipe_stack(void)
{
    char below[SECRET_STACK_BYTES];
    explicit_bzero(below, sizeof below);
}

void secret_end(void)
{
    if (depth-- == 0) {
        abort();
    }
    wipe_stack();
}
