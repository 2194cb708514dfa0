// SPDX-License-Identifier: Apache-2.0
//
// BoringSSL's memory, by the names that it looks for. Where it finds none it aborts like all else
// (base/must.h): the library would report it as whatever was under way, a signature that is wrong,
// say, and so blame a peer. It asks for no size that a stranger chose without a limit that is ours.
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

// What was in it may have been a key.
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
