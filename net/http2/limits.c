// SPDX-License-Identifier: Apache-2.0
#include "net/http2/limits.h"

struct grpc_limits grpc_limits_default(void)
{
    return (struct grpc_limits){
#define X(name, default_value) .name = default_value,
        GRPC_LIMITS(X)
#undef X
    };
}

const char *grpc_limit_name(enum grpc_limit limit)
{
    static const char *const names[] = {
#define X(name, default_value) #name,
        GRPC_LIMITS(X)
#undef X
    };
    return (unsigned)limit < GRPC_LIMIT_NUM ? names[limit] : "unknown";
}
