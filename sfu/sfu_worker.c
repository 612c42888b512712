/* The shell around a core: clock, sockets, mailbox.
 * Made by sfu_node.c. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/sfu_worker.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/dtls_srtp.h"
#include "sfu/ahead.h"
#include "sfu/core_data.h"

#define LISTEN_TRIES    40 /* a port that is in use is waited for, 2 s in all */
#define LISTEN_PAUSE_NS 50000000

#define IO_SLOTS 512 /* reads in flight */

/* Mail to a worker. */
struct job {
    struct sfu_worker *w;
    uint64_t epoch;
    bool drain;
    size_t room_len, text_len;
    uint8_t bytes[]; /* room, text, scratch for ctl_decode() */
};

/* Mail to the control thread. */
struct delivery {
    struct sfu_worker *w;
    struct list sayings;
};

/* ---- what it says ---- */

static void deliver(void *arg, uint64_t now_us)
{
    struct delivery *d = arg;

    (void)now_us;
    d->w->said(d->w->said_arg, &d->sayings);
    mem_free(d);
}

static void move_list(struct list *to, struct list *from)
{
    list_init(to);
    LIST_EACH(it, tmp, from)
    {
        list_del(it);
        list_append(to, it);
    }
}

static void on_flush(void *arg, uint64_t now_us)
{
    struct sfu_worker *w = arg;
    struct delivery *d;

    (void)now_us;
    if (list_empty(&w->outbox))
        return;
    d = mem_zalloc(sizeof(*d));
    if (d) {
        d->w = w;
        move_list(&d->sayings, &w->outbox);
        if (worker_post(w->control, deliver, d) == 0)
            return;
        move_list(&w->outbox, &d->sayings);
        mem_free(d);
    }
    worker_want_flush(w->loop, &w->flush); /* memory is out: next turn */
}

static struct sfu_saying *say(struct sfu_worker *w, enum sfu_say what, struct slice room,
                              struct slice message)
{
    struct sfu_saying *s = mem_realloc(NULL, sizeof(*s) + room.len + message.len);

    if (!s)
        return NULL;
    *s = (struct sfu_saying){.what = what, .room_len = room.len, .len = message.len};
    if (room.len)
        memcpy(s->bytes, room.p, room.len);
    if (message.len)
        memcpy(s->bytes + room.len, message.p, message.len);
    list_append(&w->outbox, &s->link);
    worker_want_flush(w->loop, &w->flush);
    return s;
}

/* The id of a room as its server knows it: what comes after the key's first separator. */
static struct slice room_id(struct slice key)
{
    const uint8_t *at = key.len ? memchr(key.p, SFU_ROOM_SEPARATOR, key.len) : NULL;

    return at ? slice_sub(key, (size_t)(at - key.p) + 1, key.len) : key;
}

static void on_event(void *arg, const struct ctl_msg *m)
{
    struct sfu_worker *w = arg;
    struct wr out = wr_init(w->buf, sizeof(w->buf));
    struct slice key = m->room;
    struct ctl_msg *told = &w->core->event;

    told->room = room_id(key);
    ctl_encode(&out, told);
    told->room = key;
    if (out.bad)
        return;
    say(w, ctl_type_kept(m->type) ? SFU_SAY_EVENT : SFU_SAY_PASSING, key, wr_done(&out));
}

static void on_room_gone(void *arg, struct slice room)
{
    say(arg, SFU_SAY_ROOM_GONE, room, (struct slice){0});
}

static void arm(struct sfu_worker *w)
{
    worker_timer(w->loop, &w->tick, sfu_core_deadline(w->core));
}

static void on_wake(void *arg)
{
    arm(arg);
}

static const struct core_ops core_ops = {on_event, on_room_gone, on_wake};

static void on_tick(void *arg, uint64_t now_us)
{
    struct sfu_worker *w = arg;

    sfu_core_tick(w->core, now_us);
    arm(w);
}

/* ---- what comes in ---- */

static bool on_packet(void *arg, const struct media_path *from, uint8_t *p, size_t len,
                      uint64_t now_us)
{
    struct sfu_worker *w = arg;

    return sfu_core_packet(w->core, from, p, len, now_us);
}

_Static_assert(MEDIA_SOCK_AHEAD <= AHEAD_MAX, "a larger group would not be looked at");

static void on_ahead(void *arg, const struct media_path *from, unsigned n)
{
    const struct sfu_worker *w = arg;

    ahead(w->core, from, n);
}

static void on_batch(void *arg, uint64_t now_us)
{
    struct sfu_worker *w = arg;

    sfu_core_batch(w->core, now_us);
    arm(w);
}

static void on_gone(void *arg, const struct media_path *path, uint64_t now_us)
{
    struct sfu_worker *w = arg;

    sfu_core_gone(w->core, path, now_us);
    arm(w);
}

static const struct media_sock_ops media_ops = {on_ahead, on_packet, on_batch, on_gone};

/* ---- mail ---- */

static struct job *job_new(struct sfu_worker *w, struct slice room, struct slice text, size_t spare)
{
    struct job *j = mem_realloc(NULL, sizeof(*j) + room.len + text.len + spare);

    if (!j)
        return NULL;
    *j = (struct job){.w = w, .room_len = room.len, .text_len = text.len};
    if (room.len)
        memcpy(j->bytes, room.p, room.len);
    if (text.len)
        memcpy(j->bytes + room.len, text.p, text.len);
    return j;
}

static int post(struct job *j, worker_fn *fn)
{
    if (!j)
        return -ENOMEM;
    int e = worker_post(j->w->loop, fn, j);
    if (e)
        mem_free(j);
    return e;
}

/* Performs a request. Its answer goes before the events that it causes. */
static void do_request(void *arg, uint64_t now_us)
{
    struct job *j = arg;
    struct sfu_worker *w = j->w;
    struct slice key = slice_of(j->bytes, j->room_len);
    struct slice text = slice_of(j->bytes + j->room_len, j->text_len);
    struct wr scratch =
        wr_init(j->bytes + j->room_len + j->text_len, j->text_len + CTL_SCRATCH_SPARE);
    struct list before;
    const char *why;

    if (ctl_decode(&w->req, text, &scratch, &why) != 0) {
        mem_free(j);
        return; /* it was decoded once: it can't fail now */
    }
    move_list(&before, &w->outbox);
    if (key.len)
        w->req.room = key;
    sfu_core_request(w->core, &w->req, &w->reply, now_us);
    struct list caused;
    move_list(&caused, &w->outbox);
    move_list(&w->outbox, &before);
    w->reply.room = w->reply.participant = (struct slice){0};
    struct wr out = wr_init(w->buf, sizeof(w->buf));
    ctl_encode(&out, &w->reply);
    struct sfu_saying *s = say(w, SFU_SAY_REPLY, key, wr_done(&out));
    if (s) {
        s->id = w->req.id;
        s->epoch = j->epoch;
    }
    LIST_EACH(it, tmp, &caused)
    {
        list_del(it);
        list_append(&w->outbox, it);
    }
    arm(w);
    mem_free(j);
}

int sfu_worker_request(struct sfu_worker *w, uint64_t epoch, struct slice room, struct slice text)
{
    struct job *j = job_new(w, room, text, text.len + CTL_SCRATCH_SPARE);

    if (j)
        j->epoch = epoch;
    return post(j, do_request);
}

static void do_close(void *arg, uint64_t now_us)
{
    struct job *j = arg;

    sfu_core_close_room(j->w->core, slice_of(j->bytes, j->room_len),
                        slice_of(j->bytes + j->room_len, j->text_len), now_us);
    arm(j->w);
    mem_free(j);
}

int sfu_worker_close_room(struct sfu_worker *w, struct slice room, struct slice reason)
{
    return post(job_new(w, room, reason, 0), do_close);
}

static void do_drain(void *arg, uint64_t now_us)
{
    struct job *j = arg;

    (void)now_us;
    sfu_core_drain(j->w->core, j->drain);
    mem_free(j);
}

int sfu_worker_drain(struct sfu_worker *w, bool on)
{
    struct job *j = job_new(w, (struct slice){0}, (struct slice){0}, 0);

    if (j)
        j->drain = on;
    return post(j, do_drain);
}

/* ---- life ---- */

static int open_sockets(struct sfu_worker *w, unsigned index, char err[CONF_ERR_MAX])
{
    static const enum udp_backend_wish wish[] = {UDP_AUTO, UDP_EPOLL, UDP_URING};
    const struct sfu_conf *c = w->conf;
    const struct udp_io_conf io = {
        .backend = wish[c->sfu.io], .slots = IO_SLOTS, .slot_bytes = UDP_DATAGRAM_MAX};
    struct addr at[SFU_LISTEN_MAX];
    char text[ADDR_TEXT_MAX];
    size_t bad = 0;

    worker_coalesce(w->loop, c->sfu.coalesce_us);
    worker_measure(w->loop, &w->busy);
    w->io = udp_io_new(w->loop, &io, w->io_why);
    if (!w->io) {
        snprintf(err, CONF_ERR_MAX, "[sfu] io: %s", w->io_why);
        return -ENOSYS;
    }
    for (size_t i = 0; i < c->n_listen; i++)
        at[i] = addr_with_port(c->listen[i], (uint16_t)(c->sfu.port + index));
    const struct media_sock_conf m = {.listen = at,
                                      .n_listen = c->n_listen,
                                      .tcp = c->sfu.tcp,
                                      .tcp_streams = (unsigned)c->transport.tcp_streams,
                                      .buffer_bytes = (unsigned)c->sfu.socket_buffer_bytes,
                                      .egress_bytes = (size_t)c->sfu.egress_bytes,
                                      .ops = &media_ops,
                                      .arg = w};
    int e = media_sock_new(&w->media, w->loop, w->io, &m, &bad);
    /* The kernel closes the sockets of a process that was killed only when it has taken its ring
     * apart. */
    for (unsigned tries = 0; e == -EADDRINUSE && tries < LISTEN_TRIES; tries++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = LISTEN_PAUSE_NS}, NULL);
        e = media_sock_new(&w->media, w->loop, w->io, &m, &bad);
    }
    if (e)
        snprintf(err, CONF_ERR_MAX, "[sfu] listen, port: %s: %s", addr_format(&at[bad], text),
                 strerror(-e));
    return e;
}

static unsigned candidates(const struct sfu_worker *w, struct neg_candidate *v)
{
    unsigned n = 0;

    for (int tcp = 0; tcp <= (w->conf->sfu.tcp ? 1 : 0); tcp++)
        for (size_t i = 0; i < w->conf->n_listen && n < NEG_CANDIDATES_MAX; i++)
            v[n++] = (struct neg_candidate){sfu_conf_shown(w->conf, media_sock_addr(w->media, i)),
                                            tcp != 0};
    return n;
}

static struct sfu_core *make_core(struct sfu_worker *w, struct core_census *census)
{
    struct neg_candidate v[NEG_CANDIDATES_MAX];
    struct core_params p = {.conf = w->conf,
                            .ops = &core_ops,
                            .arg = w,
                            .egress = media_sock_egress(w->media),
                            .candidate = v,
                            .n_candidates = candidates(w, v),
                            .now_us = worker_now(w->loop),
                            .unix_us = clock_wall_us(),
                            .census = census};
    struct dtls_fingerprint f = dtls_srtp_fingerprint(CRYPTO_SHA256);

    memcpy(p.fingerprint, f.digest, sizeof(p.fingerprint));
    return sfu_core_new(&p);
}

struct sfu_worker *sfu_worker_new(unsigned index, const struct sfu_conf *conf,
                                  struct core_census *census, struct data_link *data,
                                  struct worker *control,
                                  void (*said)(void *arg, struct list *sayings), void *arg,
                                  char err[CONF_ERR_MAX])
{
    struct sfu_worker *w = mem_zalloc(sizeof(*w));

    snprintf(err, CONF_ERR_MAX, "out of memory or descriptors");
    if (!w)
        return NULL;
    w->conf = conf;
    w->control = control;
    w->said = said;
    w->said_arg = arg;
    list_init(&w->outbox);
    w->tick = (struct wtimer){.fn = on_tick, .arg = w};
    w->flush = (struct wflush){.fn = on_flush, .arg = w};
    w->loop = worker_new(index);
    if (!w->loop || open_sockets(w, index, err) != 0)
        goto fail;
    w->core = make_core(w, census);
    if (!w->core)
        goto fail;
    if (data) {
        w->core->data = data_link_port(data, w->loop, &core_data_ops);
        if (!w->core->data)
            goto fail;
    }
    arm(w);
    return w;
fail:
    sfu_worker_free(w);
    return NULL;
}

void sfu_worker_end(struct sfu_worker *w)
{
    sfu_core_free(w->core);
    w->core = NULL;
}

void sfu_worker_free(struct sfu_worker *w)
{
    if (!w)
        return;
    sfu_core_free(w->core);
    media_sock_free(w->media);
    udp_io_free(w->io);
    worker_free(w->loop);
    LIST_EACH(it, tmp, &w->outbox)
    {
        list_del(it);
        mem_free(CONTAINER_OF(it, struct sfu_saying, link));
    }
    mem_free(w);
}
