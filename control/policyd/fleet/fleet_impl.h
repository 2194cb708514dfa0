// SPDX-License-Identifier: Apache-2.0
//
// The functions that fleet*.c share. Nobody else includes it.
#ifndef TABARD_CONTROL_POLICYD_FLEET_FLEET_IMPL_H
#define TABARD_CONTROL_POLICYD_FLEET_FLEET_IMPL_H

#include "control/policyd/fleet/fleet.h"

// fleet_index builds every index over what was read. false sets err.
bool fleet_index(struct fleet *fleet, struct err *err);

#endif
