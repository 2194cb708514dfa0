// SPDX-License-Identifier: Apache-2.0
//
// What a rollout shows of itself: whether the sidecar is ready, and which generation is in force.
#include <stdio.h>

#include "control/agent/snapshot/rollout.h"

const char *rollout_not_ready_because(const struct rollout *rollout, struct now now, char *buf,
                                      size_t buf_len)
{
    if (rollout->is_draining) {
        snprintf(buf, buf_len, "draining");
    } else if (!rollout->has_proxy) {
        snprintf(buf, buf_len, "the proxy is not running");
    } else if (!rollout->is_applied && rollout->last_error[0] != '\0') {
        snprintf(buf, buf_len, "no configuration is in force: %s", rollout->last_error);
    } else if (!rollout->is_applied) {
        snprintf(buf, buf_len, "no configuration is in force yet");
    } else if (rollout->in_force.what.not_after <= now_unix_s(now)) {
        snprintf(buf, buf_len, "the certificate of %s has expired",
                 rollout->in_force.what.spiffe_id);
    } else {
        return NULL;
    }
    return buf;
}

uint64_t rollout_generation(const struct rollout *rollout)
{
    return rollout->is_applied ? rollout->in_force.what.snapshot->generation : 0;
}
