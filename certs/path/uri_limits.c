// SPDX-License-Identifier: Apache-2.0
#include "certs/path/uri_limits.h"

#include <openssl/bytestring.h>
#include <openssl/mem.h>
#include <string.h>

#define TEXT_MAX 255 // bytes of a text that a message shows

static CBS bytes_of(const ASN1_IA5STRING *text)
{
    CBS cbs;
    CBS_init(&cbs, ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
    return cbs;
}

static int shown_len(const CBS *text)
{
    return CBS_len(text) < TEXT_MAX ? (int)CBS_len(text) : TEXT_MAX;
}

static bool is_host(const CBS *text)
{
    bool is_in_label = false;
    for (size_t i = 0; i < CBS_len(text); i++) {
        int c = CBS_data(text)[i];
        if (c == '.' ? !is_in_label : !OPENSSL_isalnum(c) && c != '-' && c != '_') {
            return false;
        }
        is_in_label = c != '.';
    }
    return is_in_label;
}

// Whether a host would be read as an IPv4 address, of which there are many spellings: its last
// label is a number, decimal or hexadecimal.
static bool is_address(const CBS *host)
{
    size_t start = CBS_len(host);
    while (start > 0 && CBS_data(host)[start - 1] != '.') {
        start--;
    }
    const uint8_t *label = CBS_data(host) + start;
    size_t len = CBS_len(host) - start;
    bool is_hex = len >= 2 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X');
    for (size_t i = is_hex ? 2 : 0; i < len; i++) {
        if (is_hex ? !OPENSSL_isxdigit(label[i]) : !OPENSSL_isdigit(label[i])) {
            return false;
        }
    }
    return true;
}

static bool is_scheme(const CBS *text)
{
    for (size_t i = 0; i < CBS_len(text); i++) {
        int c = CBS_data(text)[i];
        if (i == 0 ? !OPENSSL_isalpha(c)
                   : !OPENSSL_isalnum(c) && c != '+' && c != '-' && c != '.') {
            return false;
        }
    }
    return CBS_len(text) > 0;
}

// Takes what stands before the first of these bytes, or all of it.
static CBS take_until(CBS *in, const char *ends)
{
    CBS taken;
    size_t len = 0;
    while (len < CBS_len(in) &&
           (CBS_data(in)[len] == '\0' || strchr(ends, CBS_data(in)[len]) == NULL)) {
        len++;
    }
    CBS_init(&taken, CBS_data(in), len);
    CBS_skip(in, len);
    return taken;
}

// Reads the host of a URI with an authority (RFC 3986, sections 3.1 and 3.2).
static bool read_host(CBS *out, const CBS *uri)
{
    CBS rest = *uri;
    CBS marks;
    CBS scheme = take_until(&rest, ":");
    if (!is_scheme(&scheme) || !CBS_get_bytes(&rest, &marks, 3) ||
        !CBS_mem_equal(&marks, (const uint8_t *)"://", 3)) {
        return false;
    }
    *out = take_until(&rest, "/?#");
    return is_host(out) &&
           (CBS_mem_equal(&scheme, (const uint8_t *)"spiffe", 6) || !is_address(out));
}

bool uri_limit_check(const GENERAL_SUBTREE *limit, struct err *err)
{
    const CBS whole = bytes_of(limit->base->d.uniformResourceIdentifier);
    CBS host = whole;
    if (limit->minimum != NULL || limit->maximum != NULL) {
        return err_set(err, "one of its URI name constraints has a minimum or a maximum, which RFC "
                            "5280 forbids");
    }
    if (CBS_len(&host) > 0 && CBS_data(&host)[0] == '.') {
        CBS_skip(&host, 1);
    }
    return is_host(&host) ||
           err_set(
               err,
               "one of its URI name constraints, \"%.*s\", is no host like prod.example, and no "
               "domain like .example either",
               shown_len(&whole), (const char *)CBS_data(&whole));
}

static bool is_in(STACK_OF(GENERAL_SUBTREE) * limits, const CBS *host)
{
    for (size_t i = 0; limits != NULL && i < sk_GENERAL_SUBTREE_num(limits); i++) {
        const GENERAL_SUBTREE *limit = sk_GENERAL_SUBTREE_value(limits, i);
        const CBS wanted = bytes_of(limit->base->d.uniformResourceIdentifier);
        size_t len = CBS_len(&wanted);
        bool is_domain = CBS_data(&wanted)[0] == '.';
        // A host has no dot at its start, so what ends in a domain has labels before it.
        if ((is_domain ? len < CBS_len(host) : len == CBS_len(host)) &&
            OPENSSL_strncasecmp((const char *)CBS_data(host) + CBS_len(host) - len,
                                (const char *)CBS_data(&wanted), len) == 0) {
            return true;
        }
    }
    return false;
}

bool uri_limits_allow(STACK_OF(GENERAL_SUBTREE) * permitted, STACK_OF(GENERAL_SUBTREE) * excluded,
                      const ASN1_IA5STRING *uri, struct err *err)
{
    const CBS whole = bytes_of(uri);
    CBS host;
    if (permitted == NULL && excluded == NULL) {
        return true;
    }
    if (!read_host(&host, &whole)) {
        return err_set(err,
                       "its URI \"%.*s\" has no host that can be compared with the URI name "
                       "constraints of a CA above it",
                       shown_len(&whole), (const char *)CBS_data(&whole));
    }
    if (permitted != NULL && !is_in(permitted, &host)) {
        return err_set(err,
                       "the host %.*s of its URI is none that the URI name constraints of a CA "
                       "above it permit",
                       shown_len(&host), (const char *)CBS_data(&host));
    }
    return !is_in(excluded, &host) ||
           err_set(err,
                   "the host %.*s of its URI is one that the URI name constraints of a CA above it "
                   "exclude",
                   shown_len(&host), (const char *)CBS_data(&host));
}
