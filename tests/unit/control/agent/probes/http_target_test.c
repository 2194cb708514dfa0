// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "control/agent/probes/http_target.h"

TestSuite(http_target, .timeout = 10);

static struct http_target target_of(const char *addr, const char *path)
{
    struct http_target target = {.is_https = false};
    cr_assert(addr_parse(&target.addr, addr, false, NULL));
    cr_assert(http_target_set_path(&target, path));
    return target;
}

// Criterion copies the rows into another process, so they hold their texts.
struct path {
    char written[60];
    char sent[60];
};

ParameterizedTestParameters(http_target, a_path_is_sent_as_a_request_line_may_have_it)
{
    static struct path paths[] = {
        {"/healthz", "/healthz"},
        {"healthz", "/healthz"},
        {"", "/"},
        {"/a?b=c&d=e#f", "/a?b=c&d=e"},
        {"/a b", "/a%20b"},
        {"/a%20b", "/a%20b"},
        {"/\xc3\xa9", "/%C3%A9"},
        {"/a HTTP/1.1\r\nX: y", "/a%20HTTP/1.1%0D%0AX:%20y"},
        {"?b", "/?b"},
    };
    return cr_make_param_array(struct path, paths, sizeof paths / sizeof paths[0]);
}

ParameterizedTest(struct path *path, http_target, a_path_is_sent_as_a_request_line_may_have_it)
{
    struct http_target target = target_of("10.1.2.3:80", path->written);
    cr_expect_str_eq(target.path, path->sent);
}

Test(http_target, a_path_that_is_too_long_once_escaped_is_refused)
{
    static char path[HTTP_TARGET_PATH_MAX];
    static struct http_target target;
    memset(path, ' ', sizeof path - 1);
    cr_expect_not(http_target_set_path(&target, path));
    path[HTTP_TARGET_PATH_MAX / 3 - 2] = '\0';
    cr_expect(http_target_set_path(&target, path));
}

struct redirect {
    char location[80];
    enum http_redirect result;
    char where[80]; // "address path", with an "s" in front for https
};

ParameterizedTestParameters(http_target, a_redirection_is_followed_to_the_same_address_alone)
{
    static struct redirect redirects[] = {
        {"/b", HTTP_REDIRECT_FOLLOW, "10.1.2.3:8080 /b"},
        {"/b?c#d", HTTP_REDIRECT_FOLLOW, "10.1.2.3:8080 /b?c"},
        {"b", HTTP_REDIRECT_FOLLOW, "10.1.2.3:8080 /x/b"},
        {"?c", HTTP_REDIRECT_FOLLOW, "10.1.2.3:8080 /x/a?c"},
        {"", HTTP_REDIRECT_FOLLOW, "10.1.2.3:8080 /x/a?q=1/2"},
        {"#d", HTTP_REDIRECT_FOLLOW, "10.1.2.3:8080 /x/a?q=1/2"},
        {"//10.1.2.3/b", HTTP_REDIRECT_FOLLOW, "10.1.2.3:80 /b"},
        {"http://10.1.2.3", HTTP_REDIRECT_FOLLOW, "10.1.2.3:80 /"},
        {"HTTP://10.1.2.3:9090/b", HTTP_REDIRECT_FOLLOW, "10.1.2.3:9090 /b"},
        {"https://10.1.2.3/b", HTTP_REDIRECT_FOLLOW, "s10.1.2.3:443 /b"},
        {"https://10.1.2.3:8443?b", HTTP_REDIRECT_FOLLOW, "s10.1.2.3:8443 /?b"},
        {"http://u:p@10.1.2.3:81/b", HTTP_REDIRECT_FOLLOW, "10.1.2.3:81 /b"},
        {"http://10.1.2.3:/b", HTTP_REDIRECT_FOLLOW, "10.1.2.3:80 /b"},
        {"http://[::ffff:10.1.2.3]/b", HTTP_REDIRECT_FOLLOW, "10.1.2.3:80 /b"},
        {"http://10.1.2.4/b", HTTP_REDIRECT_ELSEWHERE, ""},
        {"http://example/b", HTTP_REDIRECT_ELSEWHERE, ""},
        {"http://localhost:8080/b", HTTP_REDIRECT_ELSEWHERE, ""},
        {"http:///b", HTTP_REDIRECT_ELSEWHERE, ""},
        {"ftp://10.1.2.3/b", HTTP_REDIRECT_ELSEWHERE, ""},
        {"http://10.1.2.3:0/b", HTTP_REDIRECT_BAD, ""},
        {"http://10.1.2.3:99999/b", HTTP_REDIRECT_BAD, ""},
        {"http://10.1.2.3:x/b", HTTP_REDIRECT_BAD, ""},
        {"http://[fd00::1/b", HTTP_REDIRECT_BAD, ""},
        {"http:/b", HTTP_REDIRECT_BAD, ""},
    };
    return cr_make_param_array(struct redirect, redirects, sizeof redirects / sizeof redirects[0]);
}

ParameterizedTest(struct redirect *redirect, http_target,
                  a_redirection_is_followed_to_the_same_address_alone)
{
    struct http_target target = target_of("10.1.2.3:8080", "/x/a?q=1/2");
    enum http_redirect result = http_target_redirect(&target, redirect->location);
    cr_expect_eq(result, redirect->result, "%s: %d", redirect->location, result);
    if (result == HTTP_REDIRECT_FOLLOW) {
        char where[160];
        char text[ADDR_TEXT_MAX];
        snprintf(where, sizeof where, "%s%s %.60s", target.is_https ? "s" : "",
                 addr_text(&target.addr, text), target.path);
        cr_expect_str_eq(where, redirect->where);
    }
}

Test(http_target, an_ipv6_address_is_compared_without_its_brackets)
{
    struct http_target target = target_of("[fd00::1]:8080", "/");
    cr_expect_eq(http_target_redirect(&target, "http://[fd00:0::1]:90/b"), HTTP_REDIRECT_FOLLOW);
    cr_expect_eq(target.addr.port, 90);
    cr_expect_eq(http_target_redirect(&target, "http://[fd00::2]/b"), HTTP_REDIRECT_ELSEWHERE);
}
