// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/show/audit_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control/ctl/show/when.h"

#define WIDTH_MAX 72 // of a column; what is longer pushes the line out

// Why, and by which policy.
static void print_reason(const Tabard__V1__Denial *denial)
{
    printf("%s", denial->reason);
    if (denial->policy[0] != '\0') {
        printf(" by %s", denial->policy);
    }
    if (denial->deciding_case == TABARD__V1__DENIAL__DECIDING_RULE) {
        printf("#%u", denial->rule);
    }
    printf("\n");
}

static const char *who(const Tabard__V1__Denial *denial)
{
    return denial->peer[0] != '\0'     ? denial->peer
           : denial->source[0] != '\0' ? denial->source
                                       : "this service";
}

static void widen(int *width, const char *text)
{
    size_t len = strlen(text);
    if (len > (size_t)*width) {
        *width = len < WIDTH_MAX ? (int)len : WIDTH_MAX;
    }
}

// "2s ago": what was just now, or by a clock that is ahead, is "0s ago".
static const char *ago(int64_t unix_ms, int64_t now_unix_ms, char *buf, size_t buf_len)
{
    int64_t seconds = (now_unix_ms - unix_ms) / 1000;
    return seconds > 0 ? when_distance(-seconds, buf, buf_len) : "0s ago";
}

void audit_table_print(Tabard__V1__Denial *const *denials, size_t num, uint64_t generation,
                       int64_t now_unix_ms)
{
    int from_width = 12;
    int to_width = 6;
    for (size_t i = 0; i < num; i++) {
        widen(&from_width, who(denials[i]));
        widen(&to_width, denials[i]->destination);
    }
    if (num > 0) {
        printf("%8s  %-10s %-*s %-*s %s\n", "count", "last", from_width, "from", to_width, "to",
               "would be");
    }
    for (size_t i = 0; i < num; i++) {
        const Tabard__V1__Denial *denial = denials[i];
        char text[WHEN_TEXT_MAX];
        printf("%8" PRIu64 "%c %-10s %-*s %-*s ", denial->count,
               denial->generation < generation ? '*' : ' ',
               ago(denial->last_unix_ms, now_unix_ms, text, sizeof text), from_width, who(denial),
               to_width, denial->destination);
        print_reason(denial);
    }
}
