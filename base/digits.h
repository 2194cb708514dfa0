// SPDX-License-Identifier: Apache-2.0
//
// A number in decimal digits, as texts from outside write it.
#ifndef TABARD_BASE_DIGITS_H
#define TABARD_BASE_DIGITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What a leading zero means. Where somebody writes an address or a field of a configuration it may
// be meant as octal, so that it is refused. In HTTP/2's headers and in flags it is a digit like
// others.
enum digits_zeros { DIGITS_REFUSE_ZEROS, DIGITS_TAKE_ZEROS };

// digits_read reads len bytes that are decimal digits and nothing else: no sign, no white space.
// false: there is none, another byte is among them, a leading zero is refused, or the number is
// over max. *out is then as it was.
bool digits_read(uint64_t *out, const char *text, size_t len, enum digits_zeros zeros,
                 uint64_t max);

#endif
