// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/metadata.h"

#include <openssl/base64.h>
#include <stdlib.h>
#include <string.h>

#define ITEM_OVERHEAD 32 // RFC 9113, section 6.5.2

// An item in the block: this, the name, a NUL, the value, a NUL.
struct item_lens {
    uint32_t name_len;
    uint32_t value_len;
};

void grpc_metadata_cleanup(struct grpc_metadata *metadata)
{
    free(metadata->bytes);
    *metadata = (struct grpc_metadata){.num = 0};
}

static bool reserve(struct grpc_metadata *metadata, size_t more)
{
    if (metadata->cap - metadata->len >= more) {
        return true;
    }
    size_t cap =
        2 * metadata->cap > metadata->len + more ? 2 * metadata->cap : metadata->len + more;
    char *grown = realloc(metadata->bytes, cap);
    if (grown == NULL) {
        return false;
    }
    metadata->bytes = grown;
    metadata->cap = cap;
    return true;
}

bool grpc_metadata_append(struct grpc_metadata *metadata, const char *name, size_t name_len,
                          const char *value, size_t value_len)
{
    struct item_lens lens = {.name_len = (uint32_t)name_len, .value_len = (uint32_t)value_len};
    size_t more = sizeof lens + name_len + value_len + 2;
    if (name_len > UINT32_MAX / 4 || value_len > UINT32_MAX / 4 || !reserve(metadata, more)) {
        return false;
    }
    char *to = metadata->bytes + metadata->len;
    memcpy(to, &lens, sizeof lens);
    to += sizeof lens;
    memcpy(to, name, name_len);
    to[name_len] = '\0';
    to += name_len + 1;
    memcpy(to, value, value_len);
    to[value_len] = '\0';
    metadata->len += more;
    metadata->num++;
    metadata->list_bytes += name_len + value_len + ITEM_OVERHEAD;
    return true;
}

static bool is_bin(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && strcmp(name + len - 4, "-bin") == 0;
}

static bool check_name(const char *name, struct err *err)
{
    static const char *const kept[] = {
        "te",         "content-type",     "connection",        "host",   "user-agent",
        "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"};
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789_-.";
    if (*name == '\0' || strspn(name, allowed) != strlen(name)) {
        return err_set(err, "metadata name \"%s\": only a-z, 0-9, '_', '-' and '.' are allowed",
                       name);
    }
    bool is_kept = strncmp(name, "grpc-", 5) == 0;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        is_kept = is_kept || strcmp(name, kept[i]) == 0;
    }
    return !is_kept || err_set(err, "metadata name \"%s\" is gRPC's or HTTP's own", name);
}

bool grpc_metadata_add_text(struct grpc_metadata *metadata, const char *name, const char *value,
                            struct err *err)
{
    if (!check_name(name, err)) {
        return false;
    }
    if (is_bin(name)) {
        return err_set(err, "metadata \"%s\" is binary by its name: add it as bytes", name);
    }
    size_t len = strlen(value);
    for (size_t i = 0; i < len; i++) {
        if (value[i] < 0x20 || value[i] > 0x7e) {
            return err_set(err, "metadata \"%s\": its value isn't printable ASCII", name);
        }
    }
    if (len > 0 && (value[0] == ' ' || value[len - 1] == ' ')) {
        return err_set(err, "metadata \"%s\": its value starts or ends with a space", name);
    }
    return grpc_metadata_append(metadata, name, strlen(name), value, len) ||
           err_set(err, "out of memory for metadata");
}

bool grpc_metadata_add_bin(struct grpc_metadata *metadata, const char *name, const uint8_t *bytes,
                           size_t len, struct err *err)
{
    if (!check_name(name, err)) {
        return false;
    }
    if (!is_bin(name)) {
        return err_set(err, "metadata \"%s\" is text by its name: bytes need a name in -bin", name);
    }
    size_t text_cap = 0;
    char *text = EVP_EncodedLength(&text_cap, len) ? malloc(text_cap) : NULL;
    if (text == NULL) {
        return err_set(err, "out of memory for metadata");
    }
    size_t text_len = EVP_EncodeBlock((uint8_t *)text, bytes, len);
    while (text_len > 0 && text[text_len - 1] == '=') {
        text_len--; // senders leave the padding out (PROTOCOL-HTTP2.md)
    }
    bool added = grpc_metadata_append(metadata, name, strlen(name), text, text_len);
    free(text);
    return added || err_set(err, "out of memory for metadata");
}

bool grpc_metadata_next(const struct grpc_metadata *metadata, size_t *at,
                        struct grpc_metadata_item *out)
{
    if (*at >= metadata->len) {
        return false;
    }
    struct item_lens lens;
    const char *from = metadata->bytes + *at;
    memcpy(&lens, from, sizeof lens);
    from += sizeof lens;
    *out = (struct grpc_metadata_item){.name = from,
                                       .name_len = lens.name_len,
                                       .value = from + lens.name_len + 1,
                                       .value_len = lens.value_len};
    *at += sizeof lens + (size_t)lens.name_len + lens.value_len + 2;
    return true;
}

bool grpc_metadata_find(const struct grpc_metadata *metadata, const char *name,
                        struct grpc_metadata_item *out)
{
    size_t at = 0;
    size_t name_len = strlen(name);
    while (grpc_metadata_next(metadata, &at, out)) {
        if (out->name_len == name_len && memcmp(out->name, name, name_len) == 0) {
            return true;
        }
    }
    return false;
}

size_t grpc_metadata_num_of(const struct grpc_metadata *metadata, const char *name)
{
    struct grpc_metadata_item item;
    size_t num = 0;
    for (size_t at = 0; grpc_metadata_next(metadata, &at, &item);) {
        num += item.name_len == strlen(name) && memcmp(item.name, name, item.name_len) == 0;
    }
    return num;
}

bool grpc_base64_decode(uint8_t *out, size_t out_cap, size_t *out_len, const char *text, size_t len)
{
    *out_len = 0;
    while (len > 0 && text[len - 1] == '=') {
        len--;
    }
    if (len % 4 == 1) {
        return false;
    }
    size_t padded_len = (len + 3) / 4 * 4;
    if (padded_len == 0) {
        return true;
    }
    char *padded = malloc(padded_len);
    uint8_t *decoded = malloc(padded_len);
    bool is_fine = false;
    if (padded != NULL && decoded != NULL) {
        memcpy(padded, text, len);
        memset(padded + len, '=', padded_len - len);
        is_fine = EVP_DecodeBase64(decoded, out_len, padded_len, (const uint8_t *)padded,
                                   padded_len) == 1 &&
                  *out_len <= out_cap;
        if (is_fine && *out_len > 0) {
            memcpy(out, decoded, *out_len);
        }
    }
    free(padded);
    free(decoded);
    return is_fine;
}
