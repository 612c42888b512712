/* iceServers for a client: relays with a time-limited credential of its own.
 *
 * Called by router_call.c, for messages that carry them, and for turn.credentials. sori-turn checks
 * the credential with the same code (proto/turncred.c). Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ice_servers.h"

#include "base/clock.h"
#include "proto/json.h"
#include "proto/turncred.h"
#include "server/node_list.h"

#define ICE_SERVERS_RELAYS 4096 /* bytes for the URLs of registered relays */

/* All URLs for one client. */
struct places {
    const struct conf_list *conf;
    const struct node_record *of[NODE_LIST_GRANT];
    size_t n;
};

static void write_url(struct wr *w, struct slice url, bool relay, bool *any)
{
    if (slice_starts(url, SLICE_LIT("turn")) != relay)
        return;
    wr_str(w, *any ? "," : "{\"urls\":[");
    json_write_text(w, url);
    *any = true;
}

/* Writes "urls":[...] with those URLs that are (not) of a relay; false when there are none. */
static bool write_urls(struct wr *w, const struct places *p, bool relay)
{
    bool any = false;

    for (size_t i = 0; i < p->conf->n; i++)
        write_url(w, slice_str(p->conf->v[i]), relay, &any);
    for (size_t i = 0; i < p->n; i++)
        for (size_t k = 0; k < p->of[i]->at_n; k++)
            write_url(w, p->of[i]->at[k], relay, &any);
    if (any)
        wr_u8(w, ']');
    return any;
}

static void write_credential(struct wr *w, const struct server_conf *conf, struct slice call_id,
                             struct slice user, uint64_t wall_us)
{
    uint8_t name[TURNCRED_USERNAME_MAX], password[TURNCRED_PASSWORD_BYTES];
    struct wr name_w = wr_init(name, sizeof(name)),
              password_w = wr_init(password, sizeof(password));
    struct slice secret = slice_of(conf->turn.secret.p, conf->turn.secret.len);

    if (turncred_grant(&name_w, &password_w, secret, wall_us / US_PER_S + conf->turn.ttl_s, call_id,
                       user) != 0) {
        w->bad = true;
        return;
    }
    wr_str(w, ",\"username\":");
    json_write_text(w, wr_done(&name_w));
    wr_str(w, ",\"credential\":");
    json_write_text(w, wr_done(&password_w));
}

/* Leaves out relays whose URLs would take more than their part of the message. */
static void fit(struct places *p)
{
    size_t left = ICE_SERVERS_RELAYS, kept = 0;

    for (size_t i = 0; i < p->n; i++) {
        size_t need = 0;
        for (size_t k = 0; k < p->of[i]->at_n; k++)
            need += p->of[i]->at[k].len + 3; /* quotes and comma; nothing in it is escaped */
        if (need > left)
            continue;
        left -= need;
        p->of[kept++] = p->of[i];
    }
    p->n = kept;
}

void ice_servers_write(struct wr *w, const struct server_conf *conf, struct node_list *relays,
                       struct slice call_id, struct slice user, uint64_t wall_us)
{
    struct places p = {.conf = &conf->turn.urls};

    if (relays)
        p.n = node_list_relays(relays, conf->turn.relays, p.of);
    fit(&p);
    wr_u8(w, '[');
    bool stun = write_urls(w, &p, false);
    if (stun)
        wr_u8(w, '}');
    struct wr before = *w;
    if (stun)
        wr_u8(w, ',');
    if (write_urls(w, &p, true)) {
        write_credential(w, conf, call_id, user, wall_us);
        wr_u8(w, '}');
    } else {
        *w = before;
    }
    wr_u8(w, ']');
}
