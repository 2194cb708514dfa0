// SPDX-License-Identifier: Apache-2.0
#include "certs/identity.h"

#include <stdio.h>
#include <string.h>

#define SCHEME     "spiffe://"
#define SCHEME_LEN (sizeof SCHEME - 1)

static bool is_domain_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

static bool is_path_byte(unsigned char c)
{
    return is_domain_byte(c) || (c >= 'A' && c <= 'Z');
}

// Writes a byte so that it can stand in a message: 'x', or 0x1f where it has no printable form.
static const char *byte_text(char buf[8], unsigned char c)
{
    if (c > 0x20 && c < 0x7f) {
        snprintf(buf, 8, "'%c'", c);
    } else {
        snprintf(buf, 8, "0x%02x", c);
    }
    return buf;
}

static bool has_scheme(const char *text, size_t text_len)
{
    return text_len >= SCHEME_LEN && memcmp(text, SCHEME, SCHEME_LEN) == 0;
}

// Checks a trust domain name. `base` is how many bytes of the whole text stand before it.
static bool check_domain(const char *name, size_t name_len, size_t base, struct err *err)
{
    if (name_len == 0) {
        return err_set(err, "the trust domain is empty");
    }
    if (name_len > SPIFFE_TRUST_DOMAIN_LEN_MAX) {
        return err_set(err, "the trust domain has %zu bytes, more than %d", name_len,
                       SPIFFE_TRUST_DOMAIN_LEN_MAX);
    }
    for (size_t i = 0; i < name_len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (!is_domain_byte(c)) {
            char buf[8];
            return err_set(err,
                           "byte %zu is %s: a trust domain has only a-z, 0-9, '.', '-' and '_'",
                           base + i + 1, byte_text(buf, c));
        }
    }
    return true;
}

// Checks a path with its first slash, of at least one segment. `base` is how many bytes of the
// whole text stand before it.
static bool check_path(const char *path, size_t path_len, size_t base, struct err *err)
{
    size_t start = 1; // of the segment under way
    for (size_t i = 1; i <= path_len; i++) {
        if (i < path_len && path[i] != '/') {
            unsigned char c = (unsigned char)path[i];
            if (!is_path_byte(c)) {
                char buf[8];
                return err_set(
                    err, "byte %zu is %s: a path has only a-z, A-Z, 0-9, '.', '-', '_' and '/'",
                    base + i + 1, byte_text(buf, c));
            }
            continue;
        }
        size_t len = i - start;
        if (len == 0 && i == path_len) {
            return err_set(err, "byte %zu: a path must not end with '/'", base + i);
        }
        if (len == 0) {
            return err_set(err, "byte %zu: a path must not hold an empty segment", base + i + 1);
        }
        if ((len == 1 && path[start] == '.') ||
            (len == 2 && path[start] == '.' && path[start + 1] == '.')) {
            return err_set(err, "byte %zu: a path must not hold the segment \"%.*s\"",
                           base + start + 1, (int)len, path + start);
        }
        start = i + 1;
    }
    return true;
}

bool spiffe_id_parse(struct spiffe_id *out, const char *text, size_t text_len, struct err *err)
{
    *out = (struct spiffe_id){0};
    if (text_len == 0) {
        return err_set(err, "empty, not a SPIFFE id like spiffe://prod.example/ns/shop/sa/web");
    }
    if (text_len > SPIFFE_ID_LEN_MAX) {
        return err_set(err, "a SPIFFE id of %zu bytes, more than %d", text_len, SPIFFE_ID_LEN_MAX);
    }
    if (!has_scheme(text, text_len)) {
        return err_set(err, "a SPIFFE id must start with \"" SCHEME "\", in lower case");
    }
    const char *domain = text + SCHEME_LEN;
    size_t rest_len = text_len - SCHEME_LEN;
    const char *slash = memchr(domain, '/', rest_len);
    size_t domain_len = slash == NULL ? rest_len : (size_t)(slash - domain);
    if (!check_domain(domain, domain_len, SCHEME_LEN, err)) {
        return false;
    }
    size_t path_len = rest_len - domain_len;
    if (path_len > 0 && !check_path(slash, path_len, SCHEME_LEN + domain_len, err)) {
        return false;
    }
    *out = (struct spiffe_id){
        .text = text,
        .text_len = text_len,
        .domain = domain,
        .domain_len = domain_len,
        .path = domain + domain_len,
        .path_len = path_len,
    };
    return true;
}

bool spiffe_workload_parse(struct spiffe_id *out, const char *text, size_t text_len,
                           struct err *err)
{
    if (!spiffe_id_parse(out, text, text_len, err)) {
        return false;
    }
    if (out->path_len == 0) {
        *out = (struct spiffe_id){0};
        return err_set(err, "the id of a trust domain; a workload's id has a path, like "
                            "spiffe://prod.example/ns/shop/sa/web");
    }
    return true;
}

bool spiffe_trust_domain_check(const char *name, size_t name_len, struct err *err)
{
    if (has_scheme(name, name_len)) {
        const char *bare = name + SCHEME_LEN;
        size_t bare_len = name_len - SCHEME_LEN;
        const char *slash = memchr(bare, '/', bare_len);
        if (slash != NULL) {
            bare_len = (size_t)(slash - bare);
        }
        if (check_domain(bare, bare_len, SCHEME_LEN, NULL)) {
            return err_set(err, "a whole SPIFFE id; the trust domain is the bare name \"%.*s\"",
                           (int)bare_len, bare);
        }
        return err_set(err, "a trust domain is a bare name like \"prod.example\"");
    }
    return check_domain(name, name_len, 0, err);
}

bool spiffe_pattern_parse(struct spiffe_pattern *out, const char *text, size_t text_len,
                          struct err *err)
{
    *out = (struct spiffe_pattern){0};
    struct spiffe_id id;
    bool is_prefix = text_len > SCHEME_LEN && text[text_len - 1] == '/';
    if (!spiffe_id_parse(&id, text, is_prefix ? text_len - 1 : text_len, err)) {
        return false;
    }
    // "spiffe://prod.example/" would say the same as "spiffe://prod.example": one meaning has one
    // text.
    if (is_prefix && id.path_len == 0) {
        return err_set(err, "for a whole trust domain write \"%.*s\", without the slash at its end",
                       (int)id.text_len, id.text);
    }
    // The longest id that exists has no byte left below a prefix of its length.
    if (text_len >= SPIFFE_ID_LEN_MAX && is_prefix) {
        return err_set(err, "a prefix of %zu bytes, which no id of at most %d can match", text_len,
                       SPIFFE_ID_LEN_MAX);
    }
    out->kind = is_prefix          ? SPIFFE_PATTERN_PREFIX
                : id.path_len == 0 ? SPIFFE_PATTERN_TRUST_DOMAIN
                                   : SPIFFE_PATTERN_EXACT;
    out->text = text;
    out->text_len = text_len;
    return true;
}

bool spiffe_pattern_matches(const struct spiffe_pattern *pattern, const struct spiffe_id *id)
{
    if (id->path_len == 0 || pattern->text_len == 0) {
        return false;
    }
    switch (pattern->kind) {
    case SPIFFE_PATTERN_EXACT:
        return id->text_len == pattern->text_len &&
               memcmp(id->text, pattern->text, pattern->text_len) == 0;
    case SPIFFE_PATTERN_PREFIX:
        return id->text_len > pattern->text_len &&
               memcmp(id->text, pattern->text, pattern->text_len) == 0;
    case SPIFFE_PATTERN_TRUST_DOMAIN:
        return SCHEME_LEN + id->domain_len == pattern->text_len &&
               memcmp(id->text, pattern->text, pattern->text_len) == 0;
    }
    return false;
}
