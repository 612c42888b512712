/* iceServers for a client: the configured relays with a time-limited credential of its own.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_ICE_SERVERS_H
#define SORI_SERVER_ICE_SERVERS_H

#include "server/server_conf.h"

#define ICE_SERVERS_MAX 8192 /* bytes that always do */

/* Writes a JSON array in the shape of RTCConfiguration.iceServers: stun: URLs as they are, turn:
 * and turns: URLs with a credential for user that ends [turn] ttl after wall_us. call_id may be
 * empty. Nothing configured gives "[]". w->bad when it does not fit. */
void ice_servers_write(struct wr *w, const struct server_conf *conf, struct slice call_id,
                       struct slice user, uint64_t wall_us);

#endif
