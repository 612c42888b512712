/* Messages of participants to participants of their room.
 *
 *   DTLS record ─► peer_data ─► data thread (SCTP) ─► on_message ─► data_room ─► data_port_send
 *
 * Called by sfu_core.c (records) and by the worker (what the data thread has). Worker-owned.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/core_data.h"

#include "sfu/data_room.h"
#include "sfu/participant.h"
#include "sfu/room.h"

void peer_data(struct peer *p, struct slice sctp_packet, uint64_t now_us)
{
    struct sfu_core *c = p->owner->room->core;

    (void)now_us;
    if (c->data && p->data_id)
        data_port_input(c->data, p->data_id, sctp_packet);
}

static void on_output(void *owner, struct slice packet)
{
    struct peer *p = owner;

    if (!p->closing)
        transport_send_data(p->transport, packet);
}

static void on_up(void *owner)
{
    (void)owner;
}

static void on_down(void *owner)
{
    struct peer *p = owner;
    struct sfu_core *c = p->owner->room->core;

    data_port_close(c->data, p->data_id);
    p->data_id = 0;
}

static void on_channel(void *owner, enum data_class class, bool open)
{
    struct peer *p = owner;

    p->data_open[class] = open;
}

/* The peer that carries a participant's data. */
static struct peer *data_peer(const struct participant *q)
{
    for (int i = 0; i < PEER_MAX; i++)
        if (q->peer[i] && q->peer[i]->data_id)
            return q->peer[i];
    return NULL;
}

static bool is_for(const struct data_message *m, const struct participant *q)
{
    if (m->to_all)
        return true;
    for (unsigned i = 0; i < m->n_to; i++)
        if (slice_is(m->to[i], q->id))
            return true;
    return false;
}

static void pass_on(struct participant *from, enum data_class class, const struct data_message *m,
                    struct slice out)
{
    struct room *r = from->room;
    uint32_t id[DATA_SEND_TO_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < r->n_members; i++) {
        struct participant *q = r->member[i];
        struct peer *d = q != from && q->perms.subscribe && is_for(m, q) ? data_peer(q) : NULL;

        if (!d)
            continue;
        id[n++] = d->data_id;
        if (n == DATA_SEND_TO_MAX) {
            data_port_send(r->core->data, id, n, class, m->text, out);
            n = 0;
        }
    }
    if (n)
        data_port_send(r->core->data, id, n, class, m->text, out);
}

static void on_message(void *owner, enum data_class class, bool text, struct slice msg)
{
    static _Thread_local uint8_t buf[DATA_MESSAGE_MAX + DATA_HEAD_MAX];
    struct peer *p = owner;
    struct participant *from = p->owner;
    struct sfu_core *c = from->room->core;
    const struct sfu_conf *conf = c->conf;
    struct wr w = wr_init(buf, sizeof(buf));
    struct data_message m;
    struct data_limits l =
        data_limits_make((uint32_t)conf->data.message_bytes, (uint32_t)conf->data.messages_per_s,
                         (uint32_t)conf->data.bytes_per_s);

    if (data_room_recv(&from->data, &l, from->perms.data, text, msg, c->now_us, &m) != DATA_OK) {
        core_drop(c, CORE_DROP_DATA);
        return;
    }
    data_room_write(&m, slice_str(from->id), &w);
    if (w.bad) {
        core_drop(c, CORE_DROP_DATA);
        return;
    }
    counter_inc(&c->count.data_msgs);
    counter_add(&c->count.data_bytes, msg.len);
    pass_on(from, class, &m, wr_done(&w));
}

const struct data_port_ops core_data_ops = {on_output, on_up, on_down, on_channel, on_message};
