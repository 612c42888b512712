/* SCTP associations over DTLS (RFC 8261, 8831), on usrsctp, whose state is one for the process.
 *
 * usrsctp calls back in whichever thread calls it, for whichever association is due, and its timers
 * run for all associations at once. So all of it lives in one thread, the data thread
 * (data_link.c): every function here is called there and nowhere else, no lock of ours is needed,
 * usrsctp starts no thread of its own (usrsctp_init_nothreads) and its locks are never contended.
 *
 * An association's address inside usrsctp is a number, not a pointer: it travels to the client in
 * the state cookie. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_SCTP_H
#define SORI_SFU_SCTP_H

#include "base/bytes.h"

enum {
    SCTP_STREAMS = 32,      /* of an association, each way: a room has two channels, and each stream
                             * costs memory in usrsctp whether it is used or not */
    SCTP_PACKET_MAX = 1172, /* bytes of an SCTP packet: DTLS, TURN and IPv6 around it fit 1280 */
    SCTP_BUFFER_MIN = 128 * 1024, /* bytes of an association inside usrsctp, each way, at least, and
                                   * twice the longest message */
    SCTP_MESSAGE_MAX = 256 * 1024,
    SCTP_TICK_US = 10 * 1000,     /* usrsctp's clock while there are associations */
    SCTP_LINGER_US = 2000 * 1000, /* and so long after the last one is gone */
};

struct sctp_assoc;

/* Called from inside sctp_new() (output only), sctp_input(), sctp_tick(), sctp_send(), sctp_reset()
 * and sctp_free() (output only in these three). They may call sctp_send() and sctp_reset(), not
 * sctp_free(). */
struct sctp_ops {
    void (*output)(void *owner, struct slice packet); /* to the client, as DTLS application data */
    void (*up)(void *owner);
    void (*down)(void *owner); /* gone for good: sctp_free() later, outside the callback */
    void (*message)(void *owner, uint16_t stream, uint32_t ppid, struct slice msg);
    void (*reset)(void *owner, uint16_t stream); /* the client closed its side of the stream */
    void (*writable)(void *owner); /* there is room again, after sctp_send() said -EAGAIN */
};

struct sctp_conf {
    uint16_t local_port, remote_port; /* RFC 8841; usually 5000 both */
    uint32_t max_message; /* that is taken, at most SCTP_MESSAGE_MAX: longer ones end it */
};

/* Starts and ends the library. sctp_stop() after all associations are freed: false when usrsctp
 * still holds something (its memory is then left alone). */
void sctp_start(uint64_t now_us);
bool sctp_stop(void);

/* A new association; both ends may connect (RFC 8841 §9.3), which this begins. NULL: out of memory.
 */
struct sctp_assoc *sctp_new(const struct sctp_conf *conf, const struct sctp_ops *ops, void *owner,
                            uint64_t now_us);
void sctp_free(struct sctp_assoc *a); /* aborts what is up; NULL is allowed */

/* One SCTP packet of the client's. Malformed ones are dropped inside. */
void sctp_input(struct sctp_assoc *a, struct slice packet);

struct sctp_send_as {
    uint16_t stream;
    uint32_t ppid;
    bool unordered;
    uint8_t partial; /* 0: reliable, 1: `value` retransmissions, 2: `value` milliseconds */
    uint32_t value;
};
/* Sends one message. Returns 0, -EAGAIN (no room: ops.writable comes), -EMSGSIZE (it never fits),
 * -ENOTCONN. */
int sctp_send(struct sctp_assoc *a, const struct sctp_send_as *as, struct slice msg);

/* Resets our side of a stream (RFC 6525): closes the data channel. */
void sctp_reset(struct sctp_assoc *a, uint16_t stream);

/* Runs due timers of all associations. UINT64_MAX: nothing to tick. */
uint64_t sctp_deadline(void);
void sctp_tick(uint64_t now_us);

#endif
