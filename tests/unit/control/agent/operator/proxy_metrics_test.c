// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/proxy_metrics.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTER   TABARD__V1__METRIC_FAMILY__TYPE__COUNTER
#define GAUGE     TABARD__V1__METRIC_FAMILY__TYPE__GAUGE
#define HISTOGRAM TABARD__V1__METRIC_FAMILY__TYPE__HISTOGRAM

#define REFUSED(num)                                                                               \
    "# HELP tabard_proxy_metrics_refused_total Metric families of the proxy that were not "        \
    "well-formed and are left out.\n# TYPE tabard_proxy_metrics_refused_total counter\n"           \
    "tabard_proxy_metrics_refused_total " #num "\n"

// A family of one sample, with room for two labels and two buckets.
struct message {
    Tabard__V1__MetricFamily__Label labels[2];
    Tabard__V1__MetricFamily__Label *label_ptrs[2];
    Tabard__V1__MetricFamily__Bucket buckets[2];
    Tabard__V1__MetricFamily__Bucket *bucket_ptrs[2];
    Tabard__V1__MetricFamily__Histogram histogram;
    Tabard__V1__MetricFamily__Sample sample;
    Tabard__V1__MetricFamily__Sample *samples[1];
    Tabard__V1__MetricFamily family;
};

static void message_init(struct message *message, const char *name,
                         Tabard__V1__MetricFamily__Type type)
{
    tabard__v1__metric_family__init(&message->family);
    tabard__v1__metric_family__sample__init(&message->sample);
    tabard__v1__metric_family__histogram__init(&message->histogram);
    for (size_t i = 0; i < 2; i++) {
        tabard__v1__metric_family__label__init(&message->labels[i]);
        tabard__v1__metric_family__bucket__init(&message->buckets[i]);
        message->label_ptrs[i] = &message->labels[i];
        message->bucket_ptrs[i] = &message->buckets[i];
    }
    message->histogram.buckets = message->bucket_ptrs;
    message->sample.labels = message->label_ptrs;
    message->sample.value = 9;
    message->samples[0] = &message->sample;
    message->family.samples = message->samples;
    message->family.n_samples = 1;
    message->family.name = (char *)name;
    message->family.help = (char *)"Help.";
    message->family.type = type;
}

static void label_set(struct message *message, size_t i, const char *name, const char *value)
{
    message->labels[i].name = (char *)name;
    message->labels[i].value = (char *)value;
    message->sample.n_labels = i + 1;
}

static void histogram_set(struct message *message, double bound, uint64_t count, double next_bound,
                          uint64_t next_count, double sum, uint64_t all)
{
    message->buckets[0].bound = bound;
    message->buckets[0].count = count;
    message->buckets[1].bound = next_bound;
    message->buckets[1].count = next_count;
    message->histogram.n_buckets = 2;
    message->histogram.sum = sum;
    message->histogram.count = all;
    message->sample.histogram = &message->histogram;
}

// The page of an agent whose one family is tabard_ready.
static char *page_of(Tabard__V1__MetricFamily *const *families, size_t num,
                     struct proxy_metrics_refusals *refusals)
{
    struct metrics_page page;
    metrics_open(&page);
    metrics_gauge(&page, "tabard_ready", "Help.", 1);
    proxy_metrics_write(&page, families, num, refusals);
    return metrics_close(&page);
}

#define AGENT "# HELP tabard_ready Help.\n# TYPE tabard_ready gauge\ntabard_ready 1\n"

static void expect_written(struct message *message, const char *wanted)
{
    struct proxy_metrics_refusals refusals = {0};
    Tabard__V1__MetricFamily *families[] = {&message->family};
    char *text = page_of(families, 1, &refusals);
    cr_expect_eq(refusals.num, 0, "%s", refusals.last.text);
    cr_assert_eq(strncmp(text, AGENT, strlen(AGENT)), 0);
    const char *rest = text + strlen(AGENT);
    cr_expect_eq(strncmp(rest, wanted, strlen(wanted)), 0, "%s", rest);
    cr_expect_str_eq(rest + strlen(wanted), REFUSED(0));
    free(text);
}

static void expect_refused(struct message *message, const char *words, const char *what)
{
    struct proxy_metrics_refusals refusals = {0};
    Tabard__V1__MetricFamily *families[] = {&message->family};
    char *text = page_of(families, 1, &refusals);
    cr_expect_eq(refusals.num, 1, "%s", what);
    cr_expect(strstr(refusals.last.text, words) != NULL, "%s: %s", what, refusals.last.text);
    cr_expect_str_eq(text, AGENT REFUSED(1), "%s: %s", what, text);
    free(text);
}

Test(proxy_metrics, writes_what_is_well_formed, .timeout = 10)
{
    struct message message;
    message_init(&message, "tabard_x", GAUGE);
    expect_written(&message, "# HELP tabard_x Help.\n# TYPE tabard_x gauge\ntabard_x 9\n");
    message_init(&message, "tabard_x_total", COUNTER);
    label_set(&message, 0, "direction", "inbound");
    label_set(&message, 1, "http2", "a \"b\"\n\\");
    message.family.help = (char *)"A line\nup 1";
    expect_written(&message,
                   "# HELP tabard_x_total A line\\nup 1\n# TYPE tabard_x_total counter\n"
                   "tabard_x_total{direction=\"inbound\",http2=\"a \\\"b\\\"\\n\\\\\"} 9\n");
    message_init(&message, "tabard_x_seconds", HISTOGRAM);
    label_set(&message, 0, "step", "connect");
    histogram_set(&message, 0.001, 2, 0.5, 2, 1.5, 3);
    expect_written(&message, "# HELP tabard_x_seconds Help.\n# TYPE tabard_x_seconds histogram\n"
                             "tabard_x_seconds_bucket{step=\"connect\",le=\"0.001\"} 2\n"
                             "tabard_x_seconds_bucket{step=\"connect\",le=\"0.5\"} 2\n"
                             "tabard_x_seconds_bucket{step=\"connect\",le=\"+Inf\"} 3\n"
                             "tabard_x_seconds_sum{step=\"connect\"} 1.500000\n"
                             "tabard_x_seconds_count{step=\"connect\"} 3\n");
}

static void expect_accepted(struct message *message, const char *what)
{
    struct proxy_metrics_refusals refusals = {0};
    Tabard__V1__MetricFamily *families[] = {&message->family};
    free(page_of(families, 1, &refusals));
    cr_expect_eq(refusals.num, 0, "%s: %s", what, refusals.last.text);
}

static const char *const bad_names[] = {"",
                                        "up",
                                        "tabard_x 1\nup",
                                        "tabard-x",
                                        "TABARD_X",
                                        "tabard_ready",
                                        "tabard_\xc3\xa9",
                                        "tabard_"
                                        "proxy_metrics_refused_total"};

Test(proxy_metrics, refuses_names_that_are_not_the_proxy_s_to_give, .timeout = 10)
{
    for (size_t i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++) {
        struct message message;
        message_init(&message, bad_names[i], GAUGE);
        expect_refused(&message, "", bad_names[i]);
    }
    char name[PROXY_METRICS_NAME_BYTES_MAX + 2] = "tabard_";
    memset(name + 7, 'x', sizeof name - 8);
    struct message message;
    message_init(&message, name, GAUGE);
    expect_refused(&message, "no name", "a name that is one byte too long");
    name[PROXY_METRICS_NAME_BYTES_MAX] = '\0';
    expect_accepted(&message, "the longest name");
}

Test(proxy_metrics, refuses_other_types, .timeout = 10)
{
    struct message message;
    message_init(&message, "tabard_x", (Tabard__V1__MetricFamily__Type)0);
    expect_refused(&message, "tabard_x: 0 is no type", "no type");
    message_init(&message, "tabard_x", (Tabard__V1__MetricFamily__Type)4);
    expect_refused(&message, "4 is no type", "a type that is not known");
    message_init(&message, "tabard_x", HISTOGRAM);
    expect_refused(&message, "another type", "a number in a histogram");
    message_init(&message, "tabard_x", COUNTER);
    histogram_set(&message, 1, 1, 2, 1, 1, 1);
    expect_refused(&message, "another type", "a histogram in a counter");
}

Test(proxy_metrics, refuses_labels_that_break_the_data_model, .timeout = 10)
{
    static const char *const names[] = {"", "2a", "a-b", "a:b", "__a", "a\"} 1\nup{b", "\xc3\xa9"};
    struct message message;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        message_init(&message, "tabard_x", GAUGE);
        label_set(&message, 0, names[i], "");
        expect_refused(&message, "no name for a label", names[i]);
    }
    message_init(&message, "tabard_x", GAUGE);
    label_set(&message, 0, "a", "1");
    label_set(&message, 1, "a", "2");
    expect_refused(&message, "the label a twice", "a label twice");
    message_init(&message, "tabard_x", GAUGE);
    label_set(&message, 0, "a", "\xff");
    expect_refused(&message, "UTF-8", "a value that is no UTF-8");
    message_init(&message, "tabard_x", GAUGE);
    message.family.help = (char *)"\xc3";
    expect_refused(&message, "UTF-8", "a help that is no UTF-8");
    message_init(&message, "tabard_x", HISTOGRAM);
    histogram_set(&message, 1, 1, 2, 1, 1, 1);
    label_set(&message, 0, "le", "1");
    expect_refused(&message, "no name for a label", "a histogram's own label");
}

Test(proxy_metrics, refuses_histograms_that_cannot_be, .timeout = 10)
{
    static const struct {
        const char *what;
        double bound;
        uint64_t count;
        double next_bound;
        uint64_t next_count;
        double sum;
        uint64_t all;
    } rows[] = {
        {"falling bounds", 2, 1, 1, 1, 1, 1},
        {"equal bounds", 1, 1, 1, 1, 1, 1},
        {"a bound that is infinite", 1, 1, INFINITY, 1, 1, 1},
        {"a bound that is no number", NAN, 1, 2, 1, 1, 1},
        {"falling counts", 1, 2, 2, 1, 1, 2},
        {"fewer than in its buckets", 1, 1, 2, 3, 1, 2},
        {"a sum that is no number", 1, 1, 2, 1, NAN, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct message message;
        message_init(&message, "tabard_x", HISTOGRAM);
        histogram_set(&message, rows[i].bound, rows[i].count, rows[i].next_bound,
                      rows[i].next_count, rows[i].sum, rows[i].all);
        expect_refused(&message, "buckets", rows[i].what);
    }
}

Test(proxy_metrics, refuses_more_than_the_limits, .timeout = 10)
{
    struct message message;
    static char value[PROXY_METRICS_VALUE_BYTES_MAX + 2];
    memset(value, 'x', sizeof value - 1);
    message_init(&message, "tabard_x", GAUGE);
    label_set(&message, 0, "a", value);
    expect_refused(&message, "a label's value of 1025 bytes", "a long value");
    label_set(&message, 0, "a", value + 1);
    expect_accepted(&message, "the longest value");

    static Tabard__V1__MetricFamily__Sample *samples[PROXY_METRICS_SAMPLES_MAX + 1];
    message_init(&message, "tabard_x", GAUGE);
    for (size_t i = 0; i <= PROXY_METRICS_SAMPLES_MAX; i++) {
        samples[i] = &message.sample;
    }
    message.family.samples = samples;
    message.family.n_samples = PROXY_METRICS_SAMPLES_MAX + 1;
    expect_refused(&message, "4097 samples", "many samples");
    message.family.n_samples--;
    expect_accepted(&message, "as many samples as may be");

    Tabard__V1__MetricFamily__Label labels[PROXY_METRICS_LABELS_MAX + 1];
    char names[PROXY_METRICS_LABELS_MAX + 1][8];
    Tabard__V1__MetricFamily__Label *label_ptrs[PROXY_METRICS_LABELS_MAX + 1];
    message_init(&message, "tabard_x", GAUGE);
    for (size_t i = 0; i <= PROXY_METRICS_LABELS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "a%zu", i);
        tabard__v1__metric_family__label__init(&labels[i]);
        labels[i].name = names[i];
        label_ptrs[i] = &labels[i];
    }
    message.sample.labels = label_ptrs;
    message.sample.n_labels = PROXY_METRICS_LABELS_MAX + 1;
    expect_refused(&message, "17 labels", "many labels");
    message.sample.n_labels--;
    expect_accepted(&message, "as many labels as may be");

    Tabard__V1__MetricFamily__Bucket buckets[PROXY_METRICS_BUCKETS_MAX + 1];
    Tabard__V1__MetricFamily__Bucket *bucket_ptrs[PROXY_METRICS_BUCKETS_MAX + 1];
    message_init(&message, "tabard_x", HISTOGRAM);
    histogram_set(&message, 1, 1, 2, 1, 1, 1);
    for (size_t i = 0; i <= PROXY_METRICS_BUCKETS_MAX; i++) {
        tabard__v1__metric_family__bucket__init(&buckets[i]);
        buckets[i].bound = (double)i;
        bucket_ptrs[i] = &buckets[i];
    }
    message.histogram.buckets = bucket_ptrs;
    message.histogram.n_buckets = PROXY_METRICS_BUCKETS_MAX + 1;
    expect_refused(&message, "65 buckets", "many buckets");
    message.histogram.n_buckets--;
    expect_accepted(&message, "as many buckets as may be");
}

Test(proxy_metrics, refuses_families_beyond_the_limit_and_counts_each, .timeout = 10)
{
    static struct message messages[PROXY_METRICS_FAMILIES_MAX + 2];
    static Tabard__V1__MetricFamily *families[PROXY_METRICS_FAMILIES_MAX + 2];
    static char names[PROXY_METRICS_FAMILIES_MAX + 2][32];
    for (size_t i = 0; i < PROXY_METRICS_FAMILIES_MAX + 2; i++) {
        snprintf(names[i], sizeof names[i], "tabard_x%zu", i);
        message_init(&messages[i], names[i], GAUGE);
        families[i] = &messages[i].family;
    }
    struct proxy_metrics_refusals refusals = {0};
    char *text = page_of(families, PROXY_METRICS_FAMILIES_MAX, &refusals);
    cr_expect_eq(refusals.num, 0);
    cr_expect(strstr(text, "\ntabard_x255 9\n") != NULL);
    free(text);
    text = page_of(families, PROXY_METRICS_FAMILIES_MAX + 2, &refusals);
    cr_expect_eq(refusals.num, 2);
    cr_expect(strstr(refusals.last.text, "258 families") != NULL, "%s", refusals.last.text);
    cr_expect(strstr(text, "\ntabard_x255 9\n") != NULL && strstr(text, "tabard_x256") == NULL);
    cr_expect(strstr(text, REFUSED(2)) != NULL);
    free(text);
}

Test(proxy_metrics, one_bad_family_takes_no_other_with_it_and_the_count_goes_on, .timeout = 10)
{
    struct message first, second, third;
    message_init(&first, "tabard_a", GAUGE);
    message_init(&second, "tabard_a", GAUGE);
    message_init(&third, "tabard_b", GAUGE);
    Tabard__V1__MetricFamily *families[] = {&first.family, &second.family, &third.family};
    struct proxy_metrics_refusals refusals = {.num = 4};
    char *text = page_of(families, 3, &refusals);
    cr_expect_str_eq(text, AGENT "# HELP tabard_a Help.\n# TYPE tabard_a gauge\ntabard_a 9\n"
                                 "# HELP tabard_b Help.\n# TYPE tabard_b gauge\n"
                                 "tabard_b 9\n" REFUSED(5));
    free(text);
}
