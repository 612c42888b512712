/* The last packets of one source stream, decrypted: a ring of bytes and an index by extended
 * sequence number. Stored once, read by all consumers and by retransmissions.
 *
 *     p = packet_store_reserve(ps, len);          room for one packet, seen by nobody yet
 *     transport_open_rtp(t, in, p, &len, &index)  decrypts into it
 *     m = packet_store_commit(ps, index, len);    now packet_store_find(ps, index) gives it
 *
 * New packets overwrite the oldest. Nothing is allocated after packet_store_new(), and nothing is
 * copied. Owned by the room's worker. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_PACKET_STORE_H
#define SORI_SFU_PACKET_STORE_H

#include "base/bytes.h"

struct media_packet;
struct packet_store;

#define PACKET_STORE_LEN_MAX   2048     /* no packet is longer */
#define PACKET_STORE_PKTS_MAX  8192     /* what a caller may ask for; more is cut down to it */
#define PACKET_STORE_BYTES_MIN 4096     /* less is raised to it: two packets of any length */
#define PACKET_STORE_BPS_MAX   20000000 /* of packet_store_bytes_for() */
#define PACKET_STORE_S_MAX     4

/* Sizes that hold what a receiver may still ask for: half a second of Opus (32 packets of 20 ms;
 * with RED and stereo the bytes are what limits), one second of a video layer of up to 4 Mbit/s. */
#define PACKET_STORE_AUDIO_PKTS  32
#define PACKET_STORE_AUDIO_BYTES 4096
#define PACKET_STORE_VIDEO_PKTS  512

/* A store of at most pkts packets (a power of two, else the next one) and bytes bytes (at
 * least PACKET_STORE_BYTES_MIN). Returns NULL when memory is out. */
struct packet_store *packet_store_new(unsigned pkts, size_t bytes);

/* NULL is allowed. Every packet and pointer that the store gave is gone. */
void packet_store_free(struct packet_store *ps);

/* Bytes of ring that hold seconds of a stream of bps bits per second, for packet_store_new(). */
size_t packet_store_bytes_for(uint64_t bps, unsigned seconds);

/* Forgets all packets: the stream begins anew (another SSRC). Memory stays. */
void packet_store_reset(struct packet_store *ps);

/* Room for one packet of up to len bytes, until the next call of this function: who drops the
 * packet calls nothing. The oldest packets whose bytes lie there are gone from here on. Returns
 * NULL when len is 0 or over PACKET_STORE_LEN_MAX: drop the packet. */
uint8_t *packet_store_reserve(struct packet_store *ps, size_t len);

/* Makes the first len bytes (at most what was reserved) of the reserved room visible under the
 * extended sequence number seq. The packet has p, len and seq set, everything else zero: the caller
 * fills it. Returns NULL, and stores nothing, when that packet is there already, or when it is
 * older than the store reaches back: drop it.
 *
 * The pointer, and its p, are good until packets of one round of the ring have followed; a caller
 * that handles batches makes the ring longer than a batch. */
struct media_packet *packet_store_commit(struct packet_store *ps, uint64_t seq, size_t len);

/* The packet of that sequence number, or NULL: never came, or overwritten. */
struct media_packet *packet_store_find(struct packet_store *ps, uint64_t seq);

/* A packet is stored soon: step 0 asks for the store, step 1 for where the packet will be. */
void packet_store_prefetch(const struct packet_store *ps, unsigned step);

/* The highest sequence number that was committed; false when the store is empty. */
bool packet_store_newest(const struct packet_store *ps, uint64_t *seq);

/* Bytes of memory the store takes in all. */
size_t packet_store_footprint(const struct packet_store *ps);

#endif
