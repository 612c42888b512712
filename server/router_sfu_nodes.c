/* Which SFU nodes there are, and which of them carries a room.
 *
 * Called by router_room.c (a room is placed), main.c (nodes of the configuration) and
 * registry_link.c (nodes that register themselves, and end). A node has its place in router.nodes
 * for life: rooms name it by that. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "base/rand.h"
#include "server/router_priv.h"
#include "server/sfu_pick.h"

/* ---- picking ---- */

static size_t candidates(const struct router *r, struct sfu_candidate v[SERVER_SFU_MAX])
{
    for (size_t i = 0; i < r->nodes_n; i++) {
        const struct node *n = r->nodes[i];
        v[i] = (struct sfu_candidate){0};
        if (n)
            v[i] = (struct sfu_candidate){.usable = node_up(n) && !node_draining(n),
                                          .weight = node_weight(n),
                                          .load = node_load(n),
                                          .region = node_region(n)};
    }
    return r->nodes_n;
}

bool router_has_other_node(const struct router *r, size_t than)
{
    struct sfu_candidate v[SERVER_SFU_MAX];
    size_t n = candidates(r, v);

    for (size_t i = 0; i < n; i++)
        if (i != than && v[i].usable)
            return true;
    return false;
}

bool router_sfu_usable(const struct router *r)
{
    return router_has_other_node(r, ROOM_NODE_NONE);
}

bool router_sfu_place(struct router *r, struct room *room)
{
    struct sfu_candidate v[SERVER_SFU_MAX];
    uint64_t draw[2];

    if (room->node != ROOM_NODE_NONE)
        return true;
    size_t n = candidates(r, v);
    rand_bytes(draw, sizeof(draw));
    room->node = sfu_pick(v, n, slice_str(r->conf->sfu.region), SFU_PICK_NONE, draw);
    if (room->node == SFU_PICK_NONE) {
        room->node = ROOM_NODE_NONE;
        return false;
    }
    log_info("room", "%.*s is on %.*s", SLICE_FMT(room->id),
             SLICE_FMT(node_name(r->nodes[room->node])));
    router_room_changed(r, room, NULL, false);
    return true;
}

/* ---- life ---- */

static uint64_t new_epoch(void)
{
    uint64_t epoch = 0;

    while (epoch == 0)
        rand_bytes(&epoch, sizeof(epoch));
    return epoch;
}

static struct node *make_node(struct router *r, const struct server_sfu *sfu, uint64_t epoch)
{
    const struct server_conf *c = r->conf;
    const struct node_conf conf = {.name = sfu->name,
                                   .region = sfu->region,
                                   .weight = sfu->weight,
                                   .server = slice_str(c->server.node_id),
                                   .secret = slice_of(c->sfu.secret.p, c->sfu.secret.len),
                                   .epoch = epoch,
                                   .request_us = c->sfu.request_timeout_s * US_PER_S,
                                   .dead_us = c->room.node_timeout_s * US_PER_S};

    return node_new(&conf, &router_sfu_ops, r);
}

bool router_sfu_init(struct router *r)
{
    const struct conf_list *l = &r->conf->sfu.nodes;
    uint64_t epoch = new_epoch();
    struct server_sfu sfu;

    list_init(&r->waits);
    r->stale_us = CLOCK_NEVER;
    for (size_t i = 0; i < l->n && i < SERVER_SFU_MAX; i++) {
        if (server_sfu_parse(&sfu, slice_str(l->v[i])) != 0)
            continue; /* cannot be: the configuration was checked */
        struct node *n = make_node(r, &sfu, epoch);
        if (!n)
            return false;
        r->nodes[r->nodes_n++] = n;
    }
    return true;
}

void router_sfu_fini(struct router *r)
{
    for (size_t i = 0; i < r->nodes_n; i++)
        node_free(r->nodes[i]);
    r->nodes_n = 0;
    if (!r->waits.next)
        return;
    LIST_EACH(l, tmp, &r->waits)
    router_sfu_drop_wait(CONTAINER_OF(l, struct sfu_wait, link));
}

struct node *router_node(const struct router *r, size_t i)
{
    return i < r->nodes_n ? r->nodes[i] : NULL;
}

size_t router_node_add(struct router *r, const struct server_sfu *sfu)
{
    size_t i = 0;

    while (i < r->nodes_n && r->nodes[i])
        i++;
    if (i == SERVER_SFU_MAX)
        return SIZE_MAX;
    /* Of its own: a node of this name that was dropped may remember what we asked it then. */
    r->nodes[i] = make_node(r, sfu, new_epoch());
    if (!r->nodes[i])
        return SIZE_MAX;
    if (i == r->nodes_n)
        r->nodes_n++;
    return i;
}

void router_node_drop(struct router *r, size_t i)
{
    struct node *n = r->nodes[i];

    log_info("sfu", "%.*s is dropped", SLICE_FMT(node_name(n)));
    node_give_up(n); /* its rooms leave it, its requests fail */
    r->nodes[i] = NULL;
    node_free(n);
}

void router_set_relays(struct router *r, struct node_list *relays)
{
    r->relays = relays;
}
