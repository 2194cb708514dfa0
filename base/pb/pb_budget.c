// SPDX-License-Identifier: Apache-2.0
#include "base/pb/pb_budget.h"

#include <stdlib.h>

static void *on_alloc(void *ctx, size_t size)
{
    struct pb_budget *budget = ctx;
    if (size > budget->bytes_left) {
        return NULL;
    }
    budget->bytes_left -= size;
    return malloc(size);
}

static void on_free(void *ctx, void *bytes)
{
    (void)ctx;
    free(bytes);
}

ProtobufCAllocator pb_budget_allocator(struct pb_budget *budget)
{
    return (ProtobufCAllocator){.alloc = on_alloc, .free = on_free, .allocator_data = budget};
}
