// SPDX-License-Identifier: Apache-2.0
#include "proxy/link/stats.h"

#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define NUM_FIGURES (sizeof(struct stats) / sizeof(_Atomic uint64_t))

// Every figure of a set differs from every other one.
static void fill(struct stats *set, uint64_t first)
{
    _Atomic uint64_t *figures = (_Atomic uint64_t *)(void *)set;
    for (size_t i = 0; i < NUM_FIGURES; i++) {
        stats_set(&figures[i], first + i);
    }
}

static struct library some_library(void)
{
    return (struct library){"some", "some_library", "1.2 of 3"};
}

static Tabard__V1__InspectResult *report(struct stats *const *sets, size_t num_sets)
{
    Tabard__V1__InspectResult *result = malloc(sizeof *result);
    tabard__v1__inspect_result__init(result);
    stats_report(result,
                 &(struct program){.name = "proxy", .version = "4.5", .libraries = {some_library}},
                 sets, num_sets);
    return result;
}

static const Tabard__V1__MetricFamily *find_family(const Tabard__V1__InspectResult *result,
                                                   const char *name)
{
    for (size_t i = 0; i < result->n_metrics; i++) {
        if (strcmp(result->metrics[i]->name, name) == 0) {
            return result->metrics[i];
        }
    }
    cr_assert(false, "there is no %s", name);
    return NULL;
}

// The sample's labels, in order, as name=value,name=value.
static const char *labels_text(const Tabard__V1__MetricFamily__Sample *sample)
{
    static char text[256];
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sample->n_labels; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s=%s", i == 0 ? "" : ",",
                                sample->labels[i]->name, sample->labels[i]->value);
    }
    return text;
}

static uint64_t value(const Tabard__V1__InspectResult *result, const char *name, const char *labels)
{
    const Tabard__V1__MetricFamily *family = find_family(result, name);
    for (size_t i = 0; i < family->n_samples; i++) {
        if (strcmp(labels_text(family->samples[i]), labels) == 0) {
            return family->samples[i]->value;
        }
    }
    cr_assert(false, "there is no %s{%s}", name, labels);
    return 0;
}

struct row {
    const char *name;
    Tabard__V1__MetricFamily__Type type;
    const char *labels;
    size_t offset;
};

#define COUNTER   TABARD__V1__METRIC_FAMILY__TYPE__COUNTER
#define GAUGE     TABARD__V1__METRIC_FAMILY__TYPE__GAUGE
#define OF(field) offsetof(struct stats, field)

static const struct row rows[] = {
    {"tabard_connections_opened_total", COUNTER, "direction=inbound", OF(opened[0])},
    {"tabard_connections_opened_total", COUNTER, "direction=outbound", OF(opened[1])},
    {"tabard_connections_open", GAUGE, "direction=inbound", OF(open[0])},
    {"tabard_connections_open", GAUGE, "direction=outbound", OF(open[1])},
    {"tabard_bytes_total", COUNTER, "direction=inbound,flow=up", OF(bytes_up[0])},
    {"tabard_bytes_total", COUNTER, "direction=inbound,flow=down", OF(bytes_down[0])},
    {"tabard_bytes_total", COUNTER, "direction=outbound,flow=up", OF(bytes_up[1])},
    {"tabard_bytes_total", COUNTER, "direction=outbound,flow=down", OF(bytes_down[1])},
    {"tabard_hellos_awaited", GAUGE, "", OF(hellos_awaited)},
    {"tabard_handshakes_waiting", GAUGE, "direction=inbound", OF(handshakes_waiting[0])},
    {"tabard_handshakes_waiting", GAUGE, "direction=outbound", OF(handshakes_waiting[1])},
    {"tabard_handshakes_in_flight", GAUGE, "direction=inbound", OF(handshakes_in_flight[0])},
    {"tabard_handshakes_in_flight", GAUGE, "direction=outbound", OF(handshakes_in_flight[1])},
    {"tabard_handshakes_total", COUNTER, "direction=inbound,key_exchange=post_quantum",
     OF(handshakes_post_quantum[0])},
    {"tabard_handshakes_total", COUNTER, "direction=outbound,key_exchange=post_quantum",
     OF(handshakes_post_quantum[1])},
    {"tabard_handshakes_total", COUNTER, "direction=inbound,key_exchange=classical",
     OF(handshakes_classical[0])},
    {"tabard_handshakes_total", COUNTER, "direction=outbound,key_exchange=classical",
     OF(handshakes_classical[1])},
    {"tabard_accept_pauses_total", COUNTER, "direction=inbound", OF(accept_pauses[0])},
    {"tabard_accept_pauses_total", COUNTER, "direction=outbound", OF(accept_pauses[1])},
    {"tabard_buffer_bytes", GAUGE, "", OF(buffer_bytes)},
    {"tabard_buffer_waits_total", COUNTER, "", OF(buffer_waits)},
    {"tabard_plaintext_connections_total", COUNTER, "", OF(plaintext_connections)},
    {"tabard_policy_audit_total", COUNTER, "would=allow", OF(audit_would_allow)},
    {"tabard_policy_audit_total", COUNTER, "would=deny", OF(audit_would_deny)},
    {"tabard_would_deny_total", COUNTER, "reason=policy_denied", OF(would_deny_policy)},
    {"tabard_would_deny_total", COUNTER, "reason=plaintext_on_mtls", OF(would_deny_plaintext)},
    {"tabard_would_deny_total", COUNTER, "reason=unlisted_destination", OF(would_deny_unlisted)},
    {"tabard_denials_dropped_total", COUNTER, "", OF(denials_dropped)},
    {"tabard_accept_errors_total", COUNTER, "", OF(accept_errors)},
    {"tabard_verified_chains_total", COUNTER, "result=checked", OF(chains_checked)},
    {"tabard_verified_chains_total", COUNTER, "result=cached", OF(chains_cached)},
};

#define NUM_ROWS (sizeof rows / sizeof rows[0])

static uint64_t figure_of(size_t offset)
{
    return offset / sizeof(_Atomic uint64_t);
}

Test(stats, each_figure_lands_in_its_own_sample, .timeout = 10)
{
    static struct stats set;
    struct stats *sets[] = {&set};
    fill(&set, 1000);
    Tabard__V1__InspectResult *result = report(sets, 1);
    for (size_t i = 0; i < NUM_ROWS; i++) {
        const struct row *row = &rows[i];
        cr_expect_eq(value(result, row->name, row->labels), 1000 + figure_of(row->offset), "%s{%s}",
                     row->name, row->labels);
        cr_expect_eq(find_family(result, row->name)->type, row->type, "%s", row->name);
    }
    for (unsigned d = 0; d < NUM_DIRECTIONS; d++) {
        for (unsigned r = REASON_FINISHED; r < NUM_REASONS; r++) {
            char labels[128];
            snprintf(labels, sizeof labels, "direction=%s,reason=%s",
                     direction_text((enum direction)d), reason_text((enum reason)r));
            cr_expect_eq(value(result, "tabard_connections_closed_total", labels),
                         1000 + figure_of(OF(closed)) + d * NUM_REASONS + r, "%s", labels);
        }
    }
    tabard__v1__inspect_result__free_unpacked(result, NULL);
}

Test(stats, no_figure_is_forgotten_and_no_family_stands_twice, .timeout = 10)
{
    static struct stats set;
    struct stats *sets[] = {&set};
    Tabard__V1__InspectResult *result = report(sets, 1);
    size_t num_samples = 0;
    for (size_t i = 0; i < result->n_metrics; i++) {
        num_samples += result->metrics[i]->n_samples;
        for (size_t k = 0; k < i; k++) {
            cr_expect_str_neq(result->metrics[i]->name, result->metrics[k]->name);
        }
        cr_expect_str_neq(result->metrics[i]->help, "");
    }
    // No connection ends with REASON_NONE; the build and the lines that the log lost are no
    // worker's figures.
    cr_expect_eq(num_samples, NUM_FIGURES - NUM_DIRECTIONS + 2);
    cr_expect_eq(num_samples, NUM_ROWS + NUM_DIRECTIONS * (NUM_REASONS - 1) + 2);
    cr_expect_eq(value(result, "tabard_proxy_build_info", "version=4.5,some_library=1.2 of 3"), 1);
    cr_expect_eq(value(result, "tabard_proxy_log_lines_dropped_total", ""), log_num_dropped());
    tabard__v1__inspect_result__free_unpacked(result, NULL);
}

Test(stats, the_workers_are_added_up, .timeout = 10)
{
    static struct stats first, second;
    struct stats *sets[] = {&first, &second};
    stats_set(&first.open[DIRECTION_INBOUND], 3);
    stats_set(&first.open[DIRECTION_OUTBOUND], 10);
    stats_set(&second.open[DIRECTION_INBOUND], 4);
    stats_add(&second.bytes_up[DIRECTION_INBOUND], 5);
    stats_add(&second.bytes_up[DIRECTION_INBOUND], 6);
    Tabard__V1__InspectResult *result = report(sets, 2);
    cr_expect_eq(value(result, "tabard_connections_open", "direction=inbound"), 7);
    cr_expect_eq(value(result, "tabard_connections_open", "direction=outbound"), 10);
    cr_expect_eq(value(result, "tabard_bytes_total", "direction=inbound,flow=up"), 11);
    cr_expect_eq(result->num_connections, 17);
    tabard__v1__inspect_result__free_unpacked(result, NULL);
}
