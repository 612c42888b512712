/* iceServers for a client: the configured relays with a time-limited credential of its own.
 *
 * Called by router_call.c, for messages that carry them, and for turn.credentials. sori-turn checks
 * the credential with the same code (proto/turncred.c). Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ice_servers.h"

#include "base/clock.h"
#include "proto/json.h"
#include "proto/turncred.h"

/* Writes "urls":[...] with those URLs that are (not) of a relay; false when there are none. */
static bool write_urls(struct wr *w, const struct conf_list *urls, bool relay)
{
    bool any = false;

    for (size_t i = 0; i < urls->n; i++) {
        struct slice url = slice_str(urls->v[i]);
        if (slice_starts(url, SLICE_LIT("turn")) != relay)
            continue;
        wr_str(w, any ? "," : "{\"urls\":[");
        json_write_text(w, url);
        any = true;
    }
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

void ice_servers_write(struct wr *w, const struct server_conf *conf, struct slice call_id,
                       struct slice user, uint64_t wall_us)
{
    wr_u8(w, '[');
    bool stun = write_urls(w, &conf->turn.urls, false);
    if (stun)
        wr_u8(w, '}');
    struct wr before = *w;
    if (stun)
        wr_u8(w, ',');
    if (write_urls(w, &conf->turn.urls, true)) {
        write_credential(w, conf, call_id, user, wall_us);
        wr_u8(w, '}');
    } else {
        *w = before;
    }
    wr_u8(w, ']');
}
