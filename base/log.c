// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // splice, pipe2, F_SETPIPE_SZ
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// A line that is moved takes a page of the pipe, however short it is, so a pipe of the default size
// has room for 16.
#define PIPE_BYTES (1 << 20)

// Where the lines go: standard error, written so that no reader who pauses holds up a thread.
// Others share the open file description of descriptor 2, so it isn't made non-blocking: what can
// be is opened a second time; a socket is told with each line; a pipe that can't be opened again
// (another user's, or there is no /proc) gets each line moved over from a pipe of our own; and
// anything else, a terminal say, is asked first whether it has room. A regular file never blocks
// but for its disk.
enum kind { KIND_OURS, KIND_SOCKET, KIND_PIPE, KIND_OTHER };

static enum kind kind = KIND_OTHER;
static bool may_tear;               // a line that failed may stand there in part
static int sink_fd = STDERR_FILENO; // of our own with KIND_OURS
static int own_pipe[2];             // with KIND_PIPE: empty between two lines
static pthread_mutex_t own_pipe_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *program_name = "tabard";
static enum log_level level_min = LOG_LEVEL_INFO;
static atomic_uint_fast64_t num_dropped; // ever
static atomic_uint_fast64_t num_untold;  // of these: no later line has told
static atomic_bool is_torn;              // what was written last may end within a line

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static void sink_open(void)
{
    struct stat st;
    int fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    bool is_known = fstat(STDERR_FILENO, &st) == 0;
    may_tear = is_known && (S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode));
    if (fd >= 0) {
        kind = KIND_OURS;
        sink_fd = fd;
    } else if (is_known && S_ISSOCK(st.st_mode)) {
        kind = KIND_SOCKET;
    } else if (is_known && S_ISFIFO(st.st_mode) && pipe2(own_pipe, O_CLOEXEC | O_NONBLOCK) == 0) {
        kind = KIND_PIPE;
        fcntl(STDERR_FILENO, F_SETPIPE_SZ, PIPE_BYTES);
    }
}

static ssize_t write_whole(const char *line, size_t len)
{
    ssize_t num;
    do {
        num = kind == KIND_SOCKET ? send(sink_fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                                  : write(sink_fd, line, len);
    } while (num < 0 && errno == EINTR);
    return num;
}

// Writes the line to our own pipe and moves it from there: splice(2) can be told not to wait for
// room, where a write(2) to a pipe that others made cannot.
static ssize_t move_over(const char *line, size_t len)
{
    char rest[PIPE_BUF];
    pthread_mutex_lock(&own_pipe_lock);
    ssize_t num = write(own_pipe[1], line, len);
    if (num > 0) {
        num = splice(own_pipe[0], NULL, sink_fd, NULL, (size_t)num, SPLICE_F_NONBLOCK);
        if (num != (ssize_t)len && read(own_pipe[0], rest, sizeof rest) < 0) {
            num = -1;
        }
    }
    pthread_mutex_unlock(&own_pipe_lock);
    return num;
}

static bool has_room(void)
{
    struct pollfd wanted = {.fd = sink_fd, .events = POLLOUT};
    return poll(&wanted, 1, 0) == 1 && (wanted.revents & POLLOUT) != 0;
}

static bool sink_write(const char *line, size_t len)
{
    ssize_t num = -1;
    if (kind == KIND_PIPE) {
        num = move_over(line, len);
    } else if (kind != KIND_OTHER || has_room()) {
        num = write_whole(line, len);
    }
    return num == (ssize_t)len;
}

void log_init(const char *program, enum log_level level)
{
    program_name = program;
    level_min = level;
    // Otherwise a socket that is opened later could become one of the three, and get what is
    // written to standard output or error.
    int null_fd;
    do {
        null_fd = open("/dev/null", O_RDWR | O_NOCTTY);
    } while (null_fd >= 0 && null_fd <= STDERR_FILENO);
    if (null_fd > STDERR_FILENO) {
        close(null_fd);
    }
    sink_open();
}

bool log_level_parse(enum log_level *out_level, const char *text)
{
    for (int i = 0; i <= LOG_LEVEL_ERROR; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static void write_line(enum log_level level, const char *format, va_list args)
{
    if (level < level_min) {
        return;
    }
    int saved_errno = errno; // whoever logs an error goes on to look at it
    char line[LOG_LINE_MAX];
    size_t len = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    if (atomic_exchange_explicit(&is_torn, false, memory_order_relaxed)) {
        line[len++] = '\n';
    }
    len += strftime(line + len, sizeof line - len, "time=%Y-%m-%dT%H:%M:%S", &utc);
    len += (size_t)snprintf(line + len, sizeof line - len, ".%03ldZ level=%s program=%s ",
                            now.tv_nsec / 1000000, level_names[level], program_name);
    uint64_t untold = atomic_exchange_explicit(&num_untold, 0, memory_order_relaxed);
    if (untold > 0) {
        len += (size_t)snprintf(line + len, sizeof line - len, "log_dropped=%llu ",
                                (unsigned long long)untold);
    }
    int more = vsnprintf(line + len, sizeof line - len, format, args);
    if (more > 0) {
        len += (size_t)more;
    }
    if (len > sizeof line - 1) {
        len = sizeof line - 1;
    }
    line[len++] = '\n';
    if (!sink_write(line, len)) {
        atomic_fetch_add_explicit(&num_dropped, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&num_untold, untold + 1, memory_order_relaxed);
        atomic_store_explicit(&is_torn, may_tear, memory_order_relaxed);
    }
    errno = saved_errno;
}

#define LOG_FUNCTION(name, level)                                                                  \
    void name(const char *format, ...)                                                             \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, format);                                                                    \
        write_line(level, format, args);                                                           \
        va_end(args);                                                                              \
    }

uint64_t log_num_dropped(void)
{
    return atomic_load_explicit(&num_dropped, memory_order_relaxed);
}

LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)

const char *log_quote(char *buf, unsigned long buf_len, const char *text)
{
    size_t at = 0;
    if (buf_len < 8) {
        return "";
    }
    buf[at++] = '"';
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0' && at + 6 < buf_len;
         c++) {
        if (*c == '"' || *c == '\\' || *c < 0x20 || *c > 0x7e) {
            at += (size_t)snprintf(buf + at, buf_len - at, "\\x%02x", *c);
        } else {
            buf[at++] = (char)*c;
        }
    }
    buf[at++] = '"';
    buf[at] = '\0';
    return buf;
}

bool log_allowed(struct log_limit *limit, uint64_t now_ms, uint64_t interval_ms,
                 uint64_t *out_num_passed_over)
{
    if (limit->has_logged && now_ms - limit->last_ms < interval_ms) {
        limit->num_passed_over++;
        return false;
    }
    *out_num_passed_over = limit->num_passed_over;
    *limit = (struct log_limit){.last_ms = now_ms, .has_logged = true};
    return true;
}

void log_invariant_failed(const char *cond, const char *file, int line)
{
    log_error("msg=\"invariant broken: this is a bug in Tabard\" cond=\"%s\" file=%s line=%d", cond,
              file, line);
    abort();
}
