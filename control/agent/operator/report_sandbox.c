// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/report_sandbox.h"

#include <stdint.h>

void report_sandbox_fill(struct report_sandbox *out, const struct sandbox_facts *facts)
{
    *out = (struct report_sandbox){.num = 0};
    for (int i = 0; i < SANDBOX_NUM_LAYERS; i++) {
        if (facts->layers[i].state == SANDBOX_UNUSED) {
            continue;
        }
        Tabard__V1__SandboxLayer *layer = &out->layers[out->num];
        tabard__v1__sandbox_layer__init(layer);
        layer->name = (char *)(uintptr_t)sandbox_layer_text((enum sandbox_layer)i);
        layer->in_force = facts->layers[i].state == SANDBOX_IN_FORCE;
        layer->why = (char *)(uintptr_t)facts->layers[i].why;
        out->list[out->num++] = layer;
    }
}

static void write_layers(struct metrics_page *page, const char *program,
                         const struct sandbox_facts *facts)
{
    for (int i = 0; i < SANDBOX_NUM_LAYERS; i++) {
        const struct metrics_label labels[] = {
            {"program", program}, {"layer", sandbox_layer_text((enum sandbox_layer)i)}};
        if (facts->layers[i].state != SANDBOX_UNUSED) {
            metrics_uint(page, labels, 2, facts->layers[i].state == SANDBOX_IN_FORCE);
        }
    }
}

void report_sandbox_metrics(struct metrics_page *page, const struct report_facts *facts)
{
    metrics_family(page, "tabard_sandbox_layer", METRICS_GAUGE,
                   "Whether a layer of a program's sandbox is in force.");
    write_layers(page, "agent", facts->agent_sandbox);
    write_layers(page, "proxy", facts->proxy_sandbox);
    metrics_counter(page, "tabard_proxy_sandbox_violations_total",
                    "Proxies that ended for a system call that their sandbox forbids.",
                    facts->num_violations);
}
