// SPDX-License-Identifier: Apache-2.0
//
// A list of names and values: what travels before a call's first message (headers) and after its
// last (trailers). Owned by the caller; one thread; one block of memory; bounded by its owner
// (list_bytes). Values of names that end in "-bin" are base64 on the wire; text and bin functions
// hide that. It sends nothing.
#ifndef TABARD_NET_GRPC_METADATA_H
#define TABARD_NET_GRPC_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

// Zero state: empty.
struct grpc_metadata {
    char *bytes; // owned
    size_t len;
    size_t cap;
    size_t num;
    size_t list_bytes; // as RFC 9113, section 6.5.2 counts: 32 more for each
};

// Both are NUL-terminated too, and borrowed until the list changes.
struct grpc_metadata_item {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};

void grpc_metadata_cleanup(struct grpc_metadata *metadata);

// grpc_metadata_append adds an item as it is. false: out of memory.
bool grpc_metadata_append(struct grpc_metadata *metadata, const char *name, size_t name_len,
                          const char *value, size_t value_len);

// grpc_metadata_add_text adds what a program says. Refused: a name that isn't lower case letters,
// digits, "_-.", that gRPC or HTTP keeps for itself, or that ends in "-bin"; a value that isn't
// printable ASCII. false sets err.
bool grpc_metadata_add_text(struct grpc_metadata *metadata, const char *name, const char *value,
                            struct err *err);

// grpc_metadata_add_bin adds bytes under a name that ends in "-bin". false sets err.
bool grpc_metadata_add_bin(struct grpc_metadata *metadata, const char *name, const uint8_t *bytes,
                           size_t len, struct err *err);

// grpc_metadata_next walks over the list: *at starts at 0. false: no more.
bool grpc_metadata_next(const struct grpc_metadata *metadata, size_t *at,
                        struct grpc_metadata_item *out);

// grpc_metadata_find gives the first item of a name. false: there is none.
bool grpc_metadata_find(const struct grpc_metadata *metadata, const char *name,
                        struct grpc_metadata_item *out);

// grpc_metadata_num_of counts the items of a name.
size_t grpc_metadata_num_of(const struct grpc_metadata *metadata, const char *name);

// grpc_base64_decode decodes a "-bin" value, with or without padding. *out_len is at most out_cap.
// false: not base64, or too long.
bool grpc_base64_decode(uint8_t *out, size_t out_cap, size_t *out_len, const char *text,
                        size_t len);

#endif
