/* Arrivals of one client's packets, told back to it as transport-wide congestion control feedback
 * (draft-holmer-rmcat-transport-wide-cc-extensions-01): what its bandwidth estimator lives on.
 *
 * Feedback is due every 50 to 100 ms, so that it takes about a twentieth of the bytes it tells of,
 * at once when much has gathered, and never while nothing arrives. Pure; owned by the worker.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_TWCC_RECV_H
#define SORI_SFU_TWCC_RECV_H

#include "base/bytes.h"
#include "base/clock.h"

struct twcc_recv;

#define TWCC_RECV_PACKET_MAX 1200 /* bytes of one feedback packet */

/* Returns NULL when memory is out. About 2 kB. */
struct twcc_recv *twcc_recv_new(void);

/* NULL is allowed. */
void twcc_recv_free(struct twcc_recv *t);

/* A packet with that transport-wide sequence number and that many bytes has arrived. Duplicates and
 * numbers far behind are ignored. */
void twcc_recv_packet(struct twcc_recv *t, uint16_t twcc_seq, size_t bytes, uint64_t now_us);

/* When feedback is due; CLOCK_NEVER while nothing has arrived since the last. */
uint64_t twcc_recv_deadline(const struct twcc_recv *t);

/* Writes one RTCP feedback packet (to be put into a compound) about what arrived since the last.
 * sender_ssrc: ours; media_ssrc: any of the client's. Returns its length, 0 when there is nothing
 * to tell or it does not fit into w. Call again until 0: a long gap needs several. */
size_t twcc_recv_feedback(struct twcc_recv *t, uint32_t sender_ssrc, uint32_t media_ssrc,
                          struct wr *w, uint64_t now_us);

#endif
