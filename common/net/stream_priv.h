/* What stream.c and stream_listener.c share: the objects behind stream.h. For these two files only.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_STREAM_PRIV_H
#define SORI_NET_STREAM_PRIV_H

#include "net/stream.h"

#include <event2/event_struct.h>

enum stream_state {
    STREAM_PREFACE,
    STREAM_HANDSHAKE,
    STREAM_OPENING,
    STREAM_OPEN,
    STREAM_CLOSING,
    STREAM_LINGER,
    STREAM_DEAD
};

/* Unsent bytes; exists only while there are some. */
struct stream_queue {
    size_t head, len, cap;
    uint8_t bytes[];
};

/* Input that the user has not consumed; exists only while there is some. */
struct stream_rest {
    size_t len;
    uint8_t bytes[];
};

struct stream_listener {
    struct worker *w;
    struct stream_conf conf;
    struct list streams;
    struct event ev;
    struct wtimer resume;
    struct addr addr;
    uint64_t tls_failures, handshake_turn_us;
    unsigned handshakes; /* steps done in the turn handshake_turn_us */
    unsigned count;
    unsigned refs; /* itself, and each stream: they outlive stream_listener_free() */
    int fd;        /* -1 once freed */
    bool paused;
    uint8_t *buf; /* max_pending + STREAM_READ_BYTES: every read of the listener's streams */
};

struct stream {
    struct event ev;
    struct list link; /* on listener->streams */
    struct wflush flush;
    struct wtimer timer;
    struct stream_listener *l;
    const struct stream_ops *ops;
    void *user;
    struct tls *tls;
    struct stream_queue *out;
    struct stream_rest *in;
    struct addr peer;
    int fd;
    uint8_t state;
    bool busy;          /* one of our frames holds it: stream_destroy() must not free it */
    bool blocked;       /* the socket takes no more for now: wait for EV_WRITE */
    bool write_on_read; /* TLS wants to read before it can write, */
    bool read_on_write; /* and the other way round */
    bool reread;        /* TLS holds bytes that the socket won't announce */
    bool no_linger;
    bool proxied; /* a PROXY header must come first */
};

/* A stream for the new descriptor fd, which it takes over, failing or not. proxied: it begins with
 * a PROXY header. */
void stream_begin(struct stream_listener *l, int fd, const struct addr *peer, bool proxied);

/* What a stream turned out to be, by what it began with. */
enum stream_kind {
    STREAM_KIND_WAIT, /* not told yet */
    STREAM_KIND_TLS,
    STREAM_KIND_CLEAR,
    STREAM_KIND_GONE, /* it ended, or what it sent can't be */
};

/* True when what s is, or whose, shows only in its first bytes: it begins in STREAM_PREFACE, where
 * each readiness is answered by one stream_preface(). */
bool stream_has_preface(const struct stream *s);
enum stream_kind stream_preface(struct stream *s);

/* Ends s whatever its state; the user hears of it if there is one. */
void stream_destroy(struct stream *s, enum stream_end why);

/* A stream has gone: accepts again when that was what it waited for. */
void stream_listener_resume(struct stream_listener *l);

/* Gives one reference back; the last one frees. */
void stream_listener_unref(struct stream_listener *l);

/* The local address of a socket, ADDR_NONE when there is none. */
struct addr stream_local_addr(int fd);

#endif
