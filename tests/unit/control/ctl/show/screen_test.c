// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/show/screen.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "tabard/v1/admin.pb-c.h"

static char *shown(const char *text, size_t len, size_t step)
{
    struct bytes out = {0};
    struct screen_state state = {0};
    for (size_t at = 0; at < len; at += step) {
        size_t part = len - at < step ? len - at : step;
        screen_push(&out, &state, text + at, part, at + part == len);
    }
    return bytes_take_text(&out);
}

Test(screen, orders_to_a_terminal_become_text, .timeout = 10)
{
    static const struct {
        const char *text;
        const char *expected;
    } rows[] = {
        {"plain\ttext\n", "plain\ttext\n"},
        {"\x1b[2Jgone", "\\x1b[2Jgone"},
        {"\x1b]0;title\x07", "\\x1b]0;title\\x07"},
        {"over\rwritten\b\v\f", "over\\x0dwritten\\x08\\x0b\\x0c"},
        {"\x7f", "\\x7f"},
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b31m"}, // CSI as U+009B
        {"\x9b"
         "31m",
         "\\x9b31m"},        // CSI as a terminal of 8 bits reads it
        {"a\xc2", "a\\xc2"}, // half a character
        {"\xc2\x1b[", "\\xc2\\x1b["},
        {"\xc2\xc2\x9b", "\\xc2\\xc2\\x9b"},
        {"\xe2\x82\x1b[", "\xe2\x82\\x1b["},
        {"\xff\xfe\xc0\x9b", "\\xff\\xfe\\xc0\\x9b"},
        {"caf\xc3\xa9 \xc2\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
         "caf\xc3\xa9 \xc2\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t step = 1; step < 20; step++) {
            char *text = shown(rows[i].text, strlen(rows[i].text), step);
            cr_expect_str_eq(text, rows[i].expected, "row %zu, %zu bytes at once", i, step);
            free(text);
        }
    }
}

Test(screen, a_text_in_a_message_can_t_pass_for_another_line, .timeout = 10)
{
    Tabard__V1__Status *status = must_alloc(1, sizeof *status);
    tabard__v1__status__init(status);
    status->last_error = must_strdup("bad\nready\x1b[1A");
    status->connections = must_alloc(1, sizeof *status->connections);
    status->n_connections = 1;
    status->connections[0] = must_alloc(1, sizeof *status->connections[0]);
    tabard__v1__connection__init(status->connections[0]);
    status->connections[0]->policy = must_strdup("a\tb");
    status->policy_agent = must_alloc(1, sizeof *status->policy_agent);
    tabard__v1__policy_agent_status__init(status->policy_agent);
    status->policy_agent->last_error = must_strdup("\x1b");
    screen_clean(&status->base);
    cr_expect_str_eq(status->last_error, "bad\\x0aready\\x1b[1A");
    cr_expect_str_eq(status->connections[0]->policy, "a\\x09b");
    cr_expect_str_eq(status->policy_agent->last_error, "\\x1b");
    cr_expect_str_eq(status->version, "");
    tabard__v1__status__free_unpacked(status, NULL);
}
