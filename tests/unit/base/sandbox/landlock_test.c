// SPDX-License-Identifier: Apache-2.0
#include "base/sandbox/landlock.h"

#include <criterion/criterion.h>

TestSuite(landlock, .timeout = 10);

Test(landlock, each_version_knows_the_rights_that_the_kernel_documents)
{
    static const struct {
        int abi;
        struct landlock_rights rights;
    } rows[] = {
        {0, {0, 0, 0}},      {1, {0x1fff, 0, 0}}, {2, {0x3fff, 0, 0}},
        {3, {0x7fff, 0, 0}}, {4, {0x7fff, 3, 0}}, {5, {0xffff, 3, 0}},
        {6, {0xffff, 3, 3}}, {7, {0xffff, 3, 3}}, {1000, {0xffff, 3, 3}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct landlock_rights known = landlock_known(rows[i].abi);
        cr_expect_eq(known.files, rows[i].rights.files, "version %d", rows[i].abi);
        cr_expect_eq(known.ports, rows[i].rights.ports, "version %d", rows[i].abi);
        cr_expect_eq(known.scopes, rows[i].rights.scopes, "version %d", rows[i].abi);
    }
}

Test(landlock, a_kernel_without_it_is_told_in_words)
{
    const char *why = NULL;
    int abi = landlock_abi(&why);
    cr_expect((abi > 0) == (why[0] == '\0'), "%d: %s", abi, why);
}
