// SPDX-License-Identifier: Apache-2.0
//
// A cluster, asked through kubectl, so that every kind of login that the user's kubeconfig knows
// works. Blocks; each call is one process with a deadline, whose answer has a limit.
#ifndef TABARD_CONTROL_CTL_KUBE_KUBECTL_H
#define TABARD_CONTROL_CTL_KUBE_KUBECTL_H

#include <jansson.h>

#include "base/err.h"

#define KUBECTL_SECONDS_MAX 60          // of one call
#define KUBECTL_BYTES_MAX   (64u << 20) // of one answer
#define KUBECTL_WORDS_MAX   24          // of one command line

struct kubectl {
    const char *program; // a path, or a name that PATH finds
    const char *context; // of the kubeconfig; NULL: the current one
};

// kubectl_text runs `kubectl WORDS...`, with `input` (NULL: none) on its standard input, and
// returns what it printed; free() it. `words` ends with NULL. NULL sets err: what kubectl said on
// standard error, or why it could not be run; where the environment's KUBECONFIG names files of
// which none is there, it is not run.
char *kubectl_text(const struct kubectl *kubectl, const char *const *words, const char *input,
                   struct err *err);

// kubectl_json is the same of a command that prints one JSON value, or nothing, which is JSON null;
// json_decref it.
json_t *kubectl_json(const struct kubectl *kubectl, const char *const *words, const char *input,
                     struct err *err);

#endif
