// SPDX-License-Identifier: Apache-2.0
#include "base/data/quote.h"

#include <stdbool.h>

#include "base/data/utf8.h"

void quote_push(struct bytes *out, const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    bytes_push_text(out, "\"");
    while (len > 0) {
        uint32_t c = 0;
        size_t size = utf8_decode(at, len, &c);
        if (size == 0) {
            c = 0xfffd;
        }
        bool is_raw = (c >= 0x20 && c <= 0x7e && c != '"' && c != '\\') ||
                      (c >= 0xa0 && c != 0x2028 && c != 0x2029 && c != 0xfeff && c != 0xfffd &&
                       c != 0xfffe && c != 0xffff);
        if (is_raw) {
            bytes_push(out, at, size);
        } else if (c == '"' || c == '\\') {
            bytes_push_format(out, "\\%c", (int)c);
        } else if (c == '\n') {
            bytes_push_text(out, "\\n");
        } else {
            bytes_push_format(out, "\\u%04x", (unsigned)c);
        }
        at += size == 0 ? 1 : size;
        len -= size == 0 ? 1 : size;
    }
    bytes_push_text(out, "\"");
}
