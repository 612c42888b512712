/* WebSocket frames, server role, no extensions (RFC 6455 §5 to §7).
 *
 * Called by the server's client.c on the bytes of one stream. A control frame is handed out when it
 * is there whole (it is small). A data frame that is there whole and alone is handed out in place;
 * any other is collected by take_part(), unmasked and checked as UTF-8 as it comes.
 *
 *   idle --data frame, FIN, whole--------------------------> MESSAGE in place -> idle
 *   idle --any other data frame: frame_begin()-------------> in frame
 *   in frame --payload complete, no FIN: take_part()-------> open message (waits for CONT)
 *   in frame --payload complete, FIN: take_part()----------> MESSAGE from the heap -> idle
 *   open message --CONT: frame_begin()---------------------> in frame
 *   any --Close or an error--------------------------------> closed (input is swallowed)
 *
 * Pure but for the heap; owned by the connection's worker.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/ws.h"

#include "base/mem.h"

#define BIT_FIN    0x80
#define BITS_RSV   0x70
#define BITS_OP    0x0F
#define BIT_MASKED 0x80
#define BITS_LEN   0x7F
#define LEN_16     126 /* the length follows in 2 bytes */
#define LEN_64     127 /* in 8 */
#define MASK_BYTES 4

_Static_assert(sizeof(struct ws) <= 64, "a quiet connection's decoder stays small");

/* A frame header as it stands on the wire. */
struct frame {
    size_t header_bytes; /* 0: not there yet */
    uint64_t len;
    uint8_t mask[MASK_BYTES];
    uint8_t op;
    bool fin;
};

void ws_mask(uint8_t *p, size_t n, const uint8_t mask[4], size_t at)
{
    uint8_t m[8];
    uint64_t wide, v;
    for (size_t i = 0; i < sizeof m; i++)
        m[i] = mask[(at + i) & 3];
    memcpy(&wide, m, sizeof wide);
    size_t i = 0;
    for (; n - i >= sizeof v; i += sizeof v) {
        memcpy(&v, p + i, sizeof v);
        v ^= wide;
        memcpy(p + i, &v, sizeof v);
    }
    for (; i < n; i++)
        p[i] ^= m[i & 7];
}

/* RFC 6455 §7.4.1, §7.4.2: codes that an endpoint may put into a Close frame. */
static bool close_code_allowed(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static void release_message(struct ws *w)
{
    mem_free(w->_msg);
    w->_msg = NULL;
    w->_len = w->_cap = 0;
    w->_given = false;
}

static void set_error(struct ws *w, struct ws_event *ev, uint16_t code)
{
    release_message(w);
    w->_closed = true;
    *ev = (struct ws_event){.type = WS_ERROR, .code = code};
}

/* ---- headers ---- */

static bool is_control(uint8_t op)
{
    return op & 0x8;
}

/* Checks what the first two bytes can tell, so that a breach ends the connection before more input
 * is awaited. Returns 0 or the close code. */
static uint16_t check_start(const struct ws *w, uint8_t b0, uint8_t b1)
{
    uint8_t op = b0 & BITS_OP;
    bool fin = b0 & BIT_FIN;
    if (b0 & BITS_RSV || !(b1 & BIT_MASKED))
        return WS_CLOSE_PROTOCOL;
    switch (op) {
    case WS_OP_CONT:
        return w->_opcode ? 0 : WS_CLOSE_PROTOCOL;
    case WS_OP_TEXT:
    case WS_OP_BINARY:
        return w->_opcode ? WS_CLOSE_PROTOCOL : 0;
    case WS_OP_CLOSE:
    case WS_OP_PING:
    case WS_OP_PONG:
        return fin && (b1 & BITS_LEN) <= WS_CONTROL_MAX ? 0 : WS_CLOSE_PROTOCOL;
    default:
        return WS_CLOSE_PROTOCOL;
    }
}

/* Reads a header. Returns 0 (f->header_bytes is 0 when it is not whole yet) or the close code. */
static uint16_t read_header(const struct ws *w, struct slice in, struct frame *f)
{
    *f = (struct frame){0};
    struct rd r = rd_init(in);
    uint8_t b0 = rd_u8(&r), b1 = rd_u8(&r);
    if (r.bad)
        return 0;
    uint16_t code = check_start(w, b0, b1);
    if (code)
        return code;
    uint64_t len = b1 & BITS_LEN;
    if (len == LEN_16) {
        len = rd_be16(&r);
        if (!r.bad && len < LEN_16) /* §5.2: "the minimal number of bytes MUST be used" */
            return WS_CLOSE_PROTOCOL;
    } else if (len == LEN_64) {
        len = rd_be64(&r);
        if (!r.bad && (len <= UINT16_MAX || len >> 63))
            return WS_CLOSE_PROTOCOL;
    }
    if (r.bad)
        return 0;
    if (!is_control(b0 & BITS_OP) && (w->_len > w->_max || len > w->_max - w->_len))
        return WS_CLOSE_TOO_BIG;
    struct slice mask = rd_take(&r, MASK_BYTES);
    if (r.bad)
        return 0;
    memcpy(f->mask, mask.p, MASK_BYTES);
    f->len = len;
    f->op = b0 & BITS_OP;
    f->fin = b0 & BIT_FIN;
    f->header_bytes = in.len - r.left;
    return 0;
}

/* ---- control frames ---- */

static void give_close(struct ws *w, struct slice body, struct ws_event *ev)
{
    struct rd r = rd_init(body);
    uint16_t code = rd_be16(&r);
    struct slice reason = rd_rest(&r);
    if (body.len == 0) {
        code = WS_CLOSE_NO_STATUS;
    } else if (r.bad || !close_code_allowed(code)) {
        set_error(w, ev, WS_CLOSE_PROTOCOL);
        return;
    } else if (!utf8_valid(reason)) {
        set_error(w, ev, WS_CLOSE_BAD_DATA);
        return;
    }
    release_message(w);
    w->_closed = true;
    *ev = (struct ws_event){.type = WS_CLOSE, .code = code, .payload = reason};
}

static void give_control(struct ws *w, uint8_t op, struct slice body, struct ws_event *ev)
{
    if (op == WS_OP_CLOSE)
        give_close(w, body, ev);
    else
        *ev = (struct ws_event){.type = op == WS_OP_PING ? WS_PING : WS_PONG, .payload = body};
}

/* ---- data frames ---- */

static void give_in_place(struct ws *w, uint8_t op, struct slice body, struct ws_event *ev)
{
    if (op == WS_OP_TEXT && !utf8_valid(body))
        set_error(w, ev, WS_CLOSE_BAD_DATA);
    else
        *ev = (struct ws_event){.type = WS_MESSAGE, .opcode = op, .payload = body};
}

static void frame_begin(struct ws *w, const struct frame *f)
{
    if (f->op != WS_OP_CONT) {
        w->_opcode = f->op;
        w->_utf8 = (struct utf8){0};
    }
    w->_in_frame = true;
    w->_fin = f->fin;
    w->_left = (uint32_t)f->len; /* at most _max */
    memcpy(w->_mask, f->mask, MASK_BYTES);
}

/* Room for n more bytes. Doubles, so that many small fragments stay cheap. */
static bool message_reserve(struct ws *w, uint32_t n)
{
    if (n <= w->_cap - w->_len)
        return true;
    uint64_t need = (uint64_t)w->_len + n, cap = w->_cap ? w->_cap : 512;
    while (cap < need)
        cap *= 2;
    if (cap > w->_max) /* read_header() let the frame in, ws_set_max() may have shrunk _max since */
        cap = need > w->_max ? need : w->_max;
    uint8_t *p = mem_realloc(w->_msg, cap);
    if (!p)
        return false;
    w->_msg = p;
    w->_cap = (uint32_t)cap;
    return true;
}

/* The last frame is complete. */
static void give_collected(struct ws *w, struct ws_event *ev)
{
    if (w->_opcode == WS_OP_TEXT && !utf8_complete(&w->_utf8)) {
        set_error(w, ev, WS_CLOSE_BAD_DATA);
        return;
    }
    *ev = (struct ws_event){
        .type = WS_MESSAGE,
        .opcode = w->_opcode,
        .payload = slice_of(w->_msg, w->_len),
    };
    w->_opcode = 0;
    w->_given = true; /* freed by the next call */
}

/* Takes what is there of the current frame's payload. Returns the bytes consumed. */
static size_t take_part(struct ws *w, uint8_t *data, size_t len, struct ws_event *ev)
{
    uint32_t n = len < w->_left ? (uint32_t)len : w->_left;
    if (n > 0) {
        if (!message_reserve(w, n)) {
            set_error(w, ev, WS_CLOSE_INTERNAL);
            return len;
        }
        uint8_t *to = w->_msg + w->_len;
        memcpy(to, data, n);
        ws_mask(to, n, w->_mask, 0);
        uint8_t turned[MASK_BYTES]; /* the next part starts n bytes further in the mask */
        for (size_t i = 0; i < MASK_BYTES; i++)
            turned[i] = w->_mask[(i + n) & 3];
        memcpy(w->_mask, turned, MASK_BYTES);
        w->_len += n;
        w->_left -= n;
        if (w->_opcode == WS_OP_TEXT && !utf8_feed(&w->_utf8, slice_of(to, n))) {
            set_error(w, ev, WS_CLOSE_BAD_DATA);
            return len;
        }
    }
    if (w->_left == 0) {
        w->_in_frame = false;
        if (w->_fin)
            give_collected(w, ev);
    }
    return n;
}

/* ---- public ---- */

void ws_init(struct ws *w, uint32_t max_message)
{
    *w = (struct ws){._max = max_message};
}

void ws_fini(struct ws *w)
{
    release_message(w);
}

void ws_set_max(struct ws *w, uint32_t max_message)
{
    w->_max = max_message;
}

/* One frame, or one part of one. Returns the bytes consumed; 0 with WS_NONE: more are needed. */
static size_t step(struct ws *w, uint8_t *data, size_t len, struct ws_event *ev)
{
    if (w->_in_frame)
        return take_part(w, data, len, ev);
    struct frame f;
    uint16_t code = read_header(w, slice_of(data, len), &f);
    if (code) {
        set_error(w, ev, code);
        return len;
    }
    if (f.header_bytes == 0)
        return 0;
    uint8_t *body = data + f.header_bytes;
    size_t there = len - f.header_bytes;
    bool whole = f.len <= there;
    bool alone = f.fin && f.op != WS_OP_CONT;
    if (!whole && is_control(f.op))
        return 0;
    if (!whole || !alone) {
        frame_begin(w, &f);
        size_t n = take_part(w, body, there, ev);
        return f.header_bytes + n;
    }
    ws_mask(body, (size_t)f.len, f.mask, 0);
    if (is_control(f.op))
        give_control(w, f.op, slice_of(body, (size_t)f.len), ev);
    else
        give_in_place(w, f.op, slice_of(body, (size_t)f.len), ev);
    return f.header_bytes + (size_t)f.len;
}

size_t ws_recv(struct ws *w, uint8_t *data, size_t len, struct ws_event *ev)
{
    *ev = (struct ws_event){.type = WS_NONE};
    if (w->_given)
        release_message(w);
    size_t used = 0;
    while (!w->_closed && ev->type == WS_NONE) {
        size_t n = step(w, data + used, len - used, ev);
        used += n;
        if (n == 0)
            break;
    }
    return w->_closed ? len : used;
}

size_t ws_frame_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode op, size_t len)
{
    struct wr w = wr_init(out, WS_HEADER_MAX);
    wr_u8(&w, (uint8_t)(BIT_FIN | op));
    if (len < LEN_16) {
        wr_u8(&w, (uint8_t)len);
    } else if (len <= UINT16_MAX) {
        wr_u8(&w, LEN_16);
        wr_be16(&w, (uint16_t)len);
    } else {
        wr_u8(&w, LEN_64);
        wr_be64(&w, len);
    }
    return w.len;
}

size_t ws_close_frame(uint8_t out[WS_CLOSE_FRAME_MAX], uint16_t code, struct slice reason)
{
    bool empty = code == 0 || code == WS_CLOSE_NO_STATUS;
    struct slice said = utf8_prefix(reason, WS_CONTROL_MAX - 2);
    size_t n = ws_frame_header(out, WS_OP_CLOSE, empty ? 0 : 2 + said.len);
    struct wr w = wr_init(out + n, WS_CLOSE_FRAME_MAX - n);
    if (!empty) {
        wr_be16(&w, code);
        wr_bytes(&w, said);
    }
    return n + w.len;
}
