/* How a conversation over a path sounds, by computation: the E-model (ITU-T G.107) with its full
 * set of parameters, and what codecs, loss, bursts and delay of a packet network do in it.
 *
 * All R are on one scale, the narrowband one of G.107: 93.2 is G.711 without faults, 100 the end.
 * Codecs of wider bands are computed on their own scale (to 129: G.107.1, to 148: G.107.2) and
 * brought to this one by /1.29 and /1.48, so that MOS are comparable. What delay does is taken from
 * G.107 for all of them. Figures for Opus are a published fit of third parties to an objective
 * measure, not ITU-T's: everything here is an estimate, good for comparing paths, not a listening
 * test. Pure, any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_EMODEL_H
#define SORI_PROTO_EMODEL_H

#include "base/bytes.h"

/* The parameters of G.107 (06/2015) table 2, in its order, names and units. */
struct emodel {
    double slr, rlr;     /* send and receive loudness rating, dB */
    double stmr, lstr;   /* sidetone masking rating, listener sidetone rating, dB */
    double ds, dr;       /* D-value of telephone, send and receive side */
    double telr, wepl;   /* talker echo loudness rating, weighted echo path loss, dB */
    double t, tr, ta;    /* one way of the echo path, round trip, absolute one-way delay, ms */
    double qdu;          /* quantisation distortion units */
    double ie, bpl;      /* equipment impairment, packet loss robustness */
    double ppl, burst_r; /* packet loss in percent, burst ratio */
    double nc, nfor;     /* circuit noise dBm0p, noise floor dBmp */
    double ps, pr;       /* room noise, dB(A) */
    double a;            /* advantage factor */
    double st, mt;       /* delay sensitivity: class, and the delay that is just noticed, ms */
};

/* All default values: R = 93.2. */
extern const struct emodel emodel_defaults;

/* The rating factor of these parameters, 0..100. Values that are not numbers are taken for the
 * default, values beyond a wide range for its end: every input gives a finite R. */
double emodel_r(const struct emodel *m);

/* Mean opinion score, 1..4.5, of a conversation with this R (G.107 annex B); 1 for NaN. Unlike the
 * printed cubic it does not fall below 1 for R under 6.5. */
double emodel_mos(double r);

enum emodel_codec {
    EMODEL_G711, /* without concealment */
    EMODEL_G711_PLC,
    EMODEL_G729A, /* with VAD */
    EMODEL_G723,  /* 6.3 kbit/s */
    EMODEL_GSM_EFR,
    EMODEL_OPUS,
    EMODEL_CODEC_COUNT,
};

#define EMODEL_OPUS_BPS  32000 /* what browsers send where nothing else is agreed */
#define EMODEL_BURST_MAX 8.0   /* a bigger burst ratio is taken for this */

/* One direction of a call over a packet network. A zeroed one is a perfect path with G.711. */
struct emodel_path {
    enum emodel_codec codec;
    uint32_t bps;       /* Opus: of its payload; 0: EMODEL_OPUS_BPS */
    double loss;        /* part of packets that did not come in time, 0..1 */
    double burst_ratio; /* emodel_burst_ratio(); 0: random loss */
    double delay_ms;    /* mouth to ear, emodel_delay_ms() */
    unsigned copies; /* how many later packets carry this one too: RED's depth, 1 for in-band FEC */
};

/* R of that path, 0..100: never better for more loss, or for more delay. NaN-safe like emodel_r().
 * A loss that copies repair counts as none (which flatters in-band FEC a little: its copies are
 * coarser). */
double emodel_path_r(const struct emodel_path *p);

/* What is left of a loss when each packet is carried by so many later ones too: a run of lost
 * packets loses its last ones back. 0..loss. */
double emodel_residual_loss(double loss, double burst_ratio, unsigned copies);

/* The burst ratio (G.107 §7.1): mean length of the runs of lost packets, against that of random
 * loss of the same rate; 1..EMODEL_BURST_MAX, 1 when nothing was lost. lost <= sent packets, in
 * runs. */
double emodel_burst_ratio(uint64_t sent, uint64_t lost, uint64_t runs);

/* Mouth to ear in ms: half the round trip, the receiver's jitter buffer, the codec's own frame and
 * look-ahead, and sound devices (EMODEL_DEVICE_MS). */
#define EMODEL_DEVICE_MS 20.0
double emodel_delay_ms(enum emodel_codec codec, uint64_t rtt_us, uint64_t buffer_us);

/* How long a jitter buffer will hold packets back for this interarrival jitter (RFC 3550), where
 * the receiver does not say: adaptive ones keep a frame and about twice the jitter. */
uint64_t emodel_buffer_us(uint64_t jitter_us);

#endif
