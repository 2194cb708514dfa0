// SPDX-License-Identifier: Apache-2.0
//
// Fills a Snapshot from its parts, which may come from different places: mesh.yaml, a policy agent,
// a file with a certificate. Which field is of which part is said here and nowhere else; the agent,
// `tabardctl explain` and the fuzzers share it.
#ifndef TABARD_PROXY_RULES_SNAPSHOT_JOIN_H
#define TABARD_PROXY_RULES_SNAPSHOT_JOIN_H

#include "tabard/v1/mesh.pb-c.h"

enum snapshot_part {
    SNAPSHOT_IDENTITY, // who this sidecar is
    SNAPSHOT_BUNDLES,  // what proves its peers
    SNAPSHOT_RULES,    // who may call it, and whom it may call
    SNAPSHOT_LOCAL,    // how it stands on its host: ports, forwards, settings
    SNAPSHOT_NUM_PARTS
};

// snapshot_part_of returns the part that the field of this name belongs to, or SNAPSHOT_NUM_PARTS
// if it belongs to none.
enum snapshot_part snapshot_part_of(const char *field);

// snapshot_join fills a part's fields with those of `from` that have the same name and the same
// type: a MeshConfig, a State or another Snapshot. What `from` does not have stays as it is in
// `out`. Nothing is copied: the fields are borrowed from `from`.
void snapshot_join(Tabard__V1__Snapshot *out, enum snapshot_part part,
                   const ProtobufCMessage *from);

// snapshot_join_settings lets the message that brought the rules speak beside the settings of
// `out`, which come with SNAPSHOT_LOCAL: a State says for its sidecar what to do with what policy
// denies, with unlisted destinations and with peers that lack X25519MLKEM768. Where both say
// something, the stricter word holds. `settings` is the caller's memory, to which out->settings
// points afterwards if anything was changed; what it points to else stays as it is.
void snapshot_join_settings(Tabard__V1__Snapshot *out, Tabard__V1__Settings *settings,
                            const ProtobufCMessage *rules);

// snapshot_setting_by names who has said what holds of the setting of this name, which a State may
// have, too: "mesh.yaml", "policy agent", "mesh.yaml and policy agent", or "default" if neither.
// `own` are mesh.yaml's settings (NULL: none), `rules` is the message that brings the rules.
const char *snapshot_setting_by(const char *name, const Tabard__V1__Settings *own,
                                const ProtobufCMessage *rules);

#endif
