// SPDX-License-Identifier: Apache-2.0
//
// A probe over HTTP/1.1 (RFC 9112), which behaves as the kubelet's: one GET for each connection,
// any status below 400 is good, and redirections are followed as long as they lead to the same
// address.
#include <string.h>
#include <strings.h>

#include "control/agent/probes/http_head.h"
#include "control/agent/probes/probe_call_impl.h"

#define REDIRECTS_MAX 10
#define USER_AGENT    "kube-probe/tabard"

static const Tabard__V1__HttpProbe *probe_of(const struct probe_call *call)
{
    return call->config.probe->http;
}

// The value that the probe itself gives a header, or `otherwise`.
static const char *header_value(const struct probe_call *call, const char *name,
                                const char *otherwise)
{
    const Tabard__V1__HttpProbe *probe = probe_of(call);
    for (size_t i = 0; i < probe->n_headers; i++) {
        if (strcasecmp(probe->headers[i]->name, name) == 0) {
            return probe->headers[i]->value;
        }
    }
    return otherwise;
}

// Those that stand in every request already, and those that say where a request ends.
static bool is_ours(const char *name)
{
    static const char *const names[] = {"Host",       "User-Agent",     "Accept",
                                        "Connection", "Content-Length", "Transfer-Encoding",
                                        "Trailer"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void on_open(void *ctx)
{
    struct probe_call *call = ctx;
    const Tabard__V1__HttpProbe *probe = probe_of(call);
    struct bytes request = {0};
    char host[ADDR_TEXT_MAX];
    const char *accept = header_value(call, "Accept", "*/*");
    bytes_push_format(&request, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n",
                      call->target.path,
                      header_value(call, "Host", addr_text(&call->target.addr, host)),
                      header_value(call, "User-Agent", USER_AGENT));
    if (accept[0] != '\0') {
        bytes_push_format(&request, "Accept: %s\r\n", accept);
    }
    for (size_t i = 0; i < probe->n_headers; i++) {
        if (!is_ours(probe->headers[i]->name)) {
            bytes_push_format(&request, "%s: %s\r\n", probe->headers[i]->name,
                              probe->headers[i]->value);
        }
    }
    bytes_push_text(&request, "Connection: close\r\n\r\n");
    transport_write(&call->transport, request.at, request.len);
    transport_flush(&call->transport);
    bytes_cleanup(&request);
}

static bool is_redirect(const struct http_head *head)
{
    static const unsigned statuses[] = {301, 302, 303, 307, 308};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (head->status == statuses[i]) {
            return head->location[0] != '\0';
        }
    }
    return false;
}

static void judge(struct probe_call *call, const struct http_head *head)
{
    if (!is_redirect(head)) {
        probe_call_decide(call, head->status >= 200 && head->status < 400,
                          "%s answered with status %u", call->target.path, head->status);
        return;
    }
    if (call->num_redirects++ >= REDIRECTS_MAX) {
        probe_call_decide(call, false, "more than %d redirections", REDIRECTS_MAX);
        return;
    }
    switch (http_target_redirect(&call->target, head->location)) {
    case HTTP_REDIRECT_ELSEWHERE:
        probe_call_decide(call, true, "status %u leads elsewhere, to %s", head->status,
                          head->location);
        break;
    case HTTP_REDIRECT_BAD:
        probe_call_decide(call, false, "status %u leads to \"%s\", which is no URL", head->status,
                          head->location);
        break;
    case HTTP_REDIRECT_FOLLOW:
        call->follows = true;
        transport_close(&call->transport);
        break;
    }
}

static void on_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct probe_call *call = ctx;
    struct http_head head;
    struct err err = {{0}, {0}};
    if (call->is_decided || call->follows) {
        return;
    }
    size_t room = HTTP_HEAD_BYTES_MAX - call->head.len;
    bytes_push(&call->head, bytes, len < room ? len : room);
    switch (http_head_parse(&head, call->head.at, call->head.len, &err)) {
    case HTTP_HEAD_MORE:
        break;
    case HTTP_HEAD_BAD:
        probe_call_decide(call, false, "%s", err.text);
        break;
    case HTTP_HEAD_DONE:
        judge(call, &head);
        break;
    }
}

static void on_written(void *ctx)
{
    (void)ctx;
}

static void on_end(void *ctx, const char *why)
{
    struct probe_call *call = ctx;
    probe_call_decide(call, false, "%s", why);
}

static void connect_target(struct probe_call *call);

static void on_closed(void *ctx)
{
    struct probe_call *call = ctx;
    call->has_transport = false;
    if (call->follows && !call->is_decided) {
        call->follows = false;
        bytes_cleanup(&call->head);
        connect_target(call);
    }
    probe_call_release(call);
}

static const struct transport_hooks hooks = {.on_open = on_open,
                                             .on_bytes = on_bytes,
                                             .on_written = on_written,
                                             .on_end = on_end,
                                             .on_closed = on_closed};

static void connect_target(struct probe_call *call)
{
    probe_call_connect(call, &hooks, call->target.is_https ? call->config.tls : NULL);
}

void probe_http_start(struct probe_call *call)
{
    const Tabard__V1__HttpProbe *probe = probe_of(call);
    call->target.addr.port = (uint16_t)probe->port;
    call->target.is_https = probe->https;
    if (!http_target_set_path(&call->target, probe->path)) {
        probe_call_decide(call, false,
                          "the probe's path is longer than %d bytes once it is escaped",
                          HTTP_TARGET_PATH_MAX);
        return;
    }
    connect_target(call);
}
