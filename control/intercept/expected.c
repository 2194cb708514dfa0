// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // memmem
#include "control/intercept/expected.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/intercept/nft.h"

// Passes over the line of the table's own name, and with is_made over the flag that only the one
// has that expected_list made.
static const char *next_line(const char *at, bool is_made, size_t *out_len)
{
    for (;;) {
        *out_len = strcspn(at, "\n");
        bool is_name = strncmp(at, "table ", 6) == 0;
        bool is_flag = is_made && memmem(at, *out_len, RULESET_DORMANT, strlen(RULESET_DORMANT));
        if (!is_name && !is_flag && (*out_len > 0 || *at == '\0')) {
            return at;
        }
        at += *out_len + (at[*out_len] == '\n');
    }
}

bool expected_compare(const char *have, const char *want, struct err *err)
{
    for (;;) {
        size_t have_len = 0;
        size_t want_len = 0;
        have = next_line(have, false, &have_len);
        want = next_line(want, true, &want_len);
        if (have_len != want_len || memcmp(have, want, have_len) != 0) {
            size_t have_indent = strspn(have, "\t ");
            size_t want_indent = strspn(want, "\t ");
            return err_set(err,
                           "the rules in the kernel are not those of these flags: it has \"%.*s\", "
                           "where \"%.*s\" is expected",
                           (int)(have_len - have_indent), have + have_indent,
                           (int)(want_len - want_indent), want + want_indent);
        }
        if (*have == '\0') {
            return true;
        }
        have += have_len;
        want += want_len;
    }
}

bool expected_list(char **out, const struct ruleset *ruleset, const char *table, struct err *err)
{
    char down[128];
    char *batch = ruleset_expected(ruleset, table);
    bool good = nft_load(batch, err) && nft_list(out, table, err);
    snprintf(down, sizeof down, "table %s\ndelete table %s\n", table, table);
    nft_load(down, NULL);
    free(batch);
    return good;
}
