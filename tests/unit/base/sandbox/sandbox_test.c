// SPDX-License-Identifier: Apache-2.0
#include "base/sandbox/sandbox.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(sandbox, .timeout = 10);

Test(sandbox, a_mode_is_read_as_it_is_written_and_nothing_else_is_one)
{
    static const char *const wrong[] = {"", "On", "off ", "yes", "requiredly"};
    enum sandbox_mode mode = SANDBOX_ON;
    for (int i = 0; i <= SANDBOX_REQUIRED; i++) {
        cr_expect(sandbox_mode_parse(&mode, sandbox_mode_text((enum sandbox_mode)i), NULL));
        cr_expect_eq((int)mode, i);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct err err = {0};
        cr_expect_not(sandbox_mode_parse(&mode, wrong[i], &err), "%s", wrong[i]);
        cr_expect(strstr(err.text, "on, off or required") != NULL, "%s", err.text);
    }
}

Test(sandbox, every_layer_has_a_name_of_its_own_by_which_it_is_found)
{
    enum sandbox_layer layer = SANDBOX_NUM_LAYERS;
    for (int i = 0; i < SANDBOX_NUM_LAYERS; i++) {
        cr_expect(sandbox_layer_parse(&layer, sandbox_layer_text((enum sandbox_layer)i)));
        cr_expect_eq((int)layer, i);
    }
    cr_expect_not(sandbox_layer_parse(&layer, "landlock"));
}

Test(sandbox, a_missing_layer_is_good_enough_unless_all_are_required)
{
    struct sandbox_facts facts = {0};
    struct err err = {0};
    sandbox_set(&facts, SANDBOX_SYSTEM_CALLS, SANDBOX_IN_FORCE, "");
    cr_expect(sandbox_check(&facts, SANDBOX_REQUIRED, &err), "what a program has no use for");
    sandbox_set(&facts, SANDBOX_USER, SANDBOX_MISSING, "not root");
    cr_expect(sandbox_check(&facts, SANDBOX_REQUIRED, &err), "the user is the operator's choice");
    sandbox_set(&facts, SANDBOX_FILES, SANDBOX_MISSING, "this kernel has no Landlock");
    cr_expect(sandbox_check(&facts, SANDBOX_ON, &err));
    cr_expect_not(sandbox_check(&facts, SANDBOX_REQUIRED, &err));
    cr_expect_str_eq(err.text, "--sandbox=required, and the layer landlock_files is missing: this "
                               "kernel has no Landlock");
}
