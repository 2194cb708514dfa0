// SPDX-License-Identifier: Apache-2.0
#include "net/http2/lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/must.h"

#define STACK_BYTES (512u << 10)

// What the thread and the loop share, until the later of both leaves it.
struct job {
    atomic_uint num_users;
    int fd; // the thread's own, by which it says that it is done
    char name[HOST_NAME_LEN_MAX + 2];
    char port[8];
    int error; // of getaddrinfo
    struct addrinfo *found;
};

struct lookup {
    uv_poll_t poll; // first
    int fd;
    struct job *job;
    void (*on_done)(void *ctx, struct addrinfo *found, const char *error);
    void *ctx;
};

static atomic_uint num_running;

static void leave(struct job *job)
{
    if (atomic_fetch_sub(&job->num_users, 1) > 1) {
        return;
    }
    if (job->found != NULL) {
        freeaddrinfo(job->found);
    }
    free(job);
}

static void *run(void *arg)
{
    struct job *job = arg;
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    job->error = getaddrinfo(job->name, job->port, &hints, &job->found);
    uint64_t one = 1;
    ssize_t written = write(job->fd, &one, sizeof one);
    (void)written; // an eventfd takes it
    close(job->fd);
    leave(job);
    atomic_fetch_sub(&num_running, 1);
    return NULL;
}

static void on_closed(uv_handle_t *handle)
{
    struct lookup *lookup = (struct lookup *)handle;
    close(lookup->fd);
    free(lookup);
}

static void finish(struct lookup *lookup)
{
    leave(lookup->job);
    uv_close((uv_handle_t *)&lookup->poll, on_closed);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct lookup *lookup = (struct lookup *)poll;
    (void)status;
    (void)events;
    uint64_t number = 0;
    if (read(lookup->fd, &number, sizeof number) != sizeof number) {
        return;
    }
    struct addrinfo *found = lookup->job->error == 0 ? lookup->job->found : NULL;
    const char *error = found != NULL             ? NULL
                        : lookup->job->error == 0 ? "it has no address"
                                                  : gai_strerror(lookup->job->error);
    if (found != NULL) {
        lookup->job->found = NULL;
    }
    finish(lookup);
    lookup->on_done(lookup->ctx, found, error);
}

// Starts the thread. Returns 0 or an error of pthread_create's.
static int start(struct job *job)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, &attr, run, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return error;
}

struct lookup *lookup_new(uv_loop_t *loop, const struct host_port *host,
                          void (*on_done)(void *ctx, struct addrinfo *found, const char *error),
                          void *ctx, struct err *err)
{
    if (atomic_fetch_add(&num_running, 1) >= LOOKUPS_MAX) {
        atomic_fetch_sub(&num_running, 1);
        err_set(err, "%s can't be resolved: the lookups before have had no answer yet", host->name);
        return NULL;
    }
    struct job *job = must_alloc(1, sizeof *job);
    struct lookup *lookup = must_alloc(1, sizeof *lookup);
    atomic_init(&job->num_users, 2);
    snprintf(job->name, sizeof job->name, "%s", host->name);
    snprintf(job->port, sizeof job->port, "%u", host->port);
    *lookup = (struct lookup){.job = job, .on_done = on_done, .ctx = ctx};
    lookup->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    job->fd = lookup->fd < 0 ? -1 : fcntl(lookup->fd, F_DUPFD_CLOEXEC, 0);
    int error = job->fd < 0 ? errno : start(job);
    if (error != 0) {
        atomic_fetch_sub(&num_running, 1);
        err_set(err, "%s can't be resolved: %s", host->name, strerror(error));
        if (job->fd >= 0) {
            close(job->fd);
        }
        if (lookup->fd >= 0) {
            close(lookup->fd);
        }
        free(job);
        free(lookup);
        return NULL;
    }
    uv_poll_init(loop, &lookup->poll, lookup->fd);
    uv_poll_start(&lookup->poll, UV_READABLE, on_ready);
    return lookup;
}

void lookup_forget(struct lookup *lookup)
{
    if (lookup != NULL) {
        finish(lookup);
    }
}
