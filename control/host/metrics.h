// SPDX-License-Identifier: Apache-2.0
//
// A page of Prometheus text (exposition format 0.0.4), for an operator's /metrics. Its writer calls
// metrics_open, then metrics_family and that family's samples for one family after another, then
// metrics_close. The page is on the writer's stack and grows with what is written, up to
// METRICS_FAMILIES_MAX families. A name that is not allowed or stands twice is a bug of the writer,
// and aborts; texts may hold anything, because they are escaped.
#ifndef TABARD_CONTROL_HOST_METRICS_H
#define TABARD_CONTROL_HOST_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/program/program.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_FAMILIES_MAX 512 // on one page

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM, METRICS_SUMMARY };

struct metrics_label {
    const char *name;
    const char *value;
};

// How many observations were at most `bound`, the smaller ones included.
struct metrics_bucket {
    double bound;
    uint64_t count;
};

struct metrics_page {
    FILE *out;  // owned, writes into text
    char *text; // owned until metrics_close
    size_t text_len;
    enum metrics_type type;                  // of the last family
    const char *names[METRICS_FAMILIES_MAX]; // borrowed
    size_t num_names;
};

// metrics_is_name and metrics_is_label_name say whether Prometheus' data model allows the name:
// letters, digits and underscores, no digit first; a metric's name may also hold colons, and a
// label's must not begin with two underscores.
bool metrics_is_name(const char *text);
bool metrics_is_label_name(const char *text);

void metrics_open(struct metrics_page *page);

// metrics_close returns the text, malloc'd, the caller's. NULL: out of memory for what was written.
char *metrics_close(struct metrics_page *page);

// metrics_has says whether a family of this name stands on the page already.
bool metrics_has(const struct metrics_page *page, const char *name);

// metrics_family begins a family, which the page must not have yet. `name` stays borrowed until
// metrics_close.
void metrics_family(struct metrics_page *page, const char *name, enum metrics_type type,
                    const char *help);

// Samples of a counter or a gauge. A double is written with so many decimals.
void metrics_uint(struct metrics_page *page, const struct metrics_label *labels, size_t num_labels,
                  uint64_t value);
void metrics_double(struct metrics_page *page, const struct metrics_label *labels,
                    size_t num_labels, double value, int decimals);

// metrics_uint_by writes a sample with one label.
void metrics_uint_by(struct metrics_page *page, const char *label, const char *label_value,
                     uint64_t value);

// metrics_build_info writes a whole family, whose one sample is 1 and has the versions of Tabard
// and of the program's libraries as labels.
void metrics_build_info(struct metrics_page *page, const char *name, const struct program *program);

// metrics_histogram writes the buckets, which must rise, then the bucket of all observations, their
// sum and their count. The label "le" is the histogram's own.
void metrics_histogram(struct metrics_page *page, const struct metrics_label *labels,
                       size_t num_labels, const struct metrics_bucket *buckets, size_t num_buckets,
                       double sum, uint64_t count);

// metrics_summary writes the sum and the count of observations.
void metrics_summary(struct metrics_page *page, double sum, uint64_t count);

// metrics_counter and metrics_gauge write a family of one sample without labels.
void metrics_counter(struct metrics_page *page, const char *name, const char *help, uint64_t value);
void metrics_gauge(struct metrics_page *page, const char *name, const char *help, uint64_t value);

#endif
