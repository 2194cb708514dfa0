// SPDX-License-Identifier: Apache-2.0
//
// BoringSSL's allocator, under the names that the library looks for. Without memory it aborts, as
// base/must.h does: otherwise the library would report a lack of memory as the failure of whatever
// was under way, a wrong signature for instance, and a peer would be blamed. Where a stranger
// chooses a size, a limit of ours bounds it. While a private key is used (base/secret/secret.h)
// memory is locked, but for blocks that are larger than any with a part of a key. All of it is
// wiped when it is freed.
#include <openssl/mem.h>
#include <stdlib.h>

#include "base/must.h"
#include "base/secret/secret.h"

// Signing by ML-DSA-65 takes a block of some 65 KiB. What is larger is what is signed, as a CRL of
// many entries, and would leave no locked memory to keys.
#define SECRET_BLOCK_MAX (128 << 10)

void *OPENSSL_memory_alloc(size_t size);
void OPENSSL_memory_free(void *ptr);
size_t OPENSSL_memory_get_size(void *ptr);

void *OPENSSL_memory_alloc(size_t size)
{
    bool is_secret = secret_is_begun() && size <= SECRET_BLOCK_MAX;
    return must_have(is_secret ? secret_alloc(size) : malloc(size > 0 ? size : 1));
}

void OPENSSL_memory_free(void *ptr)
{
    secret_free(ptr);
}

size_t OPENSSL_memory_get_size(void *ptr)
{
    return secret_len(ptr);
}
