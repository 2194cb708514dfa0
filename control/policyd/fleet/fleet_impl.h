// SPDX-License-Identifier: Apache-2.0
//
// The functions that fleet*.c share. Nobody else includes it.
#ifndef TABARD_CONTROL_POLICYD_FLEET_FLEET_IMPL_H
#define TABARD_CONTROL_POLICYD_FLEET_FLEET_IMPL_H

#include "control/policyd/fleet/fleet.h"

// fleet_read_service adds a service, all of whose members must be found when fleet_index_services
// is called. false sets err.
bool fleet_read_service(struct fleet *fleet, const Tabard__V1__FleetService *spec, struct err *err);

// fleet_index_services comes after the workloads were sorted. false sets err.
bool fleet_index_services(struct fleet *fleet, struct err *err);

// fleet_see_services adds the services that are seen through the callees of a sight whose
// destinations were found, too.
void fleet_see_services(struct fleet_sight *sight, const struct fleet *fleet, uint32_t workload);

// fleet_index builds every index over what was read. false sets err.
bool fleet_index(struct fleet *fleet, struct err *err);

#endif
