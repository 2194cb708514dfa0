// SPDX-License-Identifier: Apache-2.0
#include "control/denials/denial_list.h"

#include <stdlib.h>
#include <string.h>

static int compare_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

// Orders denials by all that tells them apart.
static int by_key(const void *a, const void *b)
{
    const Tabard__V1__Denial *x = *(const Tabard__V1__Denial *const *)a;
    const Tabard__V1__Denial *y = *(const Tabard__V1__Denial *const *)b;
    const char *const texts[][2] = {
        {x->direction, y->direction},     {x->peer, y->peer},     {x->source, y->source},
        {x->destination, y->destination}, {x->reason, y->reason}, {x->policy, y->policy},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int order = strcmp(texts[i][0], texts[i][1]);
        if (order != 0) {
            return order;
        }
    }
    int order = compare_numbers(x->deciding_case, y->deciding_case);
    return order != 0 ? order : compare_numbers(x->rule, y->rule);
}

static int by_count(const void *a, const void *b)
{
    const Tabard__V1__Denial *x = *(const Tabard__V1__Denial *const *)a;
    const Tabard__V1__Denial *y = *(const Tabard__V1__Denial *const *)b;
    int order = compare_numbers(y->count, x->count);
    return order != 0 ? order : by_key(a, b);
}

static void add(Tabard__V1__Denial *to, const Tabard__V1__Denial *more)
{
    to->count += more->count;
    if (more->first_unix_ms < to->first_unix_ms) {
        to->first_unix_ms = more->first_unix_ms;
    }
    if (more->last_unix_ms > to->last_unix_ms) {
        to->last_unix_ms = more->last_unix_ms;
    }
    if (more->generation > to->generation) {
        to->generation = more->generation;
    }
}

size_t denial_list_merge(Tabard__V1__Denial **list, size_t num)
{
    size_t num_kept = 0;
    if (num > 0) {
        qsort(list, num, sizeof *list, by_key);
    }
    for (size_t i = 0; i < num; i++) {
        if (num_kept > 0 && by_key(&list[num_kept - 1], &list[i]) == 0) {
            add(list[num_kept - 1], list[i]);
            continue;
        }
        Tabard__V1__Denial *kept = list[i];
        list[i] = list[num_kept];
        list[num_kept++] = kept;
    }
    if (num_kept > 0) {
        qsort(list, num_kept, sizeof *list, by_count);
    }
    return num_kept;
}
