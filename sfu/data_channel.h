/* WebRTC data channels inside one SCTP association (RFC 8831, 8832): the opening messages, and
 * which stream is which channel. Pure; owned by whoever owns the association.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_DATA_CHANNEL_H
#define SORI_SFU_DATA_CHANNEL_H

#include "base/bytes.h"

enum {
    DCEP_LABEL_MAX = 256, /* longer labels and protocols are refused */
};

/* SCTP payload protocol identifiers (RFC 8831 §8). */
enum data_ppid {
    DATA_PPID_DCEP = 50,
    DATA_PPID_STRING = 51,
    DATA_PPID_BINARY_PARTIAL = 52, /* deprecated; never sent, refused */
    DATA_PPID_BINARY = 53,
    DATA_PPID_STRING_PARTIAL = 54, /* deprecated */
    DATA_PPID_STRING_EMPTY = 56,   /* one byte stands for none */
    DATA_PPID_BINARY_EMPTY = 57,
};

/* Message and channel types (RFC 8832 §8.2). */
enum dcep_type { DCEP_ACK = 0x02, DCEP_OPEN = 0x03 };
enum dcep_channel_type {
    DCEP_RELIABLE = 0x00,
    DCEP_REXMIT = 0x01,    /* reliability: number of retransmissions */
    DCEP_TIMED = 0x02,     /* reliability: milliseconds */
    DCEP_UNORDERED = 0x80, /* bit */
};

struct dcep_open {
    uint8_t channel_type; /* one of the three, or with DCEP_UNORDERED */
    uint16_t priority;
    uint32_t reliability; /* ignored for DCEP_RELIABLE */
    struct slice label, protocol;
};

/* Decodes a message of PPID DATA_PPID_DCEP. Gives the type: DCEP_OPEN (*out is written and
 * borrows), DCEP_ACK, or -EBADMSG (the caller closes the stream). */
int dcep_decode(struct dcep_open *out, struct slice msg);

/* Writes DATA_CHANNEL_OPEN or _ACK. Labels at most DCEP_LABEL_MAX. */
void dcep_open_encode(const struct dcep_open *open, struct wr *w);
void dcep_ack_encode(struct wr *w);

/* What a channel is to the room, by its label. */
enum data_class {
    DATA_RELIABLE, /* "sori" */
    DATA_LOSSY,    /* "sori-lossy" */
    DATA_CLASSES,
};

struct data_channel {
    uint16_t stream;
    uint8_t class;        /* enum data_class */
    uint8_t channel_type; /* what it was opened with: messages to it go the same way */
    uint32_t reliability;
};

/* Open channels of one association, one of each class; a zeroed table is empty. */
struct data_channels {
    struct data_channel _v[DATA_CLASSES];
    uint8_t _n;
};

/* Takes the client's OPEN on a stream. Returns 0: the caller sends an ACK. -EPROTO when the label
 * is none of ours, or the stream or the label's class is open already: the caller resets the
 * stream. */
int data_channels_open(struct data_channels *t, uint16_t stream, const struct dcep_open *open);

/* The client closed the stream (RFC 8831 §6.7); the caller resets its own side. False: not open. */
bool data_channels_close(struct data_channels *t, uint16_t stream);

/* The open channel of a stream, or of a class; NULL: none. Good until the table changes. */
const struct data_channel *data_channels_by_stream(const struct data_channels *t, uint16_t stream);
const struct data_channel *data_channels_by_class(const struct data_channels *t,
                                                  enum data_class class);

#endif
