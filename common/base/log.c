/* Formats, escapes and writes log lines.
 *
 * Called by whoever decides about an error or a life-cycle step. Any thread: a line is built on
 * the caller's stack and leaves in one write(2), so that lines of threads and processes that share
 * a pipe or an appended file do not mix. SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
    LOG_MSG_MAX = 2048,
    LOG_AREA_MAX = 32,
    LOG_ESCAPE_MAX = 6,  /* one byte becomes at most "\u0001" */
    LOG_FRAME_MAX = 128, /* time, level, punctuation and the mark of a cut */
    LOG_LINE_MAX = (LOG_MSG_MAX + LOG_AREA_MAX) * LOG_ESCAPE_MAX + LOG_FRAME_MAX,
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static atomic_int log_level_now = LOG_INFO;
static atomic_int log_format_now = LOG_TEXT;
static atomic_int log_fd_now = STDERR_FILENO;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_level_now, (int)level, memory_order_relaxed);
}

void log_setup(enum log_level level, enum log_format format, int fd)
{
    log_set_level(level);
    atomic_store_explicit(&log_format_now, (int)format, memory_order_relaxed);
    atomic_store_explicit(&log_fd_now, fd, memory_order_relaxed);
}

int log_level_parse(struct slice name, enum log_level *out)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (slice_is(name, level_names[i])) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *log_level_text(void)
{
    return level_names[atomic_load_explicit(&log_level_now, memory_order_relaxed)];
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

/* Reads one character of UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF). Gives its
 * length and *code, or 0 when s does not begin with one. s is not empty. */
static size_t utf8_next(struct slice s, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t c = s.p[0];
    size_t len = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
    uint32_t v = len == 1 ? c : c & (0x7fU >> len);

    if (len == 0 || c > 0xf4 || len > s.len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s.p[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (s.p[i] & 0x3f);
    }
    if (v < least[len] || (v >= 0xd800 && v <= 0xdfff) || v > 0x10ffff)
        return 0;
    *code = v;
    return len;
}

/* Characters that act on a terminal or a viewer instead of being shown: C0, DEL, C1, line and
 * paragraph separators, marks that turn the direction of text. */
static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0x9f) || (code >= 0x200e && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

/* Writes one character, escaped in a way that JSON reads too. */
static void put_char(struct wr *w, struct slice utf8, uint32_t code)
{
    if (code == '"' || code == '\\') {
        wr_u8(w, '\\');
        wr_bytes(w, utf8);
    } else if (code == '\n') {
        wr_str(w, "\\n");
    } else if (code == '\t') {
        wr_str(w, "\\t");
    } else if (is_control(code)) {
        wr_fmt(w, "\\u%04x", (unsigned)code);
    } else {
        wr_bytes(w, utf8);
    }
}

static void put_escaped(struct wr *w, struct slice s, enum log_format format)
{
    while (s.len > 0) {
        uint32_t code = 0;
        size_t len = utf8_next(s, &code);

        if (len > 0) {
            put_char(w, slice_sub(s, 0, len), code);
        } else { /* JSON has no escape for a byte: the text shows the backslash */
            wr_fmt(w, format == LOG_JSON ? "\\\\x%02x" : "\\x%02x", s.p[0]);
            len = 1;
        }
        s = slice_sub(s, len, s.len);
    }
}

/* "2026-01-01T00:00:00.000Z" */
static void put_time(struct wr *w, uint64_t wall_us)
{
    time_t s = (time_t)(wall_us / US_PER_S);
    struct tm tm = {0};

    gmtime_r(&s, &tm);
    wr_fmt(w, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
           tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(wall_us % US_PER_S / 1000));
}

static void put_line(struct wr *w, enum log_level level, const char *area, struct slice msg,
                     bool cut)
{
    enum log_format format =
        (enum log_format)atomic_load_explicit(&log_format_now, memory_order_relaxed);
    bool json = format == LOG_JSON;
    struct slice area_text = slice_sub(slice_str(area), 0, LOG_AREA_MAX);

    wr_str(w, json ? "{\"ts\":\"" : "");
    put_time(w, clock_wall_us());
    wr_str(w, json ? "\",\"level\":\"" : " ");
    wr_str(w, level_names[level]);
    wr_str(w, json ? "\",\"area\":\"" : " ");
    put_escaped(w, area_text, format);
    wr_str(w, json ? "\",\"msg\":\"" : ": ");
    put_escaped(w, msg, format);
    wr_str(w, cut ? " [cut]" : "");
    wr_str(w, json ? "\"}\n" : "\n");
}

/* Drops the character that a cut has split. */
static size_t cut_at_char(const char *s, size_t len)
{
    size_t at = len;

    while (at > 0 && len - at < 3 && ((uint8_t)s[at] & 0xc0) == 0x80)
        at--;
    return at;
}

void log_write(enum log_level level, const char *area, const char *fmt, ...)
{
    char msg[LOG_MSG_MAX + 1], line[LOG_LINE_MAX];
    struct wr w = wr_init(line, sizeof(line));
    int saved_errno = errno;
    va_list ap;

    if (!log_enabled(level))
        return;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    bool cut = n >= (int)sizeof(msg);
    size_t len = n < 0 ? 0 : cut ? cut_at_char(msg, LOG_MSG_MAX - 1) : (size_t)n;
    put_line(&w, level, area, slice_of(msg, len), cut);
    struct slice done = wr_done(&w);
    int fd = atomic_load_explicit(&log_fd_now, memory_order_relaxed);
    while (write(fd, done.p, done.len) == -1 && errno == EINTR)
        ; /* any other failure has nowhere to be told */
    errno = saved_errno;
}

bool log_allow(struct log_limit *l, uint32_t per_s, uint64_t now_us)
{
    const uint32_t refused = UINT32_C(1) << 31; /* in _used: the last call was refused */
    uint64_t window_s = now_us / US_PER_S;

    if (!(l->_used & refused))
        l->suppressed = 0; /* the line that passed has told it */
    l->_used &= ~refused;
    if (l->_window_s != window_s) {
        l->_window_s = window_s;
        l->_used = 0;
    }
    if (l->_used < per_s && l->_used < refused - 1) {
        l->_used++;
        return true;
    }
    l->_used |= refused;
    l->suppressed++;
    return false;
}
