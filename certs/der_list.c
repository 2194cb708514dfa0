// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // memmem
#include "certs/der_list.h"

#include <openssl/base64.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

#define LABEL_LEN_MAX 64

// OpenSSL's reader passes over whatever it doesn't understand, so a block with a damaged first line
// would be lost in silence, and with it a CRL or a root. This one says what is wrong, and on which
// line.
struct reader {
    const char *rest;
    size_t rest_len;
    size_t line; // number of the line last read, from 1
    const char *what;
    const char *label;
};

void der_list_cleanup(struct der_list *list)
{
    for (size_t i = 0; i < list->num; i++) {
        free(list->items[i]);
    }
    free(list->items);
    free(list->lens);
    *list = (struct der_list){0};
}

static void push(struct der_list *list, const uint8_t *der, size_t der_len)
{
    list->items = must_grow(list->items, list->num + 1, sizeof *list->items);
    list->lens = must_grow(list->lens, list->num + 1, sizeof *list->lens);
    list->items[list->num] = must_copy(der, der_len);
    list->lens[list->num] = der_len;
    list->num++;
}

// Takes the next line, without its end and without blanks around it. false at the end of the text.
static bool next_line(struct reader *reader, const char **out_line, size_t *out_len)
{
    if (reader->rest_len == 0) {
        return false;
    }
    const char *line = reader->rest;
    const char *end = memchr(line, '\n', reader->rest_len);
    size_t len = end == NULL ? reader->rest_len : (size_t)(end - line);
    size_t taken = end == NULL ? len : len + 1;
    reader->rest += taken;
    reader->rest_len -= taken;
    reader->line++;
    while (len > 0 && strchr(" \t\r", line[len - 1]) != NULL && line[len - 1] != '\0') {
        len--;
    }
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    *out_line = line;
    *out_len = len;
    return true;
}

// Reads "-----BEGIN label-----" with the given first word.
static bool is_boundary(const char *line, size_t len, const char *word, const char **out_label,
                        size_t *out_label_len)
{
    size_t word_len = strlen(word);
    if (len < 5 + word_len + 1 + 5 || memcmp(line, "-----", 5) != 0 ||
        memcmp(line + 5, word, word_len) != 0 || line[5 + word_len] != ' ' ||
        memcmp(line + len - 5, "-----", 5) != 0) {
        return false;
    }
    *out_label = line + 5 + word_len + 1;
    *out_label_len = len - 5 - word_len - 1 - 5;
    return memchr(*out_label, '-', *out_label_len) == NULL;
}

static bool is_label(const char *label, const char *text, size_t len)
{
    return strlen(label) == len && memcmp(label, text, len) == 0;
}

// A label goes into a message only as far as it is plain.
static int plain_len(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len && i < LABEL_LEN_MAX && text[i] >= ' ' && text[i] < 0x7f) {
        i++;
    }
    return (int)i;
}

static bool err_at(const struct reader *reader, size_t line, struct err *err)
{
    return err_prefix(err, "%s:%zu", reader->what, line);
}

static bool check_der(const char *label, const uint8_t *der, size_t der_len, struct err *err)
{
    const uint8_t *end = der;
    bool ok = false;
    if (strcmp(label, "X509 CRL") == 0) {
        X509_CRL *crl = d2i_X509_CRL(NULL, &end, (long)der_len);
        ok = crl != NULL && end == der + der_len;
        X509_CRL_free(crl);
    } else {
        X509 *cert = d2i_X509(NULL, &end, (long)der_len);
        ok = cert != NULL && end == der + der_len;
        X509_free(cert);
    }
    ERR_clear_error();
    return ok || err_set(err, "the block is valid base64 but not a DER %s", label);
}

// Reads the body of a block up to its end line, and adds it to `out`.
static bool read_block(struct reader *reader, struct der_list *out, struct err *err)
{
    size_t begin = reader->line;
    // The base64 text is at most what is left; the DER needs no more room than that.
    size_t room = reader->rest_len + 4;
    char *text = must_alloc(room, 1);
    uint8_t *der = must_alloc(room, 1);
    bool ok = false;
    size_t text_len = 0;
    const char *line;
    size_t len;
    bool has_end = false;
    while (!has_end && next_line(reader, &line, &len)) {
        const char *end_label;
        size_t end_len;
        if (is_boundary(line, len, "END", &end_label, &end_len)) {
            if (!is_label(reader->label, end_label, end_len)) {
                err_set(err, "the block ends as \"%.*s\"", plain_len(end_label, end_len),
                        end_label);
                err_at(reader, reader->line, err);
                goto out;
            }
            has_end = true;
        } else if (memchr(line, '-', len) != NULL || memchr(line, ':', len) != NULL) {
            err_set(err, "not base64, inside the %s that begins on line %zu", reader->label, begin);
            err_at(reader, reader->line, err);
            goto out;
        } else {
            memcpy(text + text_len, line, len);
            text_len += len;
        }
    }
    if (!has_end) {
        err_set(err, "the %s has no \"-----END %s-----\"", reader->label, reader->label);
        err_at(reader, begin, err);
        goto out;
    }
    size_t der_len = 0;
    if (text_len == 0 || !EVP_DecodeBase64(der, &der_len, room, (const uint8_t *)text, text_len)) {
        err_set(err, "the %s is not valid base64", reader->label);
        err_at(reader, begin, err);
        goto out;
    }
    if (!check_der(reader->label, der, der_len, err)) {
        err_at(reader, begin, err);
        goto out;
    }
    push(out, der, der_len);
    ok = true;
out:
    free(text);
    free(der);
    return ok;
}

static bool read_all(struct reader *reader, struct der_list *out, size_t num_max, struct err *err)
{
    const char *line;
    size_t len;
    while (next_line(reader, &line, &len)) {
        const char *label;
        size_t label_len;
        if (is_boundary(line, len, "BEGIN", &label, &label_len)) {
            if (!is_label(reader->label, label, label_len)) {
                err_set(err, "a block of \"%.*s\"; only \"%s\" belongs here",
                        plain_len(label, label_len), label, reader->label);
                return err_at(reader, reader->line, err);
            }
            if (out->num == num_max) {
                err_set(err, "more than %zu blocks of \"%s\"", num_max, reader->label);
                return err_at(reader, reader->line, err);
            }
            if (!read_block(reader, out, err)) {
                return false;
            }
        } else if (len > 0 && (memmem(line, len, "-----", 5) != NULL || *line == '-' ||
                               memchr(line, '\0', len) != NULL)) {
            err_set(err, "a damaged line; a block starts with \"-----BEGIN %s-----\"",
                    reader->label);
            return err_at(reader, reader->line, err);
        }
    }
    if (out->num == 0) {
        return err_set(err, "%s: no \"-----BEGIN %s-----\" in it", reader->what, reader->label);
    }
    return true;
}

bool der_list_from_pem(struct der_list *out, const char *label, const char *pem, size_t pem_len,
                       size_t num_max, const char *what, struct err *err)
{
    *out = (struct der_list){0};
    struct reader reader = {.rest = pem, .rest_len = pem_len, .what = what, .label = label};
    if (!read_all(&reader, out, num_max, err)) {
        der_list_cleanup(out);
        return false;
    }
    return true;
}
