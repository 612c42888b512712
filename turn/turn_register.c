/* What the relay says of itself to sori-servers.
 *
 * Called by main.c: at the start, after a reload, and by the registrar's thread for the load. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_register.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "proto/turncred.h"
#include "turn/turn_node.h"
#include "turn/turn_worker.h"

#define WORKER_PKTS_FULL 250000 /* relayed a second by one worker: a core of today */
#define MEASURE_US       US_PER_S

/* ---- places ---- */

static struct addr shown(const struct turn_conf *c, struct addr a)
{
    for (size_t i = 0; i < c->n_external; i++)
        if (addr_ip_eq(&c->external[i].bound, &a))
            return addr_with_port(c->external[i].shown, a.port);
    return a;
}

static void add_urls(struct turn_register *t, const struct turn_conf *c, const struct addr *v,
                     size_t n, const char *transport)
{
    struct node_record *r = &t->record;
    char text[ADDR_TEXT_MAX];

    for (size_t i = 0; i < n && r->at_n < NODE_RECORD_AT_MAX; i++) {
        struct addr a = shown(c, v[i]);
        char *url = t->urls[r->at_n];
        if (c->stun_only)
            snprintf(url, NODE_RECORD_PLACE, "stun:%s", addr_format(&a, text));
        else
            snprintf(url, NODE_RECORD_PLACE, "turn:%s?transport=%s", addr_format(&a, text),
                     transport);
        r->at[r->at_n++] = slice_str(url);
    }
}

static void fill_urls(struct turn_register *t, const struct turn_conf *c)
{
    struct node_record *r = &t->record;

    for (size_t i = 0; i < c->cluster.urls.n && i < NODE_RECORD_AT_MAX; i++)
        r->at[r->at_n++] = slice_str(c->cluster.urls.v[i]);
    if (r->at_n > 0)
        return;
    add_urls(t, c, c->listen_udp, c->n_udp, "udp");
    if (!c->stun_only)
        add_urls(t, c, c->listen_tcp, c->n_tcp, "tcp");
}

/* ---- secrets ---- */

static int add_mark(struct turn_register *t, struct slice secret)
{
    struct node_record *r = &t->record;

    if (r->keys_n == NODE_RECORD_KEYS_MAX)
        return 0;
    uint8_t *mark = t->marks[r->keys_n];
    if (turncred_mark(mark, secret) != 0)
        return -EIO;
    r->keys[r->keys_n++] = slice_of(mark, NODE_RECORD_MARK);
    return 0;
}

int turn_register_fill(struct turn_register *t, const struct turn_conf *c,
                       const struct shared_secrets *others)
{
    struct turn_realm_view v = turn_conf_realm(c, 0);
    int e = 0;

    *t = (struct turn_register){.record = {.epoch = 1,
                                           .weight = (unsigned)c->cluster.weight,
                                           .region = turn_conf_cluster_region(c)}};
    fill_urls(t, c);
    for (size_t i = 0; i < v.n_secrets && !e; i++)
        e = add_mark(t, v.secrets[i]);
    for (unsigned i = 0; others && i < others->of[0].n && !e; i++)
        e = add_mark(t, slice_of(others->of[0].bytes[i], others->of[0].len[i]));
    return e;
}

/* ---- load ---- */

static uint64_t share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? part * NODE_RECORD_LOAD_MAX / whole : 0;
}

static uint64_t by_ports(const struct turn_node *n, const struct turn_conf *c)
{
    const struct turn_shared *s = turn_node_shared(n);
    uint64_t most = 0;

    for (size_t i = 0; i < s->n_relays; i++) {
        uint64_t v = share(portpool_in_use(&s->relays[i].pool), c->max_port - c->min_port + 1);
        most = v > most ? v : most;
    }
    return most;
}

static uint64_t by_pkts(struct turn_load *l, const struct turn_node *n, uint64_t passed_us)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < turn_node_threads(n) && i < ARRAY_LEN(l->pkts); i++) {
        const struct turn_metrics *m = &turn_node_worker(n, i)->core.metrics;
        uint64_t pkts = 0, bytes = 0;
        turn_metrics_relayed(m->up, &pkts, &bytes);
        turn_metrics_relayed(m->down, &pkts, &bytes);
        uint64_t v = share((pkts - l->pkts[i]) * US_PER_S / passed_us, WORKER_PKTS_FULL);
        l->pkts[i] = pkts;
        most = v > most ? v : most;
    }
    return most;
}

unsigned turn_load_of(struct turn_load *l, const struct turn_node *n, const struct turn_conf *c,
                      uint64_t now_us)
{
    uint64_t passed_us = now_us - l->measured_us;

    if (passed_us < MEASURE_US)
        return l->load;
    uint64_t most = by_pkts(l, n, passed_us), ports = by_ports(n, c);
    uint64_t count = share(turn_node_allocations(n), c->total);
    most = ports > most ? ports : most;
    most = count > most ? count : most;
    l->measured_us = now_us;
    l->load = most > NODE_RECORD_LOAD_MAX ? NODE_RECORD_LOAD_MAX : (unsigned)most;
    return l->load;
}
