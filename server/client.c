/* One socket of a client: bytes <-> WebSocket frames <-> messages, liveness, closing.
 *
 * Called by ws_listener.c (bytes, end) and router.c (send, close, tick); hands whole messages to
 * router_message(). The timer is lazy: it is armed once and looks at heard_us when it fires, so
 * that a busy connection costs no timer work per message. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/client.h"

#include "base/mem.h"
#include "server/router.h"
#include "server/session.h"

#define STRANGER_COST 25 /* frames that one before hello counts for: hello is all we wait for */

struct client *client_new(struct router *r, const struct client_ops *ops, void *conn,
                          const struct addr *from)
{
    struct client *c = mem_zalloc(sizeof(*c));

    if (!c)
        return NULL;
    *c = (struct client){.router = r, .ops = ops, .conn = conn, .from = *from};
    c->heard_us = router_now(r);
    ws_init(&c->ws, SIG_HELLO_BYTES);
    client_rearm(c);
    counter_inc(&router_count(r)->connections);
    return c;
}

/* Lets go of the session and the timer. */
static void detach(struct client *c)
{
    struct session *s = c->session;

    timer_cancel(router_wheel(c->router), &c->timer);
    c->session = NULL;
    if (c->login)
        router_resume_cancel(c->login);
    if (s && s->client == c)
        router_detached(c->router, s);
}

void client_free(struct client *c)
{
    if (!c)
        return;
    detach(c);
    ws_fini(&c->ws);
    counter_sub(&router_count(c->router)->connections, 1);
    mem_free(c);
}

static bool send_frame(struct client *c, enum ws_opcode op, struct slice payload)
{
    uint8_t head[WS_HEADER_MAX];
    size_t n = ws_frame_header(head, op, payload.len);

    return c->ops->write(c->conn, slice_of(head, n), payload) == 0;
}

/* Sends a Close frame and ends the connection. */
static void finish(struct client *c, enum sig_close code)
{
    uint8_t frame[WS_CLOSE_FRAME_MAX];

    c->closing = true;
    size_t n = ws_close_frame(frame, (uint16_t)code, slice_str(sig_close_text(code)));
    c->ops->write(c->conn, slice_of(frame, n), (struct slice){0});
    detach(c);
    c->ops->close(c->conn);
}

void client_close(struct client *c, enum sig_close code)
{
    if (c->closing)
        return;
    router_count_close(c->router, code);
    finish(c, code);
}

bool client_send(struct client *c, struct slice text)
{
    if (c->closing)
        return false;
    if (send_frame(c, WS_OP_TEXT, text))
        return true;
    client_close(c, SIG_CLOSE_OVERLOAD);
    return false;
}

/* How long the peer may be silent before the next step. */
static uint64_t interval_us(const struct client *c)
{
    return c->session ? router_ping_us(c->router, c->session->in_call) : router_hello_us(c->router);
}

void client_rearm(struct client *c)
{
    uint64_t from = c->pinged ? c->pinged_us : c->heard_us;

    if (!c->closing)
        timer_set(router_wheel(c->router), &c->timer, from + interval_us(c));
}

void client_tick(struct client *c)
{
    uint64_t now = router_now(c->router), wait = interval_us(c);

    /* A call shortens the interval of a device that may have been silent for longer already: only
     * silence after a ping counts against it. */
    if (!c->session || (c->pinged && now - c->pinged_us >= wait)) {
        client_close(c, SIG_CLOSE_TIMEOUT);
        return;
    }
    if (!c->pinged && now - c->heard_us >= wait) {
        c->pinged = true;
        c->pinged_us = now;
        if (!send_frame(c, WS_OP_PING, (struct slice){0})) {
            client_close(c, SIG_CLOSE_OVERLOAD);
            return;
        }
    }
    client_rearm(c);
}

static void on_event(struct client *c, const struct ws_event *ev)
{
    bool costs = ev->type == WS_MESSAGE || ev->type == WS_PING || ev->type == WS_PONG;
    uint32_t cost = c->session ? 1 : STRANGER_COST;

    if (costs && !bucket_take(&c->frames, router_frames(c->router), cost, router_now(c->router))) {
        client_close(c, SIG_CLOSE_RATE);
        return;
    }
    switch (ev->type) {
    case WS_MESSAGE:
        if (ev->opcode == WS_OP_TEXT)
            router_message(c->router, c, ev->payload);
        else
            client_close(c, SIG_CLOSE_UNSUPPORTED);
        break;
    case WS_PING:
        if (!send_frame(c, WS_OP_PONG, ev->payload))
            client_close(c, SIG_CLOSE_OVERLOAD);
        break;
    case WS_CLOSE:
        /* Its own code comes back, but it is not ours to count. */
        router_count_close(c->router, SIG_CLOSE_NORMAL);
        finish(c, ev->code == WS_CLOSE_NO_STATUS ? SIG_CLOSE_NORMAL : (enum sig_close)ev->code);
        break;
    case WS_ERROR:
        client_close(c, (enum sig_close)ev->code);
        break;
    case WS_NONE:
    case WS_PONG:
        break;
    }
}

size_t client_recv(struct client *c, uint8_t *data, size_t len)
{
    struct ws_event ev;
    size_t used = 0;

    if (c->session) /* before hello only hello itself stops the clock */
        c->heard_us = router_now(c->router);
    c->pinged = false;
    do {
        if (c->closing)
            return len;
        used += ws_recv(&c->ws, data + used, len - used, &ev);
        on_event(c, &ev);
    } while (ev.type != WS_NONE);
    return c->closing ? len : used;
}
