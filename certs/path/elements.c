// SPDX-License-Identifier: Apache-2.0
#include "certs/path/elements.h"

#define OCTET_STRING 0x04
#define OBJECT_ID    0x06
#define CONSTRUCTED  0x20
#define LONG_TAG     0x1f
#define LONG_LEN     0x80

struct element {
    uint8_t tag;
    size_t header_len;
    size_t content_len;
};

// Reads the header of an element that lies whole within len bytes. It takes lengths that are longer
// than they need be, as BoringSSL's decoder does, since otherwise such a length could hide what
// follows.
static bool read_header(struct element *out, const uint8_t *der, size_t len)
{
    size_t at = 1;
    if (len < 2) {
        return false;
    }
    if ((der[0] & LONG_TAG) == LONG_TAG) {
        while (at < len && (der[at] & LONG_LEN) != 0) {
            at++;
        }
        at++;
    }
    if (at >= len) {
        return false;
    }
    size_t content_len = der[at++];
    if (content_len >= LONG_LEN) {
        size_t num = content_len - LONG_LEN;
        if (num == 0 || num > 4 || num > len - at) {
            return false;
        }
        for (content_len = 0; num > 0; num--) {
            content_len = content_len << 8 | der[at++];
        }
    }
    *out = (struct element){.tag = der[0], .header_len = at, .content_len = content_len};
    return content_len <= len - at;
}

// The extensions of RFC 5280 have numbers below 2.5.29. Nobody decodes others.
static bool is_decoded(const uint8_t *object_id, size_t len)
{
    return len == 3 && object_id[0] == 0x55 && object_id[1] == 0x1d;
}

// Meets all elements, whatever their depth, in one walk along the bytes: the content of a
// constructed element follows its header. The value of an extension is DER inside of an OCTET
// STRING after the extension's number. Such bytes may be anything, so what they hold is counted as
// far as it can be read.
static bool walk(size_t *count, const uint8_t *der, size_t len, bool is_extension)
{
    struct element element;
    bool is_next_decoded = false;
    while (len > 0 && *count <= ELEMENTS_MAX) {
        if (!read_header(&element, der, len)) {
            return false;
        }
        ++*count;
        const uint8_t *content = der + element.header_len;
        size_t step = element.header_len;
        if ((element.tag & CONSTRUCTED) == 0) {
            if (element.tag == OBJECT_ID) {
                is_next_decoded = is_decoded(content, element.content_len);
            } else if (element.tag == OCTET_STRING && is_next_decoded && !is_extension) {
                walk(count, content, element.content_len, true);
            }
            step += element.content_len;
        }
        der += step;
        len -= step;
    }
    return true;
}

bool elements_count(size_t *count, const uint8_t *der, size_t len)
{
    struct element whole;
    return read_header(&whole, der, len) &&
           walk(count, der, whole.header_len + whole.content_len, false);
}
