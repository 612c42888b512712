/* One HTTP/2 connection as a client (RFC 9113): frames in, frames out, requests and their answers.
 *
 * Pure: bytes and now_us in; bytes, verdicts and a deadline out. libnghttp2 makes the frames; it is
 * named nowhere else. Owned by one thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_H2_SESSION_H
#define SORI_SERVER_H2_SESSION_H

#include "server/h2_message.h"

struct h2_session;
struct h2_stream;

#define H2_WHY_MAX 160 /* bytes of a text that says why, NUL included */

/* What the session tells, from inside h2_session_recv(), h2_session_send() and h2_session_end().
 * None of them may call the session. req is what was given to h2_session_submit(); it is told of
 * once, and not after h2_session_forget(). */
struct h2_session_ops {
    /* Whole answer: status, fields, body, cut of r are set. */
    void (*answered)(void *user, void *req, const struct h2_response *r);
    /* Certainly not acted on: told by GOAWAY or the connection's end, or else by RST_STREAM. */
    void (*refused)(void *user, void *req, bool goaway);
    /* It went out, and no answer will come. */
    void (*failed)(void *user, void *req, const char *why);
    /* The peer's first SETTINGS, and each change: how many streams it allows. */
    void (*limit)(void *user, unsigned streams);
    /* No more requests are taken. why: the peer's reason, "" when it gives none. */
    void (*goaway)(void *user, const char *why);
};

struct h2_session_conf {
    const char *authority; /* "api.push.apple.com": copied */
    unsigned streams_max;  /* under way at most */
    uint64_t ping_us;      /* a request waits so long without a word from the peer: PING */
    uint64_t ping_idle_us; /* nothing was heard for so long: PING */
    uint64_t dead_us;      /* a PING is not answered for so long: dead */
};

/* A session whose preface and SETTINGS wait in h2_session_send(). NULL when memory is out. */
struct h2_session *h2_session_new(const struct h2_session_conf *conf,
                                  const struct h2_session_ops *ops, void *user, uint64_t now_us);
/* Tells nothing. NULL is allowed. */
void h2_session_free(struct h2_session *s);

/* Takes bytes from the peer, all of them. Returns 0, or -EPROTO: the connection must end now. After
 * a breach that the peer is to be told of it is 0, h2_session_send() gives the GOAWAY, and
 * h2_session_over() is true behind it. h2_session_why() has the text. */
int h2_session_recv(struct h2_session *s, struct slice bytes, uint64_t now_us);
/* The next bytes for the peer, valid until the next call; empty when there are none, or when the
 * session is over (h2_session_over()). */
struct slice h2_session_send(struct h2_session *s);

/* Sends a request. q and what it points to stay as they are until req is told of or forgotten.
 * Returns 0 with *stream for h2_session_forget(); -EAGAIN when room is 0; -EPIPE after GOAWAY or
 * before SETTINGS; -ENOMEM. */
int h2_session_submit(struct h2_session *s, const struct h2_request *q, void *req,
                      struct h2_stream **stream, uint64_t now_us);
/* Resets the stream; its req is not told of. */
void h2_session_forget(struct h2_session *s, struct h2_stream *stream);
/* Requests that submit() takes now; the peer's limit is read anew each time. */
unsigned h2_session_room(const struct h2_session *s);
/* Streams that are open. */
unsigned h2_session_inflight(const struct h2_session *s);

/* When to call h2_session_tick() at the latest. */
uint64_t h2_session_deadline(const struct h2_session *s);
/* Sends a PING when one is due. False: the last one was not answered, the connection is dead. Call
 * it after what the socket holds has been read. */
bool h2_session_tick(struct h2_session *s, uint64_t now_us);

/* Says goodbye: h2_session_send() gives a GOAWAY; no requests after it. */
void h2_session_goodbye(struct h2_session *s);
/* Neither side has more to say: after a protocol error, or a goodbye with nothing under way. */
bool h2_session_over(struct h2_session *s);
/* The connection is gone: tells of every request left. taken: how many bytes of h2_session_send()
 * the connection has taken; requests that begin behind them were certainly not sent (refused), the
 * others have failed with why. Only h2_session_free() may follow. */
void h2_session_end(struct h2_session *s, uint64_t taken, const char *why);
/* What was wrong, after -EPROTO or when it is over; "" if nothing was. */
const char *h2_session_why(const struct h2_session *s);

#endif
