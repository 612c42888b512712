/* The data thread, which owns all SCTP (sctp.h), and its link to each worker.
 *
 *     worker thread                                     data thread
 *     data_port_open/input/send/close ──ring──►   association, channels, queues
 *     ops: output, up, message, …     ◄──ring──
 *
 * One port per worker. Packets and messages that find a ring full are dropped and counted (SCTP
 * sends packets again); what opens, closes and tells of channels is not. A client that is too slow
 * loses lossy messages first, then reliable ones beyond its queue (and beyond 64 kB while it has
 * not opened its reliable channel yet: until then they wait for it), and is told in its reliable
 * channel as soon as there is room: {"event":"lost","reliable":2,"lossy":7}.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_DATA_LINK_H
#define SORI_SFU_DATA_LINK_H

#include "sfu/data_channel.h"

struct worker;
struct data_link;
struct data_port;

enum {
    DATA_PORT_RING_BYTES = 4 * 1024 * 1024, /* each way, per worker; touched as used */
    DATA_SEND_TO_MAX = 256,                 /* receivers of one data_port_send() */
    DATA_MESSAGE_MAX = 256 * 1024,          /* the largest limit that a message can have */
    DATA_PORT_ASSOCS_MAX = 1 << 19,         /* of one worker */
};

/* All in the worker's thread, once per loop turn. owner: what data_port_open() was given. */
struct data_port_ops {
    void (*output)(void *owner, struct slice sctp_packet); /* → transport_send_data() */
    void (*up)(void *owner);
    void (*down)(void *owner); /* the association is gone; data_port_close() is still due */
    void (*channel)(void *owner, enum data_class class, bool open);
    void (*message)(void *owner, enum data_class class, bool text, struct slice msg);
};

struct data_conf {
    uint16_t local_port, remote_port;
    uint32_t max_message_in;  /* bytes taken from the client */
    uint32_t max_message_out; /* that the client takes (a=max-message-size); 0: any */
    uint32_t queue_bytes; /* reliable messages that wait for a slow client; beyond: lost, told */
};

/* Starts the thread; once per process at a time. n_workers ports can be made. NULL: out of memory
 * or threads. */
struct data_link *data_link_new(unsigned n_workers);
/* After the workers have stopped: they may be freed, not run or settled, afterwards, for mail about
 * the ports may be left in them. NULL is allowed. */
void data_link_free(struct data_link *l);

/* The port of worker w; once per worker, before it runs. NULL: out of memory. Goes with l. */
struct data_port *data_link_port(struct data_link *l, struct worker *w,
                                 const struct data_port_ops *ops);

/* Worker's thread, all of these. An id is never 0 and never used again soon; calls with an id that
 * is gone do nothing. data_port_open() gives 0 when the limit or memory is out. */
uint32_t data_port_open(struct data_port *p, const struct data_conf *conf, void *owner);
void data_port_close(struct data_port *p, uint32_t id); /* no callback for its owner after this: the
                                                         * client learns it from its transport */
void data_port_input(struct data_port *p, uint32_t id, struct slice sctp_packet);
/* One message to n associations; one without that channel gets nothing (counted). */
void data_port_send(struct data_port *p, const uint32_t *id, unsigned n, enum data_class class,
                    bool text, struct slice msg);

/* Counters of one port; any thread. */
enum data_drop {
    DATA_DROP_RING,       /* a record did not fit the ring to or from the data thread */
    DATA_DROP_NO_CHANNEL, /* the receiver has not opened that channel */
    DATA_DROP_SLOW_LOSSY, /* the receiver is slow: lossy messages go first */
    DATA_DROP_SLOW,       /* its queue is full: reliable messages, and the receiver is told */
    DATA_DROP_TOO_LARGE,  /* for the receiver's max-message-size */
    DATA_DROP_PPID,       /* a payload protocol that is none of a data channel */
    DATA_DROP_DCEP,       /* a bad or refused DATA_CHANNEL_OPEN */
    DATA_DROPS,
};
uint64_t data_port_drops(const struct data_port *p, enum data_drop why);
const char *data_drop_name(enum data_drop why);

#endif
