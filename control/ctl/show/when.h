// SPDX-License-Identifier: Apache-2.0
//
// Dates as an operator reads them.
#ifndef TABARD_CONTROL_CTL_SHOW_WHEN_H
#define TABARD_CONTROL_CTL_SHOW_WHEN_H

#include <stddef.h>
#include <stdint.h>

#define WHEN_TEXT_MAX 32

// when_date writes "2026-03-01T12:00:00Z" and returns it; "never" for 0.
const char *when_date(int64_t unix_ms, char *buf, size_t buf_len);

// when_distance writes how far away a time is, "in 3h" or "2d ago", and returns it: one figure is
// enough to see whether something is wrong.
const char *when_distance(int64_t seconds, char *buf, size_t buf_len);

#endif
