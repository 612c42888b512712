/* What was sent to one receiver under transport-wide sequence numbers, until feedback tells.
 * Part of bwe. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_SEND_HISTORY_H
#define SORI_SFU_SEND_HISTORY_H

#include "base/bytes.h"

enum sent_state { SENT_NONE, SENT_FLYING, SENT_ACKED, SENT_LOST };

struct sent {
    uint32_t at_us; /* low 32 bits */
    uint16_t bytes;
    uint8_t cluster; /* of the probe it was part of */
    uint8_t state;   /* enum sent_state */
};

struct send_history {
    struct sent *_v;
    unsigned _mask;
    uint64_t next; /* the next number, extended; the first is 1 */
};

/* n: packets that are remembered, a power of two up to 32768. Returns 0 or -ENOMEM. */
int send_history_init(struct send_history *h, unsigned n);

/* Frees its memory. */
void send_history_fini(struct send_history *h);

/* Remembers n packets from now on (not fewer than before); what is remembered stays. Returns 0, or
 * -ENOMEM: nothing has changed. */
int send_history_grow(struct send_history *h, unsigned n);

/* Takes the next number. bytes over 65535 count as that. */
uint64_t send_history_put(struct send_history *h, size_t bytes, unsigned cluster, uint64_t now_us);

/* The packet of that number on the wire, and its extended number; NULL when it was never sent or is
 * forgotten. */
struct sent *send_history_find(struct send_history *h, uint16_t wire_seq, uint64_t *seq);

#endif
