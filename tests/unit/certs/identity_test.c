// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/identity.h"

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

static bool parses(const char *text, size_t len)
{
    struct spiffe_id id;
    struct err err = {0};
    bool ok = spiffe_id_parse(&id, text, len, &err);
    cr_expect(ok || err.text[0] != '\0', "refused without a word");
    return ok;
}

Test(identity, exactly_the_named_bytes_stand_in_a_trust_domain, .timeout = 10)
{
    for (int c = 0; c < 256; c++) {
        char text[] = "spiffe://a?b";
        text[10] = (char)c;
        bool want = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
                    c == '_' || c == '/'; // the slash ends the domain, and "b" is a path
        cr_expect_eq(parses(text, 12), want, "byte 0x%02x in an id", c);
        want = want && c != '/';
        cr_expect_eq(spiffe_trust_domain_check(text + 9, 3, NULL), want, "byte 0x%02x alone", c);
    }
}

Test(identity, exactly_the_named_bytes_stand_in_a_path, .timeout = 10)
{
    for (int c = 0; c < 256; c++) {
        char text[] = "spiffe://d/a?b";
        text[12] = (char)c;
        bool want = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '-' || c == '_' || c == '/';
        cr_expect_eq(parses(text, 14), want, "byte 0x%02x", c);
    }
}

struct good_row {
    const char *text;
    const char *domain;
    const char *path;
};

Test(identity, a_good_id_is_taken_apart, .timeout = 10)
{
    static const struct good_row rows[] = {
        {"spiffe://prod.example", "prod.example", ""},
        {"spiffe://prod.example/ns/shop/sa/web", "prod.example", "/ns/shop/sa/web"},
        {"spiffe://a/b", "a", "/b"},
        {"spiffe://10.0.0.1/x", "10.0.0.1", "/x"},
        {"spiffe://-_./x", "-_.", "/x"},
        {"spiffe://a/...", "a", "/..."},
        {"spiffe://a/.x/..x/x./x..", "a", "/.x/..x/x./x.."},
        {"spiffe://a/B/b", "a", "/B/b"},
    };
    for (size_t i = 0; i < LEN(rows); i++) {
        struct spiffe_id id;
        struct err err = {0};
        const char *text = rows[i].text;
        cr_assert(spiffe_id_parse(&id, text, strlen(text), &err), "%s: %s", text, err.text);
        cr_expect_eq(id.text, text);
        cr_expect_eq(id.text_len, strlen(text));
        cr_expect_eq(id.domain_len, strlen(rows[i].domain), "%s", text);
        cr_expect_eq(memcmp(id.domain, rows[i].domain, id.domain_len), 0, "%s", text);
        cr_expect_eq(id.path_len, strlen(rows[i].path), "%s", text);
        cr_expect_eq(memcmp(id.path, rows[i].path, id.path_len), 0, "%s", text);
        cr_expect_eq(spiffe_workload_parse(&id, text, strlen(text), NULL), rows[i].path[0] != '\0',
                     "%s", text);
    }
}

struct bad_row {
    const char *text;
    const char *words; // of the message
};

Test(identity, a_bad_id_is_refused_with_the_place_and_the_cause, .timeout = 10)
{
    static const struct bad_row rows[] = {
        {"", "empty"},
        {"spiffe:/a/b", "spiffe://"},
        {"spiffe:", "spiffe://"},
        {"Spiffe://a/b", "lower case"},
        {"SPIFFE://a/b", "lower case"},
        {"http://a/b", "spiffe://"},
        {" spiffe://a/b", "spiffe://"},
        {"a/b", "spiffe://"},
        {"spiffe://", "trust domain is empty"},
        {"spiffe:///b", "trust domain is empty"},
        {"spiffe://A/b", "byte 10 is 'A'"},
        {"spiffe://user@a/b", "byte 14 is '@'"},
        {"spiffe://a:80/b", "byte 11 is ':'"},
        {"spiffe://[::1]/b", "byte 10 is '['"},
        {"spiffe://%61/b", "byte 10 is '%'"},
        {"spiffe://a?x", "byte 11 is '?'"},
        {"spiffe://a#x", "byte 11 is '#'"},
        {"spiffe://a/", "byte 11: a path must not end with '/'"},
        {"spiffe://a/b/", "byte 13: a path must not end with '/'"},
        {"spiffe://a//b", "byte 12: a path must not hold an empty segment"},
        {"spiffe://a/b//c", "byte 14: a path must not hold an empty segment"},
        {"spiffe://a/.", "byte 12: a path must not hold the segment \".\""},
        {"spiffe://a/..", "segment \"..\""},
        {"spiffe://a/b/../c", "byte 14: a path must not hold the segment \"..\""},
        {"spiffe://a/./c", "segment \".\""},
        {"spiffe://a/b%20c", "byte 13 is '%'"},
        {"spiffe://a/b?c", "byte 13 is '?'"},
        {"spiffe://a/b#c", "byte 13 is '#'"},
        {"spiffe://a/b c", "byte 13 is 0x20"},
        {"spiffe://a/\xc3\xa4", "byte 12 is 0xc3"},
    };
    for (size_t i = 0; i < LEN(rows); i++) {
        struct spiffe_id id = {.text = "left over"};
        struct err err = {0};
        cr_expect_not(spiffe_id_parse(&id, rows[i].text, strlen(rows[i].text), &err), "%s",
                      rows[i].text);
        cr_expect(strstr(err.text, rows[i].words) != NULL, "%s: %s", rows[i].text, err.text);
        cr_expect_null(id.text, "%s: *out keeps an old id", rows[i].text);
    }
}

Test(identity, lengths_are_counted_and_never_strings, .timeout = 10)
{
    cr_expect_not(parses("spiffe://a/b\0", 13));
    cr_expect_not(parses("spiffe://a\0/b", 13));
    cr_expect(parses("spiffe://a/bc", 12));
    // 255 bytes of trust domain are allowed, 256 are not; 2048 bytes of id, 2049 not.
    char text[SPIFFE_ID_LEN_MAX + 1];
    memset(text, 'a', sizeof text);
    memcpy(text, "spiffe://", 9);
    cr_expect(parses(text, 9 + 255));
    cr_expect_not(parses(text, 9 + 256));
    text[10] = '/';
    cr_expect(parses(text, 2048));
    cr_expect_not(parses(text, 2049));
    // No byte after the length may matter: the text is put at the end of what was allocated, for
    // the sanitizers.
    for (size_t len = 0; len <= 12; len++) {
        char *exact = malloc(len == 0 ? 1 : len);
        memcpy(exact, "spiffe://a/bc", len);
        cr_expect_eq(parses(exact, len), len == 10 || len == 12, "%zu bytes", len);
        free(exact);
    }
}

Test(identity, a_trust_domain_is_a_bare_name, .timeout = 10)
{
    static const struct bad_row rows[] = {
        {"", "empty"},
        {"spiffe://prod.example", "bare name \"prod.example\""},
        {"spiffe://prod.example/ns/a", "bare name \"prod.example\""},
        {"spiffe://", "bare name like"},
        {"Prod.example", "byte 1 is 'P'"},
        {"prod.example/", "byte 13 is '/'"},
        {"prod.example:443", "byte 13 is ':'"},
        {"prod example", "byte 5 is 0x20"},
    };
    for (size_t i = 0; i < LEN(rows); i++) {
        struct err err = {0};
        cr_expect_not(spiffe_trust_domain_check(rows[i].text, strlen(rows[i].text), &err), "%s",
                      rows[i].text);
        cr_expect(strstr(err.text, rows[i].words) != NULL, "%s: %s", rows[i].text, err.text);
    }
    cr_expect(spiffe_trust_domain_check("prod.example", 12, NULL));
    cr_expect(spiffe_trust_domain_check("10.1.2.3", 8, NULL));
}

struct pattern_row {
    const char *pattern;
    const char *id;
    bool matches;
};

Test(identity, a_pattern_matches_what_it_says_and_nothing_beside, .timeout = 10)
{
    static const struct pattern_row rows[] = {
        {"spiffe://a/ns/shop/sa/web", "spiffe://a/ns/shop/sa/web", true},
        {"spiffe://a/ns/shop/sa/web", "spiffe://a/ns/shop/sa/web2", false},
        {"spiffe://a/ns/shop/sa/web", "spiffe://a/ns/shop/sa/we", false},
        {"spiffe://a/ns/shop/sa/web", "spiffe://a/ns/shop/sa/Web", false},
        {"spiffe://a/ns/shop/sa/web", "spiffe://a/ns/shop/sa/web/x", false},
        {"spiffe://a/ns/shop/", "spiffe://a/ns/shop/sa/web", true},
        {"spiffe://a/ns/shop/", "spiffe://a/ns/shop/x", true},
        {"spiffe://a/ns/shop/", "spiffe://a/ns/shop", false},
        {"spiffe://a/ns/shop/", "spiffe://a/ns/shop2/x", false},
        {"spiffe://a/ns/shop/", "spiffe://b/ns/shop/x", false},
        {"spiffe://a", "spiffe://a/x", true},
        {"spiffe://a", "spiffe://a/x/y/z", true},
        {"spiffe://a", "spiffe://ab/x", false},
        {"spiffe://ab", "spiffe://a/x", false},
        {"spiffe://a", "spiffe://a.b/x", false},
    };
    for (size_t i = 0; i < LEN(rows); i++) {
        struct spiffe_pattern pattern;
        struct spiffe_id id;
        struct err err = {0};
        cr_assert(spiffe_pattern_parse(&pattern, rows[i].pattern, strlen(rows[i].pattern), &err),
                  "%s: %s", rows[i].pattern, err.text);
        cr_assert(spiffe_workload_parse(&id, rows[i].id, strlen(rows[i].id), &err));
        cr_expect_eq(spiffe_pattern_matches(&pattern, &id), rows[i].matches, "%s against %s",
                     rows[i].pattern, rows[i].id);
    }
}

Test(identity, a_trust_domains_own_id_is_no_workload_that_a_pattern_matches, .timeout = 10)
{
    struct spiffe_pattern pattern;
    struct spiffe_id id;
    cr_assert(spiffe_pattern_parse(&pattern, "spiffe://a", 10, NULL));
    cr_assert(spiffe_id_parse(&id, "spiffe://a", 10, NULL));
    cr_expect_not(spiffe_pattern_matches(&pattern, &id));
    // The zero state, which a failed parse leaves, matches nothing.
    pattern = (struct spiffe_pattern){0};
    cr_assert(spiffe_workload_parse(&id, "spiffe://a/b", 12, NULL));
    cr_expect_not(spiffe_pattern_matches(&pattern, &id));
    pattern.kind = SPIFFE_PATTERN_PREFIX;
    cr_expect_not(spiffe_pattern_matches(&pattern, &id));
}

Test(identity, a_pattern_that_says_nothing_is_refused, .timeout = 10)
{
    static const struct bad_row rows[] = {
        {"", "empty"},
        {"/", "spiffe://"},
        {"*", "spiffe://"},
        {"spiffe://", "trust domain is empty"},
        {"spiffe:///", "trust domain is empty"},
        {"spiffe://a/", "write \"spiffe://a\""},
        {"spiffe://a/*", "byte 12 is '*'"},
        {"spiffe://a/b//", "must not end with '/'"},
        {"spiffe://a/b/*", "byte 14 is '*'"},
        {"spiffe://a/../", "segment \"..\""},
        {"prod.example", "spiffe://"},
    };
    for (size_t i = 0; i < LEN(rows); i++) {
        struct spiffe_pattern pattern;
        struct err err = {0};
        cr_expect_not(spiffe_pattern_parse(&pattern, rows[i].text, strlen(rows[i].text), &err),
                      "%s", rows[i].text);
        cr_expect(strstr(err.text, rows[i].words) != NULL, "%s: %s", rows[i].text, err.text);
    }
}
