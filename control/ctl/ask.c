// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/ask.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/data/bytes.h"
#include "base/now.h"

#define CHUNK_BYTES 65536

// Waits until the socket is ready for `events` or the end has come.
static bool wait_for(int fd, short events, uint64_t end_ms, struct err *err)
{
    for (;;) {
        struct pollfd pollfd = {.fd = fd, .events = events};
        int64_t left = (int64_t)(end_ms - now_ms());
        int num = left <= 0 ? 0 : poll(&pollfd, 1, (int)left);
        if (num > 0) {
            return true;
        }
        if (num == 0) {
            return err_set(err, "no whole answer in time");
        }
        if (errno != EINTR) {
            return err_set(err, "poll: %s", strerror(errno));
        }
    }
}

static int connect_to(const char *path, struct err *err)
{
    struct sockaddr_un sa;
    if (!addr_unix(&sa, path, err)) {
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof sa) != 0) {
        // Also EAGAIN: a Unix socket's backlog is full, and nothing tells when it no longer is.
        err_set(err, "no agent answers there: %s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

static bool send_all(int fd, const char *text, uint64_t end_ms, struct err *err)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t sent = send(fd, text, left, MSG_NOSIGNAL);
        if (sent > 0) {
            text += sent;
            left -= (size_t)sent;
        } else if (errno == EAGAIN) {
            if (!wait_for(fd, POLLOUT, end_ms, err)) {
                return false;
            }
        } else if (errno != EINTR) {
            return err_set(err, "the agent closed the connection: %s", strerror(errno));
        }
    }
    return true;
}

// Reads until the other side closes.
static bool receive_all(int fd, struct bytes *out, uint64_t end_ms, struct err *err)
{
    for (;;) {
        if (!bytes_reserve(out, CHUNK_BYTES)) {
            return err_set(err, "out of memory for the answer's %zu bytes", out->len);
        }
        ssize_t got = recv(fd, out->at + out->len, CHUNK_BYTES, 0);
        if (got == 0) {
            return true;
        }
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (!wait_for(fd, POLLIN, end_ms, err)) {
                return false;
            }
        } else if (got < 0 && errno != EINTR) {
            return err_set(err, "the answer broke off: %s", strerror(errno));
        } else if (got > 0) {
            out->len += (size_t)got;
            if (out->len > ASK_BYTES_MAX) {
                return err_set(err, "the answer has more than %u bytes", ASK_BYTES_MAX);
            }
        }
    }
}

// Cuts off everything before the body of a 200; any other answer is an error.
static bool keep_body(char *text, size_t *len, struct err *err)
{
    const char *body = strstr(text, "\r\n\r\n");
    if (strncmp(text, "HTTP/1.", 7) != 0 || strlen(text) < 12 || body == NULL) {
        return err_set(err, "what answers there is not an agent");
    }
    if (strncmp(text + 8, " 200", 4) != 0) {
        return err_set(err, "the agent answered \"%.*s\"", (int)strcspn(text, "\r\n"), text);
    }
    *len -= (size_t)(body + 4 - text);
    memmove(text, body + 4, *len + 1);
    return true;
}

char *ask(const char *path, const char *target, int deadline_ms, size_t *out_len, struct err *err)
{
    char request[256];
    char *text = NULL;
    struct bytes answer = {0};
    uint64_t end_ms = now_ms() + (uint64_t)deadline_ms;
    snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: tabard\r\n\r\n", target);
    int fd = connect_to(path, err);
    if (fd >= 0 && send_all(fd, request, end_ms, err) && receive_all(fd, &answer, end_ms, err)) {
        *out_len = answer.len;
        text = bytes_take_text(&answer);
    }
    bytes_cleanup(&answer);
    if (text != NULL && !keep_body(text, out_len, err)) {
        free(text);
        text = NULL;
    }
    if (text == NULL) {
        err_prefix(err, "%s", path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return text;
}
