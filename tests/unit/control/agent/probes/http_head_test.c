// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "control/agent/probes/http_head.h"

TestSuite(http_head, .timeout = 10);

// Criterion copies the rows into another process, so they hold their texts.
struct row {
    char head[160];
    enum http_head_result result;
    unsigned status;
    char said[80]; // the location, or the error's beginning
};

ParameterizedTestParameters(http_head, takes_what_is_http_1_and_refuses_the_rest)
{
    static struct row rows[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", HTTP_HEAD_DONE, 200, ""},
        {"HTTP/1.0 200\r\n\r\n", HTTP_HEAD_DONE, 200, ""},
        {"HTTP/1.1 404 \nServer: x\n\n", HTTP_HEAD_DONE, 404, ""},
        {"HTTP/1.1 302 Found\r\nServer: x\r\nLOCATION: \t/a?b \r\n\r\nbody", HTTP_HEAD_DONE, 302,
         "/a?b"},
        {"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\n\r\n", HTTP_HEAD_DONE, 302, "/a"},
        {"HTTP/1.1 302 Found\r\nLocation:\r\n\r\n", HTTP_HEAD_DONE, 302, ""},
        {"HTTP/1.1 302 Found\r\nContent-Location: /a\r\n\r\n", HTTP_HEAD_DONE, 302, ""},
        {"HTTP/1.1 100 Continue\r\nLocation: /no\r\n\r\nHTTP/1.1 204 No\r\n\r\n", HTTP_HEAD_DONE,
         204, ""},
        {"HTTP/1.1 101 Switching\r\n\r\n", HTTP_HEAD_DONE, 101, ""},
        {"", HTTP_HEAD_MORE, 0, ""},
        {"HTTP/1.1 200 OK\r\nA: b\r\n", HTTP_HEAD_MORE, 200, ""},
        {"HTTP/1.1 200", HTTP_HEAD_MORE, 0, ""},
        {"HTTP/1.1 100 Continue\r\n\r\n", HTTP_HEAD_MORE, 0, ""},
        {"SSH-2.0-OpenSSH\r\n", HTTP_HEAD_BAD, 0,
         "the answer is no HTTP/1 (it begins with \"SSH-2"},
        {"HTTP/2 200\r\n\r\n", HTTP_HEAD_BAD, 0, "the answer is no HTTP/1"},
        {"HTTP/1.1 20x OK\r\n\r\n", HTTP_HEAD_BAD, 0, "the answer is no HTTP/1"},
        {"HTTP/1.1 2000 OK\r\n\r\n", HTTP_HEAD_BAD, 0, "the answer is no HTTP/1"},
        {"HTTP/1.1 999 OK\r\n\r\n", HTTP_HEAD_BAD, 999, "the answer's status 999 is none of"},
        {"\r\nHTTP/1.1 200 OK\r\n\r\n", HTTP_HEAD_BAD, 0, "the answer is no HTTP/1"},
        {"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", HTTP_HEAD_BAD, 200, "the answer has a line that"},
        {"HTTP/1.1 200 OK\r\n: a\r\n\r\n", HTTP_HEAD_BAD, 200, "the answer has a line that"},
        {"HTTP/1.1 200 OK\r\nA: b\r\n folded: c\r\n\r\n", HTTP_HEAD_BAD, 200,
         "the answer has a line that"},
    };
    return cr_make_param_array(struct row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct row *row, http_head, takes_what_is_http_1_and_refuses_the_rest)
{
    struct http_head head;
    struct err err = {{0}, {0}};
    enum http_head_result result =
        http_head_parse(&head, (const uint8_t *)row->head, strlen(row->head), &err);
    cr_expect_eq(result, row->result, "%s: %d %s", row->head, result, err.text);
    cr_expect_eq(head.status, row->status, "%s: %u", row->head, head.status);
    const char *said = result == HTTP_HEAD_BAD ? err.text : head.location;
    cr_expect_eq(strncmp(said, row->said, strlen(row->said)), 0, "%s", said);
    cr_expect(result == HTTP_HEAD_BAD || strcmp(said, row->said) == 0, "%s", said);
}

Test(http_head, every_cut_of_an_answer_wants_more)
{
    static const char whole[] = "HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n";
    struct http_head head;
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        cr_expect_eq(http_head_parse(&head, (const uint8_t *)whole, len, NULL), HTTP_HEAD_MORE,
                     "%zu", len);
    }
}

Test(http_head, a_head_without_end_and_a_location_without_end_are_refused)
{
    static uint8_t bytes[HTTP_HEAD_BYTES_MAX];
    static const char begin[] = "HTTP/1.1 302 Found\r\nLocation: ";
    struct http_head head;
    struct err err = {{0}, {0}};
    memset(bytes, 'a', sizeof bytes);
    memcpy(bytes, begin, sizeof begin - 1);
    cr_expect_eq(http_head_parse(&head, bytes, sizeof bytes - 1, &err), HTTP_HEAD_MORE);
    cr_expect_eq(http_head_parse(&head, bytes, sizeof bytes, &err), HTTP_HEAD_BAD);
    cr_expect_str_eq(err.text, "the answer's head is longer than 16384 bytes");
    bytes[sizeof begin - 1 + HTTP_HEAD_LOCATION_MAX + 1] = '\n';
    cr_expect_eq(http_head_parse(&head, bytes, sizeof bytes - 1, &err), HTTP_HEAD_BAD);
    bytes[sizeof begin - 1 + HTTP_HEAD_LOCATION_MAX + 1] = 'a';
    bytes[sizeof begin - 1 + HTTP_HEAD_LOCATION_MAX] = '\n';
    cr_expect_eq(http_head_parse(&head, bytes, sizeof bytes - 1, &err), HTTP_HEAD_MORE);
}
