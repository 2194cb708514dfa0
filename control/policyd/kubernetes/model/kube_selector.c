// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/bytes.h"
#include "base/must.h"
#include "certs/identity.h"
#include "control/policyd/kubernetes/model/kube_json.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"

#define LABEL_VALUE_MAX 63
#define LABEL_KEY_MAX   317 // a prefix of 253 bytes, a slash and 63

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct kube_labels *kube_labels_new(const json_t *labels)
{
    struct array keys = {0}; // const char *
    struct bytes text = {0};
    const char *key;
    json_t *value;
    bool ok = true;
    json_object_foreach((json_t *)labels, key, value)
    {
        *(const char **)array_add(&keys, sizeof key) = key;
    }
    const char **all = keys.items;
    if (keys.num > 1) {
        qsort(all, keys.num, sizeof *all, compare_keys);
    }
    for (uint32_t i = 0; ok && i < keys.num; i++) {
        const char *is = json_string_value(json_object_get(labels, all[i]));
        ok = is != NULL && strlen(is) <= LABEL_VALUE_MAX && strlen(all[i]) <= LABEL_KEY_MAX;
        if (ok) {
            bytes_push(&text, all[i], strlen(all[i]) + 1);
            bytes_push(&text, is, strlen(is) + 1);
        }
    }
    struct kube_labels *packed = NULL;
    if (ok) {
        packed = must_alloc(1, sizeof *packed + text.len);
        packed->len = text.len;
        if (text.len > 0) {
            memcpy(packed->text, text.at, text.len);
        }
    }
    array_cleanup(&keys);
    bytes_cleanup(&text);
    return packed;
}

// Takes the next key and value. false: there is none.
static bool next_label(const struct kube_labels *labels, size_t *at, const char **out_key,
                       const char **out_value)
{
    if (*at >= labels->len) {
        return false;
    }
    *out_key = labels->text + *at;
    *out_value = *out_key + strlen(*out_key) + 1;
    *at = (size_t)(*out_value - labels->text) + strlen(*out_value) + 1;
    return true;
}

bool kube_labels_hold(const struct kube_labels *all, const struct kube_labels *some)
{
    const char *key, *value, *wanted_key, *wanted_value;
    size_t at = 0;
    size_t wanted_at = 0;
    while (next_label(some, &wanted_at, &wanted_key, &wanted_value)) {
        int order = 1;
        while (order > 0 && next_label(all, &at, &key, &value)) {
            order = strcmp(wanted_key, key);
        }
        if (order != 0 || strcmp(wanted_value, value) != 0) {
            return false;
        }
    }
    return true;
}

static bool read_accounts(struct kube_selector *out, const json_t *accounts, struct err *err)
{
    const json_t *item;
    size_t i;
    if (!json_is_array(accounts) || json_array_size(accounts) == 0) {
        return err_set_at(err, "serviceAccounts",
                          "is no list of names, or an empty one: leave it "
                          "out where every account is meant");
    }
    json_array_foreach((json_t *)accounts, i, item)
    {
        const char *name = json_string_value(item);
        if (name == NULL || !kube_json_is_name(name)) {
            err_set(err, "is no name of a service account");
            return err_prefix_where(err, "serviceAccounts[%zu]", i);
        }
        *(char **)array_add(&out->accounts, sizeof(char *)) = must_strdup(name);
    }
    return true;
}

bool kube_selector_read(struct kube_selector *out, const json_t *selector, bool takes_labels,
                        struct err *err)
{
    *out = (struct kube_selector){.labels = NULL};
    if (selector == NULL) {
        return true;
    }
    bool ok = takes_labels ? kube_json_only(selector, err, "serviceAccounts", "matchLabels", NULL)
                           : kube_json_only(selector, err, "serviceAccounts", NULL);
    const json_t *accounts = json_object_get(selector, "serviceAccounts");
    const json_t *labels = json_object_get(selector, "matchLabels");
    if (ok && accounts == NULL && labels == NULL) {
        ok = err_set(err, "selects nothing: leave it out where every pod is meant");
    }
    ok = ok && (accounts == NULL || read_accounts(out, accounts, err));
    if (ok && labels != NULL) {
        if (!json_is_object(labels) || json_object_size(labels) == 0) {
            ok = err_set_at(err, "matchLabels", "has no labels: leave it out where all are meant");
        } else if ((out->labels = kube_labels_new(labels)) == NULL) {
            ok = err_set_at(err, "matchLabels", "a label's value is no text of at most %d bytes",
                            LABEL_VALUE_MAX);
        }
    }
    if (!ok) {
        kube_selector_cleanup(out);
    }
    return ok || err_prefix_where(err, "selector");
}

void kube_selector_cleanup(struct kube_selector *selector)
{
    char **accounts = selector->accounts.items;
    for (uint32_t i = 0; i < selector->accounts.num; i++) {
        free(accounts[i]);
    }
    array_cleanup(&selector->accounts);
    free(selector->labels);
    *selector = (struct kube_selector){.labels = NULL};
}

bool kube_selector_matches(const struct kube_selector *selector, const struct kube_pod *pod)
{
    char *const *accounts = selector->accounts.items;
    bool is_account = selector->accounts.num == 0;
    for (uint32_t i = 0; i < selector->accounts.num && !is_account; i++) {
        is_account = strcmp(accounts[i], pod->account) == 0;
    }
    return is_account && pod->labels != NULL &&
           (selector->labels == NULL || kube_labels_hold(pod->labels, selector->labels));
}

static char **one_more(char ***texts, size_t *num)
{
    *texts = must_grow(*texts, *num + 1, sizeof **texts);
    return &(*texts)[(*num)++];
}

char **kube_selector_patterns(const struct kube_model *model, const struct kube_selector *selector,
                              const char *ns, size_t *out_num)
{
    char **patterns = NULL;
    char text[SPIFFE_ID_LEN_MAX];
    char *const *accounts = selector->accounts.items;
    *out_num = 0;
    for (uint32_t i = 0; i < selector->accounts.num; i++) {
        snprintf(text, sizeof text, "spiffe://%s/ns/%s/sa/%s", model->trust_domain, ns,
                 accounts[i]);
        *one_more(&patterns, out_num) = must_strdup(text);
    }
    if (selector->accounts.num == 0) {
        snprintf(text, sizeof text, "spiffe://%s/ns/%s/", model->trust_domain, ns);
        *one_more(&patterns, out_num) = must_strdup(text);
    }
    return patterns;
}
