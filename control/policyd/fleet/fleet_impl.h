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

// fleet_build builds a fleet of messages, each of the piece with its place; entries of their lists
// may be NULL. It takes the messages over. NULL sets err, where it names a field, and *out_refused
// to the item that is refused, or NULL if it is none alone; the messages then stay the caller's.
struct fleet *fleet_build(Tabard__V1__FleetConfig **configs, const struct fleet_piece *pieces,
                          size_t num, const char *trust_domain,
                          const ProtobufCMessage **out_refused, struct err *err);

// fleet_refuse_empty says of a piece that it has no key. Returns false.
bool fleet_refuse_empty(const char *name, struct err *err);

// fleet_index builds every index over what was read. false sets err.
bool fleet_index(struct fleet *fleet, struct err *err);

#endif
