// SPDX-License-Identifier: Apache-2.0
//
// The field numbers of policy_agent.proto with which policyd puts a response together by hand, out
// of parts that are packed already. A test compares them with the generated descriptors.
#ifndef TABARD_PROTO_POLICY_AGENT_FIELDS_H
#define TABARD_PROTO_POLICY_AGENT_FIELDS_H

// X(constant, message, field, number)
#define POLICY_AGENT_FIELDS(X)                                                                     \
    X(RESPONSE_NONCE, subscribe_response, "nonce", 1)                                              \
    X(RESPONSE_VERSION, subscribe_response, "version", 2)                                          \
    X(RESPONSE_STATE, subscribe_response, "state", 3)                                              \
    X(RESPONSE_DESTINATIONS, subscribe_response, "destinations", 4)                                \
    X(RESPONSE_CERTIFICATE, subscribe_response, "certificate", 5)                                  \
    X(RESPONSE_CERTIFICATE_ERROR, subscribe_response, "certificate_error", 6)                      \
    X(STATE_TRUST_BUNDLES, state, "trust_bundles", 1)                                              \
    X(STATE_POLICIES, state, "policies", 2)                                                        \
    X(STATE_DESTINATIONS, state, "destinations", 3)                                                \
    X(STATE_ENFORCEMENT, state, "enforcement", 4)                                                  \
    X(STATE_UNLISTED_OUTBOUND, state, "unlisted_outbound", 5)                                      \
    X(STATE_KEY_EXCHANGE, state, "key_exchange", 6)                                                \
    X(DELTA_SET, destination_delta, "set", 1)                                                      \
    X(DELTA_REMOVED, destination_delta, "removed", 2)                                              \
    X(ISSUED_CHAIN, issued_certificate, "chain", 1)

enum policy_agent_field {
#define X(constant, message, field, number) constant = number,
    POLICY_AGENT_FIELDS(X)
#undef X
};

#endif
