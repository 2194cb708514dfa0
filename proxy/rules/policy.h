// SPDX-License-Identifier: Apache-2.0
//
// Decides who may call, by a snapshot's policies. Default deny; a matching enforced DENY wins, then
// any matching enforced ALLOW; AUDIT policies are evaluated beside and never decide. The live path,
// the re-check, `tabardctl explain` and the tests share it. A policy_index never changes once it is
// built, so any thread may decide with it; its owner frees it. Bounded by the *_MAX below; a
// decision costs the same with 10 policies and with 10,000 that name other peers and ports.
#ifndef TABARD_PROXY_RULES_POLICY_H
#define TABARD_PROXY_RULES_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "certs/identity.h"
#include "tabard/v1/mesh.pb-c.h"

#define POLICIES_MAX            10000
#define POLICY_RULES_MAX        256
#define POLICY_FIELD_VALUES_MAX 1024
#define POLICY_NAME_LEN_MAX     128

struct policy_index; // opaque

// policy_index_new checks and indexes all policies or none. Refused, with err.where naming the
// field ("policies[2].rules[0].source_ips[1]"): a missing, overlong or repeated name, or one with
// spaces, quotes, backslashes, #, = or anything but ASCII (it goes into log lines as it is); an
// action or mode that is UNSPECIFIED or unknown; a port that is not a TCP port or is listed twice;
// an ALLOW or DENY with no rules; an ALLOW rule that names neither principals nor source_ips (it
// would let everybody in); a principal that is not a pattern; a CIDR with host bits; unknown
// protobuf fields anywhere inside; too many of anything. The texts are copied. NULL on failure.
struct policy_index *policy_index_new(Tabard__V1__Policy *const *policies, size_t num_policies,
                                      struct err *err);
void policy_index_free(struct policy_index *index);

struct policy_request {
    const struct spiffe_id *peer; // borrowed; NULL: the peer proved no identity
    struct ip source;
    uint16_t port; // the application's
};

enum policy_verdict { POLICY_DENIED, POLICY_ALLOWED };

struct policy_decision {
    enum policy_verdict verdict;
    // The policy and rule that decided, borrowed from the index; "" and -1 for the default deny.
    const char *policy;
    int rule;
};

// An AUDIT policy that matched beside the decision: on_audit gets its name, rule and whether it
// would deny.
typedef void policy_on_audit(void *ctx, const char *policy, int rule, bool would_deny);

// policy_decide returns the decision on one request. A peer without identity matches no rule of an
// ALLOW that names principals or not_principals; in a DENY, not_principals matches it. Of several
// policies that match, the first in the snapshot's order is the one named. on_audit may be NULL.
struct policy_decision policy_decide(const struct policy_index *index,
                                     const struct policy_request *request,
                                     policy_on_audit *on_audit, void *ctx);

#endif
