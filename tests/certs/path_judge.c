// SPDX-License-Identifier: Apache-2.0
//
// Asks path_find about certificates that may know nothing of SPIFFE: those of the table and of the
// public suites that judges.py asks about. Each line of standard input is a question: seconds since
// 1970, roots, certificates with the leaf first, and CRLs, each list as base64 with commas between,
// "-" for none. Each line of standard output answers one: "ok", or the failure, a blank, and its
// words.
#include <openssl/base64.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/bundle.h"
#include "certs/chain.h"
#include "certs/path/path.h"

#define DOMAIN         "suite.example"
#define LINE_BYTES_MAX (1u << 20)
#define BLOBS_MAX      64

struct blobs {
    ProtobufCBinaryData items[BLOBS_MAX]; // owned
    size_t num;
};

static void die(const char *what)
{
    fprintf(stderr, "path_judge: %s\n", what);
    exit(2);
}

static void read_blobs(struct blobs *out, char *list)
{
    char *rest = NULL;
    *out = (struct blobs){.num = 0};
    if (list == NULL) {
        die("a line of fewer than four fields");
    }
    for (char *text = strtok_r(list, ",", &rest); text != NULL && strcmp(text, "-") != 0;
         text = strtok_r(NULL, ",", &rest)) {
        size_t len = strlen(text);
        ProtobufCBinaryData *blob = &out->items[out->num++];
        blob->data = malloc(len);
        if (out->num > BLOBS_MAX || blob->data == NULL ||
            !EVP_DecodeBase64(blob->data, &blob->len, len, (const uint8_t *)text, len)) {
            die("not a list of base64");
        }
    }
}

static void free_blobs(struct blobs *blobs)
{
    for (size_t i = 0; i < blobs->num; i++) {
        free(blobs->items[i].data);
    }
}

static enum verify_failure find(const struct blobs *chain, const struct trust_bundles *bundles,
                                time_t now, struct err *err)
{
    X509 *certs[CHAIN_CERTS_MAX];
    enum verify_failure failure = VERIFY_OK;
    size_t num = 0;
    time_t not_after;
    if (chain->num > CHAIN_CERTS_MAX) {
        err_set(err, "%zu certificates", chain->num);
        return VERIFY_CHAIN_TOO_LONG;
    }
    for (; num < chain->num && failure == VERIFY_OK; num++) {
        const uint8_t *der = chain->items[num].data;
        certs[num] = d2i_X509(NULL, &der, (long)chain->items[num].len);
        if (certs[num] == NULL) {
            err_set(err, "certificate %zu is not DER X.509", num);
            failure = VERIFY_CERTIFICATE_UNPARSABLE;
        }
    }
    if (failure == VERIFY_OK) {
        failure = path_find(&not_after, certs, num,
                            trust_bundles_find(bundles, DOMAIN, strlen(DOMAIN)), now, err);
    }
    while (num > 0) {
        X509_free(certs[--num]);
    }
    ERR_clear_error();
    return failure;
}

static void answer(char *line)
{
    char *rest = NULL;
    char buf[1000];
    struct blobs roots, chain, crls;
    const char *now_text = strtok_r(line, " \n", &rest);
    time_t now = now_text == NULL ? 0 : (time_t)strtoll(now_text, NULL, 10);
    read_blobs(&roots, strtok_r(NULL, " \n", &rest));
    read_blobs(&chain, strtok_r(NULL, " \n", &rest));
    read_blobs(&crls, strtok_r(NULL, " \n", &rest));
    Tabard__V1__TrustBundle message = TABARD__V1__TRUST_BUNDLE__INIT;
    message.trust_domain = (char *)DOMAIN;
    message.roots = roots.items;
    message.n_roots = roots.num;
    message.crls = crls.items;
    message.n_crls = crls.num;
    Tabard__V1__TrustBundle *list[] = {&message};
    struct err err = {0};
    struct trust_bundles *bundles = trust_bundles_new(list, 1, now, &err);
    if (bundles == NULL) {
        printf("bundle_refused %s\n", err_text(&err, buf, sizeof buf));
    } else {
        enum verify_failure failure = find(&chain, bundles, now, &err);
        printf("%s %s\n", verify_failure_text(failure), failure == VERIFY_OK ? "" : err.text);
    }
    fflush(stdout);
    trust_bundles_free(bundles);
    free_blobs(&roots);
    free_blobs(&chain);
    free_blobs(&crls);
}

int main(void)
{
    char *line = malloc(LINE_BYTES_MAX);
    while (line != NULL && fgets(line, LINE_BYTES_MAX, stdin) != NULL) {
        answer(line);
    }
    free(line);
    return 0;
}
