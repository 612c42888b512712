/* Reliable messages of one session: numbers, acknowledgements, replay, stored replies
 * (docs/SIGNALING.md §2). Pure; owned by the session. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_RELIABLE_H
#define SORI_SERVER_RELIABLE_H

#include "base/bytes.h"
#include "base/list.h"

#define RELIABLE_IDS_MAX \
    256 /* request ids remembered; and of messages that came from other nodes */
#define RELIABLE_REPLY_BYTES_MAX                                                           \
    16384                        /* acknowledged replies kept for repeats of their request \
                                  */
#define RELIABLE_ACK_EVERY    16 /* messages, or */
#define RELIABLE_ACK_DELAY_US UINT64_C(1000000)

struct reliable_limits {
    size_t messages, bytes; /* unacknowledged messages kept */
};

/* The last ids: grown as needed, then a ring. */
struct reliable_ids {
    uint64_t *_ids;
    uint16_t _n, _cap, _at;
};

struct reliable {
    struct list _unacked;               /* struct sent, by seq: kept until acknowledged */
    struct list _answered;              /* struct sent: acknowledged replies, oldest first */
    struct reliable_ids _asked, _heard; /* of requests; of messages that came from other nodes */
    size_t _unacked_bytes, _answered_bytes;
    uint64_t in_seq;  /* highest client seq received without a gap */
    uint64_t out_seq; /* last number given */
    uint64_t _in_told, _out_acked, _ack_due_us;
    uint16_t _unacked_n;
};

enum reliable_rx {
    RELIABLE_NEW,  /* handle it */
    RELIABLE_SEEN, /* a duplicate: do not handle it, repeat the reply if there is one */
    RELIABLE_BAD,  /* a gap, or an ack of what was never sent: close with 4400 */
};

/* An empty state; needs no memory. */
void reliable_init(struct reliable *r);
/* Frees all that is kept. */
void reliable_fini(struct reliable *r);

/* Takes in the numbers of a message from the client: seq (0: it had none) and ack (has_ack). */
enum reliable_rx reliable_recv(struct reliable *r, uint64_t seq, bool has_ack, uint64_t ack,
                               uint64_t now_us);

/* Whether a request of this id was handled before; remembers it if not. id_hash != 0.
 * An allocation failure forgets older ids instead of failing. */
bool reliable_seen_id(struct reliable *r, uint64_t id_hash);
/* The same for a message that another node has for the client: it may come by two ways when the
 * session, or the call, goes on elsewhere. Such ids are even, those of requests odd: of these, and
 * of 0, it remembers nothing (false). */
bool reliable_heard(struct reliable *r, uint64_t id);
/* Whether the id is that of a request. */
static inline bool reliable_is_reply(uint64_t id_hash)
{
    return (id_hash & 1) != 0;
}
/* The stored reply to it, whole text, or an empty slice when it is no longer kept. Borrowed. */
struct slice reliable_reply(const struct reliable *r, uint64_t id_hash);

/* Numbers a message and keeps it. body is the text behind the opening brace ("\"type\":...}");
 * id_hash is that of the request it answers, the id of a message of another node, or 0. Gives the
 * whole text to send (borrowed until the next call that changes r), or an empty slice when the
 * limits are reached or memory is out: the session's history is then broken and the session must
 * end. */
struct slice reliable_send(struct reliable *r, const struct reliable_limits *lim, struct slice body,
                           uint64_t id_hash);

/* Whether what somebody else sends may be added: it may fill half of what is kept, so that no flood
 * of one user ends the history of another. len: bytes of the body. */
bool reliable_has_room(const struct reliable *r, const struct reliable_limits *lim, size_t len);

/* Walks what is not acknowledged and has a number above last_seq: *pos = NULL first; gives the
 * text, or an empty slice at the end. */
struct slice reliable_replay(const struct reliable *r, uint64_t last_seq, const struct list **pos);

/* The body of such a text, as reliable_send() had it. */
struct slice reliable_body(struct slice text);

/* True when everything after last_seq is still here: a client that claims it may resume. */
bool reliable_can_resume(const struct reliable *r, uint64_t last_seq);

/* Highest number that the client has acknowledged. */
uint64_t reliable_acked(const struct reliable *r);

/* Numbers of the message that reliable_replay() has given last. */
void reliable_numbers(const struct list *pos, uint64_t *seq, uint64_t *id_hash);
/* Goes on where another node has been: r is fresh. The messages follow in their order; false:
 * memory is out. */
void reliable_restore(struct reliable *r, uint64_t in_seq, uint64_t out_seq, uint64_t acked);
bool reliable_restore_message(struct reliable *r, uint64_t seq, uint64_t id_hash,
                              struct slice text);

/* When a bare ack is due (UINT64_MAX: none), and takes it: the number to acknowledge. */
uint64_t reliable_deadline(const struct reliable *r);
uint64_t reliable_take_ack(struct reliable *r);

#endif
