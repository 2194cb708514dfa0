// SPDX-License-Identifier: Apache-2.0
//
// The answer to the agent's Inspect, out of what the workers count, the generation in force, and
// what each worker has reported. The main thread's; plane sends it.
#ifndef TABARD_PROXY_INSPECT_RESULT_H
#define TABARD_PROXY_INSPECT_RESULT_H

#include "proxy/worker.h"

// inspect_result_new makes the answer, without its id. `program` is the proxy itself; `current` is
// the generation in force, NULL: none. The lists are moved out of `reports`, one for each worker;
// NULL: the workers weren't asked. tabard__v1__inspect_result__free_unpacked(result, NULL) frees
// it.
Tabard__V1__InspectResult *inspect_result_new(const struct program *program, struct worker *workers,
                                              unsigned num_workers,
                                              const struct generation *current,
                                              struct worker_report *reports);

#endif
