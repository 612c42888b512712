/* Messages from one node's process to another's, each exactly once and in order while both live.
 *
 * They travel through channels that forget (Redis publishes to whoever hears just then), so each is
 * numbered, kept until it is acknowledged, and said again (docs/CLUSTER.md). A peer is a process,
 * not a name: when another process answers for the name, the peer is gone and what it has not
 * acknowledged is dropped. When its lease is over it is gone as well, but may come back (it was cut
 * off): what is kept for it is dropped a minute later only, and what it says does not count until
 * its lease stands again. What is to reach another instead is taken back when the end is told
 * (node_bus_take_back()).
 *
 *     node_bus_send(b, node, epoch, body, now)   ops.message() at the other side
 *
 * Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_NODE_BUS_H
#define SORI_SERVER_NODE_BUS_H

#include "base/bytes.h"
#include "base/clock.h"

#define NODE_BUS_NODE_MAX  64
#define NODE_BUS_PEERS_MAX 256
#define NODE_BUS_BODY_MAX  ((size_t)262144)
#define NODE_BUS_LEN_MAX   7               /* a body's length in a text, and a space */
#define NODE_BUS_TEXT_MAX  ((size_t)65536) /* bodies of a text, when it is more than one */
#define NODE_BUS_HEAD_MAX  (2 + 17 + 17 + 21 + 21 + 21 + NODE_BUS_NODE_MAX + 1)
#define NODE_BUS_AGAIN_US  (250 * US_PER_MS) /* an unacknowledged message is said again */
#define NODE_BUS_ACK_US    (50 * US_PER_MS)  /* what is heard is acknowledged by then */
#define NODE_BUS_DROP_US   (60 * US_PER_S)   /* what is kept for a dead process is dropped */
#define NODE_BUS_LOOK_US   US_PER_S          /* whether peers live is asked so often */

struct node_bus;

struct node_bus_ops {
    /* Says text in the node's channel; it may be lost. */
    void (*say)(void *arg, struct slice node, struct slice text);
    /* Whether that process of the node is known to be dead, by a lease that was read since then (0:
     * by what is known; else it is asked for); known to live. */
    bool (*dead)(void *arg, struct slice node, uint64_t epoch, uint64_t since_us);
    bool (*lives)(void *arg, struct slice node, uint64_t epoch);
    /* Says a word in this node's own channel and gives its number, never 0; whether that one or a
     * later one has come back: then all is heard that was said before. NULL: nothing is on its way
     * longer than the news of a lease. */
    uint64_t (*mark)(void *arg);
    bool (*marked)(void *arg, uint64_t mark);
};
/* What comes. Slices are lent. None may free the bus; all may send. */
struct node_bus_ears {
    void (*message)(void *arg, struct slice node, uint64_t epoch, struct slice body);
    /* The process is gone; or only its lease was, and stands again. Never told from inside of
     * node_bus_send(). */
    void (*gone)(void *arg, struct slice node, uint64_t epoch);
    void (*back)(void *arg, struct slice node, uint64_t epoch);
};

/* node is borrowed; epoch: of this process. bytes_max: kept for each peer. NULL when memory is out.
 */
struct node_bus *node_bus_new(struct slice node, uint64_t epoch, size_t bytes_max,
                              const struct node_bus_ops *ops, void *arg);
void node_bus_free(struct node_bus *b); /* NULL is allowed */
/* ears may be NULL: what comes is acknowledged and dropped. */
void node_bus_hear(struct node_bus *b, const struct node_bus_ears *ears, void *arg);

/* Whether another process has answered for the name of that one: it is no more, whatever its lease
 * was. */
bool node_bus_is_replaced(const struct node_bus *b, struct slice node, uint64_t epoch);

/* Whether nothing of that process is waited for: its end was told, or there was never anything. */
bool node_bus_is_gone(const struct node_bus *b, struct slice node, uint64_t epoch);

/* Who this process is. */
struct slice node_bus_node(const struct node_bus *b);
/* The same: its epoch. */
uint64_t node_bus_epoch(const struct node_bus *b);

/* Sends to a process of another node, with all else of this turn: at node_bus_flush() or
 * node_bus_settle(). Nothing of an empty body is heard there. Returns 0; -ENOBUFS:
 * it has too much unacknowledged; -EINVAL: too long, or this node; -ESRCH: that process is gone;
 * -ENOMEM. */
int node_bus_send(struct node_bus *b, struct slice node, uint64_t epoch, struct slice body,
                  uint64_t now_us);

/* Whether a body that was not acknowledged is to be forgotten, because the caller sees to it. */
typedef bool node_bus_wants_fn(void *arg, struct slice body);
/* Goes through what a process has not acknowledged, in its order, and takes what is wanted out: it
 * is not said again. Of a process that is not there any more only while its end is told. wants must
 * not send to that node. */
void node_bus_take_back(struct node_bus *b, struct slice node, uint64_t epoch,
                        node_bus_wants_fn *wants, void *arg);

/* Whether a text of the channel is the bus's, and takes it. */
bool node_bus_is(struct slice text);
void node_bus_heard(struct node_bus *b, struct slice text, uint64_t now_us);
/* The channels work (again): what is unacknowledged is said with the next flush. */
void node_bus_up(struct node_bus *b, uint64_t now_us);

/* Whether something is to be said; says it: at the end of a turn, behind saving what came of the
 * turn. Nothing is said at another time: a process may be killed between any two system calls, and
 * whoever hears of something of it must find it saved. */
bool node_bus_waits(const struct node_bus *b);
void node_bus_flush(struct node_bus *b);
/* The same, and acknowledges at once what was heard: what this process has handled when it dies is
 * what it has acknowledged. */
void node_bus_settle(struct node_bus *b);

/* Looks at once which peers live, for who knows that one does not. */
void node_bus_look(struct node_bus *b, uint64_t now_us);

/* When to call node_bus_tick(), which looks who lives, and what is to be said again or acknowledged
 * by the flush that follows. */
uint64_t node_bus_deadline(const struct node_bus *b);
/* Does what is due; more often does no harm. */
void node_bus_tick(struct node_bus *b, uint64_t now_us);

/* Since it was made: messages sent, said once more, delivered, dropped with their peer, taken
 * back. */
struct node_bus_stats {
    uint64_t sent, again, delivered, dropped, taken_back;
};
const struct node_bus_stats *node_bus_stats(const struct node_bus *b);

/* The head of a text, for tests and fuzzing. Returns 0 or -EBADMSG; slices borrow. */
struct node_bus_head {
    bool bare; /* an acknowledgement alone */
    uint64_t from_epoch, to_epoch;
    uint64_t seq, first, ack; /* of the first body, bare: of the next one; first: nothing before it
                                 will be said (again). ack counts when all before seq was heard */
    struct slice from, bodies;
};
int node_bus_decode(struct node_bus_head *out, struct slice text);
void node_bus_encode(struct wr *w, const struct node_bus_head *h);
/* Takes the next body off; false: there is none, or it cannot be read. */
bool node_bus_take(struct slice *bodies, struct slice *body);
void node_bus_add(struct wr *w, struct slice body);

#endif
