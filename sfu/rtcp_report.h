/* Our RTCP to one client: sender and receiver reports, feedback about what it sends, goodbyes.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_RTCP_REPORT_H
#define SORI_SFU_RTCP_REPORT_H

#include "sfu/peer.h"

#define RTCP_REPORT_FIRST_US (200 * US_PER_MS) /* after the connection: lip sync needs it soon */

/* Sends the regular compound: SR per slot that sends, RR about the client's streams, SDES, DLRR;
 * sets the next time. */
void rtcp_report_send(struct peer *p, uint64_t now_us);

/* Sends what is due of transport-wide feedback. */
void rtcp_report_feedback(struct peer *p, uint64_t now_us);

/* Says that the slots' streams end. */
void rtcp_report_bye(struct peer *p, uint64_t now_us);

#endif
