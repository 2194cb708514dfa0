// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/audit.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pb/pb_text.h"
#include "tabard/v1/admin.pb-c.h"

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

char *audit_text(const struct report_facts *facts, const Tabard__V1__InspectResult *inspect)
{
    Tabard__V1__Audit audit = TABARD__V1__AUDIT__INIT;
    size_t num = inspect->n_denials;
    audit.enforcement = report_enforcement(facts);
    audit.generation = facts->generation;
    audit.applied_unix_ms = facts->applied_unix_ms;
    audit.spiffe_id = (char *)facts->spiffe_id;
    audit.denials_dropped = inspect->denials_dropped;
    // The copies borrow their texts from the proxy's answer.
    Tabard__V1__Denial *copies = must_alloc(num, sizeof *copies);
    audit.denials = must_alloc(num, sizeof *audit.denials);
    for (size_t i = 0; i < num; i++) {
        copies[i] = *inspect->denials[i];
        audit.denials[i] = &copies[i];
    }
    qsort(audit.denials, num, sizeof *audit.denials, by_key);
    for (size_t i = 0; i < num; i++) {
        if (audit.n_denials > 0 &&
            by_key(&audit.denials[audit.n_denials - 1], &audit.denials[i]) == 0) {
            add(audit.denials[audit.n_denials - 1], audit.denials[i]);
        } else {
            audit.denials[audit.n_denials++] = audit.denials[i];
        }
    }
    qsort(audit.denials, audit.n_denials, sizeof *audit.denials, by_count);
    char *text = pb_text_to_json(&audit.base);
    free(audit.denials);
    free(copies);
    return text;
}
