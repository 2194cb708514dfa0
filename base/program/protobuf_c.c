// SPDX-License-Identifier: Apache-2.0
#include <protobuf-c/protobuf-c.h>

#include "base/program/library.h"

struct library library_protobuf_c(void)
{
    return (struct library){"protobuf-c", "protobuf_c", protobuf_c_version()};
}
