/* WebSocket frames, server role, no extensions (RFC 6455 §5 to §7).
 *
 * The decoder works in place on the stream's bytes: a frame that is whole in the input is unmasked
 * there and costs no copy. Only a message that comes in several frames or reads is collected on the
 * heap, and text is checked as it comes in, so that a bad byte ends the connection at once.
 *
 *     do {
 *         used += ws_recv(&ws, data + used, len - used, &ev);
 *         switch (ev.type) ...
 *     } while (ev.type != WS_NONE);
 *     return used;            the rest is at most WS_PENDING_MAX bytes
 *
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_WS_H
#define SORI_PROTO_WS_H

#include "proto/utf8.h"

/* RFC 6455 §5.2 */
enum ws_opcode {
    WS_OP_CONT = 0x0,
    WS_OP_TEXT = 0x1,
    WS_OP_BINARY = 0x2,
    WS_OP_CLOSE = 0x8,
    WS_OP_PING = 0x9,
    WS_OP_PONG = 0xA,
};

/* RFC 6455 §7.4.1 and the IANA registry. 4000..4999 are the application's. */
enum ws_close {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_UNSUPPORTED = 1003,
    WS_CLOSE_NO_STATUS = 1005, /* never on the wire: the peer's Close had no code */
    WS_CLOSE_BAD_DATA = 1007,
    WS_CLOSE_POLICY = 1008,
    WS_CLOSE_TOO_BIG = 1009,
    WS_CLOSE_INTERNAL = 1011,
    WS_CLOSE_RESTART = 1012,
    WS_CLOSE_TRY_LATER = 1013,
};

#define WS_CONTROL_MAX     125                  /* RFC 6455 §5.5 */
#define WS_HEADER_MAX      10                   /* of a frame that we send: no mask */
#define WS_CLOSE_FRAME_MAX (2 + WS_CONTROL_MAX) /* a whole Close frame that we send */
#define WS_PENDING_MAX     (6 + WS_CONTROL_MAX) /* input that ws_recv() may leave unconsumed */

enum ws_event_type {
    WS_NONE,    /* nothing more in this input */
    WS_MESSAGE, /* opcode TEXT (valid UTF-8) or BINARY; payload is the whole message */
    WS_PING,    /* answer with the same payload; at most WS_CONTROL_MAX bytes */
    WS_PONG,
    WS_CLOSE, /* code (WS_CLOSE_NO_STATUS: none given), payload = reason. Echo the code unless we
                 closed first, then close the stream. All later input is swallowed. */
    WS_ERROR, /* send a Close with code, then close the stream. All later input is swallowed. */
};

struct ws_event {
    enum ws_event_type type;
    uint8_t opcode;       /* WS_MESSAGE */
    uint16_t code;        /* WS_CLOSE, WS_ERROR */
    struct slice payload; /* until the next ws_recv() or ws_fini(); inside the input or the heap */
};

/* One connection's decoder. */
struct ws {
    uint8_t *_msg; /* an unfinished message, or the one just given out; else NULL */
    uint32_t _len, _cap, _max;
    uint32_t _left; /* payload bytes of the current data frame that have not come yet */
    struct utf8 _utf8;
    uint8_t _mask[4];
    uint8_t _opcode; /* of the unfinished message; 0: none */
    bool _in_frame;  /* the header of a data frame is read, its payload is not complete */
    bool _fin, _given, _closed;
};

/* A decoder that takes messages of up to max_message bytes. */
void ws_init(struct ws *w, uint32_t max_message);

/* Frees what an unfinished message holds. A zeroed struct is allowed. */
void ws_fini(struct ws *w);

/* Another limit from now on; an unfinished message that is longer already fails with its next
 * frame. */
void ws_set_max(struct ws *w, uint32_t max_message);

/* Decodes up to the next event: see the loop above. data is changed in place (unmasked).
 * Returns the bytes consumed; ev is always written. Offer the unconsumed rest again in front of the
 * next bytes. Errors: 1002 for any breach of framing, 1007 for text or a close reason that is not
 * UTF-8, 1009 for a message over the limit (at the header that announces it), 1011 when memory is
 * out. */
size_t ws_recv(struct ws *w, uint8_t *data, size_t len, struct ws_event *ev);

/* Writes the header of an unfragmented frame with a payload of len bytes. Returns its size. */
size_t ws_frame_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode op, size_t len);

/* Writes a whole Close frame; the reason (UTF-8) is cut to what fits. code 0 or WS_CLOSE_NO_STATUS:
 * an empty payload. Returns its size. */
size_t ws_close_frame(uint8_t out[WS_CLOSE_FRAME_MAX], uint16_t code, struct slice reason);

/* XORs n bytes at p with mask, whose phase starts at `at` (RFC 6455 §5.3). */
void ws_mask(uint8_t *p, size_t n, const uint8_t mask[4], size_t at);

#endif
