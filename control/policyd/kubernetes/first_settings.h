// SPDX-License-Identifier: Apache-2.0
//
// Makes the MeshSettings `default` when a mesh starts for the first time: where neither it nor a CA
// is there. The chart can't make it, for no object can be made in one go with its definition. Where
// a CA is there, the mesh had settings once; whoever deleted them must make them again, since those
// of the first start might deny less. The source of Kubernetes' objects makes one of these and
// tells it what its first lists hold. Heap; the loop's thread only.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_FIRST_SETTINGS_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_FIRST_SETTINGS_H

#include <stdbool.h>

#include "control/kube/api/kube_client.h"

struct first_settings; // opaque

#define FIRST_SETTINGS_BYTES_MAX    65536 // of the file
#define FIRST_SETTINGS_AGAIN_MS_MIN 500   // between tries, doubling, with jitter
#define FIRST_SETTINGS_AGAIN_MS_MAX 30000

struct first_settings_config {
    struct kube_client *client; // borrowed
    const char *path;           // copied: the object's spec, as JSON
    void *ctx;
    // They can't be made; it is tried again. Once while the text stays the same.
    void (*on_failed)(void *ctx, const char *text);
};

struct first_settings *first_settings_new(const struct first_settings_config *config);

// What the first lists say; later calls change nothing. Once both are known, the object is made or
// left to others.
void first_settings_see_settings(struct first_settings *first, bool is_there);
void first_settings_see_ca(struct first_settings *first, bool is_there);

void first_settings_close(struct first_settings *first); // NULL is allowed

#endif
