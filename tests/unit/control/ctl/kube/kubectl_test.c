// SPDX-License-Identifier: Apache-2.0
//
// How a program is run and read as kubectl is; here it is a shell script.
#include "control/ctl/kube/kubectl.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/support/temp.h"

TestSuite(kubectl, .timeout = 20, .init = temp_set_up, .fini = temp_tear_down);

static char program[TEMP_PATH_BYTES + 16];

static struct kubectl script(const char *lines)
{
    char text[512];
    int len = snprintf(text, sizeof text, "#!/bin/sh\n%s\n", lines);
    temp_write(temp_folder, "kubectl", text, (size_t)len);
    snprintf(program, sizeof program, "%s/kubectl", temp_folder);
    cr_assert_eq(chmod(program, 0700), 0);
    return (struct kubectl){.program = program};
}

static const char *const words[] = {"get", "pods", NULL};

Test(kubectl, the_answer_is_what_it_prints_and_its_words_come_after_the_context)
{
    struct err err = {{0}, {0}};
    struct kubectl kubectl = script("echo \"$@\"; echo warned >&2");
    kubectl.context = "kind-x";
    char *text = kubectl_text(&kubectl, words, NULL, &err);
    cr_assert_not_null(text, "%s", err.text);
    cr_expect_str_eq(text, "--context kind-x --request-timeout=20s get pods\n");
    free(text);
}

Test(kubectl, it_reads_its_input_whole)
{
    struct err err = {{0}, {0}};
    struct kubectl kubectl = script("cat");
    size_t len = 1 << 20; // more than a pipe holds
    char *input = malloc(len + 1);
    memset(input, 'x', len);
    input[len] = '\0';
    char *text = kubectl_text(&kubectl, words, input, &err);
    cr_assert_not_null(text, "%s", err.text);
    cr_expect_str_eq(text, input);
    free(text);
    free(input);
}

Test(kubectl, without_input_it_reads_nothing)
{
    struct err err = {{0}, {0}};
    struct kubectl kubectl = script("wc -c");
    char *text = kubectl_text(&kubectl, words, NULL, &err);
    cr_assert_not_null(text, "%s", err.text);
    cr_expect_eq(atoi(text), 0);
    free(text);
}

Test(kubectl, a_failure_says_what_it_complained_of_in_one_line)
{
    struct err err = {{0}, {0}};
    struct kubectl kubectl =
        script("echo half; echo 'Error from server (Forbidden):' >&2; echo 'not you' >&2; exit 1");
    cr_expect_null(kubectl_text(&kubectl, words, NULL, &err));
    cr_expect_str_eq(err.text, "Error from server (Forbidden): not you");
}

Test(kubectl, what_its_library_logs_before_is_left_out_unless_it_is_all)
{
    struct err err = {{0}, {0}};
    struct kubectl kubectl =
        script("for i in 1 2 3 4 5; do\n"
               "echo \"E1128 05:34:38.796065   16527 memcache.go:265] $(printf %0200d 0)\" >&2\n"
               "done\n"
               "echo 'The connection to the server 127.0.0.1:1 was refused' >&2; exit 1");
    cr_expect_null(kubectl_text(&kubectl, words, NULL, &err));
    cr_expect_str_eq(err.text, "The connection to the server 127.0.0.1:1 was refused");
    kubectl = script("echo 'F1128 05:34:38.796065 1 x.go:1] no memory' >&2; exit 1");
    cr_expect_null(kubectl_text(&kubectl, words, NULL, &err));
    cr_expect_str_eq(err.text, "F1128 05:34:38.796065 1 x.go:1] no memory");
    kubectl = script("echo 'Error: a' >&2; printf E >&2; exit 1");
    cr_expect_null(kubectl_text(&kubectl, words, NULL, &err));
    cr_expect_str_eq(err.text, "Error: a E");
}

Test(kubectl, a_failure_without_a_word_says_how_it_ended)
{
    struct err err = {{0}, {0}};
    struct kubectl kubectl = script("exit 7");
    cr_expect_null(kubectl_text(&kubectl, words, NULL, &err));
    cr_expect_str_eq(err.text, "kubectl ended with status 7");
    kubectl = script("kill -9 $$");
    cr_expect_null(kubectl_text(&kubectl, words, NULL, &err));
    cr_expect_str_eq(err.text, "kubectl ended with signal 9");
}

Test(kubectl, a_kubeconfig_that_is_not_there_is_named_and_nobody_is_asked)
{
    struct err err = {{0}, {0}};
    struct kubectl kubectl = script("echo asked");
    setenv("KUBECONFIG", "/nowhere/config:/nowhere/too", 1);
    cr_expect_null(kubectl_text(&kubectl, words, NULL, &err));
    cr_expect_str_eq(err.text,
                     "KUBECONFIG names no file that is there: /nowhere/config:/nowhere/too");
    char one[TEMP_PATH_BYTES + 64];
    snprintf(one, sizeof one, "/nowhere/config:%s", program);
    setenv("KUBECONFIG", one, 1); // one of them is enough, as for kubectl
    char *text = kubectl_text(&kubectl, words, NULL, &err);
    cr_expect_str_eq(text, "asked\n");
    free(text);
    setenv("KUBECONFIG", "", 1); // as if it weren't set
    text = kubectl_text(&kubectl, words, NULL, &err);
    cr_expect_str_eq(text, "asked\n");
    free(text);
}

Test(kubectl, an_endless_answer_is_cut_off)
{
    struct err err = {{0}, {0}};
    struct kubectl kubectl = script("exec cat /dev/zero");
    cr_expect_null(kubectl_text(&kubectl, words, NULL, &err));
    cr_expect_not_null(strstr(err.text, "over the limit of 67108864 bytes"), "%s", err.text);
}

Test(kubectl, a_program_that_is_not_there_is_named)
{
    struct err err = {{0}, {0}};
    struct kubectl kubectl = {.program = "/nowhere/kubectl"};
    cr_expect_null(kubectl_text(&kubectl, words, NULL, &err));
    cr_expect_str_eq(err.text, "/nowhere/kubectl can't be run: No such file or directory");
}

Test(kubectl, an_answer_is_json_or_nothing_which_is_null)
{
    struct err err = {{0}, {0}};
    struct kubectl kubectl = script("echo '{\"a\": 1}'");
    json_t *value = kubectl_json(&kubectl, words, NULL, &err);
    cr_expect(json_is_object(value));
    json_decref(value);
    kubectl = script(":");
    value = kubectl_json(&kubectl, words, NULL, &err);
    cr_expect(json_is_null(value));
    kubectl = script("echo '{\"a\": '");
    cr_expect_null(kubectl_json(&kubectl, words, NULL, &err));
    cr_expect_not_null(strstr(err.text, "kubectl printed no JSON: "), "%s", err.text);
}
