/* TCP and TLS byte streams on raw descriptors and libevent readiness: accept, read into a shared
 * per-worker buffer, bounded write queue, one flush per loop turn, deadlines.
 *
 * Idle cost beyond the kernel's and OpenSSL's is one struct of under 400 bytes: no buffer is held
 * while nothing is queued. The user sees whole callbacks, never sockets.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_STREAM_H
#define SORI_NET_STREAM_H

#include "base/addr.h"
#include "base/metrics.h"
#include "net/tls.h"
#include "net/worker.h"

struct stream;
struct stream_listener;

/* Why a stream ended. */
enum stream_end {
    STREAM_END_PEER,     /* orderly close by the peer */
    STREAM_END_ERROR,    /* reset, TLS error */
    STREAM_END_TIMEOUT,  /* stream_deadline() passed, or the TLS handshake took too long */
    STREAM_END_OVERFLOW, /* the write queue would exceed its limit */
    STREAM_END_LOCAL,    /* stream_close() finished */
};

struct stream_ops {
    /* A connection is there (TLS handshake done). Return the user pointer, or NULL to refuse it
     * (it is closed; no end call follows). */
    void *(*open)(void *listener_arg, struct stream *s);
    /* Bytes arrived, together with those not consumed before. Returns how many were consumed (0 ..
     * len); the rest (at most max_pending bytes, else STREAM_END_ERROR) comes back in front of the
     * next bytes, or at once when the call changed the ops. May write, close or abort. data is
     * writable in place: it is the stream's own buffer (WebSocket unmasks there). */
    size_t (*data)(void *user, uint8_t *data, size_t len);
    /* The stream is gone; s must not be used any more. Called once for each open that gave a user
     * pointer, never from inside one of the user's own calls except stream_abort(). */
    void (*end)(void *user, enum stream_end why);
};

#define STREAM_READ_BYTES 65536 /* a read takes no more */

struct stream_conf {
    const struct stream_ops *ops;
    void *arg;             /* listener_arg */
    struct tls_ctx **tls;  /* NULL: clear text; else *tls is read at each accept (reload) */
    bool tls_optional;     /* with tls: who does not begin with a TLS handshake is clear text */
    size_t max_pending;    /* unconsumed input kept, bytes */
    size_t max_queue;      /* unsent output kept, bytes */
    size_t max_read;       /* input taken per stream and turn, at most the above; 0: that */
    uint64_t handshake_us; /* time for what comes before open(): TLS handshake, first byte */
    unsigned max_streams;  /* accept pauses at this many on the listener; 0 = no limit */
    /* Asked before anything is spent on a new connection; false closes it at once. May be NULL. */
    bool (*admit)(void *arg, const struct addr *from, uint64_t now_us);
    /* True: a connection from there begins with a PROXY protocol header (proto/proxy2.h), before
     * TLS. Whom that names is stream_peer() then, and the one who is admitted; a header that does
     * not come, or is wrong, ends the connection and is counted. May be NULL: nobody. */
    bool (*proxied)(void *arg, const struct addr *from);
    struct counter *bad_header; /* with proxied */
};

/* Listens on addr (SO_REUSEPORT when several workers listen on the same one; IPV6_V6ONLY). Returns
 * NULL and sets *err_no. When descriptors run out accept pauses 100 ms instead of spinning. */
struct stream_listener *stream_listen(struct worker *w, const struct addr *addr, bool reuseport,
                                      const struct stream_conf *conf, int *err_no);
/* Stops accepting and closes. Its open streams live on (and hold its memory); those still in the
 * TLS handshake end. NULL is allowed. */
void stream_listener_free(struct stream_listener *l);
/* The bound address (with the port the kernel chose for port 0). */
struct addr stream_listener_addr(const struct stream_listener *l);
/* Streams there now (those still in the TLS handshake among them), and TLS handshakes that failed
 * or took too long since the start. */
unsigned stream_listener_count(const struct stream_listener *l);
uint64_t stream_listener_tls_failures(const struct stream_listener *l);
/* Walks the listener's open streams that are not closing (for shutdown). fn may end the stream that
 * it is given, no other. */
void stream_each(struct stream_listener *l, void (*fn)(void *user, void *arg), void *arg);
/* Ends every stream of the listener now, handshakes too; end() is called for each open one. For
 * shutdown, before stream_listener_free(). */
void stream_abort_all(struct stream_listener *l);

/* Queues bytes for the end of this turn; copies. Returns 0, or -ENOBUFS when the queue would exceed
 * max_queue, -ENOMEM, or -EPIPE after stream_close(): nothing was queued, and the caller decides
 * (close with 1013, drop the frame). */
int stream_write(struct stream *s, struct slice bytes);
/* The same for two parts that must stay together (header, payload). */
int stream_write2(struct stream *s, struct slice a, struct slice b);
/* Unsent bytes. */
size_t stream_queued(const struct stream *s);

/* Sends the queue, half-closes (TLS: close_notify) and waits for the peer's end, all of it within
 * linger_us; then end(STREAM_END_LOCAL). linger_us 0: one attempt to send at the end of this turn.
 * Input is ignored from now on. Harmless when it is closing already. */
void stream_close(struct stream *s, uint64_t linger_us);
/* Ends now; end() is called before it returns. */
void stream_abort(struct stream *s);

/* Gives the connection to the caller, who owns *fd and *tls (NULL: clear text) from now on and
 * speaks over them on the same worker; s is gone, and end() is not called. Only while s is open
 * with nothing queued, else returns false and nothing changed. Inside data(), what was not consumed
 * is the caller's to keep: return any number. */
bool stream_detach(struct stream *s, int *fd, struct tls **tls);

/* The stream ends with STREAM_END_TIMEOUT at this time; CLOCK_NEVER takes it off. */
void stream_deadline(struct stream *s, uint64_t deadline_us);

/* Replaces the user's ops and pointer (an HTTP connection became a WebSocket). Not inside open().
 */
void stream_set_user(struct stream *s, const struct stream_ops *ops, void *user);

/* The two ends, whether this one is TLS, and whose thread it lives on. */
struct addr stream_peer(const struct stream *s);
struct addr stream_local(const struct stream *s);
bool stream_is_tls(const struct stream *s);
/* The host that a TLS client named (SNI); empty: none. Lent by s. */
struct slice stream_host(const struct stream *s);
struct worker *stream_worker(const struct stream *s);

#endif
