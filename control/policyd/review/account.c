// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/review/account.h"

const char *account_result_text(enum account_result result)
{
    static const char *const texts[] = {
#define X(name, text) text,
        ACCOUNT_RESULTS(X)
#undef X
    };
    return (unsigned)result < ACCOUNT_NUM_RESULTS ? texts[result] : "unknown";
}
