// SPDX-License-Identifier: Apache-2.0
#include <uv.h>

#include "base/program/library.h"

struct library library_libuv(void)
{
    return (struct library){"libuv", "libuv", uv_version_string()};
}
