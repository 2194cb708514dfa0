// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/reason.h"

struct reason_row {
    const char *text;
    enum reason_group group;
    int alert;
};

static const struct reason_row rows[NUM_REASONS] = {
#define X(name, text, group, alert) [name] = {text, REASON_GROUP_##group, alert},
    REASONS(X)
#undef X
};

const char *reason_text(enum reason reason)
{
    return rows[reason].text;
}

enum reason_group reason_group(enum reason reason)
{
    return rows[reason].group;
}

int reason_alert(enum reason reason)
{
    return rows[reason].alert;
}
