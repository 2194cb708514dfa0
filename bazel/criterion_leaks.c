// SPDX-License-Identifier: Apache-2.0
//
// LeakSanitizer's exceptions in tests: what Criterion itself leaves behind.
#include <stddef.h>

const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libcriterion.so\n";
}
