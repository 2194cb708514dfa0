// SPDX-License-Identifier: Apache-2.0
#include <nghttp2/nghttp2.h>

#include "base/program/library.h"

struct library library_nghttp2(void)
{
    return (struct library){"nghttp2", "nghttp2", nghttp2_version(0)->version_str};
}
