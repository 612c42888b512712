/* iceServers for a client: relays, configured and registered, with a time-limited credential of its
 * own.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_ICE_SERVERS_H
#define SORI_SERVER_ICE_SERVERS_H

#include "server/server_conf.h"

#define ICE_SERVERS_MAX 8192 /* bytes that always do */

/* Writes a JSON array in the shape of RTCConfiguration.iceServers: stun: URLs as they are, turn:
 * and turns: URLs with a credential for user that ends [turn] ttl after wall_us. Behind those of
 * conf stand those of [turn] relays others that relays chooses (NULL: none), as far as they fit.
 * call_id may be empty. Nothing at all gives "[]". w->bad when what is configured does not fit. */
struct node_list;
void ice_servers_write(struct wr *w, const struct server_conf *conf, struct node_list *relays,
                       struct slice call_id, struct slice user, uint64_t wall_us);

#endif
