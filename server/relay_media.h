/* How the media of one allocation fared in one interval, as a relay publishes it (docs/CLUSTER.md).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_RELAY_MEDIA_H
#define SORI_SERVER_RELAY_MEDIA_H

#include "proto/sig_quality.h"

enum { RELAY_MEDIA_BYTES = 8192 }; /* of a record */

/* What came one way: packets of voice up to the relay. packets 0: none. */
struct relay_media_leg {
    uint32_t packets, bytes, expected, lost, runs;
    uint32_t jitter_us, frame_us, clock, rtt_us; /* 0: not known */
};

struct relay_media {
    struct sig_call_id call;
    struct slice user; /* whose allocation it is */
    uint32_t ms;
    struct relay_media_leg up, down; /* from that user, and to him */
    uint8_t _user[SIG_USER_MAX];
};

/* Reads a record. out: written on success; out->user is in it or in text, which must stay. Figures
 * beyond what can be are cut. Returns 0 or -EBADMSG: pass over it. */
int relay_media_decode(struct relay_media *out, struct slice text);

/* The leg as if the one who hears it had told it, up to the relay: for call_leg_add(). the
 * round trip is that of both legs. False: there is nothing to judge. */
bool relay_media_heard(const struct relay_media *m, const struct relay_media_leg *leg,
                       struct sig_quality *out);

#endif
