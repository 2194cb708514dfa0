// SPDX-License-Identifier: Apache-2.0
//
// Which objects of a collection are known, by name, uid and version: so that a list finds what has
// gone, and nothing is told twice. Pure. Its owner bounds it: an entry takes some 300 bytes.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_KNOWN_H
#define TABARD_CONTROL_KUBE_API_KUBE_KNOWN_H

#include <stdint.h>

#include "control/kube/api/kube_event.h"

// Zero state: nothing is known.
struct kube_known {
    json_t *objects; // owned: "namespace/name" -> "uid version"; NULL: none
    json_t *listed;  // owned: those of the list under way; NULL: none is
};

void kube_known_cleanup(struct kube_known *known);
uint32_t kube_known_num(const struct kube_known *known);

// kube_known_put notes an object and says whether it is new or another version than was known.
// kube_known_remove forgets one and says whether it was known.
bool kube_known_put(struct kube_known *known, const struct kube_meta *meta);
bool kube_known_remove(struct kube_known *known, const struct kube_meta *meta);

// kube_known_begin_list begins a list, from which kube_known_list notes each object as
// kube_known_put does. kube_known_end_list forgets each object that was not listed and gives its
// metadata to on_gone, with the list's version; on_gone returns whether to go on.
void kube_known_begin_list(struct kube_known *known);
bool kube_known_list(struct kube_known *known, const struct kube_meta *meta);
void kube_known_end_list(struct kube_known *known, const char *version,
                         bool (*on_gone)(void *ctx, const struct kube_meta *meta), void *ctx);

#endif
