// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/limits.h"

struct grpc_limits grpc_limits_default(void)
{
    return (struct grpc_limits){.h2 = h2_limits_default(),
#define X(name, default_value) .name = default_value,
                                GRPC_LIMITS(X)
#undef X
    };
}

const char *grpc_limit_name(unsigned limit)
{
    static const char *const names[] = {
#define X(name, default_value) [GRPC_LIMIT_##name] = #name,
        GRPC_LIMITS(X)
#undef X
    };
    return limit < H2_LIMIT_NUM     ? h2_limit_name((enum h2_limit)limit)
           : limit < GRPC_LIMIT_NUM ? names[limit]
                                    : "unknown";
}
