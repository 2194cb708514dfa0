// SPDX-License-Identifier: Apache-2.0
//
// Linked into every test: keeps all of its tests in it, and says what Criterion itself leaves
// behind.
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

// The linker's names for the ends of the sections in which Criterion looks for tests and suites.
// Nothing else refers to them, so without these references --gc-sections would drop all tests, and
// none is run means none has failed.
extern const char __start_cr_tst[];
extern const char __stop_cr_tst[];
extern const char __start_cr_sts[] __attribute__((weak));

static const char *volatile suites;

__attribute__((constructor)) static void count_tests(void)
{
    suites = __start_cr_sts;
    if (__stop_cr_tst - __start_cr_tst < (ptrdiff_t)sizeof(void *)) {
        fputs("the linker left out every test\n", stderr);
        abort();
    }
}

// LeakSanitizer's exceptions.
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libcriterion.so\n";
}
