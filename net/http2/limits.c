// SPDX-License-Identifier: Apache-2.0
#include "net/http2/limits.h"

struct h2_limits h2_limits_default(void)
{
    return (struct h2_limits){
#define X(name, default_value) .name = default_value,
        H2_LIMITS(X)
#undef X
    };
}

const char *h2_limit_name(enum h2_limit limit)
{
    static const char *const names[] = {
#define X(name, default_value) #name,
        H2_LIMITS(X)
#undef X
    };
    return (unsigned)limit < H2_LIMIT_NUM ? names[limit] : "unknown";
}
