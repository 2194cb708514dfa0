// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/proxy_metrics.h"

#include <math.h>
#include <string.h>

#include "base/data/utf8.h"

#define REFUSED_NAME PROXY_METRICS_PREFIX "proxy_metrics_refused_total"

_Static_assert(PROXY_METRICS_FAMILIES_MAX <= METRICS_FAMILIES_MAX / 2,
               "the page has room for all of them beside the agent's own");

static bool is_type(Tabard__V1__MetricFamily__Type wire, enum metrics_type *out_type)
{
    switch ((int)wire) {
    case TABARD__V1__METRIC_FAMILY__TYPE__COUNTER:
        *out_type = METRICS_COUNTER;
        return true;
    case TABARD__V1__METRIC_FAMILY__TYPE__GAUGE:
        *out_type = METRICS_GAUGE;
        return true;
    case TABARD__V1__METRIC_FAMILY__TYPE__HISTOGRAM:
        *out_type = METRICS_HISTOGRAM;
        return true;
    default:
        return false;
    }
}

static bool check_text(const char *text, const char *what, struct err *err)
{
    size_t len = strlen(text);
    if (len > PROXY_METRICS_VALUE_BYTES_MAX) {
        return err_set(err, "%s of %zu bytes; the limit is %d", what, len,
                       PROXY_METRICS_VALUE_BYTES_MAX);
    }
    return utf8_is_valid((const uint8_t *)text, len) || err_set(err, "%s that is no UTF-8", what);
}

static bool check_labels(const Tabard__V1__MetricFamily__Sample *sample, bool is_histogram,
                         struct err *err)
{
    if (sample->n_labels > PROXY_METRICS_LABELS_MAX) {
        return err_set(err, "%zu labels; the limit is %d", sample->n_labels,
                       PROXY_METRICS_LABELS_MAX);
    }
    for (size_t i = 0; i < sample->n_labels; i++) {
        const Tabard__V1__MetricFamily__Label *label = sample->labels[i];
        if (!metrics_is_label_name(label->name) ||
            strlen(label->name) > PROXY_METRICS_NAME_BYTES_MAX ||
            (is_histogram && strcmp(label->name, "le") == 0)) {
            return err_set(err, "\"%.100s\" is no name for a label", label->name);
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(label->name, sample->labels[k]->name) == 0) {
                return err_set(err, "the label %s twice", label->name);
            }
        }
        if (!check_text(label->value, "a label's value", err)) {
            return false;
        }
    }
    return true;
}

static bool check_histogram(const Tabard__V1__MetricFamily__Histogram *histogram, struct err *err)
{
    if (histogram->n_buckets > PROXY_METRICS_BUCKETS_MAX) {
        return err_set(err, "%zu buckets; the limit is %d", histogram->n_buckets,
                       PROXY_METRICS_BUCKETS_MAX);
    }
    double bound = -INFINITY;
    uint64_t count = 0;
    for (size_t i = 0; i < histogram->n_buckets; i++) {
        const Tabard__V1__MetricFamily__Bucket *bucket = histogram->buckets[i];
        if (!isfinite(bucket->bound) || bucket->bound <= bound || bucket->count < count) {
            return err_set(err, "buckets whose bounds don't rise, or whose counts fall");
        }
        bound = bucket->bound;
        count = bucket->count;
    }
    if (!isfinite(histogram->sum) || histogram->count < count) {
        return err_set(err, "a sum or a count that can't be that of its buckets");
    }
    return true;
}

static bool check_sample(const Tabard__V1__MetricFamily__Sample *sample, enum metrics_type type,
                         struct err *err)
{
    bool is_histogram = type == METRICS_HISTOGRAM;
    if (is_histogram != (sample->histogram != NULL)) {
        return err_set(err, "a sample of another type than its family");
    }
    return check_labels(sample, is_histogram, err) &&
           (!is_histogram || check_histogram(sample->histogram, err));
}

static bool check_family(const struct metrics_page *page, const Tabard__V1__MetricFamily *family,
                         enum metrics_type *out_type, struct err *err)
{
    if (strncmp(family->name, PROXY_METRICS_PREFIX, strlen(PROXY_METRICS_PREFIX)) != 0 ||
        !metrics_is_name(family->name) || strlen(family->name) > PROXY_METRICS_NAME_BYTES_MAX) {
        return err_set(err, "\"%.100s\" is no name for a family of the proxy's", family->name);
    }
    bool ok = true;
    if (metrics_has(page, family->name) || strcmp(family->name, REFUSED_NAME) == 0) {
        ok = err_set(err, "the page has this family already");
    } else if (!is_type(family->type, out_type)) {
        ok = err_set(err, "%d is no type", (int)family->type);
    } else if (family->n_samples > PROXY_METRICS_SAMPLES_MAX) {
        ok = err_set(err, "%zu samples; the limit is %d", family->n_samples,
                     PROXY_METRICS_SAMPLES_MAX);
    } else {
        ok = check_text(family->help, "a help text", err);
    }
    for (size_t i = 0; ok && i < family->n_samples; i++) {
        ok = check_sample(family->samples[i], *out_type, err);
    }
    return ok || err_prefix(err, "%s", family->name);
}

static void write_sample(struct metrics_page *page, const Tabard__V1__MetricFamily__Sample *sample)
{
    struct metrics_label labels[PROXY_METRICS_LABELS_MAX];
    for (size_t i = 0; i < sample->n_labels; i++) {
        labels[i] = (struct metrics_label){sample->labels[i]->name, sample->labels[i]->value};
    }
    const Tabard__V1__MetricFamily__Histogram *histogram = sample->histogram;
    if (histogram == NULL) {
        metrics_uint(page, labels, sample->n_labels, sample->value);
        return;
    }
    struct metrics_bucket buckets[PROXY_METRICS_BUCKETS_MAX];
    for (size_t i = 0; i < histogram->n_buckets; i++) {
        buckets[i] =
            (struct metrics_bucket){histogram->buckets[i]->bound, histogram->buckets[i]->count};
    }
    metrics_histogram(page, labels, sample->n_labels, buckets, histogram->n_buckets, histogram->sum,
                      histogram->count);
}

void proxy_metrics_write(struct metrics_page *page, Tabard__V1__MetricFamily *const *families,
                         size_t num_families, struct proxy_metrics_refusals *refusals)
{
    for (size_t i = 0; i < num_families; i++) {
        const Tabard__V1__MetricFamily *family = families[i];
        enum metrics_type type = METRICS_COUNTER;
        if (i >= PROXY_METRICS_FAMILIES_MAX) {
            refusals->num += num_families - i;
            err_set(&refusals->last, "%zu families; the limit is %d", num_families,
                    PROXY_METRICS_FAMILIES_MAX);
            break;
        }
        if (!check_family(page, family, &type, &refusals->last)) {
            refusals->num++;
            continue;
        }
        metrics_family(page, family->name, type, family->help);
        for (size_t k = 0; k < family->n_samples; k++) {
            write_sample(page, family->samples[k]);
        }
    }
    metrics_counter(page, REFUSED_NAME,
                    "Metric families of the proxy that were not well-formed and are left out.",
                    refusals->num);
}
