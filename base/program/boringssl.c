// SPDX-License-Identifier: Apache-2.0
#include <boringssl_source.h>
#include <openssl/base.h>

#include "base/program/library.h"

#define TEXT_OF(number) #number
#define VERSION(api)    "API " TEXT_OF(api) " of " BORINGSSL_SOURCE

struct library library_boringssl(void)
{
    return (struct library){"BoringSSL", "boringssl", VERSION(BORINGSSL_API_VERSION)};
}
