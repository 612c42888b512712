/* What the relay says of itself to sori-servers: where it is, which secrets it accepts, how busy it
 * is. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_REGISTER_H
#define SORI_TURN_REGISTER_H

#include "proto/node_record.h"
#include "turn/shared_secrets.h"
#include "turn/turn_conf.h"

/* A record with the memory of its texts. */
struct turn_register {
    struct node_record record; /* region is lent by the configuration */
    uint8_t marks[NODE_RECORD_KEYS_MAX][NODE_RECORD_MARK];
    char urls[NODE_RECORD_AT_MAX][NODE_RECORD_PLACE];
};

/* Fills it from c, whose wildcards have become addresses (turn_node_new()); others: the secrets
 * that came from elsewhere, NULL: none. Of secrets nothing but marks is kept. Returns 0 or -EIO: no
 * digest could be made. */
int turn_register_fill(struct turn_register *t, const struct turn_conf *c,
                       const struct shared_secrets *others);

/* How busy the relay is. Embedded; zeroed at the start. */
struct turn_load {
    uint64_t measured_us, pkts[256];
    unsigned load;
};
/* 0 .. NODE_RECORD_LOAD_MAX: what there is least left of: relay ports, allocations that [limits]
 * allows, packets that the busiest worker could still relay. Measured once a second; always called
 * from the same thread, any one. */
struct turn_node;
unsigned turn_load_of(struct turn_load *l, const struct turn_node *n, const struct turn_conf *c,
                      uint64_t now_us);

#endif
