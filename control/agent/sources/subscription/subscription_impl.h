// SPDX-License-Identifier: Apache-2.0
//
// What subscription.c and subscription_ask.c share. Nobody else includes this.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_SUBSCRIPTION_IMPL_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_SUBSCRIPTION_IMPL_H

#include "control/agent/sources/subscription/subscription.h"

// subscription_give_up ends the stream from our side.
void subscription_give_up(struct subscription *sub, const char *why, struct now now);

// subscription_expected_id returns the SPIFFE id that a certificate must have: the one asked for,
// or that of the one before; empty: any.
const char *subscription_expected_id(const struct subscription *sub);

// subscription_send sends a request. false: that can't be done, and the stream is given up.
bool subscription_send(struct subscription *sub, const Tabard__V1__SubscribeRequest *request,
                       struct now now);

// subscription_connect opens a stream and sends its first request.
void subscription_connect(struct subscription *sub, struct now now);

// subscription_renew asks for the next certificate on a stream that is there, which goes on also if
// the service account's token can't be read.
void subscription_renew(struct subscription *sub, struct now now);

#endif
