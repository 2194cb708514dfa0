// SPDX-License-Identifier: Apache-2.0
//
// The last good state on disk: what a policy agent said, its version, and which sidecar it was said
// to. No key is in it. One file holds it with its SHA-256, a small one the highest version that was
// ever stored, by which an old copy that was put back is found out. Any thread, one at a time for a
// folder; bounded by STORE_BYTES_MAX.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_STORE_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tabard/v1/policy_agent.pb-c.h"

#define STORE_BYTES_MAX    (64u << 20)
#define STORE_STATE_FILE   "policy-state"
#define STORE_VERSION_FILE "policy-version"

struct stored_state {
    Tabard__V1__State *state; // owned by the caller
    uint64_t version;
    int64_t unix_s; // when it was stored
};

// store_pack makes the bytes of the file, to be free()d. `owner` names the sidecar. NULL sets err.
uint8_t *store_pack(const struct stored_state *what, const char *owner, size_t *out_len,
                    struct err *err);

// store_write replaces the file in one step and makes the folder if need be. false sets err, and
// what was there is still there.
bool store_write(const char *folder, const uint8_t *bytes, size_t len, uint64_t version,
                 struct err *err);

// store_read reads it back. Refused: a damaged or cut file, another sidecar's, one that others may
// write to, one that isn't understood, and one older than what was stored before unless
// accepts_older. false sets err; *out_is_missing says that there is simply none.
bool store_read(struct stored_state *out, const char *folder, const char *owner, bool accepts_older,
                bool *out_is_missing, struct err *err);

#endif
