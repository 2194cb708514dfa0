// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>

#include "control/kube/inject/json_patch.h"

TestSuite(json_patch, .timeout = 10);

Test(json_patch, a_name_is_escaped_as_json_pointer_wants_it)
{
    char *escaped = json_patch_escape("tabard.dev/a~b/~1");
    cr_expect_str_eq(escaped, "tabard.dev~1a~0b~1~01");
    free(escaped);
}

Test(json_patch, an_added_operation_has_op_path_and_value)
{
    json_t *patch = json_array();
    json_patch_add(patch, json_integer(7), "/a/%s", "b~1c");
    char *text = json_dumps(patch, JSON_COMPACT);
    cr_expect_str_eq(text, "[{\"op\":\"add\",\"path\":\"/a/b~1c\",\"value\":7}]");
    free(text);
    json_decref(patch);
}

// The examples are those of RFC 6902, appendix A, and what must not be done. Criterion copies the
// rows into another process, so they hold their texts.
struct row {
    char document[80];
    char patch[120];
    char result[80]; // empty: refused
};

ParameterizedTestParameters(json_patch, applies_or_refuses)
{
    static struct row rows[] = {
        {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]",
         "{\"foo\":\"bar\",\"baz\":\"qux\"}"},
        {"{\"foo\":[1,2]}", "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":9}]",
         "{\"foo\":[1,9,2]}"},
        {"{\"foo\":[1]}", "[{\"op\":\"add\",\"path\":\"/foo/-\",\"value\":2}]", "{\"foo\":[1,2]}"},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":2}]", "{\"a\":2}"},
        {"{\"a/b\":{\"m~n\":1}}", "[{\"op\":\"replace\",\"path\":\"/a~1b/m~0n\",\"value\":2}]",
         "{\"a/b\":{\"m~n\":2}}"},
        {"{\"a\":[1,2,3]}", "[{\"op\":\"remove\",\"path\":\"/a/1\"}]", "{\"a\":[1,3]}"},
        {"{\"a\":1,\"b\":2}", "[{\"op\":\"remove\",\"path\":\"/a\"}]", "{\"b\":2}"},
        {"{\"\":1}", "[{\"op\":\"replace\",\"path\":\"/\",\"value\":2}]", "{\"\":2}"},
        {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz/bat\",\"value\":1}]", ""},
        {"{\"foo\":[1]}", "[{\"op\":\"add\",\"path\":\"/foo/2\",\"value\":1}]", ""},
        {"{\"foo\":[1]}", "[{\"op\":\"add\",\"path\":\"/foo/01\",\"value\":1}]", ""},
        {"{\"foo\":[1]}", "[{\"op\":\"replace\",\"path\":\"/foo/-\",\"value\":1}]", ""},
        {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/b\",\"value\":1}]", ""},
        {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b\"}]", ""},
        {"{\"a~2\":1}", "[{\"op\":\"replace\",\"path\":\"/a~2\",\"value\":1}]", ""},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"a\",\"value\":1}]", ""},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"\",\"value\":1}]", ""},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a\"}]", ""},
        {"{\"a\":1}", "[{\"op\":\"move\",\"path\":\"/a\",\"from\":\"/b\"}]", ""},
    };
    return cr_make_param_array(struct row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct row *row, json_patch, applies_or_refuses)
{
    struct err err = {{0}, {0}};
    json_t *document = json_loads(row->document, 0, NULL);
    json_t *patch = json_loads(row->patch, 0, NULL);
    cr_assert(document != NULL && patch != NULL);
    bool is_done = json_patch_apply(document, patch, &err);
    cr_expect_eq(is_done, row->result[0] != '\0', "%s: %s", row->patch, err.text);
    char *text = json_dumps(document, JSON_COMPACT);
    if (is_done) {
        cr_expect_str_eq(text, row->result);
    } else {
        cr_expect_eq(strncmp(err.text, "operation 0 of the patch (", 26), 0, "%s", err.text);
    }
    free(text);
    json_decref(patch);
    json_decref(document);
}
