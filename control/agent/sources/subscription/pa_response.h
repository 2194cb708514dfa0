// SPDX-License-Identifier: Apache-2.0
//
// Makes of a policy agent's bytes a State that could come into force, or refuses them: a response
// is understood whole or refused whole. subscription calls pa_response_parse, pa_response_check and
// pa_response_apply in this order; assemble asks later whether certificates, policies and
// destinations are good. Pure; bounded by PA_RESPONSE_*.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_RESPONSE_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tabard/v1/policy_agent.pb-c.h"

// 10,000 policies of a kilobyte are 10 MB, and a CRL may have 8. (gRPC's habit is 4 MiB.)
#define PA_RESPONSE_BYTES_MAX    (32u << 20)
#define PA_RESPONSE_UNPACKED_MAX (256u << 20) // 2 bytes may become 100 and more
#define PA_RESPONSE_DEPTH_MAX    8
#define PA_NONCE_LEN_MAX         255

// pa_response_parse unpacks a SubscribeResponse. NULL sets err: it can't even be answered,
// because its form or its nonce is bad. Free it with
// tabard__v1__subscribe_response__free_unpacked(response, NULL).
Tabard__V1__SubscribeResponse *pa_response_parse(const uint8_t *bytes, size_t len, struct err *err);

// What a response must fit.
struct pa_expectation {
    uint64_t version_in_force; // 0: none
    bool accepts_older;
    bool has_base;    // a state was accepted on this stream, and nothing refused since
    bool has_request; // a certificate_request has no answer yet
};

// pa_response_check refuses what isn't understood or not in its place. false sets err.
bool pa_response_check(const Tabard__V1__SubscribeResponse *response,
                       const struct pa_expectation *expected, struct err *err);

// pa_response_apply makes the State that a response asks for: its own, which is taken out of
// the response, or a copy of `base` with its delta. NULL sets err.
Tabard__V1__State *pa_response_apply(Tabard__V1__SubscribeResponse *response,
                                     const Tabard__V1__State *base, struct err *err);

// pa_response_check_text walks over packed bytes and refuses strings that hold a NUL or aren't
// UTF-8: unpacked they would read as something shorter. false sets err, at the field.
bool pa_response_check_text(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                            size_t len, struct err *err);

#endif
