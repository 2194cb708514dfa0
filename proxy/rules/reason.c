// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/reason.h"

enum logged { EACH, SELDOM };

struct reason_row {
    const char *text;
    enum tls_alert alert;
    enum logged logged;
};

static const struct reason_row rows[NUM_REASONS] = {
#define X(name, text, alert, logged) [name] = {text, alert, logged},
    REASONS(X)
#undef X
};

const char *reason_text(enum reason reason)
{
    return rows[reason].text;
}

enum tls_alert reason_alert(enum reason reason)
{
    return rows[reason].alert;
}

bool reason_is_logged_seldom(enum reason reason)
{
    return rows[reason].logged == SELDOM;
}

enum reason reason_of_failure(enum verify_failure failure)
{
    static const enum reason reasons[] = {[VERIFY_OK] = REASON_NONE,
#define X(name, text, alert) [VERIFY_##name] = REASON_##name,
                                          VERIFY_FAILURES(X)
#undef X
    };
    return reasons[failure];
}
