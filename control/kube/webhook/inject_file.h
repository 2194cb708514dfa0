// SPDX-License-Identifier: Apache-2.0
//
// The file that says how pods are injected (inject.yaml), watched: a change comes into force
// without a restart, and what can't be used is reported and changes nothing. policyd calls
// inject_file_watch and at the end inject_file_close. The loop's thread, and a worker while it
// reads; bounded by INJECT_FILE_BYTES_MAX.
#ifndef TABARD_CONTROL_KUBE_WEBHOOK_INJECT_FILE_H
#define TABARD_CONTROL_KUBE_WEBHOOK_INJECT_FILE_H

#include <uv.h>

#include "control/kube/inject/inject_config.h"

#define INJECT_FILE_BYTES_MAX (1u << 20)

struct inject_file; // opaque

struct inject_file_hooks {
    void *ctx;
    void (*on_config)(void *ctx, Tabard__V1__InjectConfig *config); // taken over
    void (*on_failed)(void *ctx, const char *text); // each text once, until something is usable
};

// inject_file_watch begins to watch, and reads at once. The path is borrowed for ever.
struct inject_file *inject_file_watch(uv_loop_t *loop, const char *path,
                                      const struct inject_file_hooks *hooks);

// inject_file_num_held returns how many files are held because they are being written: 0 or 1.
size_t inject_file_num_held(const struct inject_file *file);
void inject_file_close(struct inject_file *file); // NULL is allowed; no hook comes any more

#endif
