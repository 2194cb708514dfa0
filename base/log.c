// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *program_name = "tabard";
static enum log_level level_min = LOG_LEVEL_INFO;
static int log_fd = STDERR_FILENO;
static bool is_socket;
static atomic_uint_fast64_t num_dropped;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

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
    // A new open file description of the same pipe, terminal or file: O_NONBLOCK set on the
    // inherited one would change it for everybody who shares it. A socket can't be opened so, but
    // can be told with each line.
    int fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0) {
        log_fd = fd;
    }
    struct stat st;
    is_socket = fd < 0 && fstat(log_fd, &st) == 0 && S_ISSOCK(st.st_mode);
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
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    size_t len = strftime(line, sizeof line, "time=%Y-%m-%dT%H:%M:%S", &utc);
    len += (size_t)snprintf(line + len, sizeof line - len, ".%03ldZ level=%s program=%s ",
                            now.tv_nsec / 1000000, level_names[level], program_name);
    uint64_t dropped = atomic_exchange_explicit(&num_dropped, 0, memory_order_relaxed);
    if (dropped > 0) {
        len += (size_t)snprintf(line + len, sizeof line - len, "log_dropped=%llu ",
                                (unsigned long long)dropped);
    }
    int more = vsnprintf(line + len, sizeof line - len, format, args);
    if (more > 0) {
        len += (size_t)more;
    }
    if (len > sizeof line - 1) {
        len = sizeof line - 1;
    }
    line[len++] = '\n';
    ssize_t written;
    do {
        written = is_socket ? send(log_fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                            : write(log_fd, line, len);
    } while (written < 0 && errno == EINTR);
    if (written < 0) {
        atomic_fetch_add_explicit(&num_dropped, dropped + 1, memory_order_relaxed);
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
