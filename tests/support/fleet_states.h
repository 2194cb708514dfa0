// SPDX-License-Identifier: Apache-2.0
//
// Whether every sidecar of a fleet takes what policyd would send it: the state of each workload,
// made as policyd makes it, is checked as the sidecar's proxy checks it.
#ifndef TABARD_TESTS_SUPPORT_FLEET_STATES_H
#define TABARD_TESTS_SUPPORT_FLEET_STATES_H

#include "base/addr.h"
#include "base/err.h"
#include "tabard/v1/fleet.pb-c.h"

// Whose an address is, by a workload's key.
struct fleet_states_place {
    struct ip ip;
    const char *owner;
};

// fleet_states_check returns whether all states are taken. false sets err, with the workload's key
// in its text. It borrows the config.
bool fleet_states_check(const Tabard__V1__FleetConfig *config, const char *trust_domain,
                        const struct fleet_states_place *places, size_t num_places,
                        struct err *err);

#endif
