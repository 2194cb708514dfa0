// SPDX-License-Identifier: Apache-2.0
//
// Snapshots for tests, written as YAML: an identity of one trust domain and the bundle that proves
// it are minted at the first call and stand in every one.
#ifndef TABARD_TESTS_UNIT_PROXY_SNAPSHOTS_H
#define TABARD_TESTS_UNIT_PROXY_SNAPSHOTS_H

#include <stdint.h>

#include "tabard/v1/mesh.pb-c.h"

#define SNAPSHOTS_DOMAIN "prod.example"
#define SNAPSHOTS_ID     "spiffe://prod.example/ns/shop/sa/web"

// snapshot_message makes the message of a generation from the fields that `yaml`, a printf format,
// says. The caller frees it by tabard__v1__snapshot__free_unpacked.
Tabard__V1__Snapshot *snapshot_message(uint64_t generation, const char *yaml, ...)
    __attribute__((format(printf, 2, 3)));

// snapshot_one_forward has one forward from `listen` to `app_port` of 127.0.0.1, which is the
// plaintext destination "payments".
Tabard__V1__Snapshot *snapshot_one_forward(uint64_t generation, const char *listen,
                                           uint16_t app_port);

#endif
