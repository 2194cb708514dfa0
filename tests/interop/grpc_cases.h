// SPDX-License-Identifier: Apache-2.0
//
// The calls that grpc_peer makes to somebody else's echo service, each with what must come back.
// Static; the loop's thread only; bounded by CASES_WAIT_MS a case. It prints one line a case.
#ifndef TABARD_TESTS_INTEROP_GRPC_CASES_H
#define TABARD_TESTS_INTEROP_GRPC_CASES_H

#include "net/grpc/client.h"

#define CASES_WAIT_MS 20000

// grpc_cases_run runs them all on a channel that connects or is connected. Returns whether all was
// right.
bool grpc_cases_run(uv_loop_t *loop, struct grpc_channel *channel);

#endif
