// SPDX-License-Identifier: Apache-2.0
#include "control/agent/probes/probes_check.h"

#include <stdio.h>
#include <string.h>

#include "base/addr.h"

#define PAGE_MAX 200

static bool has_controls(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            return true;
        }
    }
    return false;
}

// A token (RFC 9110, section 5.6.2).
static bool is_token(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                   "!#$%&'*+-.^_`|~") == len;
}

static bool check_http(const Tabard__V1__HttpProbe *http, struct err *err)
{
    if (!port_check(http->port, err)) {
        return err_set_at(err, "http.port", "%s", err->text);
    }
    if (http->path[0] == '\0' || strlen(http->path) > PROBES_PATH_MAX) {
        return err_set_at(err, "http.path", "a path has 1 to %d bytes", PROBES_PATH_MAX);
    }
    if (http->n_headers > PROBES_HEADERS_MAX) {
        return err_set_at(err, "http.headers", "%zu headers; %d are the most", http->n_headers,
                          PROBES_HEADERS_MAX);
    }
    for (size_t i = 0; i < http->n_headers; i++) {
        char where[64];
        snprintf(where, sizeof where, "http.headers[%zu]", i);
        if (!is_token(http->headers[i]->name)) {
            return err_set_at(err, where, "\"%.60s\" is no name of a header",
                              http->headers[i]->name);
        }
        if (has_controls(http->headers[i]->value)) {
            return err_set_at(err, where, "the value of %.60s has a control character in it",
                              http->headers[i]->name);
        }
    }
    return true;
}

static bool check_kind(const Tabard__V1__Probe *probe, struct err *err)
{
    switch (probe->kind_case) {
    case TABARD__V1__PROBE__KIND_HTTP:
        return check_http(probe->http, err);
    case TABARD__V1__PROBE__KIND_TCP:
        return port_check(probe->tcp->port, err) || err_set_at(err, "tcp.port", "%s", err->text);
    case TABARD__V1__PROBE__KIND_GRPC:
        return port_check(probe->grpc->port, err) || err_set_at(err, "grpc.port", "%s", err->text);
    default:
        return err_set(err, "one of http, tcp and grpc is missing");
    }
}

static bool check_page(const Tabard__V1__Probes *probes, size_t number, struct err *err)
{
    const char *page = probes->probes[number]->page;
    size_t len = strlen(page);
    if (strncmp(page, PROBES_PAGE_PREFIX, strlen(PROBES_PAGE_PREFIX)) != 0 || len > PAGE_MAX ||
        strspn(page, "abcdefghijklmnopqrstuvwxyz0123456789-./") != len) {
        return err_set_at(err, "page", "\"%.60s\" is not " PROBES_PAGE_PREFIX "CONTAINER/KIND",
                          page);
    }
    for (size_t i = 0; i < number; i++) {
        if (strcmp(probes->probes[i]->page, page) == 0) {
            return err_set_at(err, "page", "%s is that of probes[%zu] too", page, i);
        }
    }
    return true;
}

bool probes_check(const Tabard__V1__Probes *probes, struct err *err)
{
    if (probes->n_probes > PROBES_MAX) {
        return err_set_at(err, "probes", "%zu probes; %d are the most", probes->n_probes,
                          PROBES_MAX);
    }
    for (size_t i = 0; i < probes->n_probes; i++) {
        const Tabard__V1__Probe *probe = probes->probes[i];
        bool good = check_page(probes, i, err) && check_kind(probe, err);
        if (good && probe->timeout_seconds > PROBES_TIMEOUT_MAX) {
            good = err_set_at(err, "timeout_seconds", "%u s; %d are the most",
                              probe->timeout_seconds, PROBES_TIMEOUT_MAX);
        }
        if (!good) {
            return err_prefix_where(err, "probes[%zu]", i);
        }
    }
    return true;
}
