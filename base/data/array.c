// SPDX-License-Identifier: Apache-2.0
#include "base/data/array.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"

void array_cleanup(struct array *array)
{
    free(array->items);
    *array = (struct array){0};
}

void *array_add(struct array *array, size_t item_size)
{
    if (array->num == array->cap) {
        uint32_t cap = array->cap == 0 ? 16 : array->cap * 2;
        invariant(cap > array->cap);
        array->items = must_grow(array->items, cap, item_size);
        array->cap = cap;
    }
    void *item = (char *)array->items + array->num++ * item_size;
    memset(item, 0, item_size);
    return item;
}
