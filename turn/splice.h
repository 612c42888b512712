/* One direction of two connections spliced together: what was read and not yet written on.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_SPLICE_H
#define SORI_TURN_SPLICE_H

#include "base/bytes.h"

/* A zeroed one is empty and open. Nothing more is read while something is left: a reader that does
 * not keep up slows its sender down, and costs what was read at once. */
struct splice {
    uint8_t *_left;
    size_t _at, _end;
    bool _in_ended, _out_ended;
};

/* Frees what is left. */
void splice_fini(struct splice *s);

/* True when the source should be read. */
bool splice_wants_read(const struct splice *s);

/* Keeps a copy of what the destination did not take of a read (the caller has written the part in
 * front). Only when splice_wants_read(), or at the beginning. Returns 0 or -ENOMEM: the stream of
 * bytes has a hole, end both connections. */
int splice_keep(struct splice *s, struct slice rest);

/* What to write to the destination now; empty: nothing. */
struct slice splice_left(const struct splice *s);

/* n bytes of that were written. */
void splice_wrote(struct splice *s, size_t n);

/* The source has ended. */
void splice_end_in(struct splice *s);

/* True when the end should be passed on: the source has ended and everything is written. Asked
 * once: from then on the direction is done. */
bool splice_take_end(struct splice *s);

/* The destination takes no more: what is left is dropped, and the direction is done. */
void splice_abandon(struct splice *s);

/* True when the end has been passed on, or the direction abandoned. */
bool splice_done(const struct splice *s);

#endif
