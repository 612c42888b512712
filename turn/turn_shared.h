/* What all workers of the relay share: the rules (read only) and the three tables that count across
 * workers (ports, quota, reservations; each safe on its own).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_SHARED_H
#define SORI_TURN_SHARED_H

#include "base/tokenbucket.h"
#include "turn/client_policy.h"
#include "turn/conn_id.h"
#include "turn/nonce.h"
#include "turn/peer_policy.h"
#include "turn/portpool.h"
#include "turn/quota.h"
#include "turn/realm.h"
#include "turn/reserve.h"
#include "turn/throttle.h"
#include "turn/ticket.h"

#define TURN_RELAYS_MAX 16

/* One address that allocations are made on. */
struct turn_relay {
    struct addr bound; /* on this machine, port 0 */
    struct addr shown; /* to clients: the same, or the public side of a 1:1 NAT */
    struct portpool pool;
};

/* When a challenge offers SHA-256: where it does not amplify, always, never. */
enum turn_sha256 { TURN_SHA256_AUTO, TURN_SHA256_ALWAYS, TURN_SHA256_NEVER };

struct turn_limits {
    uint32_t default_lifetime_s, max_lifetime_s; /* of allocations */
    uint32_t nonce_lifetime_s;
    uint16_t channel_max;                 /* CHANDATA_CHANNEL_MAX or the strict one */
    bool stun_only;                       /* Binding and nothing else */
    bool mobility;                        /* RFC 8016 */
    bool tcp_allocations;                 /* RFC 6062 */
    bool media_quality;                   /* media_quality.h */
    unsigned tcp_per_allocation;          /* peer connections of one allocation */
    uint64_t tcp_connect_us, tcp_bind_us; /* patience with a peer, and with the client then */
    enum turn_sha256 sha256;
    struct throttle_rules throttle;
    struct bucket_rule source; /* unauthenticated answers per source */
    unsigned source_entries;   /* rows of that table, per worker */
};

struct turn_shared {
    struct turn_limits limits;
    struct peer_policy policy; /* its arrays are the owner's */
    struct client_policy clients;
    struct realm_table realms; /* its texts are the owner's */
    struct turn_relay *relays;
    size_t n_relays;
    const struct addr *discovery; /* UDP listeners as clients see them, by number; lent */
    size_t n_discovery;           /* 0: RFC 5780 is off */
    struct quota *quota;
    struct reserve *reserve;
    struct conn_ids *conn_ids;
    uint8_t ticket_key[TICKET_KEY_BYTES];
    uint8_t nonce_master[NONCE_MASTER_BYTES], cookie_master[EPOCH_KEYS_MASTER_BYTES];
    struct slice software;    /* SOFTWARE of answers to Allocate and Refresh, empty: none; lent */
    struct addr alternate[2]; /* where new clients go while we drain: IPv4, IPv6; or none */
    struct slice alternate_domain; /* the name in its certificate, when not ours; lent */
    bool alternate_when_full;      /* they go there, too, when we have no room for them */
    bool draining; /* read and written by turn_shared_draining(), turn_shared_drain() */
};

/* Begins the drain: no new allocation from now on. Any thread. */
void turn_shared_drain(struct turn_shared *s);
bool turn_shared_draining(const struct turn_shared *s);

/* The server that clients of this family are sent to, or NULL. */
const struct addr *turn_shared_alternate(const struct turn_shared *s, uint8_t family);

/* The relay whose shown or bound address is ip, NULL when none is. */
struct turn_relay *turn_shared_relay(const struct turn_shared *s, const struct addr *ip);

/* True when data may go to this peer now, port included: the policy allows it, or it is a live
 * allocation of ours (then *guard is its port pool, else NULL). turn_shared_may_connect(): the same
 * for TCP. */
bool turn_shared_may_send(const struct turn_shared *s, const struct addr *peer,
                          const struct portpool **guard);
bool turn_shared_may_connect(const struct turn_shared *s, const struct addr *peer);

/* Translates between what clients see and what the wire carries, where the relayed address of
 * another of our allocations is behind a 1:1 NAT: packets between two of them never leave us. */
struct addr turn_shared_to_wire(const struct turn_shared *s, struct addr peer);
struct addr turn_shared_from_wire(const struct turn_shared *s, struct addr peer);

/* Gives back a port and its place in the account's quota. */
void turn_shared_give(struct turn_shared *s, const struct reserved *what);

#endif
