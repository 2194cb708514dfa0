// SPDX-License-Identifier: Apache-2.0
//
// Preloaded into a program (LD_PRELOAD) by tests/e2e/clocks.py, it moves the program's wall clock
// by the seconds that the file TABARD_TEST_CLOCK holds as a native int64_t, also while the program
// runs. The monotonic clocks stay as they are, as when somebody sets a host's clock.
#define _GNU_SOURCE // RTLD_NEXT
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift;
static int (*true_clock)(clockid_t clock, struct timespec *out);

__attribute__((constructor)) static void find_clock(void)
{
    const char *path = getenv("TABARD_TEST_CLOCK");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
    true_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (page == MAP_FAILED || true_clock == NULL) {
        abort();
    }
    close(fd);
    shift = page;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    if (true_clock == NULL) { // a library's constructor that runs before ours
        find_clock();
    }
    int rc = true_clock(clock, out);
    if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        out->tv_sec += *shift;
    }
    return rc;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
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
