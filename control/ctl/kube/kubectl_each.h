// SPDX-License-Identifier: Apache-2.0
//
// Several kubectls at once, for questions to many pods, each of which takes a good part of a
// second. Blocks until all have answered.
#ifndef TABARD_CONTROL_CTL_KUBE_KUBECTL_EACH_H
#define TABARD_CONTROL_CTL_KUBE_KUBECTL_EACH_H

#include <stddef.h>

#include "control/ctl/kube/kubectl.h"

#define KUBECTL_EACH_AT_ONCE 8

// One question, with the answer as kubectl_text returns it, to be freed by the caller, or the
// error.
struct kubectl_question {
    const char *words[KUBECTL_WORDS_MAX];
    char *answer;
    struct err err;
};

void kubectl_each(const struct kubectl *kubectl, struct kubectl_question *questions, size_t num);

#endif
