// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/show/when.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

const char *when_date(int64_t unix_ms, char *buf, size_t buf_len)
{
    struct tm utc;
    time_t seconds = (time_t)(unix_ms / 1000);
    if (unix_ms == 0 || gmtime_r(&seconds, &utc) == NULL) {
        return "never";
    }
    strftime(buf, buf_len, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return buf;
}

const char *when_distance(int64_t seconds, char *buf, size_t buf_len)
{
    int64_t size = seconds < 0 ? -seconds : seconds;
    int64_t value = size < 120      ? size
                    : size < 7200   ? size / 60
                    : size < 172800 ? size / 3600
                                    : size / 86400;
    const char *unit = size < 120 ? "s" : size < 7200 ? "min" : size < 172800 ? "h" : "d";
    snprintf(buf, buf_len, seconds < 0 ? "%" PRId64 "%s ago" : "in %" PRId64 "%s", value, unit);
    return buf;
}
