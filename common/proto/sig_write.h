/* Pieces of the server's messages: for sig_server.c and sig_room_write.c only.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_SIG_WRITE_H
#define SORI_PROTO_SIG_WRITE_H

#include "proto/json.h"
#include "proto/sig_server.h"

/* Writes `,"key":`, or `"key":` right behind an opening brace or at the start of a body. */
static inline void key(struct wr *w, const char *name)
{
    if (w->len > 0 && w->base[w->len - 1] != '{')
        wr_u8(w, ',');
    wr_u8(w, '"');
    wr_str(w, name);
    wr_bytes(w, SLICE_LIT("\":"));
}

static inline void text(struct wr *w, const char *name, struct slice value)
{
    key(w, name);
    json_write_text(w, value);
}

static inline void text_if(struct wr *w, const char *name, struct slice value)
{
    if (value.len > 0)
        text(w, name, value);
}

static inline void word(struct wr *w, const char *name, const char *value)
{
    text(w, name, slice_str(value));
}

static inline void number(struct wr *w, const char *name, uint64_t value)
{
    key(w, name);
    wr_u64(w, value);
}

static inline void truth(struct wr *w, const char *name, bool value)
{
    key(w, name);
    wr_str(w, value ? "true" : "false");
}

static inline void raw(struct wr *w, const char *name, struct slice value)
{
    key(w, name);
    wr_bytes(w, value);
}

static inline void raw_if(struct wr *w, const char *name, struct slice value)
{
    if (value.len > 0)
        raw(w, name, value);
}

static inline void call_id(struct wr *w, const char *name, const struct sig_call_id *id)
{
    key(w, name);
    wr_u8(w, '"');
    sig_call_id_write(w, id);
    wr_u8(w, '"');
}

static inline void ice_servers(struct wr *w, struct slice value)
{
    raw(w, "iceServers", value.len > 0 ? value : SLICE_LIT("[]"));
}

/* Everything of a body up to `data`. It is the body's first text: whatever stands before it in w
 * belongs to somebody else. */
static inline void head(struct wr *w, const struct sig_head *h)
{
    wr_bytes(w, SLICE_LIT("\"type\":\""));
    wr_str(w, sig_type_name(h->type));
    wr_u8(w, '"');
    text_if(w, "re", h->re);
    if (h->call_id)
        call_id(w, "callId", h->call_id);
    text_if(w, "roomId", h->room);
    if (h->from.len == 0)
        return;
    text(w, "from", h->from);
    text_if(w, "fromDevice", h->from_device);
    if (h->ts_ms > 0)
        number(w, "ts", h->ts_ms);
}

/* A body is head, begin, members, end. */
static inline void begin(struct wr *w, const struct sig_head *h)
{
    head(w, h);
    wr_bytes(w, SLICE_LIT(",\"data\":{"));
}

static inline void end(struct wr *w)
{
    wr_bytes(w, SLICE_LIT("}}"));
}

#endif
