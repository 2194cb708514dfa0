// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/ca/ca_trust_apart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/bytes.h"
#include "base/must.h"

#define LIST_BEGIN "-----BEGIN X509 CRL-----"
#define LIST_END   "-----END X509 CRL-----"
#define CERT_BEGIN "-----BEGIN CERTIFICATE-----"

// A trust in the making.
struct making {
    struct ca_trust_texts texts; // that are good together
    char *more;                  // owned; in place of crls.pem: with lists added; NULL: none were
    const struct ca_trust *in_force;
    time_t now;
    struct ca_trust_faults *faults;
    bool is_list_bad;
    bool has_news;
};

void ca_trust_fault(struct ca_trust_faults *faults, const char *text)
{
    if (faults->num < CA_TRUST_FAULTS_MAX) {
        snprintf(faults->texts[faults->num++], CA_TRUST_FAULT_BYTES, "%s", text);
    }
}

static char *copy_of(const char *text)
{
    return text == NULL ? NULL : must_strdup(text);
}

void ca_trust_good_set(struct ca_trust_good *good, const struct ca_trust_texts *texts)
{
    struct ca_trust_good copy = {.ca = copy_of(texts->ca),
                                 .crl = copy_of(texts->crl),
                                 .roots = copy_of(texts->roots),
                                 .crls = copy_of(texts->crls)};
    ca_trust_good_cleanup(good);
    *good = copy;
}

struct ca_trust_texts ca_trust_good_texts(const struct ca_trust_good *good)
{
    return (struct ca_trust_texts){
        .ca = good->ca, .crl = good->crl, .roots = good->roots, .crls = good->crls};
}

void ca_trust_good_cleanup(struct ca_trust_good *good)
{
    free(good->ca);
    free(good->crl);
    free(good->roots);
    free(good->crls);
    *good = (struct ca_trust_good){.ca = NULL};
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

// Says whether a list in force would be withdrawn.
static bool withdraws(const struct ca_trust *trust, const struct ca_trust *in_force)
{
    char issuer[TRUST_ISSUER_TEXT];
    return trust_bundles_withdrawn(trust->bundles, in_force->bundles, 0, issuer) != NULL;
}

// Says whether a trust has a root that isn't in force.
static bool brings_root(const struct ca_trust *trust, const struct ca_trust *in_force)
{
    const char *at = trust->roots_pem;
    bool brings = false;
    for (const char *next; !brings && at != NULL && *at != '\0'; at = next) {
        next = strstr(at + 1, CERT_BEGIN);
        size_t len = next == NULL ? strlen(at) : (size_t)(next - at);
        char *one = must_copy(at, len + 1);
        one[len] = '\0';
        brings = strstr(in_force->roots_pem, one) == NULL;
        free(one);
    }
    return brings;
}

static struct ca_trust *try(const struct making *making, const struct ca_trust_texts *texts,
                            struct err *err)
{
    *err = (struct err){{0}, {0}};
    return ca_trust_new(texts, making->in_force, making->now, err);
}

static void refuse(struct making *making, const char *name, const struct err *err)
{
    char why[sizeof *err], text[CA_TRUST_FAULT_BYTES];
    err_text(err, why, sizeof why);
    bool is_named = strncmp(why, name, strlen(name)) == 0;
    snprintf(text, sizeof text, "%s%s%.500s", is_named ? "" : name, is_named ? "" : ": ", why);
    ca_trust_fault(making->faults, text);
}

// Says whether a file of lists is good beside the others. A refusal is noted.
static bool is_list_good(struct making *making, const struct ca_trust_texts *texts,
                         const char *name)
{
    struct err err;
    struct ca_trust *trust = try(making, texts, &err);
    if (trust == NULL) {
        refuse(making, name, &err);
    }
    ca_trust_free(trust);
    return trust != NULL;
}

// Puts a file of lists in place of the one in force. false: it can't be, since a list would leave.
static bool replace_lists(struct making *making, const struct ca_trust_texts *texts)
{
    struct err err;
    struct ca_trust *trust = try(making, texts, &err);
    bool ok = trust != NULL && !(making->is_list_bad && withdraws(trust, making->in_force));
    if (ok) {
        making->texts = *texts;
        making->has_news = true;
    }
    ca_trust_free(trust);
    return ok;
}

static bool has_list(const struct making *making, const char *begin, const char *end)
{
    char *one = must_copy(begin, (size_t)(end - begin) + 1);
    one[end - begin] = '\0';
    bool has = (making->texts.crl != NULL && strstr(making->texts.crl, one) != NULL) ||
               (making->texts.crls != NULL && strstr(making->texts.crls, one) != NULL);
    free(one);
    return has;
}

// Adds each list of a text that is good by itself to those in force.
static void add_lists(struct making *making, const char *text)
{
    const char *at = text == NULL ? NULL : strstr(text, LIST_BEGIN);
    while (at != NULL) {
        const char *end = strstr(at, LIST_END);
        const char *next = strstr(at + 1, LIST_BEGIN);
        if (end != NULL && (next == NULL || end < next) && !has_list(making, at, end)) {
            struct bytes all = {.len = 0};
            struct err err;
            struct ca_trust_texts texts = making->texts;
            bytes_push_text(&all, texts.crls == NULL ? "" : texts.crls);
            bytes_push_text(&all, "\n");
            bytes_push(&all, at, (size_t)(end - at) + strlen(LIST_END));
            bytes_push_text(&all, "\n");
            char *joined = bytes_take_text(&all);
            texts.crls = joined;
            struct ca_trust *trust = try(making, &texts, &err);
            if (trust != NULL) {
                free(making->more);
                making->more = joined;
                making->texts.crls = joined;
                making->has_news = true;
            } else {
                free(joined);
            }
            ca_trust_free(trust);
        }
        at = next;
    }
}

static void take_lists(struct making *making, const struct ca_trust_texts *texts)
{
    const struct ca_trust_texts good = making->texts;
    struct ca_trust_texts with_crl = good, with_crls = good;
    with_crl.crl = texts->crl;
    with_crls.crls = texts->crls;
    bool is_crl_good =
        same_text(good.crl, texts->crl) || is_list_good(making, &with_crl, "ca/crl.pem");
    bool is_crls_good =
        same_text(good.crls, texts->crls) || is_list_good(making, &with_crls, "crls.pem");
    making->is_list_bad = making->is_list_bad || !is_crl_good || !is_crls_good;
    if (!same_text(good.crls, texts->crls) &&
        !(is_crls_good && replace_lists(making, &with_crls))) {
        add_lists(making, texts->crls);
    }
    with_crl.crls = making->texts.crls;
    if (!same_text(good.crl, texts->crl) && !(is_crl_good && replace_lists(making, &with_crl))) {
        add_lists(making, texts->crl);
    }
}

// Takes other roots, or another CA, or both. false: they can't be.
static bool take_roots(struct making *making, const char *ca, const char *roots, const char *name,
                       bool is_last)
{
    struct err err;
    struct ca_trust_texts texts = making->texts;
    texts.ca = ca;
    texts.roots = roots;
    struct ca_trust *trust = try(making, &texts, &err);
    bool ok = trust != NULL;
    if (ok && making->is_list_bad && brings_root(trust, making->in_force)) {
        ok = err_set(&err, "a root that is new waits until every list of revocations can be used");
    }
    if (ok) {
        making->texts = texts;
        making->has_news = true;
    } else if (is_last) {
        refuse(making, name, &err);
    }
    ca_trust_free(trust);
    return ok;
}

struct ca_trust *ca_trust_new_apart(const struct ca_trust_texts *texts, bool is_list_bad,
                                    const struct ca_trust_good *good,
                                    const struct ca_trust *in_force, time_t now,
                                    struct ca_trust_faults *faults, struct ca_trust_good *out_good)
{
    struct making making = {.texts = ca_trust_good_texts(good),
                            .in_force = in_force,
                            .now = now,
                            .faults = faults,
                            .is_list_bad = is_list_bad};
    struct err err;
    take_lists(&making, texts);
    bool is_ca_other = !same_text(good->ca, texts->ca);
    bool is_roots_other = !same_text(good->roots, texts->roots);
    bool is_done =
        is_ca_other && is_roots_other && take_roots(&making, texts->ca, texts->roots, "", false);
    if (!is_done && is_roots_other) {
        take_roots(&making, making.texts.ca, texts->roots, "roots.pem", true);
    }
    if (!is_done && is_ca_other) {
        take_roots(&making, texts->ca, making.texts.roots, "ca/ca.pem", true);
    }
    struct ca_trust *trust = making.has_news ? try(&making, &making.texts, &err) : NULL;
    if (trust != NULL) {
        ca_trust_good_set(out_good, &making.texts);
    }
    free(making.more);
    return trust;
}
