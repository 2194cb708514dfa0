// SPDX-License-Identifier: Apache-2.0
//
// Writes one line for each fact to standard error: `time= level= program= msg="..." key=value`. Any
// thread may log, and each line is written at once, of at most LOG_LINE_MAX bytes. Logging never
// blocks: a line for which the reader has no room is dropped and counted, in the next line
// (`log_dropped=`) and in a metric; so is one of which a full disk took a part, and the next line
// begins below it. A caller never logs keys or payload.
#ifndef TABARD_BASE_LOG_H
#define TABARD_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_MAX 4096

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

// log_init opens /dev/null on those of descriptors 0 to 2 that are closed, names the program in
// every line and opens standard error for writing without blocking. Call it once, before any thread
// and before a sandbox. `program` is borrowed for ever.
void log_init(const char *program, enum log_level level);

// log_level_parse reads "debug", "info", "warn" or "error". false: the text is none of these.
bool log_level_parse(enum log_level *out_level, const char *text);

// The format gives the part after the level: log_info("msg=listening address=%s", address). Quote
// values that may hold a space with log_quote.
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

// log_num_dropped returns how many lines were lost since the start.
uint64_t log_num_dropped(void);

// log_quote writes `text` as a double-quoted value into buf, with control characters, quotes,
// backslashes and bytes above 0x7e as \xNN, so that nothing a peer sends can forge a line. Returns
// buf.
const char *log_quote(char *buf, unsigned long buf_len, const char *text);

// A limit on repeated errors. Zero state: none was logged. log_allowed says whether to log now,
// which is at most once in interval_ms, and then *out_num_passed_over is how many were not logged
// since the last time.
struct log_limit {
    uint64_t last_ms;
    uint64_t num_passed_over;
    bool has_logged;
};
bool log_allowed(struct log_limit *limit, uint64_t now_ms, uint64_t interval_ms,
                 uint64_t *out_num_passed_over);

// invariant logs and aborts, in every build, when a condition that only a bug can break is broken.
#define invariant(cond) ((cond) ? (void)0 : log_invariant_failed(#cond, __FILE__, __LINE__))
void log_invariant_failed(const char *cond, const char *file, int line) __attribute__((noreturn));

#endif
