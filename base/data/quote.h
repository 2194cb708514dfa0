// SPDX-License-Identifier: Apache-2.0
//
// A text between double quotes that JSON (RFC 8259, section 7) and YAML (1.1 and 1.2) both read
// back as the same text. Pure; any thread.
#ifndef TABARD_BASE_QUOTE_H
#define TABARD_BASE_QUOTE_H

#include <stddef.h>

#include "base/data/bytes.h"

// quote_push appends it. Bytes that are no UTF-8 become U+FFFD. What JSON allows raw and YAML
// doesn't, or takes for a line break, is escaped.
void quote_push(struct bytes *out, const char *text, size_t len);

#endif
