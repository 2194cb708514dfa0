// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/kube/kubectl_each.h"

#include <pthread.h>
#include <stdatomic.h>

struct work {
    const struct kubectl *kubectl;
    struct kubectl_question *questions;
    size_t num;
    atomic_size_t next;
};

static void *ask(void *arg)
{
    struct work *work = arg;
    for (size_t i; (i = atomic_fetch_add(&work->next, 1)) < work->num;) {
        struct kubectl_question *question = &work->questions[i];
        question->answer = kubectl_text(work->kubectl, question->words, NULL, &question->err);
    }
    return NULL;
}

void kubectl_each(const struct kubectl *kubectl, struct kubectl_question *questions, size_t num)
{
    struct work work = {.kubectl = kubectl, .questions = questions, .num = num};
    pthread_t threads[KUBECTL_EACH_AT_ONCE - 1];
    size_t num_threads = 0;
    while (num_threads < KUBECTL_EACH_AT_ONCE - 1 && num_threads + 1 < num &&
           pthread_create(&threads[num_threads], NULL, ask, &work) == 0) {
        num_threads++;
    }
    ask(&work); // this thread, too: without any other it asks alone
    for (size_t i = 0; i < num_threads; i++) {
        pthread_join(threads[i], NULL);
    }
}
