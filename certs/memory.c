// SPDX-License-Identifier: Apache-2.0
//
// BoringSSL's allocator, under the names that the library looks for. Without memory it aborts, as
// base/must.h does: otherwise the library would report a lack of memory as the failure of whatever
// was under way, a wrong signature for instance, and a peer would be blamed. Where a stranger
// chooses a size, a limit of ours bounds it.
#include <malloc.h>
#include <openssl/mem.h>
#include <stdlib.h>

#include "base/must.h"

void *OPENSSL_memory_alloc(size_t size);
void OPENSSL_memory_free(void *ptr);
size_t OPENSSL_memory_get_size(void *ptr);

void *OPENSSL_memory_alloc(size_t size)
{
    return must_have(malloc(size > 0 ? size : 1));
}

// Clears the memory first: it may have held a key.
void OPENSSL_memory_free(void *ptr)
{
    if (ptr != NULL) {
        OPENSSL_cleanse(ptr, malloc_usable_size(ptr));
        free(ptr);
    }
}

size_t OPENSSL_memory_get_size(void *ptr)
{
    return ptr == NULL ? 0 : malloc_usable_size(ptr);
}
