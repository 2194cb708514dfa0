// SPDX-License-Identifier: Apache-2.0
#include "proxy/greeting.h"

#include <stdint.h>

#include "base/version.h"
#include "proto/contract_digest.h"

void greeting_send(struct link *link, const struct sandbox_facts *facts)
{
    Tabard__V1__SandboxLayer layers[SANDBOX_NUM_LAYERS];
    Tabard__V1__SandboxLayer *list[SANDBOX_NUM_LAYERS];
    Tabard__V1__Hello hello = TABARD__V1__HELLO__INIT;
    hello.version = (char *)TABARD_VERSION;
    hello.contract = (char *)CONTRACT_DIGEST;
    hello.sandbox = list;
    for (int i = 0; i < SANDBOX_NUM_LAYERS; i++) {
        if (facts->layers[i].state != SANDBOX_UNUSED) {
            Tabard__V1__SandboxLayer *layer = &layers[hello.n_sandbox];
            tabard__v1__sandbox_layer__init(layer);
            layer->name = (char *)sandbox_layer_text((enum sandbox_layer)i);
            layer->in_force = facts->layers[i].state == SANDBOX_IN_FORCE;
            layer->why = (char *)(uintptr_t)facts->layers[i].why;
            list[hello.n_sandbox++] = layer;
        }
    }
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_HELLO;
    message.hello = &hello;
    link_send(link, &message);
}
