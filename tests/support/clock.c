// SPDX-License-Identifier: Apache-2.0
//
// For LD_PRELOAD: a program whose clocks a test sets. CLOCK_FILE holds two int64, seconds that are
// added to the wall clock, and seconds that are added to CLOCK_BOOTTIME. clock.py compiles it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct offsets {
    int64_t wall_s;
    int64_t boot_s;
};

static const volatile struct offsets *offsets;
static const struct offsets none;

__attribute__((constructor)) static void map_offsets(void)
{
    const char *path = getenv("CLOCK_FILE");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd >= 0 ? mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    offsets = at != MAP_FAILED ? at : &none;
    if (fd >= 0) {
        close(fd);
    }
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int status = (int)syscall(SYS_clock_gettime, clock, out);
    if (status != 0 || offsets == NULL) {
        return status;
    }
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        out->tv_sec += offsets->wall_s;
    } else if (clock == CLOCK_BOOTTIME) {
        out->tv_sec += offsets->boot_s;
    }
    return status;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}
