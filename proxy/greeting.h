// SPDX-License-Identifier: Apache-2.0
//
// The Hello of tabard/v1/dataplane.proto: what the proxy says to its agent before anything else.
#ifndef TABARD_PROXY_GREETING_H
#define TABARD_PROXY_GREETING_H

#include "base/sandbox/sandbox.h"
#include "proxy/link/link.h"

// greeting_send says of which build the proxy is, and what it gave up. Once.
void greeting_send(struct link *link, const struct sandbox_facts *facts);

#endif
