// SPDX-License-Identifier: Apache-2.0
#include "control/host/metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"

#define SUM_DECIMALS 6

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// Says whether a text is one or more letters, digits and characters of `more`, not a digit first.
static bool is_word(const char *text, const char *more)
{
    for (const char *c = text; *c != '\0'; c++) {
        bool is_digit = *c >= '0' && *c <= '9';
        if (!is_letter(*c) && strchr(more, *c) == NULL && (!is_digit || c == text)) {
            return false;
        }
    }
    return text[0] != '\0';
}

bool metrics_is_name(const char *text)
{
    return is_word(text, ":");
}

bool metrics_is_label_name(const char *text)
{
    return is_word(text, "") && strncmp(text, "__", 2) != 0;
}

void metrics_open(struct metrics_page *page)
{
    *page = (struct metrics_page){0};
    page->out = must_have(open_memstream(&page->text, &page->text_len));
}

char *metrics_close(struct metrics_page *page)
{
    bool failed = ferror(page->out) != 0;
    if (fclose(page->out) != 0 || failed) {
        free(page->text);
        return NULL;
    }
    return page->text;
}

bool metrics_has(const struct metrics_page *page, const char *name)
{
    for (size_t i = 0; i < page->num_names; i++) {
        if (strcmp(page->names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

// Backslash and line feed are escaped, and in a label's value the quote too.
static void put_escaped(struct metrics_page *page, const char *text, char quote)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\n') {
            fputs("\\n", page->out);
            continue;
        }
        if (*c == '\\' || *c == quote) {
            fputc('\\', page->out);
        }
        fputc(*c, page->out);
    }
}

void metrics_family(struct metrics_page *page, const char *name, enum metrics_type type,
                    const char *help)
{
    static const char *const types[] = {[METRICS_COUNTER] = "counter",
                                        [METRICS_GAUGE] = "gauge",
                                        [METRICS_HISTOGRAM] = "histogram",
                                        [METRICS_SUMMARY] = "summary"};
    invariant(metrics_is_name(name) && !metrics_has(page, name));
    invariant(page->num_names < METRICS_FAMILIES_MAX);
    page->names[page->num_names++] = name;
    page->type = type;
    fprintf(page->out, "# HELP %s ", name);
    put_escaped(page, help, '\0');
    fprintf(page->out, "\n# TYPE %s %s\n", name, types[type]);
}

static void put_label(struct metrics_page *page, const char *name, const char *value, bool is_first)
{
    fprintf(page->out, "%c%s=\"", is_first ? '{' : ',', name);
    put_escaped(page, value, '"');
    fputc('"', page->out);
}

// Writes what stands before a sample's value: the last family's name, an ending, and the labels,
// with `bound` (of a bucket, or NULL) as the last.
static void put_head(struct metrics_page *page, const char *ending,
                     const struct metrics_label *labels, size_t num_labels, const char *bound)
{
    fprintf(page->out, "%s%s", page->names[page->num_names - 1], ending);
    for (size_t i = 0; i < num_labels; i++) {
        invariant(metrics_is_label_name(labels[i].name));
        put_label(page, labels[i].name, labels[i].value, i == 0);
    }
    if (bound != NULL) {
        put_label(page, "le", bound, num_labels == 0);
    }
    fputs(num_labels > 0 || bound != NULL ? "} " : " ", page->out);
}

static void put_uint(struct metrics_page *page, uint64_t value)
{
    fprintf(page->out, "%" PRIu64 "\n", value);
}

static void put_double(struct metrics_page *page, double value, int decimals)
{
    fprintf(page->out, "%.*f\n", decimals, value);
}

void metrics_uint(struct metrics_page *page, const struct metrics_label *labels, size_t num_labels,
                  uint64_t value)
{
    put_head(page, "", labels, num_labels, NULL);
    put_uint(page, value);
}

void metrics_double(struct metrics_page *page, const struct metrics_label *labels,
                    size_t num_labels, double value, int decimals)
{
    put_head(page, "", labels, num_labels, NULL);
    put_double(page, value, decimals);
}

void metrics_uint_by(struct metrics_page *page, const char *label, const char *label_value,
                     uint64_t value)
{
    metrics_uint(page, &(struct metrics_label){label, label_value}, 1, value);
}

void metrics_build_info(struct metrics_page *page, const char *name, const struct program *program)
{
    struct library libraries[PROGRAM_LIBRARIES_MAX];
    size_t num = program_libraries(program, libraries);
    struct metrics_label labels[1 + PROGRAM_LIBRARIES_MAX] = {{"version", program->version}};
    for (size_t i = 0; i < num; i++) {
        labels[1 + i] = (struct metrics_label){libraries[i].label, libraries[i].version};
    }
    metrics_family(page, name, METRICS_GAUGE,
                   "Always 1; the versions of Tabard and of the program's libraries are in the "
                   "labels.");
    metrics_uint(page, labels, 1 + num, 1);
}

static void put_sum_and_count(struct metrics_page *page, const struct metrics_label *labels,
                              size_t num_labels, double sum, uint64_t count)
{
    put_head(page, "_sum", labels, num_labels, NULL);
    put_double(page, sum, SUM_DECIMALS);
    put_head(page, "_count", labels, num_labels, NULL);
    put_uint(page, count);
}

void metrics_histogram(struct metrics_page *page, const struct metrics_label *labels,
                       size_t num_labels, const struct metrics_bucket *buckets, size_t num_buckets,
                       double sum, uint64_t count)
{
    invariant(page->type == METRICS_HISTOGRAM);
    for (size_t i = 0; i < num_buckets; i++) {
        char bound[32];
        snprintf(bound, sizeof bound, "%.15g", buckets[i].bound);
        put_head(page, "_bucket", labels, num_labels, bound);
        put_uint(page, buckets[i].count);
    }
    put_head(page, "_bucket", labels, num_labels, "+Inf");
    put_uint(page, count);
    put_sum_and_count(page, labels, num_labels, sum, count);
}

void metrics_summary(struct metrics_page *page, double sum, uint64_t count)
{
    invariant(page->type == METRICS_SUMMARY);
    put_sum_and_count(page, NULL, 0, sum, count);
}

void metrics_counter(struct metrics_page *page, const char *name, const char *help, uint64_t value)
{
    metrics_family(page, name, METRICS_COUNTER, help);
    metrics_uint(page, NULL, 0, value);
}

void metrics_gauge(struct metrics_page *page, const char *name, const char *help, uint64_t value)
{
    metrics_family(page, name, METRICS_GAUGE, help);
    metrics_uint(page, NULL, 0, value);
}
