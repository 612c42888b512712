/* Log lines: text for people or one JSON object a line, both escaped so that one call is one line.
 *
 *     log_info("chan", "bind %u to %s", number, text);
 *
 * error = someone must act; warn = someone should look; info = a life-cycle step; debug = off in
 * production. No secrets, no SDP. Anything a stranger can trigger is counted, not logged, or goes
 * through log_allow(). Thread safe; a line is written by one write(2).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_LOG_H
#define SORI_BASE_LOG_H

#include "base/bytes.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* Sets where and how. fd stays the caller's. The default is info, text, stderr. */
void log_setup(enum log_level level, enum log_format format, int fd);
void log_set_level(enum log_level level);
/* "error" "warn" "info" "debug" -> level. Returns 0 or -EINVAL. */
int log_level_parse(struct slice name, enum log_level *out);

/* The name of the level in force. */
const char *log_level_text(void);

/* Whether a line of this level would be written: guard for costly arguments. */
bool log_enabled(enum log_level level);

/* Writes one line. area: lower-case word, the file's noun. Control characters, quotes and bytes
 * that are not UTF-8 in the message come out escaped; a line over 2 kB is cut and marked. */
void log_write(enum log_level level, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(area, ...) log_write(LOG_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...)  log_write(LOG_WARN, area, __VA_ARGS__)
#define log_info(area, ...)  log_write(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...)                         \
    do {                                             \
        if (log_enabled(LOG_DEBUG))                  \
            log_write(LOG_DEBUG, area, __VA_ARGS__); \
    } while (0)

/* A call site's budget: log_allow() is true at most `per_s` times a second (then the line may be
 * written). After true, l->suppressed is the number of lines refused since the last true one, to be
 * told in this line; the next call starts it over. Zeroed = unused. */
struct log_limit {
    uint64_t _window_s;
    uint32_t _used, suppressed;
};
bool log_allow(struct log_limit *l, uint32_t per_s, uint64_t now_us);

#endif
