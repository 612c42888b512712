/* What a relay or media server says of itself in Redis, so that sori-servers find it
 * (docs/CLUSTER.md): the text of a record, the scripts that write, read and end one.
 *
 *     1 epoch=<16 hex> load=<0..1000> drain=<0|1> weight=<1..100> region=<name> key=<mark>
 * at=<place>
 *
 * region may be missing, key and at stand as often as there are any; words that are not known are
 * passed over, so that a later version can say more. Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_NODE_RECORD_H
#define SORI_PROTO_NODE_RECORD_H

#include "base/bytes.h"

enum node_kind { NODE_RELAY, NODE_SFU, NODE_KINDS };

#define NODE_RECORD_TEXT_MAX   4096 /* bytes of a record */
#define NODE_RECORD_AT_MAX     16   /* places */
#define NODE_RECORD_PLACE      512  /* bytes of one */
#define NODE_RECORD_KEYS_MAX   24   /* marks of secrets */
#define NODE_RECORD_MARK       16   /* bytes of one: turncred_mark() */
#define NODE_RECORD_NAME_MAX   64   /* bytes of a node's or region's name */
#define NODE_RECORD_LOAD_MAX   1000 /* load of a node that is full */
#define NODE_RECORD_WEIGHT_MAX 100
#define NODE_RECORD_KEY_MAX    96 /* of Redis: a prefix of 64 bytes, and the rest */

struct node_record {
    uint64_t epoch;  /* of the process, drawn at its start, not 0 */
    unsigned load;   /* 0 .. NODE_RECORD_LOAD_MAX */
    unsigned weight; /* 1 .. NODE_RECORD_WEIGHT_MAX: how much it can carry beside others */
    bool draining;
    struct slice region;                     /* may be empty */
    struct slice keys[NODE_RECORD_KEYS_MAX]; /* of a relay: marks of the secrets it accepts */
    size_t keys_n;                           /* 0: it does not say */
    struct slice at[NODE_RECORD_AT_MAX]; /* a relay's URIs; where the media server is controlled */
    size_t at_n;
};

/* A name of a node or region: 1 to NODE_RECORD_NAME_MAX of A-Z a-z 0-9 . _ - */
bool node_record_name_ok(struct slice name);
/* A place of a node of that kind: of a relay a stun:, stuns:, turn: or turns: URI of printable
 * ASCII without quotes, of a media server ip:port or unix:/path. */
bool node_record_place_ok(enum node_kind kind, struct slice place);

/* Writes the text; w->bad when it does not fit. The record must be one that decodes. */
void node_record_encode(struct wr *w, const struct node_record *r);
/* Reads one of a node of that kind. Returns 0; -EBADMSG: it is none, or has a place or name that is
 * not allowed, or more of something than fits: the caller passes over that node. Slices borrow from
 * text. */
int node_record_decode(struct node_record *out, enum node_kind kind, struct slice text);

/* The key of all records of a kind: PREFIX "nodes:{relay}" or "nodes:{sfu}", a hash, of which the
 * fields are nodes' names. */
void node_record_key(struct wr *w, struct slice prefix, enum node_kind kind);

/* The (sharded) channel in which relays tell how media fares (docs/CLUSTER.md); at most
 * NODE_RECORD_KEY_MAX bytes too. */
void node_record_media_channel(struct wr *w, struct slice prefix);

/* The scripts, in the order of their indexes. Each has that key as its only one. Time is Redis's.
 */
enum node_script {
    /* name, epoch, lease in ms, "1" to take the name from another process, record. Answers ok; new:
     * it was not there, or another process's; lost: another process has the name. */
    NODE_SCRIPT_ENTER,
    /* name, epoch. Answers 1, or 0: it was not there, or another process's. */
    NODE_SCRIPT_LEAVE,
    /* Answers name, record, name, record ...: those whose lease stands. */
    NODE_SCRIPT_LIST,
    NODE_SCRIPTS
};
extern const struct slice node_record_scripts[NODE_SCRIPTS];

#endif
