// SPDX-License-Identifier: Apache-2.0
//
// Stores the key of a root that was just made in a Secret of its own, which policyd has the right
// to make and not to read. ca_keeper.c makes one of these; it tries until the Secret is there. If
// the process ends before, the key is lost: the mesh goes on, and its next intermediate needs a new
// root. Heap; the loop's thread only.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_CA_ROOT_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_CA_ROOT_H

#include <jansson.h>

#include "control/kube/api/kube_client.h"

struct ca_root; // opaque

#define CA_ROOT_AGAIN_MS_MIN 500 // between tries, doubling, with jitter
#define CA_ROOT_AGAIN_MS_MAX 30000

// ca_root_store takes the Secret over. `path` is that of the namespace's Secrets, copied. Where a
// Secret of the usual name is there already, of an earlier mesh, the root's own name is added.
struct ca_root *ca_root_store(struct kube_client *client, const char *path, json_t *secret);
void ca_root_close(struct ca_root *root); // NULL is allowed

#endif
