// SPDX-License-Identifier: Apache-2.0
//
// What a rollout shows of itself: whether the sidecar is ready, which generation is in force, and
// what of it ends.
#include <stdio.h>

#include "control/agent/snapshot/rollout.h"

#define WARN_INTERVAL_MS 3600000

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
    } else if (now_end_left_ms(rollout->in_force.ends, now) == 0) {
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

void rollout_warn_of_ends(struct rollout *rollout, struct now now)
{
    const struct assembly *what = &rollout->in_force.what;
    int64_t now_unix = now_unix_s(now);
    int64_t left = (int64_t)(now_end_left_ms(rollout->in_force.ends, now) / 1000);
    uint64_t passed_over = 0;
    if (left < (what->not_after - what->not_before) / 3 &&
        log_allowed(&rollout->expiry_warned, now.ms, WARN_INTERVAL_MS, &passed_over)) {
        if (left == 0) {
            log_error("msg=\"the certificate has expired: peers refuse it\" seconds_ago=%lld",
                      (long long)(now_unix - what->not_after));
        } else {
            log_warn("msg=\"the certificate ends soon: less than a third of its life is left\" "
                     "seconds_left=%lld",
                     (long long)left);
        }
    }
    for (size_t i = 0; i < what->num_crls; i++) {
        if (what->crls[i].next_update <= now_unix &&
            log_allowed(&rollout->crl_warned, now.ms, WARN_INTERVAL_MS, &passed_over)) {
            log_error(
                "msg=\"a CRL is past its nextUpdate: peers of this trust domain are refused\" "
                "trust_domain=%s",
                what->crls[i].trust_domain);
        }
    }
}
