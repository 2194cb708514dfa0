// SPDX-License-Identifier: Apache-2.0
//
// Counts what a certificate consists of, before it is decoded. Decoding takes memory and time for
// each element, however few bytes it has: 30 KiB of subjectAltName can hold 15,000 names and cost
// milliseconds. Counting them takes microseconds. Pure.
#ifndef TABARD_CERTS_PATH_ELEMENTS_H
#define TABARD_CERTS_PATH_ELEMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The elements of DER that a whole chain may consist of. A leaf with ten names, and the usual
// extensions, has some 100.
#define ELEMENTS_MAX 2000

// elements_count adds the elements of a DER value to *count, those inside of extensions too, and
// stops at ELEMENTS_MAX + 1. false: it is no value of DER, and *count is of no use. Bytes that
// follow the value are not looked at.
bool elements_count(size_t *count, const uint8_t *der, size_t len);

#endif
