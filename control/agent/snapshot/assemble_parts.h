// SPDX-License-Identifier: Apache-2.0
//
// The checks that every snapshot goes through, wherever its parts came from: files (assemble) or a
// policy agent (assemble_policy). Pure; as assemble.h. Nobody else includes this.
#ifndef TABARD_CONTROL_AGENT_SNAPSHOT_ASSEMBLE_PARTS_H
#define TABARD_CONTROL_AGENT_SNAPSHOT_ASSEMBLE_PARTS_H

#include "control/agent/snapshot/assemble.h"

// assembled_note_crls notes when the first CRL of a bundle ends; out->crls has room for it.
void assembled_note_crls(struct assembled *out, const Tabard__V1__TrustBundle *bundle);

// assembled_check_rules asks policy and route whether the proxy would take the snapshot, and notes
// what they made of its settings. false sets err, at the field.
bool assembled_check_rules(struct assembled *out, struct err *err);

// assembled_digest refuses what is too large, and fills in out->digest.
bool assembled_digest(struct assembled *out, struct err *err);

#endif
