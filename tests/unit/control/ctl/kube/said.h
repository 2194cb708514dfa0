// SPDX-License-Identifier: Apache-2.0
//
// Findings whose lines a test reads. said_begin as .init and said_end as .fini; `said` counts and
// collects.
#ifndef TABARD_TESTS_UNIT_CONTROL_CTL_KUBE_SAID_H
#define TABARD_TESTS_UNIT_CONTROL_CTL_KUBE_SAID_H

#include "control/ctl/kube/findings.h"

extern struct findings said;

void said_begin(void);
void said_end(void);

// said_take returns the lines since the last call, and sets the counts to 0. Valid until the next
// call.
const char *said_take(void);

#endif
