/* Presence requests of clients, and the changes that their subscriptions bring.
 *
 * Called by router.c; presence.c knows who is what. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sig_client.h"
#include "proto/sig_server.h"
#include "server/router_priv.h"

#include <errno.h>

static void subscribe(const struct request *q)
{
    struct router *r = q->r;
    struct sig_fault fault;
    struct slice users;
    struct wr w = router_body(r);

    if (!bucket_take(&q->s->subscribes, &r->subscribes, 1, r->now_us)) {
        counter_inc(&r->count.rate_limited);
        request_error(q, &(struct sig_error){.code = SIG_ERR_RATE_LIMITED,
                                             .retry_after_ms = bucket_wait_ms(
                                                 &q->s->subscribes, &r->subscribes, 1, r->now_us)});
        return;
    }
    if (sig_client_presence_users(&users, q->m, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    int rc = presence_subscribe(r->presence, &q->s->watcher, users, q->m->id, &w, r->now_us);
    router_saves_whole(r, q->s);
    if (rc == 0)
        request_reply(q, &w);
    else
        request_fail(q, rc == -ENOMEM ? SIG_ERR_INTERNAL : SIG_ERR_BAD_REQUEST,
                     rc == -ENOMEM ? NULL : "users: too many subscriptions");
}

static void unsubscribe(const struct request *q)
{
    struct sig_fault fault;
    struct slice users;
    struct wr w = router_body(q->r);

    if (sig_client_presence_users(&users, q->m, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    presence_unsubscribe(q->r->presence, &q->s->watcher, users);
    router_saves_whole(q->r, q->s);
    sig_server_raw(&w, &(struct sig_head){.type = q->m->type, .re = q->m->id}, SLICE_LIT("{}"));
    request_reply(q, &w);
}

static void set_state(const struct request *q)
{
    struct sig_fault fault;
    enum sig_presence state;
    struct wr w = router_body(q->r);

    if (sig_client_presence_set(&state, q->m, &fault) != 0) {
        request_fail(q, fault.code, fault.text);
        return;
    }
    q->s->state = state;
    router_show(q->r, q->s);
    sig_server_presence_set(&w, q->m->id, state);
    request_reply(q, &w);
}

void router_presence_request(const struct request *q)
{
    if (!q->s->may_presence)
        request_fail(q, SIG_ERR_FORBIDDEN, NULL);
    else if (q->m->type == SIG_PRESENCE_SUBSCRIBE)
        subscribe(q);
    else if (q->m->type == SIG_PRESENCE_UNSUBSCRIBE)
        unsubscribe(q);
    else
        set_state(q);
}

/* Sends the changes that have been gathered; true when there was a watcher. */
bool router_presence_tick(struct router *r)
{
    struct presence_watcher *watcher = presence_pop(r->presence, r->now_us);

    if (!watcher)
        return false;
    struct session *s = CONTAINER_OF(watcher, struct session, watcher);
    for (;;) {
        struct wr w = router_body(r);
        if (!s->client) {
            presence_drop(r->presence, watcher); /* told again after the resume */
            break;
        }
        if (!presence_write(r->presence, watcher, &w))
            break;
        router_send_plain(r, s->client, &w);
    }
    return true;
}
