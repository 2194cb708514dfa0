// SPDX-License-Identifier: Apache-2.0
#include "proxy/link/stats.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"
#include "base/must.h"

#define FIGURES_MAX 3                           // of a family, by a label of their own
#define LABELS_MAX  (1 + PROGRAM_LIBRARIES_MAX) // of a sample

// One family of metrics. It has a sample for each of its figures; for each direction, if its
// figures are arrays of them; and for each reason, if those are arrays in turn.
struct family {
    const char *name;
    Tabard__V1__MetricFamily__Type type;
    const char *help;
    bool is_by_direction;
    bool is_by_reason;
    const char *label; // that tells the figures apart; NULL: there is one
    struct {
        const char *label_value;
        size_t offset; // in struct stats
    } figures[FIGURES_MAX];
};

#define COUNTER TABARD__V1__METRIC_FAMILY__TYPE__COUNTER
#define GAUGE   TABARD__V1__METRIC_FAMILY__TYPE__GAUGE
#define FIGURE(field)                                                                              \
    {                                                                                              \
        {                                                                                          \
            NULL, offsetof(struct stats, field)                                                    \
        }                                                                                          \
    }

static const struct family families[] = {
    {.name = "tabard_connections_opened_total",
     .type = COUNTER,
     .help = "Connections accepted.",
     .is_by_direction = true,
     .figures = FIGURE(opened)},
    {.name = "tabard_connections_open",
     .type = GAUGE,
     .help = "Connections not yet ended.",
     .is_by_direction = true,
     .figures = FIGURE(open)},
    {.name = "tabard_connections_closed_total",
     .type = COUNTER,
     .help = "Connections ended, by the one reason each ends with.",
     .is_by_direction = true,
     .is_by_reason = true,
     .figures = FIGURE(closed)},
    {.name = "tabard_bytes_total",
     .type = COUNTER,
     .help = "Bytes of the applications relayed; up is from the client to the server.",
     .is_by_direction = true,
     .label = "flow",
     .figures = {{"up", offsetof(struct stats, bytes_up)},
                 {"down", offsetof(struct stats, bytes_down)}}},
    {.name = "tabard_hellos_awaited",
     .type = GAUGE,
     .help = "Inbound connections whose ClientHello is not complete.",
     .figures = FIGURE(hellos_awaited)},
    {.name = "tabard_handshakes_waiting",
     .type = GAUGE,
     .help = "TLS handshakes that wait for their turn.",
     .is_by_direction = true,
     .figures = FIGURE(handshakes_waiting)},
    {.name = "tabard_handshakes_in_flight",
     .type = GAUGE,
     .help = "TLS handshakes begun and not ended.",
     .is_by_direction = true,
     .figures = FIGURE(handshakes_in_flight)},
    {.name = "tabard_handshakes_total",
     .type = COUNTER,
     .help = "TLS handshakes done, by whether a quantum computer could find out their keys.",
     .is_by_direction = true,
     .label = "key_exchange",
     .figures = {{"post_quantum", offsetof(struct stats, handshakes_post_quantum)},
                 {"classical", offsetof(struct stats, handshakes_classical)}}},
    {.name = "tabard_accept_pauses_total",
     .type = COUNTER,
     .help = "How often no more connections were accepted for a while, at a limit.",
     .is_by_direction = true,
     .figures = FIGURE(accept_pauses)},
    {.name = "tabard_buffer_bytes",
     .type = GAUGE,
     .help = "Relay memory lent to connections.",
     .figures = FIGURE(buffer_bytes)},
    {.name = "tabard_buffer_waits_total",
     .type = COUNTER,
     .help = "How often a connection had to wait for relay memory.",
     .figures = FIGURE(buffer_waits)},
    {.name = "tabard_plaintext_connections_total",
     .type = COUNTER,
     .help = "Inbound connections served in the clear, on ports that allow it.",
     .figures = FIGURE(plaintext_connections)},
    {.name = "tabard_policy_audit_total",
     .type = COUNTER,
     .help = "Matches of AUDIT policies, by what they would have done.",
     .label = "would",
     .figures = {{"allow", offsetof(struct stats, audit_would_allow)},
                 {"deny", offsetof(struct stats, audit_would_deny)}}},
    {.name = "tabard_would_deny_total",
     .type = COUNTER,
     .help = "Connections served only because enforcement is OBSERVE, by why they would be denied.",
     .label = "reason",
     .figures = {{"policy_denied", offsetof(struct stats, would_deny_policy)},
                 {"plaintext_on_mtls", offsetof(struct stats, would_deny_plaintext)},
                 {"unlisted_destination", offsetof(struct stats, would_deny_unlisted)}}},
    {.name = "tabard_denials_dropped_total",
     .type = COUNTER,
     .help = "Connections that tabardctl audit does not list, since its table was full.",
     .figures = FIGURE(denials_dropped)},
    {.name = "tabard_accept_errors_total",
     .type = COUNTER,
     .help = "Connections that the kernel could not hand over.",
     .figures = FIGURE(accept_errors)},
    {.name = "tabard_verified_chains_total",
     .type = COUNTER,
     .help = "Peer certificate chains accepted, by whether their signatures had to be checked.",
     .label = "result",
     .figures = {{"checked", offsetof(struct stats, chains_checked)},
                 {"cached", offsetof(struct stats, chains_cached)}}},
};

#define NUM_FAMILIES (sizeof families / sizeof families[0])

const char *direction_text(enum direction direction)
{
    return direction == DIRECTION_INBOUND ? "inbound" : "outbound";
}

static uint64_t sum(struct stats *const *sets, size_t num_sets, size_t offset)
{
    uint64_t total = 0;
    for (size_t i = 0; i < num_sets; i++) {
        const _Atomic uint64_t *figure =
            (const _Atomic uint64_t *)(const void *)((const char *)sets[i] + offset);
        total += atomic_load_explicit(figure, memory_order_relaxed);
    }
    return total;
}

static void add_label(Tabard__V1__MetricFamily__Sample *sample, const char *name, const char *value)
{
    Tabard__V1__MetricFamily__Label *label = must_alloc(1, sizeof *label);
    tabard__v1__metric_family__label__init(label);
    label->name = must_strdup(name);
    label->value = must_strdup(value);
    sample->labels[sample->n_labels++] = label;
}

static void add_sample(Tabard__V1__MetricFamily *family, const struct family *row,
                       enum direction direction, size_t figure, enum reason reason, uint64_t value)
{
    Tabard__V1__MetricFamily__Sample *sample = must_alloc(1, sizeof *sample);
    tabard__v1__metric_family__sample__init(sample);
    sample->labels = must_alloc(LABELS_MAX, sizeof sample->labels[0]);
    sample->value = value;
    if (row->is_by_direction) {
        add_label(sample, "direction", direction_text(direction));
    }
    if (row->label != NULL) {
        add_label(sample, row->label, row->figures[figure].label_value);
    }
    if (row->is_by_reason) {
        add_label(sample, "reason", reason_text(reason));
    }
    family->samples[family->n_samples++] = sample;
}

static Tabard__V1__MetricFamily *family_new(const struct family *row, struct stats *const *sets,
                                            size_t num_sets)
{
    const unsigned num_directions = row->is_by_direction ? NUM_DIRECTIONS : 1;
    const unsigned num_figures = row->label != NULL ? FIGURES_MAX : 1;
    const unsigned num_reasons = row->is_by_reason ? NUM_REASONS : 1;
    const size_t num_max = (size_t)num_directions * num_figures * num_reasons;
    Tabard__V1__MetricFamily *family = must_alloc(1, sizeof *family);
    tabard__v1__metric_family__init(family);
    family->name = must_strdup(row->name);
    family->type = row->type;
    family->help = must_strdup(row->help);
    family->samples = must_alloc(num_max, sizeof family->samples[0]);
    for (unsigned d = 0; d < num_directions; d++) {
        for (unsigned f = 0; f < num_figures; f++) {
            if (row->label != NULL && row->figures[f].label_value == NULL) {
                break; // it has fewer
            }
            for (unsigned r = row->is_by_reason ? REASON_FINISHED : 0; r < num_reasons; r++) {
                size_t offset = row->figures[f].offset +
                                ((size_t)d * num_reasons + r) * sizeof(_Atomic uint64_t);
                add_sample(family, row, (enum direction)d, f, (enum reason)r,
                           sum(sets, num_sets, offset));
            }
        }
    }
    return family;
}

// Makes the family of a figure that is the process's own, and no worker's.
static Tabard__V1__MetricFamily *log_family_new(void)
{
    static const struct family row = {.name = "tabard_proxy_log_lines_dropped_total",
                                      .type = COUNTER,
                                      .help = "Lines of the proxy's log that its reader had no "
                                              "room for."};
    Tabard__V1__MetricFamily *family = family_new(&row, NULL, 0);
    family->samples[0]->value = log_num_dropped();
    return family;
}

static Tabard__V1__MetricFamily *build_family_new(const struct program *program)
{
    static const struct family row = {.name = "tabard_proxy_build_info",
                                      .type = GAUGE,
                                      .help = "Always 1; the versions of Tabard and of the "
                                              "program's libraries are in the labels."};
    struct library libraries[PROGRAM_LIBRARIES_MAX];
    size_t num = program_libraries(program, libraries);
    Tabard__V1__MetricFamily *family = family_new(&row, NULL, 0);
    family->samples[0]->value = 1;
    add_label(family->samples[0], "version", program->version);
    for (size_t i = 0; i < num; i++) {
        add_label(family->samples[0], libraries[i].label, libraries[i].version);
    }
    return family;
}

void stats_report(Tabard__V1__InspectResult *result, const struct program *program,
                  struct stats *const *sets, size_t num_sets)
{
    result->metrics = must_alloc(NUM_FAMILIES + 2, sizeof result->metrics[0]);
    result->metrics[result->n_metrics++] = build_family_new(program);
    result->metrics[result->n_metrics++] = log_family_new();
    for (size_t i = 0; i < NUM_FAMILIES; i++) {
        result->metrics[result->n_metrics++] = family_new(&families[i], sets, num_sets);
    }
    result->denials_dropped = sum(sets, num_sets, offsetof(struct stats, denials_dropped));
    for (unsigned d = 0; d < NUM_DIRECTIONS; d++) {
        result->num_connections +=
            sum(sets, num_sets, offsetof(struct stats, open) + d * sizeof(_Atomic uint64_t));
    }
}
