// SPDX-License-Identifier: Apache-2.0
#include "control/notify/notify.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"

#define LOOK_MS 250 // between two looks at how the program is

struct notify {
    notify_state *state;
    void *ctx;
    uv_timer_t timer;
    int fd;
    struct sockaddr_un to;
    socklen_t to_len;
    char status[NOTIFY_STATUS_MAX]; // the one last told
    uint64_t watchdog_ms;           // between two signs of life; 0: none are wanted
    uint64_t sign_ms;               // when the last was given
    bool is_ready;                  // was told
    bool is_reloading;
};

// Returns whether it was sent; the service manager may have no room for it now.
static bool send_text(const struct notify *notify, const char *text)
{
    return sendto(notify->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
                  (const struct sockaddr *)&notify->to, notify->to_len) >= 0;
}

// A line's end within would be another assignment to the service manager.
static void flatten(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            *text = ' ';
        }
    }
}

static void look(struct notify *notify)
{
    char status[NOTIFY_STATUS_MAX] = "";
    char text[NOTIFY_STATUS_MAX + 64];
    bool is_ready = notify->state(notify->ctx, status);
    flatten(status);
    // Who was ready stays "active" to the service manager, and says in words that it isn't now.
    bool is_due = (is_ready && !notify->is_ready) || notify->is_reloading;
    if (is_due && send_text(notify, "READY=1")) {
        notify->is_ready = true;
        notify->is_reloading = false;
    }
    snprintf(text, sizeof text, "STATUS=%s", status);
    if (strcmp(status, notify->status) != 0 && send_text(notify, text)) {
        memcpy(notify->status, status, sizeof status);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct notify *notify = timer->data;
    uint64_t now_ms = uv_now(timer->loop);
    look(notify);
    if (notify->watchdog_ms > 0 && now_ms - notify->sign_ms >= notify->watchdog_ms) {
        notify->sign_ms = now_ms;
        send_text(notify, "WATCHDOG=1");
    }
}

// Half of what the service manager waits for. 0: it doesn't, or it waits for another process.
static uint64_t watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && atoll(pid) != getpid())) {
        return 0;
    }
    uint64_t ms = strtoull(usec, NULL, 10) / 2000;
    return ms > 0 ? ms : 1;
}

// Reads the address of the socket: a path, or a name after '@'.
static bool read_address(struct notify *notify, const char *path)
{
    size_t len = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof notify->to.sun_path) {
        log_warn("msg=\"the service manager can't be told: NOTIFY_SOCKET is no Unix socket\"");
        return false;
    }
    notify->to.sun_family = AF_UNIX;
    memcpy(notify->to.sun_path, path, len + 1);
    notify->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
    if (path[0] == '@') {
        notify->to.sun_path[0] = '\0';
    }
    return true;
}

struct notify *notify_new(uv_loop_t *loop, notify_state *state, void *ctx)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL) {
        return NULL;
    }
    struct notify *notify = must_alloc(1, sizeof *notify);
    *notify = (struct notify){.state = state, .ctx = ctx, .watchdog_ms = watchdog_ms()};
    notify->fd = read_address(notify, path) ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (notify->fd < 0) {
        free(notify);
        return NULL;
    }
    bool is_often = notify->watchdog_ms > 0 && notify->watchdog_ms < LOOK_MS;
    uv_timer_init(loop, &notify->timer);
    notify->timer.data = notify;
    uv_timer_start(&notify->timer, on_timer, 0, is_often ? notify->watchdog_ms : LOOK_MS);
    return notify;
}

void notify_tell(struct notify *notify, enum notify_event event)
{
    char text[64];
    struct timespec now;
    if (notify == NULL) {
        return;
    }
    if (event == NOTIFY_STOPPING) {
        send_text(notify, "STOPPING=1");
        look(notify);
        return;
    }
    if (!notify->is_ready) {
        return; // a reload ends with READY=1, which is not true yet
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    notify->is_reloading = send_text(notify, text);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void notify_free(struct notify *notify)
{
    if (notify != NULL) {
        close(notify->fd);
        uv_close((uv_handle_t *)&notify->timer, on_closed);
    }
}
