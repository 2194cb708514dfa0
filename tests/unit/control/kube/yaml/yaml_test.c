// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

#include "control/kube/yaml/yaml_docs.h"
#include "control/kube/yaml/yaml_read.h"
#include "control/kube/yaml/yaml_write.h"

TestSuite(yaml, .timeout = 10);

// Criterion copies the rows into another process, so they hold their texts.
struct row {
    char yaml[120];
    char json[160]; // or the beginning of an error
};

static void expect_json(const struct row *row)
{
    bool has_tags = false;
    struct err err = {{0}, {0}};
    json_t *root = yaml_read(row->yaml, strlen(row->yaml), 1, &has_tags, &err);
    cr_assert(root != NULL, "%s: %s", row->yaml, err.text);
    char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    cr_expect_str_eq(text, row->json, "%s is %s", row->yaml, text);
    free(text);
    json_decref(root);
}

// As gopkg.in/yaml.v2 reads, by which Kubernetes' programs do.
ParameterizedTestParameters(yaml, words_are_read_as_yaml_1_1_has_them)
{
    static struct row rows[] = {
        {"[yes, No, on, OFF, y, N, true, False, TRUE]",
         "[true,false,true,false,true,false,true,false,true]"},
        {"[\"yes\", 'no', yes1, yEs, oN]", "[\"yes\",\"no\",\"yes1\",\"yEs\",\"oN\"]"},
        {"[null, ~, Null, NULL, nil]", "[null,null,null,null,\"nil\"]"},
        {"[8080, -1, +1, 0644, 0o17, 0x1F, 0b101, 1_000, 08, 0]",
         "[8080,-1,1,420,15,31,5,1000,8,0]"},
        {"[9223372036854775807, 9223372036854775808]",
         "[9223372036854775807,9.2233720368547758e18]"},
        {"[1e3, 1.5, .5, 1., -2.5E-1]", "[1000.0,1.5,0.5,1.0,-0.25]"},
        {"[1.2.3, 1e, 0x, e3, \".\", +, 10m, 1:30, 2001-01-01]",
         "[\"1.2.3\",\"1e\",\"0x\",\"e3\",\".\",\"+\",\"10m\",\"1:30\",\"2001-01-01\"]"},
        {"[.inf, .nan, -.Inf]", "[\".inf\",\".nan\",\"-.Inf\"]"},
    };
    return cr_make_param_array(struct row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct row *row, yaml, words_are_read_as_yaml_1_1_has_them)
{
    expect_json(row);
}

ParameterizedTestParameters(yaml, what_stands_in_manifests_is_read)
{
    static struct row rows[] = {
        {"b: 1\na: 2\nb2: {c: [d, \"e\"]}\n", "{\"b\":1,\"a\":2,\"b2\":{\"c\":[\"d\",\"e\"]}}"},
        {"a: |\n  x\n  y\nb: >-\n  x\n  y\nc:\n", "{\"a\":\"x\\ny\\n\",\"b\":\"x y\",\"c\":null}"},
        {"a: &x {k: 1}\nb: *x\n", "{\"a\":{\"k\":1},\"b\":{\"k\":1}}"},
        {"a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n",
         "{\"a\":{\"k\":1,\"l\":2},\"b\":{\"k\":3,\"l\":2}}"},
        {"b:\n  <<: [{k: 1}, {k: 2, l: 3}]\n", "{\"b\":{\"k\":1,\"l\":3}}"},
        {"80: a\nfalse: b\n\"yes\": c\non: d\n",
         "{\"80\":\"a\",\"false\":\"b\",\"yes\":\"c\",\"true\":\"d\"}"},
        {"--- # a comment\r\na: b\r\n", "{\"a\":\"b\"}"},
        {"{\"a\": \"\\u00e9\\n\"}", "{\"a\":\"\xc3\xa9\\n\"}"},
    };
    return cr_make_param_array(struct row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct row *row, yaml, what_stands_in_manifests_is_read)
{
    expect_json(row);
}

ParameterizedTestParameters(yaml, what_is_no_document_is_refused_with_its_line)
{
    static struct row rows[] = {
        {"a: 1\na: 2\n", "line 2: the key \"a\" stands here twice"},
        {"true: 1\non: 2\n", "line 2: the key \"true\" stands here twice"},
        {"a: [1\n", "line 2: not YAML ("},
        {"\ta: 1\n", "line 1: not YAML ("},
        {"a: *x\n", "line 1: an alias (*name) of nothing"},
        {"a: &x\n  b: *x\n", "line 2: an alias (*name) of nothing"},
        {"? [a]\n: b\n", "line 1: a key must be a word"},
        {"a: {<<: 7}\n", "line 1: a merge key (<<) takes"},
        {"a: \"\\0\"\n", "line 1: this is no text in UTF-8, or has a NUL in it"},
        {"a: \xff\n", "line 1: not YAML ("},
        {"# nothing\n", "line 2: there is no document"},
        {"a\n---\nb\n", "line 2: a second document begins here"},
    };
    return cr_make_param_array(struct row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct row *row, yaml, what_is_no_document_is_refused_with_its_line)
{
    bool has_tags = false;
    struct err err = {{0}, {0}};
    json_t *root = yaml_read(row->yaml, strlen(row->yaml), 1, &has_tags, &err);
    cr_expect(root == NULL, "%s", row->yaml);
    cr_expect_eq(strncmp(err.text, row->json, strlen(row->json)), 0, "%s: %s", row->yaml, err.text);
    json_decref(root);
}

Test(yaml, tags_are_told)
{
    bool has_tags = false;
    json_t *root = yaml_read("a: !!str 7", 10, 1, &has_tags, NULL);
    cr_expect(has_tags);
    cr_expect_str_eq(json_string_value(json_object_get(root, "a")), "7");
    json_decref(root);
    root = yaml_read("a: 7", 4, 1, &has_tags, NULL);
    cr_expect_not(has_tags);
    json_decref(root);
}

Test(yaml, a_small_text_that_stands_for_a_huge_one_is_refused)
{
    static const char bomb[] = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
                               "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
                               "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
                               "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
                               "e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\n"
                               "f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n";
    bool has_tags = false;
    struct err err = {{0}, {0}};
    cr_expect(yaml_read(bomb, sizeof bomb - 1, 1, &has_tags, &err) == NULL);
    cr_expect(strstr(err.text, "the document is too large") != NULL, "%s", err.text);
}

Test(yaml, too_many_levels_are_refused)
{
    char text[2 * YAML_READ_DEPTH_MAX + 1];
    bool has_tags = false;
    struct err err = {{0}, {0}};
    memset(text, '[', sizeof text);
    cr_expect(yaml_read(text, sizeof text, 1, &has_tags, &err) == NULL);
    cr_expect(strstr(err.text, "too deep") != NULL, "%s", err.text);
}

// What is written must be read back as the same, by a reader of YAML 1.1 and by one of 1.2.
struct written {
    char json[200];
    char yaml[200];
};

ParameterizedTestParameters(yaml, is_written_so_that_it_is_read_back)
{
    static struct written rows[] = {
        {"{\"a\":1,\"b\":{\"c\":[\"d\",{\"e\":\"f\",\"g\":[]}],\"h\":{}}}",
         "a: 1\nb:\n  c:\n  - d\n  - e: f\n    g: []\n  h: {}\n"},
        {"{\"a\":[\"8080\",\"yes\",\"on\",\"1e3\",\"null\",\"\",\"~\",\"-\",\"true\"]}",
         "a:\n- \"8080\"\n- \"yes\"\n- \"on\"\n- \"1e3\"\n- \"null\"\n- \"\"\n- \"~\"\n- \"-\"\n"
         "- \"true\"\n"},
        {"{\"a\":[true,false,null,-7,0.5]}", "a:\n- true\n- false\n- null\n- -7\n- 0.5\n"},
        {"{\"a\":[\"a b\",\"a:\",\"a#b\",\"r/i:1\",\"2001-01-01\"]}",
         "a:\n- \"a b\"\n- \"a:\"\n- \"a#b\"\n- r/i:1\n- \"2001-01-01\"\n"},
        {"{\"yes\":1,\"80\":2,\"a/b.c\":3}", "\"yes\": 1\n\"80\": 2\na/b.c: 3\n"},
        {"{\"a\":\"x\\n  y\\n\",\"b\":\"x\\n\\ny\",\"c\":\"x\\ny\\n\\n\"}",
         "a: |\n  x\n    y\nb: |-\n  x\n\n  y\nc: |+\n  x\n  y\n\n"},
        {"{\"a\":[\"x\\ny\\n\"]}", "a:\n- |\n  x\n  y\n"},
        {"{\"a\":\"x \\ny\",\"b\":\" x\\ny\",\"c\":\"\\n\",\"d\":\"x\\ty\\nz\"}",
         "a: \"x \\ny\"\nb: \" x\\ny\"\nc: \"\\n\"\nd: \"x\\u0009y\\nz\"\n"},
        {"{\"a\":\"\xc3\xa9\xf0\x9f\x98\x80\\u0001\\u2028\"}",
         "a: \"\xc3\xa9\xf0\x9f\x98\x80\\u0001\\u2028\"\n"},
        {"[[1,[2]],[],{}]", "- - 1\n  - - 2\n- []\n- {}\n"},
    };
    return cr_make_param_array(struct written, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct written *row, yaml, is_written_so_that_it_is_read_back)
{
    struct bytes out = {0};
    bool has_tags = false;
    struct err err = {{0}, {0}};
    json_t *root = json_loads(row->json, 0, NULL);
    cr_assert(root != NULL, "%s", row->json);
    yaml_write(&out, root);
    char *text = bytes_take_text(&out);
    cr_expect_str_eq(text, row->yaml);
    json_t *again = yaml_read(text, strlen(text), 1, &has_tags, &err);
    cr_expect(json_equal(root, again), "%s: %s", text, err.text);
    free(text);
    json_decref(again);
    json_decref(root);
}

Test(yaml, a_key_that_is_very_long_is_read_back)
{
    char key[3001];
    struct bytes out = {0};
    bool has_tags = false;
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    json_t *root = json_pack("{s:{s:i}}", "a", key, 7);
    yaml_write(&out, root);
    json_t *again = yaml_read((const char *)out.at, out.len, 1, &has_tags, NULL);
    cr_expect(json_equal(root, again));
    bytes_cleanup(&out);
    json_decref(again);
    json_decref(root);
}

// The pieces of a stream, each as "line:marker-length:body|" with "!" for an empty one.
ParameterizedTestParameters(yaml, a_stream_is_split_at_its_markers)
{
    static struct row rows[] = {
        {"", ""},
        {"a: 1\n", "1:0:a: 1\n|"},
        {"a: 1\n---\nb: 2\n", "1:0:a: 1\n|2:3:\nb: 2\n|"},
        {"---\na\n--- b\n---\n", "1:3:\na\n|3:3: b\n|4:3!:\n|"},
        {"# c\n---\na", "1:0!:# c\n|2:3:\na|"},
        {"%YAML 1.1\n---\na\n", "1:0!:%YAML 1.1\n|2:3:\na\n|"},
        {"a\n...\n# c\nb\n", "1:0:a\n...\n# c\n|4:0:b\n|"},
        {"a: |\n  ---\n  x\n---x: 1\n", "1:0:a: |\n  ---\n  x\n---x: 1\n|"},
        {"a\r\n---\r\nb\r\n", "1:0:a\r\n|2:3:\r\nb\r\n|"},
        {"---", "1:3!:|"},
        {"\xef\xbb\xbf# c\n---\nb", "1:0!:\xef\xbb\xbf# c\n|2:3:\nb|"},
    };
    return cr_make_param_array(struct row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct row *row, yaml, a_stream_is_split_at_its_markers)
{
    struct bytes out = {0};
    struct yaml_doc doc;
    const char *text = row->yaml;
    size_t len = strlen(text);
    size_t line = 1;
    while (yaml_docs_next(&doc, &text, &len, &line)) {
        bytes_push_format(&out, "%zu:%zu%s:", doc.line, doc.marker_len, doc.is_empty ? "!" : "");
        bytes_push(&out, doc.body, doc.body_len);
        bytes_push_text(&out, "|");
    }
    char *pieces = bytes_take_text(&out);
    cr_expect_str_eq(pieces, row->json);
    free(pieces);
}
