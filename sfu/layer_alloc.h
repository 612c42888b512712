/* Which layer of which video each receiver gets for the rate its path takes.
 *
 * Shed in this order when the rate falls, given back in the reverse one: padding of probes, top
 * layers, whole videos (lowest priority first), RED copies of audio, and never the audio itself.
 * Going down happens at once; going up waits until the rate has room to spare for a while, longer
 * after a step up that did not hold, so that layers do not flap. Pure; one per receiver, which
 * knows nothing of other receivers. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_LAYER_ALLOC_H
#define SORI_SFU_LAYER_ALLOC_H

#include "base/bytes.h"
#include "base/clock.h"
#include "proto/rtp_params.h"

#define LAYER_TIDS_MAX  4
#define LAYER_SLOTS_MAX 64 /* video slots of one receiver */

/* One video slot. */
struct layer_slot {
    /* In: bits per second (IP datagrams) that the source sends for layer l (simulcast stream, or
     * spatial layer with all below it) up to temporal layer t; 0: not there now. */
    uint32_t bps[RTP_LAYERS_MAX][LAYER_TIDS_MAX];
    int8_t max_layer; /* wish: not above this; -1: paused by the receiver */
    int8_t max_tid;
    uint8_t priority; /* higher is served first; equal ones share layer by layer */
    bool screen;      /* keep resolution, drop temporal layers first */
    /* In: what runs now, out: what to run. layer -1: nothing. */
    int8_t layer, tid;
    /* Out: nothing is sent, although it is wanted, for want of rate. */
    bool starved;
    /* Kept between runs; zero for a new slot or a new source. */
    uint64_t _up_ok_us, _up_at_us;
    uint8_t _failed_ups;
};

struct layer_in {
    uint64_t target_bps; /* bwe_steady_bps() */
    uint64_t audio_bps;  /* primary audio, measured: always served */
    uint64_t red_bps;    /* what RED would add to it */
    uint64_t extra_bps;  /* retransmissions, RTCP, data: measured, taken off first */
};

struct layer_out {
    uint64_t used_bps;   /* what the choice takes, audio included */
    uint64_t wanted_bps; /* what all wishes would take: for bwe_want() */
    uint64_t next_bps;   /* total at which the next step up would be made; 0: all wishes are met */
    bool red;            /* there is room for RED copies */
    bool changed;        /* some slot's layer or tid */
};

/* Chooses for n slots (at most LAYER_SLOTS_MAX). Call when the target moved by 5 %, when slots,
 * wishes or sources changed, and every 200 ms while something is left to give. */
void layer_alloc_run(struct layer_slot *slots, unsigned n, const struct layer_in *in,
                     struct layer_out *out, uint64_t now_us);

#endif
