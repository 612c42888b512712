/* Messages between a room's participants over data channels: form, limits, receivers.
 *
 * Text in:    {"to":["id",…],"topic":"chat","payload":…}   (no "to": everybody else)
 * Text out:   {"from":"id","topic":"chat","payload":…}
 * Binary in:  u8 n, n × (u8 length, id), payload            (n = 0: everybody else)
 * Binary out: u8 length, id of the sender, payload
 *
 * Pure; owned by the room's worker. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_DATA_ROOM_H
#define SORI_SFU_DATA_ROOM_H

#include "base/bytes.h"
#include "base/tokenbucket.h"

enum {
    DATA_SCRATCH_MAX = 256,
    DATA_TO_MAX = 64,     /* receivers that one message names */
    DATA_ID_MAX = 64,     /* bytes of a participant's id */
    DATA_TOPIC_MAX = 64,  /* bytes of a topic: letters, digits and . _ - : / */
    DATA_HEAD_MAX = 1024, /* bytes that the outgoing form adds at most */
    DATA_JSON_DEPTH = 32, /* of a text message, and how many values it may have */
    DATA_JSON_VALUES = 8192,
};

/* Why a message is not passed on. */
enum data_verdict {
    DATA_OK,
    DATA_NOT_ALLOWED,   /* no permission to send data */
    DATA_TOO_LARGE,     /* over data_limits.message_bytes */
    DATA_RATE_MESSAGES, /* too many messages for the moment */
    DATA_RATE_BYTES,
    DATA_MALFORMED,   /* not of the form above */
    DATA_TOO_MANY_TO, /* over DATA_TO_MAX */
    DATA_NOBODY,      /* no receiver is in the room: the caller's to find out */
    DATA_VERDICTS,
};
const char *data_verdict_name(enum data_verdict v);

struct data_limits {
    uint32_t message_bytes;
    struct bucket_rule messages;
    struct bucket_rule bytes; /* in units of DATA_RATE_UNIT bytes */
};
#define DATA_RATE_UNIT 64

/* Limits per second, with a burst of one second; the byte rate's burst is at least one message. 0
 * messages or bytes a second: no limit. */
struct data_limits data_limits_make(uint32_t message_bytes, uint32_t messages_per_s,
                                    uint32_t bytes_per_s);

/* Of one sender; zeroed is a new one. */
struct data_sender {
    struct bucket _messages, _bytes;
    uint64_t passed, refused[DATA_VERDICTS];
};

/* One message, read. Slices borrow from it. */
struct data_message {
    bool text;
    bool to_all;
    unsigned n_to;
    struct slice to[DATA_TO_MAX];       /* ids as they were written; no id is named twice */
    struct slice topic;                 /* text: its characters, "" when absent; binary: empty */
    struct slice payload;               /* text: raw JSON; binary: bytes */
    uint8_t _scratch[DATA_SCRATCH_MAX]; /* names that were written with escapes */
};

/* Checks one message of a sender against its permission, the limits and the form; counts. *out is
 * written when the verdict is DATA_OK. */
enum data_verdict data_room_recv(struct data_sender *s, const struct data_limits *l, bool allowed,
                                 bool text, struct slice msg, uint64_t now_us,
                                 struct data_message *out);

/* Writes what receivers get. from: the sender's id. w: msg.len + DATA_HEAD_MAX always fits. */
void data_room_write(const struct data_message *m, struct slice from, struct wr *w);

#endif
