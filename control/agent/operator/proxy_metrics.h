// SPDX-License-Identifier: Apache-2.0
//
// The proxy's metric families (tabard/v1/dataplane.proto) on the agent's page. The proxy isn't
// trusted: each family is checked against Prometheus' data model, the limits below and the families
// that the page has already, and one that fails is left out and counted.
#ifndef TABARD_CONTROL_AGENT_OPERATOR_PROXY_METRICS_H
#define TABARD_CONTROL_AGENT_OPERATOR_PROXY_METRICS_H

#include <stdint.h>

#include "base/err.h"
#include "control/host/metrics.h"
#include "tabard/v1/dataplane.pb-c.h"

#define PROXY_METRICS_PREFIX          "tabard_" // of every name
#define PROXY_METRICS_FAMILIES_MAX    256
#define PROXY_METRICS_SAMPLES_MAX     4096 // of a family
#define PROXY_METRICS_LABELS_MAX      16   // of a sample
#define PROXY_METRICS_BUCKETS_MAX     64   // of a histogram
#define PROXY_METRICS_NAME_BYTES_MAX  128  // of a family, or of a label
#define PROXY_METRICS_VALUE_BYTES_MAX 1024 // of a label's value, or of a help text

// How many families were refused since the start, and why the last one was.
struct proxy_metrics_refusals {
    uint64_t num;
    struct err last;
};

// proxy_metrics_write writes the families that are well-formed, and then the count of those that
// were refused since the start, these included. Call it last: what the page has by then is not the
// proxy's to say.
void proxy_metrics_write(struct metrics_page *page, Tabard__V1__MetricFamily *const *families,
                         size_t num_families, struct proxy_metrics_refusals *refusals);

#endif
