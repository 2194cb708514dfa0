// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/stats.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUM_FAMILIES_MAX = 16 };

const char *direction_text(enum direction direction)
{
    return direction == DIRECTION_INBOUND ? "inbound" : "outbound";
}

// The sum of one figure, by its offset in struct stats, over all sets.
struct summing {
    struct stats *const *sets;
    size_t num_sets;
};

static uint64_t sum(const struct summing *summing, size_t offset)
{
    uint64_t total = 0;
    for (size_t i = 0; i < summing->num_sets; i++) {
        const _Atomic uint64_t *figure =
            (const _Atomic uint64_t *)(const void *)((const char *)summing->sets[i] + offset);
        total += atomic_load_explicit(figure, memory_order_relaxed);
    }
    return total;
}

static Tabard__V1__MetricFamily *family_add(Tabard__V1__InspectResult *result, const char *name,
                                            const char *type, const char *help, size_t num_max)
{
    Tabard__V1__MetricFamily *family = malloc(sizeof *family);
    if (family == NULL) {
        return NULL;
    }
    tabard__v1__metric_family__init(family);
    family->name = strdup(name);
    family->type = strdup(type);
    family->help = strdup(help);
    family->samples = calloc(num_max, sizeof *family->samples);
    result->metrics[result->n_metrics++] = family;
    return family->name != NULL && family->type != NULL && family->help != NULL &&
                   family->samples != NULL
               ? family
               : NULL;
}

static bool sample_add(Tabard__V1__MetricFamily *family, const char *labels, uint64_t value)
{
    Tabard__V1__MetricFamily__Sample *sample = malloc(sizeof *sample);
    char *copy = strdup(labels);
    if (sample == NULL || copy == NULL) {
        free(sample);
        free(copy);
        return false;
    }
    tabard__v1__metric_family__sample__init(sample);
    sample->labels = copy;
    sample->value = value;
    family->samples[family->n_samples++] = sample;
    return true;
}

// One family with a sample for each direction.
static bool by_direction(Tabard__V1__InspectResult *result, const struct summing *summing,
                         const char *name, const char *type, const char *help, size_t offset)
{
    Tabard__V1__MetricFamily *family = family_add(result, name, type, help, NUM_DIRECTIONS);
    for (unsigned d = 0; family != NULL && d < NUM_DIRECTIONS; d++) {
        char labels[64];
        snprintf(labels, sizeof labels, "direction=\"%s\"", direction_text((enum direction)d));
        if (!sample_add(family, labels, sum(summing, offset + d * sizeof(_Atomic uint64_t)))) {
            return false;
        }
    }
    return family != NULL;
}

static bool by_reason(Tabard__V1__InspectResult *result, const struct summing *summing)
{
    Tabard__V1__MetricFamily *family =
        family_add(result, "tabard_connections_closed_total", "counter",
                   "Connections ended, by the one reason each ends with.",
                   (size_t)NUM_DIRECTIONS * NUM_REASONS);
    for (unsigned d = 0; family != NULL && d < NUM_DIRECTIONS; d++) {
        for (unsigned r = REASON_FINISHED; r < NUM_REASONS; r++) {
            char labels[128];
            snprintf(labels, sizeof labels, "direction=\"%s\",reason=\"%s\"",
                     direction_text((enum direction)d), reason_text((enum reason)r));
            size_t offset = offsetof(struct stats, closed) +
                            (d * (size_t)NUM_REASONS + r) * sizeof(_Atomic uint64_t);
            if (!sample_add(family, labels, sum(summing, offset))) {
                return false;
            }
        }
    }
    return family != NULL;
}

static bool by_flow(Tabard__V1__InspectResult *result, const struct summing *summing)
{
    static const struct {
        const char *flow;
        size_t offset;
    } flows[] = {{"up", offsetof(struct stats, bytes_up)},
                 {"down", offsetof(struct stats, bytes_down)}};
    Tabard__V1__MetricFamily *family =
        family_add(result, "tabard_bytes_total", "counter",
                   "Bytes of the applications relayed; up is from the client to the server.",
                   NUM_DIRECTIONS * 2);
    for (unsigned d = 0; family != NULL && d < NUM_DIRECTIONS; d++) {
        for (unsigned f = 0; f < 2; f++) {
            char labels[64];
            snprintf(labels, sizeof labels, "direction=\"%s\",flow=\"%s\"",
                     direction_text((enum direction)d), flows[f].flow);
            if (!sample_add(family, labels,
                            sum(summing, flows[f].offset + d * sizeof(_Atomic uint64_t)))) {
                return false;
            }
        }
    }
    return family != NULL;
}

// The figures that stand alone, or as two values of one label.
struct plain_figure {
    const char *name;
    const char *type;
    const char *help;
    const char *labels[2]; // NULL: one sample without labels
    size_t offsets[2];
};

static const struct plain_figure plain_figures[] = {
    {"tabard_handshakes_in_flight",
     "gauge",
     "TLS handshakes begun and not ended.",
     {NULL},
     {offsetof(struct stats, handshakes_in_flight)}},
    {"tabard_buffer_bytes",
     "gauge",
     "Relay memory lent to connections.",
     {NULL},
     {offsetof(struct stats, buffer_bytes)}},
    {"tabard_plaintext_connections_total",
     "counter",
     "Inbound connections served in the clear, on ports that allow it.",
     {NULL},
     {offsetof(struct stats, plaintext_connections)}},
    {"tabard_policy_audit_total",
     "counter",
     "Matches of AUDIT policies, by what they would have done.",
     {"would=\"allow\"", "would=\"deny\""},
     {offsetof(struct stats, audit_would_allow), offsetof(struct stats, audit_would_deny)}},
    {"tabard_accept_errors_total",
     "counter",
     "Connections that the kernel could not hand over.",
     {NULL},
     {offsetof(struct stats, accept_errors)}},
    {"tabard_verified_chains_total",
     "counter",
     "Peer certificate chains accepted, by whether their signatures had to be checked.",
     {"result=\"checked\"", "result=\"cached\""},
     {offsetof(struct stats, chains_checked), offsetof(struct stats, chains_cached)}},
};

static bool plain_figure_add(Tabard__V1__InspectResult *result, const struct summing *summing,
                             const struct plain_figure *row)
{
    Tabard__V1__MetricFamily *family = family_add(result, row->name, row->type, row->help, 2);
    if (family == NULL) {
        return false;
    }
    if (row->labels[0] == NULL) {
        return sample_add(family, "", sum(summing, row->offsets[0]));
    }
    return sample_add(family, row->labels[0], sum(summing, row->offsets[0])) &&
           sample_add(family, row->labels[1], sum(summing, row->offsets[1]));
}

bool stats_families(Tabard__V1__InspectResult *result, struct stats *const *sets, size_t num_sets)
{
    const struct summing summing = {.sets = sets, .num_sets = num_sets};
    result->metrics = calloc(NUM_FAMILIES_MAX, sizeof *result->metrics);
    if (result->metrics == NULL) {
        return false;
    }
    bool ok = by_direction(result, &summing, "tabard_connections_opened_total", "counter",
                           "Connections accepted.", offsetof(struct stats, opened)) &&
              by_direction(result, &summing, "tabard_connections_open", "gauge",
                           "Connections not yet ended.", offsetof(struct stats, open)) &&
              by_reason(result, &summing) && by_flow(result, &summing);
    for (size_t i = 0; ok && i < sizeof plain_figures / sizeof plain_figures[0]; i++) {
        ok = plain_figure_add(result, &summing, &plain_figures[i]);
    }
    return ok;
}
