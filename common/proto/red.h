/* Redundant audio (RFC 2198): one primary block, older ones before it.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_RED_H
#define SORI_PROTO_RED_H

#include "base/bytes.h"

#define RED_BLOCKS_MAX    16     /* in one packet that we read; more is refused */
#define RED_TS_OFFSET_MAX 0x3fff /* 14 bits */
#define RED_LEN_MAX       0x3ff  /* 10 bits, of a redundant block; the primary has no limit */

struct red_block {
    uint8_t pt;
    uint16_t ts_offset; /* how much older than the packet's timestamp; 0 of the primary */
    struct slice data;  /* may be empty */
};

/* Decodes a payload (without RTP padding) into blocks, in the packet's order; the last is the
 * primary. out: written on success only; borrows from payload.
 *
 * Returns the number of blocks (1..RED_BLOCKS_MAX), or -EBADMSG. */
int red_decode(struct red_block out[RED_BLOCKS_MAX], struct slice payload);

/* Writes n blocks, the last as primary. w->bad when n is 0, or when a redundant one is longer than
 * RED_LEN_MAX or older than RED_TS_OFFSET_MAX: leave such out before. */
void red_encode(struct wr *w, const struct red_block *v, size_t n);

/* Writes only the block headers of what red_encode() would write, for payloads that the caller
 * sends right behind them without copying. */
void red_put_headers(struct wr *w, const struct red_block *v, size_t n);

#endif
