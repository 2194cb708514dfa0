// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "base/log.h"
#include "base/must.h"
#include "net/http2/conn_impl.h"

// Leaves nghttp2's own limits: 8 CONTINUATION frames (CVE-2024-28182), 1000 RST_STREAMs and then 33
// a second (CVE-2023-44487), 1000 answers to PING and SETTINGS that the peer doesn't read
// (CVE-2019-9512).
static nghttp2_option *make_option(void)
{
    nghttp2_option *option = NULL;
    invariant(nghttp2_option_new(&option) == 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option,
                                         1); // they are kept for priorities, which we have not
    return option;
}

static void submit_settings(struct h2_conn *conn)
{
    const struct h2_limits *limits = &conn->limits;
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits->window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->header_bytes_max},
        conn->is_server
            ? (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams_max}
            : (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    int rv = nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, entries,
                                     sizeof entries / sizeof *entries);
    invariant(rv == 0);
    int32_t window =
        limits->window_bytes < (1u << 30) ? (int32_t)limits->window_bytes * 2 : INT32_MAX;
    rv = nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0,
                                               window < 65535 ? 65535 : window);
    invariant(rv == 0);
}

// nghttp2's memory is bounded by the limits, so its allocator aborts as must_alloc does, and none
// of its functions fails for want of memory.
static void *on_malloc(size_t size, void *ctx)
{
    (void)ctx;
    return must_have(malloc(size > 0 ? size : 1));
}

static void on_free(void *ptr, void *ctx)
{
    (void)ctx;
    free(ptr);
}

static void *on_calloc(size_t num, size_t size, void *ctx)
{
    (void)ctx;
    return must_alloc(num, size);
}

static void *on_realloc(void *ptr, size_t size, void *ctx)
{
    (void)ctx;
    return must_grow(ptr, size > 0 ? size : 1, 1);
}

void h2_session_new(struct h2_conn *conn)
{
    nghttp2_session_callbacks *callbacks = h2_events_callbacks();
    nghttp2_option *option = make_option();
    nghttp2_mem mem = {
        .malloc = on_malloc, .free = on_free, .calloc = on_calloc, .realloc = on_realloc};
    int rv = conn->is_server
                 ? nghttp2_session_server_new3(&conn->session, callbacks, conn, option, &mem)
                 : nghttp2_session_client_new3(&conn->session, callbacks, conn, option, &mem);
    invariant(rv == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    submit_settings(conn);
}
