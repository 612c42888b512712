/* JSON without a tree: the validating pass, and the lookups that rely on it (RFC 8259).
 *
 * Called by sig.c and its neighbours for each message of a client; the payloads inside are passed
 * on untouched, so this pass is all that stands between a sender's bytes and a receiver's parser.
 * Pure. The scanner is a loop over four states, nesting is one bit per level:
 *
 *     VALUE --{--> KEY --"k":--> VALUE        an empty object or array goes to AFTER at once
 *     VALUE --[--> VALUE
 *     VALUE --scalar--> AFTER --,--> KEY | VALUE     AFTER --} ]--> AFTER, one level up
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/json.h"

#include <assert.h>
#include <errno.h>

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b)) /* b in all eight bytes of a word */

enum {
    KEY_DECODED_MAX = 64, /* longest wanted key, decoded */
    HIGH_SURROGATE = 0xD800,
    LOW_SURROGATE = 0xDC00,
    SURROGATE_END = 0xE000,
};

/* ---- characters ---- */

static size_t skip_space(struct slice s, size_t at)
{
    while (at < s.len && (s.p[at] == ' ' || s.p[at] == '\n' || s.p[at] == '\r' || s.p[at] == '\t'))
        at++;
    return at;
}

static bool is_digit(struct slice s, size_t at)
{
    return at < s.len && s.p[at] >= '0' && s.p[at] <= '9';
}

/* Value of a hex digit, 16 for anything else. */
static unsigned hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10u : 16;
}

/* The code unit of the four hex digits at `at`; UINT32_MAX when they are not there. */
static uint32_t hex4(struct slice s, size_t at)
{
    uint32_t unit = 0;

    if (s.len < 4 || at > s.len - 4)
        return UINT32_MAX;
    for (size_t i = at; i < at + 4; i++) {
        unsigned v = hex_value(s.p[i]);
        if (v > 15)
            return UINT32_MAX;
        unit = unit << 4 | v;
    }
    return unit;
}

/* Length of the UTF-8 sequence at `at` whose first byte is not ASCII, 0 when it is not well-formed
 * (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF). */
static size_t utf8_sequence(struct slice s, size_t at)
{
    uint8_t lead = s.p[at];
    uint8_t low = 0x80, high = 0xBF; /* allowed range of the second byte */
    size_t len = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;

    if (lead < 0xC2 || lead > 0xF4 || len > s.len - at)
        return 0;
    if (lead == 0xE0)
        low = 0xA0;
    else if (lead == 0xED)
        high = 0x9F;
    else if (lead == 0xF0)
        low = 0x90;
    else if (lead == 0xF4)
        high = 0x8F;
    if (s.p[at + 1] < low || s.p[at + 1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s.p[at + i] & 0xC0) != 0x80)
            return 0;
    return len;
}

/* True when none of eight bytes ends or interrupts a string: no quote, backslash, control character
 * or byte over 0x7F. A borrow can only make it say no too often: the slow path then decides. */
static bool plain8(struct slice s, size_t at)
{
    uint64_t w;

    memcpy(&w, &s.p[at], sizeof(w));
    uint64_t odd = w | (w - EACH_BYTE(0x20)) | ((w ^ EACH_BYTE('"')) - EACH_BYTE(1)) |
                   ((w ^ EACH_BYTE('\\')) - EACH_BYTE(1));
    return (odd & EACH_BYTE(0x80)) == 0;
}

/* ---- validating scalars: each gives the index behind it, 0 when it is malformed ---- */

/* Behind the escape whose backslash is at `at`. */
static size_t scan_escape(struct slice s, size_t at)
{
    if (s.len - at < 2)
        return 0;
    uint8_t c = s.p[at + 1];
    if (c != 'u')
        return memchr("\"\\/bfnrt", c, 8) ? at + 2 : 0;

    uint32_t unit = hex4(s, at + 2);
    if (unit == UINT32_MAX || (unit >= LOW_SURROGATE && unit < SURROGATE_END))
        return 0;
    if (unit < HIGH_SURROGATE || unit >= SURROGATE_END)
        return at + 6;
    if (s.len - at < 12 || s.p[at + 6] != '\\' || s.p[at + 7] != 'u')
        return 0;
    unit = hex4(s, at + 8);
    return unit >= LOW_SURROGATE && unit < SURROGATE_END ? at + 12 : 0;
}

/* Behind the string whose opening quote is at `at`. */
static size_t scan_string(struct slice s, size_t at)
{
    at++;
    for (;;) {
        while (s.len - at >= 8 && plain8(s, at))
            at += 8;
        if (at >= s.len)
            return 0;
        uint8_t c = s.p[at];
        if (c == '"')
            return at + 1;
        if (c < 0x20)
            return 0;
        if (c == '\\') {
            at = scan_escape(s, at);
            if (at == 0)
                return 0;
        } else if (c < 0x80) {
            at++;
        } else {
            size_t len = utf8_sequence(s, at);
            if (len == 0)
                return 0;
            at += len;
        }
    }
}

static size_t scan_digits(struct slice s, size_t at)
{
    if (!is_digit(s, at))
        return 0;
    while (is_digit(s, at))
        at++;
    return at;
}

static size_t scan_number(struct slice s, size_t at)
{
    if (s.p[at] == '-')
        at++;
    if (at < s.len && s.p[at] == '0')
        at++;
    else if ((at = scan_digits(s, at)) == 0)
        return 0;
    if (at < s.len && s.p[at] == '.' && (at = scan_digits(s, at + 1)) == 0)
        return 0;
    if (at < s.len && (s.p[at] | 0x20) == 'e') {
        at++;
        if (at < s.len && (s.p[at] == '+' || s.p[at] == '-'))
            at++;
        at = scan_digits(s, at);
    }
    return at;
}

static size_t scan_word(struct slice s, size_t at, struct slice word)
{
    return slice_eq(slice_sub(s, at, word.len), word) ? at + word.len : 0;
}

/* Behind the string, number or literal at `at`. */
static size_t scan_scalar(struct slice s, size_t at)
{
    switch (s.p[at]) {
    case '"':
        return scan_string(s, at);
    case 't':
        return scan_word(s, at, SLICE_LIT("true"));
    case 'f':
        return scan_word(s, at, SLICE_LIT("false"));
    case 'n':
        return scan_word(s, at, SLICE_LIT("null"));
    default:
        return scan_number(s, at);
    }
}

/* ---- fields ---- */

/* The code point of the valid escape at *at; moves *at behind it. */
static uint32_t decode_escape(struct slice s, size_t *at)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint8_t c = *at + 1 < s.len ? s.p[*at + 1] : 0;
    const char *plain = c ? strchr(from, c) : NULL;

    if (plain) {
        *at += 2;
        return (uint8_t)to[plain - from];
    }
    uint32_t unit = hex4(s, *at + 2);
    *at += 6;
    if (unit < HIGH_SURROGATE || unit >= SURROGATE_END)
        return unit;
    uint32_t second = hex4(s, *at + 2);
    *at += 6;
    return 0x10000 + ((unit - HIGH_SURROGATE) << 10) + (second - LOW_SURROGATE);
}

static void write_utf8(struct wr *w, uint32_t cp)
{
    if (cp < 0x80) {
        wr_u8(w, (uint8_t)cp);
        return;
    }
    if (cp < 0x800) {
        wr_u8(w, (uint8_t)(0xC0 | cp >> 6));
    } else {
        if (cp < 0x10000) {
            wr_u8(w, (uint8_t)(0xE0 | cp >> 12));
        } else {
            wr_u8(w, (uint8_t)(0xF0 | (cp >> 18 & 7)));
            wr_u8(w, (uint8_t)(0x80 | (cp >> 12 & 0x3F)));
        }
        wr_u8(w, (uint8_t)(0x80 | (cp >> 6 & 0x3F)));
    }
    wr_u8(w, (uint8_t)(0x80 | (cp & 0x3F)));
}

/* The wanted field whose key is the raw string, or NULL. */
static struct json_field *find_field(struct slice raw, struct json_field *fields, size_t n)
{
    uint8_t buf[KEY_DECODED_MAX];
    struct wr scratch = wr_init(buf, sizeof(buf));
    struct slice key;

    if (n == 0 || !json_text(raw, &key, &scratch))
        return NULL;
    uint8_t first = key.len > 0 ? key.p[0] : 0; /* most keys differ here already */
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)fields[i].key[0] == first && slice_is(key, fields[i].key))
            return &fields[i];
    return NULL;
}

static void clear_fields(struct json_field *fields, size_t n)
{
    assert(n <= JSON_FIELDS_MAX);
    for (size_t i = 0; i < n; i++) {
        fields[i].value = (struct slice){0};
        fields[i].kind = JSON_KIND_NONE;
    }
}

/* Gives f its value; refuses a second one. f NULL: nobody wants it. */
static int fill_field(struct json_field *f, struct slice value)
{
    if (!f)
        return 0;
    if (f->kind != JSON_KIND_NONE)
        return -EEXIST;
    f->value = value;
    f->kind = json_kind_of(value);
    return 0;
}

/* ---- the validating pass ---- */

struct scan {
    struct slice s;
    size_t at;
    uint64_t objects; /* bit d: level d+1 is an object, else an array */
    unsigned depth, values;
    const struct json_limits *limits;
    struct json_field *fields; /* wanted of level 1 */
    size_t fields_n;
    struct json_field *member; /* the wanted field whose value is being read */
    size_t member_at;          /* where that value begins */
    bool twice;                /* a wanted key is there twice */
};

enum scan_state { SCAN_VALUE, SCAN_KEY, SCAN_AFTER };

static bool scan_in_object(const struct scan *x)
{
    return x->objects >> (x->depth - 1) & 1;
}

/* Reads `"key":` and remembers who wants its value. */
static int scan_key(struct scan *x)
{
    size_t key_at = x->at;

    if (x->at >= x->s.len || x->s.p[x->at] != '"')
        return -EBADMSG;
    x->at = scan_string(x->s, x->at);
    if (x->at == 0)
        return -EBADMSG;
    if (x->depth == 1)
        x->member = find_field(slice_sub(x->s, key_at, x->at - key_at), x->fields, x->fields_n);
    x->at = skip_space(x->s, x->at);
    if (x->at >= x->s.len || x->s.p[x->at] != ':')
        return -EBADMSG;
    x->at++;
    return SCAN_VALUE;
}

/* Reads a scalar or opens an object or array. */
static int scan_value(struct scan *x)
{
    if (x->at >= x->s.len)
        return -EBADMSG;
    if (++x->values > x->limits->values)
        return -E2BIG;
    if (x->depth <= 1)
        x->member_at = x->at;

    uint8_t c = x->s.p[x->at];
    if (c != '{' && c != '[') {
        x->at = scan_scalar(x->s, x->at);
        return x->at == 0 ? -EBADMSG : SCAN_AFTER;
    }
    if (x->depth >= x->limits->depth || x->depth >= JSON_DEPTH_MAX)
        return -E2BIG;
    uint64_t bit = UINT64_C(1) << x->depth++;
    x->objects = c == '{' ? x->objects | bit : x->objects & ~bit;
    x->at = skip_space(x->s, x->at + 1);
    if (x->at < x->s.len && x->s.p[x->at] == (c == '{' ? '}' : ']'))
        return SCAN_AFTER;
    return c == '{' ? SCAN_KEY : SCAN_VALUE;
}

/* Behind a value inside an object or array: the next one, or the end of the level. */
static int scan_after(struct scan *x)
{
    if (x->at >= x->s.len)
        return -EBADMSG;
    uint8_t c = x->s.p[x->at++];
    bool object = scan_in_object(x);
    if (c == ',')
        return object ? SCAN_KEY : SCAN_VALUE;
    if (c != (object ? '}' : ']'))
        return -EBADMSG;
    x->depth--;
    return SCAN_AFTER;
}

/* A member of the outermost object is complete: hands out its value. */
static void scan_member_done(struct scan *x)
{
    struct slice value = slice_sub(x->s, x->member_at, x->at - x->member_at);

    if (fill_field(x->member, value) != 0)
        x->twice = true;
    x->member = NULL;
}

static int scan_all(struct scan *x)
{
    int state = SCAN_VALUE;

    if (x->s.len > x->limits->bytes)
        return -EMSGSIZE;
    for (;;) {
        if (state == SCAN_AFTER && x->depth == 1 && x->member)
            scan_member_done(x);
        x->at = skip_space(x->s, x->at);
        if (state == SCAN_AFTER && x->depth == 0)
            break;
        state = state == SCAN_VALUE ? scan_value(x)
                : state == SCAN_KEY ? scan_key(x)
                                    : scan_after(x);
        if (state < 0)
            return state;
    }
    return x->at == x->s.len ? 0 : -EBADMSG;
}

int json_scan(struct slice text, const struct json_limits *limits)
{
    struct scan x = {.s = text, .limits = limits};

    return scan_all(&x);
}

int json_scan_object(struct slice text, const struct json_limits *limits, struct json_field *fields,
                     size_t n)
{
    struct scan x = {.s = text, .limits = limits, .fields = fields, .fields_n = n};
    size_t at = skip_space(text, 0);

    clear_fields(fields, n);
    int err = scan_all(&x);
    if (err)
        return err;
    if (text.p[at] != '{')
        return -EBADMSG;
    return x.twice ? -EEXIST : 0;
}

/* ---- walking a text that was scanned: nothing is checked again but the bounds ---- */

/* Behind the string whose opening quote is at `at`: the next quote with an even run of backslashes
 * before it. */
static size_t walk_string(struct slice s, size_t at)
{
    size_t open = at;

    for (at++; at < s.len; at++) {
        const uint8_t *quote = memchr(&s.p[at], '"', s.len - at);
        if (!quote)
            return s.len;
        at = (size_t)(quote - s.p);
        size_t run = 0;
        while (at - run - 1 > open && s.p[at - run - 1] == '\\')
            run++;
        if (run % 2 == 0)
            return at + 1;
    }
    return s.len;
}

/* Behind the value at `at`. */
static size_t walk_value(struct slice s, size_t at)
{
    unsigned depth = 0;

    while (at < s.len) {
        switch (s.p[at]) {
        case '"':
            at = walk_string(s, at);
            break;
        case '{':
        case '[':
            depth++;
            at++;
            continue;
        case '}':
        case ']':
            if (depth == 0)
                return at; /* the end of what is around a number or literal */
            depth--;
            at++;
            break;
        case ',':
        case ' ':
        case '\t':
        case '\r':
        case '\n':
            if (depth == 0)
                return at;
            at++;
            continue;
        default:
            at++;
            continue;
        }
        if (depth == 0)
            return at;
    }
    return s.len;
}

int json_fields(struct slice object, struct json_field *fields, size_t n)
{
    size_t at = skip_space(object, 0);

    clear_fields(fields, n);
    if (at >= object.len || object.p[at] != '{')
        return -EBADMSG;
    at = skip_space(object, at + 1);
    while (at < object.len && object.p[at] == '"') {
        size_t key_at = at;
        at = walk_string(object, at);
        struct json_field *f = find_field(slice_sub(object, key_at, at - key_at), fields, n);
        at = skip_space(object, at);
        at = skip_space(object, at + 1); /* the colon */
        size_t value_at = at;
        at = walk_value(object, at);
        if (fill_field(f, slice_sub(object, value_at, at - value_at)) != 0)
            return -EEXIST;
        at = skip_space(object, at);
        at = skip_space(object, at + 1); /* a comma or the brace */
    }
    return 0;
}

struct json_items json_items(struct slice array)
{
    if (array.len == 0 || array.p[0] != '[')
        return (struct json_items){0};
    return (struct json_items){array, skip_space(array, 1)};
}

bool json_items_next(struct json_items *it, struct slice *value)
{
    struct slice s = it->_array;

    if (it->_at >= s.len || s.p[it->_at] == ']')
        return false;
    size_t end = walk_value(s, it->_at);
    *value = slice_sub(s, it->_at, end - it->_at);
    end = skip_space(s, end);
    it->_at = end < s.len && s.p[end] == ',' ? skip_space(s, end + 1) : s.len;
    return true;
}

size_t json_items_count(struct slice array)
{
    struct json_items it = json_items(array);
    struct slice value;
    size_t n = 0;

    while (json_items_next(&it, &value))
        n++;
    return n;
}

/* ---- values ---- */

enum json_kind json_kind_of(struct slice value)
{
    if (value.len == 0)
        return JSON_KIND_NONE;
    switch (value.p[0]) {
    case '{':
        return JSON_KIND_OBJECT;
    case '[':
        return JSON_KIND_ARRAY;
    case '"':
        return JSON_KIND_STRING;
    case 't':
    case 'f':
        return JSON_KIND_BOOL;
    case 'n':
        return JSON_KIND_NULL;
    default:
        return JSON_KIND_NUMBER;
    }
}

bool json_text(struct slice value, struct slice *out, struct wr *scratch)
{
    if (value.len < 2 || value.p[0] != '"' || value.p[value.len - 1] != '"')
        return false;
    struct slice inside = slice_sub(value, 1, value.len - 2);
    if (inside.len == 0 || !memchr(inside.p, '\\', inside.len)) {
        *out = inside;
        return true;
    }

    size_t start = scratch->len;
    for (size_t at = 0; at < inside.len;) {
        const uint8_t *slash = memchr(&inside.p[at], '\\', inside.len - at);
        size_t run = slash ? (size_t)(slash - &inside.p[at]) : inside.len - at;
        wr_bytes(scratch, slice_sub(inside, at, run));
        at += run;
        if (slash)
            write_utf8(scratch, decode_escape(inside, &at));
    }
    if (scratch->bad)
        return false;
    *out = slice_of(&scratch->base[start], scratch->len - start);
    return true;
}

bool json_u64(struct slice value, uint64_t max, uint64_t *out)
{
    return slice_to_u64(value, max, out) == 0;
}

bool json_truth(struct slice value, bool *out)
{
    if (json_kind_of(value) != JSON_KIND_BOOL)
        return false;
    *out = value.p[0] == 't';
    return true;
}

/* Writes the character at `at` that can't go out as it is; gives the index behind it. */
static size_t write_odd(struct wr *w, struct slice s, size_t at)
{
    uint8_t c = s.p[at];

    if (c == '"' || c == '\\') {
        wr_u8(w, '\\');
        wr_u8(w, c);
    } else if (c < 0x20) {
        wr_fmt(w, "\\u%04x", c);
    } else {
        size_t len = utf8_sequence(s, at);
        if (len > 0) {
            wr_bytes(w, slice_sub(s, at, len));
            return at + len;
        }
        wr_str(w, "\xEF\xBF\xBD");
    }
    return at + 1;
}

void json_write_text(struct wr *w, struct slice s)
{
    wr_u8(w, '"');
    for (size_t at = 0; at < s.len;) {
        size_t run = at;
        while (run < s.len && s.p[run] >= 0x20 && s.p[run] < 0x80 && s.p[run] != '"' &&
               s.p[run] != '\\')
            run++;
        wr_bytes(w, slice_sub(s, at, run - at));
        at = run < s.len ? write_odd(w, s, run) : run;
    }
    wr_u8(w, '"');
}
