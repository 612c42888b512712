/* One address on which clients that can't use UDP connect (RFC 6544, passive candidates).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_ICE_TCP_LISTENER_H
#define SORI_SFU_ICE_TCP_LISTENER_H

#include "sfu/media_path.h"
#include "sfu/media_sock.h"

struct ice_tcp_listener;

/* Listens on `at`. number: of the socket in media_path; conf->ops gets the packets. Returns 0 and
 * *out, or -errno. */
int ice_tcp_listener_new(struct ice_tcp_listener **out, struct worker *w, const struct addr *at,
                         uint16_t number, const struct media_sock_conf *conf);
void ice_tcp_listener_free(struct ice_tcp_listener *l); /* NULL is allowed */

/* Connections now, and how many were ended for what they sent or did not send in time. */
unsigned ice_tcp_listener_count(const struct ice_tcp_listener *l);
uint64_t ice_tcp_listener_bad(const struct ice_tcp_listener *l);

/* Queues one packet. False: the queue is full, it is dropped. */
bool ice_tcp_listener_send(struct ice_tcp *c, struct slice packet);

#endif
