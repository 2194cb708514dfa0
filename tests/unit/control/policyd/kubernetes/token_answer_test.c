// SPDX-License-Identifier: Apache-2.0
//
// Answers to a TokenReview: as a Kubernetes 1.35 gave them, and as none should.
#include "control/policyd/kubernetes/token_answer.h"

#include <criterion/criterion.h>
#include <string.h>

#define HEAD "{'kind':'TokenReview','apiVersion':'authentication.k8s.io/v1','status':"
#define OURS "'authenticated':true,'audiences':['tabard.dev'],"
#define NAME "'username':'system:serviceaccount:shop:web',"
#define GROUPS                                                                                     \
    "'groups':['system:serviceaccounts','system:serviceaccounts:shop','system:authenticated'],"
#define POD                       "'authentication.kubernetes.io/pod-name':['web-7d9-x2']"
#define UID                       "'authentication.kubernetes.io/pod-uid':['6cc044e2-a70a-4a76-9b70-cb9f13232930']"
#define USER(name, groups, extra) "'user':{" name groups "'extra':{" extra "}}"
#define GOOD                      USER(NAME, GROUPS, POD "," UID)

static const struct {
    const char *what;
    const char *body; // ' stands for "
    enum account_result result;
} rows[] = {
    {"a pod's", HEAD "{" OURS GOOD "}}", ACCOUNT_OK},
    {"of several audiences", HEAD "{'authenticated':true,'audiences':['x','tabard.dev']," GOOD "}}",
     ACCOUNT_OK},
    {"junk", HEAD "{'error':'invalid bearer token','user':{}}}", ACCOUNT_REFUSED},
    {"a bad signature",
     HEAD "{'error':'[invalid bearer token, go-jose/go-jose: error in cryptographic primitive]',"
          "'user':{}}}",
     ACCOUNT_REFUSED},
    {"another audience",
     HEAD "{'error':'[invalid bearer token, token audiences [\\'other.dev\\'] is invalid for the "
          "target audiences [\\'tabard.dev\\']]','user':{}}}",
     ACCOUNT_OTHER_AUDIENCE},
    {"expired",
     HEAD "{'error':'[invalid bearer token, service account token has expired]','user':{}}}",
     ACCOUNT_EXPIRED},
    {"a deleted pod",
     HEAD "{'error':'[invalid bearer token, service account token has been invalidated]'}}",
     ACCOUNT_POD_GONE},
    {"a deleted account",
     HEAD "{'error':'[invalid bearer token, serviceaccounts \\'app2\\' not found]','user':{}}}",
     ACCOUNT_GONE},
    {"an account that was made anew",
     HEAD "{'error':'[invalid bearer token, service account UID (1) does not match claim (2)]'}}",
     ACCOUNT_GONE},
    {"bound to nothing", HEAD "{" OURS USER(NAME, GROUPS, "") "}}", ACCOUNT_NO_POD},
    {"without a uid", HEAD "{" OURS USER(NAME, GROUPS, POD) "}}", ACCOUNT_NO_POD},
    {"without a name", HEAD "{" OURS USER(NAME, GROUPS, UID) "}}", ACCOUNT_NO_POD},
    {"of two pods",
     HEAD
     "{" OURS USER(NAME, GROUPS, "'authentication.kubernetes.io/pod-name':['a','b']," UID) "}}",
     ACCOUNT_NO_POD},
    {"of a pod that is a number",
     HEAD "{" OURS USER(NAME, GROUPS, "'authentication.kubernetes.io/pod-name':[1]," UID) "}}",
     ACCOUNT_NO_POD},
    {"a pod's name that is no name",
     HEAD "{" OURS USER(NAME, GROUPS, "'authentication.kubernetes.io/pod-name':['a/b']," UID) "}}",
     ACCOUNT_NO_POD},
    {"a person's", HEAD "{" OURS USER("'username':'admin',", GROUPS, POD "," UID) "}}",
     ACCOUNT_NO_ACCOUNT},
    {"a node's", HEAD "{" OURS USER("'username':'system:node:shop:web',", GROUPS, POD "," UID) "}}",
     ACCOUNT_NO_ACCOUNT},
    {"no name", HEAD "{" OURS USER("", GROUPS, POD "," UID) "}}", ACCOUNT_NO_ACCOUNT},
    {"a name with a path in it",
     HEAD
     "{" OURS USER("'username':'system:serviceaccount:shop:web/../x',", GROUPS, POD "," UID) "}}",
     ACCOUNT_NO_ACCOUNT},
    {"a name of dots",
     HEAD "{" OURS USER("'username':'system:serviceaccount:..:web',", GROUPS, POD "," UID) "}}",
     ACCOUNT_NO_ACCOUNT},
    {"a name of three parts",
     HEAD "{" OURS USER("'username':'system:serviceaccount:shop:web:x',", GROUPS, POD "," UID) "}}",
     ACCOUNT_NO_ACCOUNT},
    {"half a name",
     HEAD "{" OURS USER("'username':'system:serviceaccount:shop',", GROUPS, POD "," UID) "}}",
     ACCOUNT_NO_ACCOUNT},
    {"an empty account",
     HEAD "{" OURS USER("'username':'system:serviceaccount:shop:',", GROUPS, POD "," UID) "}}",
     ACCOUNT_NO_ACCOUNT},
    {"capitals",
     HEAD "{" OURS USER("'username':'system:serviceaccount:Shop:web',", GROUPS, POD "," UID) "}}",
     ACCOUNT_NO_ACCOUNT},
    {"in no group", HEAD "{" OURS USER(NAME, "", POD "," UID) "}}", ACCOUNT_NO_ACCOUNT},
    {"in another namespace's group",
     HEAD "{" OURS USER(NAME, "'groups':['system:serviceaccounts','system:serviceaccounts:bank'],",
                        POD "," UID) "}}",
     ACCOUNT_NO_ACCOUNT},
    {"not authenticated", HEAD "{'authenticated':false,'audiences':['tabard.dev']," GOOD "}}",
     ACCOUNT_REFUSED},
    {"authenticated by a text",
     HEAD "{'authenticated':'true','audiences':['tabard.dev']," GOOD "}}", ACCOUNT_REFUSED},
    {"nothing said of it", HEAD "{'audiences':['tabard.dev']," GOOD "}}", ACCOUNT_REFUSED},
    {"an error all the same", HEAD "{'error':'invalid bearer token'," OURS GOOD "}}",
     ACCOUNT_REFUSED},
    {"a server that knows no audiences", HEAD "{'authenticated':true," GOOD "}}",
     ACCOUNT_OTHER_AUDIENCE},
    {"another's audience", HEAD "{'authenticated':true,'audiences':['tabard.de']," GOOD "}}",
     ACCOUNT_OTHER_AUDIENCE},
    {"an audience as a text", HEAD "{'authenticated':true,'audiences':'tabard.dev'," GOOD "}}",
     ACCOUNT_OTHER_AUDIENCE},
    {"a webhook that is down",
     HEAD "{'error':'Post \\'https://auth.example/\\': context deadline exceeded','user':{}}}",
     ACCOUNT_UNAVAILABLE},
    {"an error that is a number", HEAD "{'error':1," OURS GOOD "}}", ACCOUNT_UNAVAILABLE},
    {"no status", "{'kind':'TokenReview','apiVersion':'authentication.k8s.io/v1'}",
     ACCOUNT_UNAVAILABLE},
    {"a status that is a list", HEAD "[]}", ACCOUNT_UNAVAILABLE},
    {"a Status", "{'kind':'Status','apiVersion':'v1','status':{" OURS GOOD "}}",
     ACCOUNT_UNAVAILABLE},
    {"another version",
     "{'kind':'TokenReview','apiVersion':'authentication.k8s.io/v2','status':{" OURS GOOD "}}",
     ACCOUNT_UNAVAILABLE},
    {"a list", "[]", ACCOUNT_UNAVAILABLE},
};

static json_t *body_of(const char *text)
{
    char bytes[4096];
    json_error_t error;
    size_t len = strlen(text);
    cr_assert_lt(len, sizeof bytes);
    for (size_t i = 0; i <= len; i++) {
        bytes[i] = text[i] == '\'' ? '"' : text[i];
    }
    json_t *body = json_loads(bytes, 0, &error);
    cr_assert_not_null(body, "%s in %s", error.text, bytes);
    return body;
}

Test(token_answer, only_a_bound_token_of_a_service_account_for_us_is_good, .timeout = 20)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct account_answer answer;
        json_t *body = body_of(rows[i].body);
        token_answer_read(&answer, body);
        json_decref(body);
        cr_expect_eq(answer.result, rows[i].result, "%s: %s: %s", rows[i].what,
                     account_result_text(answer.result), answer.words);
        cr_expect_eq(answer.words[0] == '\0', answer.result == ACCOUNT_OK, "%s", rows[i].what);
        if (answer.result == ACCOUNT_OK) {
            cr_expect_str_eq(answer.pod.ns, "shop");
            cr_expect_str_eq(answer.pod.account, "web");
            cr_expect_str_eq(answer.pod.name, "web-7d9-x2");
            cr_expect_str_eq(answer.pod.uid, "6cc044e2-a70a-4a76-9b70-cb9f13232930");
        } else {
            cr_expect_str_eq(answer.pod.ns, "", "%s: nothing of it is told", rows[i].what);
        }
    }
    struct account_answer answer;
    token_answer_read(&answer, NULL);
    cr_expect_eq(answer.result, ACCOUNT_UNAVAILABLE);
}

// The longest names that Kubernetes allows are taken, and longer ones are not cut.
Test(token_answer, names_are_taken_whole_or_not_at_all, .timeout = 20)
{
    for (unsigned longer = 0; longer < 2; longer++) {
        char ns[ACCOUNT_NAMESPACE_BYTES + 1], account[ACCOUNT_NAME_BYTES], name[600], group[128];
        struct account_answer answer;
        memset(ns, 'n', sizeof ns);
        ns[ACCOUNT_NAMESPACE_BYTES - 1 + longer] = '\0';
        memset(account, 'a', sizeof account);
        account[ACCOUNT_NAME_BYTES - 1] = '\0';
        snprintf(name, sizeof name, "system:serviceaccount:%s:%s", ns, account);
        snprintf(group, sizeof group, "system:serviceaccounts:%s", ns);
        json_t *body = json_pack("{s:s, s:s, s:{s:b, s:[s], s:{s:s, s:[s,s], s:{s:[s], s:[s]}}}}",
                                 "kind", "TokenReview", "apiVersion", "authentication.k8s.io/v1",
                                 "status", "authenticated", 1, "audiences", "tabard.dev", "user",
                                 "username", name, "groups", "system:serviceaccounts", group,
                                 "extra", "authentication.kubernetes.io/pod-name", account,
                                 "authentication.kubernetes.io/pod-uid", "1-2");
        cr_assert_not_null(body);
        token_answer_read(&answer, body);
        json_decref(body);
        cr_expect_eq(answer.result, longer ? ACCOUNT_NO_ACCOUNT : ACCOUNT_OK, "%s", answer.words);
        cr_expect(longer || strcmp(answer.pod.account, account) == 0);
    }
}
