// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // open_memstream
#include "tests/unit/control/ctl/kube/said.h"

#include <criterion/criterion.h>
#include <stdlib.h>

struct findings said;
static char *lines;
static size_t lines_len;
static char taken[8192];

void said_begin(void)
{
    said = (struct findings){.out = open_memstream(&lines, &lines_len)};
    cr_assert_not_null(said.out);
}

void said_end(void)
{
    fclose(said.out);
    free(lines);
}

const char *said_take(void)
{
    fflush(said.out);
    snprintf(taken, sizeof taken, "%s", lines);
    said_end();
    said_begin();
    return taken;
}
