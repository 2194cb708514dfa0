// SPDX-License-Identifier: Apache-2.0
//
// Bytes as lower-case hexadecimal digits.
#ifndef TABARD_BASE_HEX_H
#define TABARD_BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

#define HEX_TEXT_LEN(bytes_len) (2 * (bytes_len) + 1) // with its NUL

// hex_text writes the digits of len bytes and a NUL into buf, of HEX_TEXT_LEN(len) bytes at least,
// and returns buf.
const char *hex_text(const uint8_t *bytes, size_t len, char *buf);

#endif
