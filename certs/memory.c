// SPDX-License-Identifier: Apache-2.0
//
// BoringSSL's allocator, under the names that the library looks for. Without memory it aborts, as
// base/must.h does: otherwise the library would report a lack of memory as the failure of whatever
// was under way, a wrong signature for instance, and a peer would be blamed. Where a stranger
// chooses a size, a limit of ours bounds it. While a private key is used (base/secret/secret.h)
// memory is locked, and all of it is wiped when it is freed.
#include <openssl/mem.h>
#include <stdlib.h>

#include "base/must.h"
#include "base/secret/secret.h"

void *OPENSSL_memory_alloc(size_t size);
void OPENSSL_memory_free(void *ptr);
size_t OPENSSL_memory_get_size(void *ptr);

void *OPENSSL_memory_alloc(size_t size)
{
    return must_have(secret_is_begun() ? secret_alloc(size) : malloc(size > 0 ? size : 1));
}

void OPENSSL_memory_free(void *ptr)
{
    secret_free(ptr);
}

size_t OPENSSL_memory_get_size(void *ptr)
{
    return secret_len(ptr);
}
