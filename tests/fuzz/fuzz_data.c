/* What clients send in data channels: opening messages, resets, and messages to the room, in any
 * order, with time between them.
 *
 * Input: steps of one byte (what), one byte (of it: stream, form, permission), two bytes of length
 * and so many bytes. Nothing is passed on that was not allowed, no message names its sender itself,
 * no more goes out than the limits let, and what goes out can be read by a receiver.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "base/bytes.h"
#include "proto/json.h"
#include "sfu/data_channel.h"
#include "sfu/data_room.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step { DCEP, CLOSE, TEXT, BINARY, WAIT, STEPS };
enum { MESSAGE_MAX = 512, PER_S = 20, BYTES_PER_S = 2048, FORBIDDEN = 1, MS = 1000 };

static uint8_t out[65536 + DATA_HEAD_MAX];

static void want(bool claim)
{
    if (!claim)
        abort();
}

/* An OPEN that decodes comes out the same; what the table says of it is what was asked. */
static void dcep(struct data_channels *t, uint16_t stream, struct slice msg)
{
    struct dcep_open open, again;
    struct wr w = wr_init(out, sizeof(out));
    bool busy = data_channels_by_stream(t, stream) != NULL;

    if (dcep_decode(&open, msg) != DCEP_OPEN)
        return;
    want(open.label.len <= DCEP_LABEL_MAX && open.protocol.len <= DCEP_LABEL_MAX);
    dcep_open_encode(&open, &w);
    want(slice_eq(wr_done(&w), msg));
    want(dcep_decode(&again, wr_done(&w)) == DCEP_OPEN);
    if (data_channels_open(t, stream, &open) != 0)
        return;
    const struct data_channel *c = data_channels_by_stream(t, stream);
    want(!busy && c && c->stream == stream && c->channel_type == open.channel_type);
    want(c == data_channels_by_class(t, (enum data_class)c->class));
    want(slice_is(open.label, c->class == DATA_LOSSY ? "sori-lossy" : "sori"));
}

static void close_stream(struct data_channels *t, uint16_t stream)
{
    bool there = data_channels_by_stream(t, stream) != NULL;

    want(data_channels_close(t, stream) == there);
    want(!data_channels_by_stream(t, stream));
}

/* A receiver of text finds sender, topic and payload; of bytes, a sender and the rest. */
static void received(const struct data_message *m, struct slice from, struct slice got)
{
    const struct json_limits l = {DATA_JSON_DEPTH + 1, DATA_JSON_VALUES + 8, got.len};
    struct json_field f[3] = {{.key = "from"}, {.key = "payload"}, {.key = "topic"}};
    uint8_t buf[DATA_ID_MAX];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice who;

    if (!m->text) {
        want(got.len == 1 + from.len + m->payload.len && got.p[0] == from.len);
        want(slice_eq(slice_sub(got, 1 + from.len, got.len), m->payload));
        return;
    }
    want(json_scan_object(got, &l, f, 3) == 0);
    want(json_text(f[0].value, &who, &w) && slice_eq(who, from));
    want(slice_eq(f[1].value, m->payload));
    want((f[2].kind == JSON_KIND_NONE) == (m->topic.len == 0));
}

/* Gives the bytes that were taken. */
static size_t message(struct data_sender *s, const struct data_limits *l, bool allowed, bool text,
                      struct slice msg, uint64_t now_us)
{
    static const struct slice from = {(const uint8_t *)"a\"b\\c", 5};
    struct data_message m;
    struct wr w = wr_init(out, sizeof(out));

    if (data_room_recv(s, l, allowed, text, msg, now_us, &m) != DATA_OK)
        return 0;
    want(allowed && msg.len <= MESSAGE_MAX && m.text == text);
    want(m.to_all == (m.n_to == 0) && m.n_to <= DATA_TO_MAX);
    for (unsigned i = 0; i < m.n_to; i++) {
        want(m.to[i].len > 0 && m.to[i].len <= DATA_ID_MAX);
        for (unsigned k = 0; k < i; k++)
            want(!slice_eq(m.to[i], m.to[k]));
    }
    data_room_write(&m, from, &w);
    want(!w.bad && w.len <= msg.len + DATA_HEAD_MAX);
    received(&m, from, wr_done(&w));
    return msg.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_init(slice_of(data, size));
    struct data_channels channels = {0};
    struct data_sender sender = {0};
    const struct data_limits l = data_limits_make(MESSAGE_MAX, PER_S, BYTES_PER_S);
    uint64_t now_us = 1000 * MS, began_us = now_us, passed = 0, bytes = 0;

    while (r.left > 0) {
        unsigned what = rd_u8(&r) % STEPS, of = rd_u8(&r);
        struct slice msg = rd_take(&r, rd_be16(&r));

        if (r.bad)
            break;
        if (what == DCEP)
            dcep(&channels, (uint16_t)(of % 4), msg);
        else if (what == CLOSE)
            close_stream(&channels, (uint16_t)(of % 4));
        else if (what == WAIT)
            now_us += of * MS;
        else {
            size_t n = message(&sender, &l, !(of & FORBIDDEN), what == TEXT, msg, now_us);

            bytes += n;
            passed += n > 0;
        }
    }
    uint64_t ms = (now_us - began_us) / MS;
    want(passed <= PER_S + ms * PER_S / 1000 + 1);
    want(bytes <= BYTES_PER_S + ms * BYTES_PER_S / 1000 + DATA_RATE_UNIT);
    return 0;
}
