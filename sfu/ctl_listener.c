/* Sockets of the control protocol and of sori-sfuctl: bytes between them and ctl_hub.c.
 *
 * Made by sfu_node.c; runs in the control thread. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/ctl_listener.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"
#include "net/worker.h"
#include "sfu/ctl_hub.h"
#include "sfu/sfu_node.h"
#include "sfu/sfu_worker.h"

#define SOCKET_MODE 0600

/* One connection. */
struct conn {
    struct list link;
    struct ctl_listener *l;
    struct bufferevent *bev;
    struct ctl_conn *c;
    bool closing;
};

struct ctl_listener {
    struct worker *control;
    const struct sfu_conf *conf;
    struct sfu_node *node;
    struct ctl_hub *hub;
    struct list conns;
    struct evconnlistener *listener[SFU_CONTROL_MAX + 1];
    char path[SFU_CONTROL_MAX + 1][sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct wtimer tick;
    bool draining;
};

/* ---- what the hub wants ---- */

static bool on_send(void *user, struct slice bytes)
{
    struct conn *c = user;
    struct evbuffer *out = bufferevent_get_output(c->bev);

    if (evbuffer_get_length(out) + bytes.len > c->l->conf->control.queue_bytes)
        return false;
    return bufferevent_write(c->bev, bytes.p, bytes.len) == 0;
}

/* The bufferevent is freed when its output has left: on_written(), or in the next tick. */
static void on_close(void *user)
{
    struct conn *c = user;

    c->closing = true;
    bufferevent_disable(c->bev, EV_READ);
}

static unsigned on_place(void *arg)
{
    const struct ctl_listener *l = arg;
    unsigned best = 0;
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < sfu_node_threads(l->node); i++) {
        const struct core_counters *c = &sfu_node_worker(l->node, i)->core->count;
        uint64_t n = counter_get(&c->participants) + counter_get(&c->rooms);

        if (n < least) {
            least = n;
            best = i;
        }
    }
    return best;
}

static int on_request(void *arg, unsigned worker, uint64_t epoch, struct slice key,
                      struct slice text)
{
    const struct ctl_listener *l = arg;

    return sfu_worker_request(sfu_node_worker(l->node, worker), epoch, key, text);
}

static void on_close_room(void *arg, unsigned worker, struct slice key)
{
    const struct ctl_listener *l = arg;

    sfu_worker_close_room(sfu_node_worker(l->node, worker), key, (struct slice){0});
}

static void on_drain(void *arg, bool on)
{
    const struct ctl_listener *l = arg;

    sfu_node_drain(l->node, on);
}

static void on_state(void *arg, struct ctl_hub_state *out)
{
    const struct ctl_listener *l = arg;

    *out = (struct ctl_hub_state){.workers = sfu_node_threads(l->node),
                                  .load = sfu_node_load(l->node, worker_now(l->control)),
                                  .rooms = sfu_node_rooms(l->node),
                                  .participants = sfu_node_participants(l->node)};
}

static const struct ctl_hub_ops hub_ops = {on_send,       on_close, on_place, on_request,
                                           on_close_room, on_drain, on_state};

/* ---- connections ---- */

static void conn_free(struct conn *c)
{
    ctl_hub_closed(c->l->hub, c->c, worker_now(c->l->control));
    list_del(&c->link);
    bufferevent_free(c->bev);
    mem_free(c);
}

static void end_if_empty(struct conn *c)
{
    if (c->closing && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
        conn_free(c);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct conn *c = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    size_t len = evbuffer_get_length(in);
    uint8_t *p = evbuffer_pullup(in, (ssize_t)len);

    evbuffer_drain(in, ctl_hub_data(c->l->hub, c->c, slice_of(p, len), worker_now(c->l->control)));
    end_if_empty(c);
}

static void on_written(struct bufferevent *bev, void *arg)
{
    (void)bev;
    end_if_empty(arg);
}

static void on_end(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        conn_free(arg);
}

static void on_accept(struct evconnlistener *el, evutil_socket_t fd, struct sockaddr *sa, int len,
                      void *arg)
{
    struct ctl_listener *l = arg;
    struct conn *c = mem_zalloc(sizeof(*c));
    struct bufferevent *bev =
        c ? bufferevent_socket_new(worker_base(l->control), fd, BEV_OPT_CLOSE_ON_FREE) : NULL;

    (void)sa;
    (void)len;
    if (!bev) {
        mem_free(c);
        evutil_closesocket(fd);
        return;
    }
    c->l = l;
    c->bev = bev;
    bufferevent_setcb(bev, on_read, on_written, on_end, c);
    c->c = ctl_hub_open(l->hub, c, el == l->listener[SFU_CONTROL_MAX], worker_now(l->control));
    if (!c->c) {
        bufferevent_free(bev);
        mem_free(c);
        return;
    }
    list_append(&l->conns, &c->link);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

void ctl_listener_said(void *arg, struct list *sayings)
{
    struct ctl_listener *l = arg;

    ctl_hub_said(l->hub, sayings, worker_now(l->control));
}

static void on_tick(void *arg, uint64_t now_us)
{
    struct ctl_listener *l = arg;

    ctl_hub_tick(l->hub, now_us);
    LIST_EACH(it, tmp, &l->conns)
    end_if_empty(CONTAINER_OF(it, struct conn, link));
    worker_timer(l->control, &l->tick, now_us + CTL_HUB_TICK_US);
}

static void do_drain(void *arg, uint64_t now_us)
{
    struct ctl_listener *l = arg;

    ctl_hub_drain(l->hub, __atomic_load_n(&l->draining, __ATOMIC_RELAXED), now_us);
}

void ctl_listener_drain(struct ctl_listener *l, bool on)
{
    __atomic_store_n(&l->draining, on, __ATOMIC_RELAXED);
    worker_post(l->control, do_drain, l);
}

/* ---- life ---- */

/* A socket file that nobody listens on any more is in the way. */
static void clear_stale(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)at, sizeof(*at)) != 0 && errno == ECONNREFUSED)
        unlink(at->sun_path);
    close(fd);
}

static int open_unix(struct ctl_listener *l, size_t slot, const char *path, char err[CONF_ERR_MAX])
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(at.sun_path)) {
        snprintf(err, CONF_ERR_MAX, "[control] %s: longer than 107 bytes", path);
        return -EINVAL;
    }
    memcpy(at.sun_path, path, strlen(path));
    clear_stale(&at);
    mode_t old = umask(0777 & ~SOCKET_MODE);
    l->listener[slot] = evconnlistener_new_bind(worker_base(l->control), on_accept, l,
                                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, -1,
                                                (struct sockaddr *)&at, sizeof(at));
    int e = errno;
    umask(old);
    if (!l->listener[slot]) {
        snprintf(err, CONF_ERR_MAX, "[control] unix:%s: %s", path, strerror(e));
        return -e;
    }
    snprintf(l->path[slot], sizeof(l->path[slot]), "%s", path);
    return 0;
}

static int open_one(struct ctl_listener *l, size_t slot, const char *where, char err[CONF_ERR_MAX])
{
    struct slice s = slice_str(where);
    struct sockaddr_storage ss;
    struct addr a;

    if (slice_starts(s, SLICE_LIT("unix:")))
        return open_unix(l, slot, where + 5, err);
    if (addr_parse(&a, s) != 0)
        return -EINVAL;
    unsigned len = addr_to_sockaddr(&a, &ss);
    l->listener[slot] =
        evconnlistener_new_bind(worker_base(l->control), on_accept, l,
                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                -1, (struct sockaddr *)&ss, (int)len);
    if (l->listener[slot])
        return 0;
    snprintf(err, CONF_ERR_MAX, "[control] listen: %s: %s", where, strerror(errno));
    return -EADDRINUSE;
}

struct ctl_listener *ctl_listener_new(struct worker *control, const struct sfu_conf *conf,
                                      struct sfu_node *node, char err[CONF_ERR_MAX])
{
    struct ctl_listener *l = mem_zalloc(sizeof(*l));
    uint64_t epoch;
    int e = 0;

    if (!l)
        return NULL;
    l->control = control;
    l->conf = conf;
    l->node = node;
    list_init(&l->conns);
    do
        rand_bytes(&epoch, sizeof(epoch));
    while ((epoch >>= 12) == 0); /* fits JSON's numbers */
    l->hub = ctl_hub_new(conf, epoch, &hub_ops, l);
    for (size_t i = 0; l->hub && !e && i < conf->control.listen_text.n; i++)
        e = open_one(l, i, conf->control.listen_text.v[i], err);
    if (l->hub && !e && conf->control.socket[0])
        e = open_unix(l, SFU_CONTROL_MAX, conf->control.socket, err);
    if (!l->hub || e) {
        ctl_listener_free(l);
        return NULL;
    }
    l->tick = (struct wtimer){.fn = on_tick, .arg = l};
    worker_timer(control, &l->tick, worker_now(control) + CTL_HUB_TICK_US);
    return l;
}

void ctl_listener_free(struct ctl_listener *l)
{
    if (!l)
        return;
    LIST_EACH(it, tmp, &l->conns)
    conn_free(CONTAINER_OF(it, struct conn, link));
    ctl_hub_free(l->hub);
    for (size_t i = 0; i <= SFU_CONTROL_MAX; i++) {
        if (l->listener[i])
            evconnlistener_free(l->listener[i]);
        if (l->path[i][0])
            unlink(l->path[i]);
    }
    worker_timer_cancel(l->control, &l->tick);
    mem_free(l);
}

void ctl_listener_metrics(struct ctl_listener *l, struct metrics *m)
{
    const struct ctl_hub_counters *n = ctl_hub_count(l->hub);
    const struct {
        const char *name, *help;
        enum metric_type type;
        const struct counter *cell;
    } v[] = {
        {"sori_sfu_control_connections", "Connections of sori-servers and operators now.",
         METRIC_GAUGE, &n->connections},
        {"sori_sfu_control_refused_total", "Connections refused: wrong secret, version, too many.",
         METRIC_COUNTER, &n->refused},
        {"sori_sfu_control_requests_total", "Requests, repetitions included.", METRIC_COUNTER,
         &n->requests},
        {"sori_sfu_control_repeats_total", "Requests answered from the store.", METRIC_COUNTER,
         &n->repeats},
        {"sori_sfu_control_stale_total", "Requests whose answer was no longer kept.",
         METRIC_COUNTER, &n->stale},
        {"sori_sfu_control_bad_total", "Messages that could not be read.", METRIC_COUNTER, &n->bad},
        {"sori_sfu_control_events_total", "Numbered events.", METRIC_COUNTER, &n->events},
        {"sori_sfu_control_events_lost_total", "Events that could not be kept: sync followed.",
         METRIC_COUNTER, &n->events_lost},
    };

    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        metrics_add(m, v[i].name, "", v[i].help, v[i].type, v[i].cell);
}
