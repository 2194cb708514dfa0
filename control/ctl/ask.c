// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/ask.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Waits until the socket is ready for `events` or the end has come.
static bool wait_for(int fd, short events, int64_t end_ms, struct err *err)
{
    for (;;) {
        struct pollfd pollfd = {.fd = fd, .events = events};
        int64_t left = end_ms - now_ms();
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
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof sa.sun_path) {
        err_set(err, "a socket's path has at most %zu bytes", sizeof sa.sun_path - 1);
        return -1;
    }
    memcpy(sa.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof sa) != 0) {
        // EAGAIN: the backlog is full, which for a Unix socket is an answer and not "later".
        err_set(err, "no agent answers there: %s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

static bool send_all(int fd, const char *text, int64_t end_ms, struct err *err)
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

// Reads until the other side closes. The text is malloc'd and NUL-terminated.
static char *receive_all(int fd, size_t *out_len, int64_t end_ms, struct err *err)
{
    size_t cap = 65536;
    size_t len = 0;
    char *text = malloc(cap);
    while (text != NULL) {
        ssize_t got = recv(fd, text + len, cap - 1 - len, 0);
        if (got == 0) {
            text[len] = '\0';
            *out_len = len;
            return text;
        }
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            bool is_early = errno == EAGAIN || errno == EWOULDBLOCK;
            if (is_early ? wait_for(fd, POLLIN, end_ms, err)
                         : err_set(err, "the answer broke off: %s", strerror(errno))) {
                continue;
            }
            free(text);
            return NULL;
        }
        len += (size_t)got;
        if (len > ASK_BYTES_MAX) {
            err_set(err, "the answer has more than %u bytes", ASK_BYTES_MAX);
            free(text);
            return NULL;
        }
        if (len == cap - 1) {
            char *grown = realloc(text, cap *= 2);
            if (grown == NULL) {
                free(text);
            }
            text = grown;
        }
    }
    err_set(err, "out of memory");
    return NULL;
}

// Moves the body of a 200 to the beginning.
static bool keep_body(char *text, size_t *len, struct err *err)
{
    const char *body = strstr(text, "\r\n\r\n");
    if (strncmp(text, "HTTP/1.", 7) != 0 || strlen(text) < 12 || body == NULL) {
        return err_set(err, "what answers there is no agent");
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
    int64_t end_ms = now_ms() + deadline_ms;
    snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: tabard\r\n\r\n", target);
    int fd = connect_to(path, err);
    if (fd >= 0 && send_all(fd, request, end_ms, err)) {
        text = receive_all(fd, out_len, end_ms, err);
    }
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
