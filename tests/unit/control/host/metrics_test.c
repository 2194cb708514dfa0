// SPDX-License-Identifier: Apache-2.0
#include "control/host/metrics.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>

static void expect_page(struct metrics_page *page, const char *wanted)
{
    char *text = metrics_close(page);
    cr_expect_str_eq(text, wanted, "%s", text);
    free(text);
}

Test(metrics, a_page_without_families_is_empty, .timeout = 10)
{
    struct metrics_page page;
    metrics_open(&page);
    expect_page(&page, "");
}

Test(metrics, counters_and_gauges_have_help_type_and_samples, .timeout = 10)
{
    struct metrics_page page;
    metrics_open(&page);
    metrics_counter(&page, "tabard_a_total", "Things.", UINT64_MAX);
    metrics_gauge(&page, "tabard_b", "More things.", 0);
    metrics_family(&page, "tabard_c", METRICS_GAUGE, "By two labels.");
    const struct metrics_label labels[] = {{"direction", "inbound"}, {"http2", "yes"}};
    metrics_uint(&page, labels, 2, 7);
    metrics_uint_by(&page, "direction", "outbound", 8);
    metrics_double(&page, NULL, 0, -1.5, 1);
    metrics_double(&page, labels, 1, 1790000000.042, 3);
    expect_page(&page, "# HELP tabard_a_total Things.\n"
                       "# TYPE tabard_a_total counter\n"
                       "tabard_a_total 18446744073709551615\n"
                       "# HELP tabard_b More things.\n"
                       "# TYPE tabard_b gauge\n"
                       "tabard_b 0\n"
                       "# HELP tabard_c By two labels.\n"
                       "# TYPE tabard_c gauge\n"
                       "tabard_c{direction=\"inbound\",http2=\"yes\"} 7\n"
                       "tabard_c{direction=\"outbound\"} 8\n"
                       "tabard_c -1.5\n"
                       "tabard_c{direction=\"inbound\"} 1790000000.042\n");
}

Test(metrics, a_histogram_has_buckets_up_to_infinity_a_sum_and_a_count, .timeout = 10)
{
    static const struct metrics_bucket buckets[] = {{0.1, 1}, {2.5, 3}, {1000000, 4}};
    struct metrics_page page;
    metrics_open(&page);
    metrics_family(&page, "tabard_x_seconds", METRICS_HISTOGRAM, "How long.");
    metrics_histogram(&page, NULL, 0, buckets, 3, 12.25, 5);
    metrics_histogram(&page, &(struct metrics_label){"kind", "a"}, 1, buckets, 1, 0.5, 1);
    expect_page(&page, "# HELP tabard_x_seconds How long.\n"
                       "# TYPE tabard_x_seconds histogram\n"
                       "tabard_x_seconds_bucket{le=\"0.1\"} 1\n"
                       "tabard_x_seconds_bucket{le=\"2.5\"} 3\n"
                       "tabard_x_seconds_bucket{le=\"1000000\"} 4\n"
                       "tabard_x_seconds_bucket{le=\"+Inf\"} 5\n"
                       "tabard_x_seconds_sum 12.250000\n"
                       "tabard_x_seconds_count 5\n"
                       "tabard_x_seconds_bucket{kind=\"a\",le=\"0.1\"} 1\n"
                       "tabard_x_seconds_bucket{kind=\"a\",le=\"+Inf\"} 1\n"
                       "tabard_x_seconds_sum{kind=\"a\"} 0.500000\n"
                       "tabard_x_seconds_count{kind=\"a\"} 1\n");
}

Test(metrics, a_summary_has_a_sum_and_a_count, .timeout = 10)
{
    struct metrics_page page;
    metrics_open(&page);
    metrics_family(&page, "tabard_x_seconds", METRICS_SUMMARY, "How long.");
    metrics_summary(&page, 0.004, 2);
    expect_page(&page, "# HELP tabard_x_seconds How long.\n"
                       "# TYPE tabard_x_seconds summary\n"
                       "tabard_x_seconds_sum 0.004000\n"
                       "tabard_x_seconds_count 2\n");
}

Test(metrics, texts_are_escaped_and_forge_no_line, .timeout = 10)
{
    struct metrics_page page;
    metrics_open(&page);
    metrics_family(&page, "tabard_x", METRICS_GAUGE, "A \"line\"\nup 1\\");
    metrics_uint_by(&page, "a", "b\"} 1\nup{c=\"d\\", 9);
    expect_page(&page, "# HELP tabard_x A \"line\"\\nup 1\\\\\n"
                       "# TYPE tabard_x gauge\n"
                       "tabard_x{a=\"b\\\"} 1\\nup{c=\\\"d\\\\\"} 9\n");
}

struct name_row {
    const char *text;
    bool is_name, is_label_name;
};

static const struct name_row name_rows[] = {
    {"tabard_x2_total", true, true},
    {"http2", true, true},
    {"_a", true, true},
    {"A", true, true},
    {"a:b", true, false},
    {":a", true, false},
    {"__a", true, false},
    {"2a", false, false},
    {"", false, false},
    {"a-b", false, false},
    {"a b", false, false},
    {"a\n", false, false},
    {"\xc3\xa9", false, false},
};

Test(metrics, names_are_those_of_the_data_model, .timeout = 10)
{
    for (size_t i = 0; i < sizeof name_rows / sizeof name_rows[0]; i++) {
        const struct name_row *row = &name_rows[i];
        cr_expect_eq(metrics_is_name(row->text), row->is_name, "%s", row->text);
        cr_expect_eq(metrics_is_label_name(row->text), row->is_label_name, "%s", row->text);
    }
}

Test(metrics, the_page_knows_which_families_it_has, .timeout = 10)
{
    struct metrics_page page;
    metrics_open(&page);
    metrics_gauge(&page, "tabard_x", "Help.", 1);
    cr_expect(metrics_has(&page, "tabard_x"));
    cr_expect(!metrics_has(&page, "tabard_"));
    free(metrics_close(&page));
}

Test(metrics, a_family_that_is_begun_twice_is_a_bug, .signal = SIGABRT, .timeout = 10)
{
    struct metrics_page page;
    metrics_open(&page);
    metrics_gauge(&page, "tabard_x", "Help.", 1);
    metrics_gauge(&page, "tabard_x", "Help.", 1);
}

Test(metrics, a_label_that_is_no_name_is_a_bug, .signal = SIGABRT, .timeout = 10)
{
    struct metrics_page page;
    metrics_open(&page);
    metrics_family(&page, "tabard_x", METRICS_GAUGE, "Help.");
    metrics_uint_by(&page, "a\"b", "c", 1);
}
