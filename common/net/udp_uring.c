/* The io_uring back end (Linux 6.1): each socket has one receive that stays armed and takes buffers
 * from a ring shared by all sockets; all sends of a turn are one system call.
 *
 * Called by udp.c. libevent stays the loop: it watches an eventfd that the ring signals when it has
 * something for us (the ring's own descriptor does not, with DEFER_TASKRUN), by its edges, so that
 * nobody has to read it.
 *
 *     watch ── arm ──► kernel ── completion ──► take(): buffer -> datagrams -> owner
 *                        ▲                        │ (no more buffers, an error: arm again)
 *                        └────────────────────────┘
 *
 * The ring is made before the worker's thread runs and belongs to that thread from its first turn
 * on (SINGLE_ISSUER, DEFER_TASKRUN): the kernel then works for us only while we are in
 * io_uring_enter(), and sends are done when it returns. That is why a buffer may go back to the
 * kernel right after the sends that borrow from it were submitted.
 *
 * A completion names its socket by slot and generation: what belongs to a socket that has been
 * unwatched meanwhile is dropped. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/udp_backend.h"
#include "net/uring_bufs.h"

#define SQ_ENTRIES 1024
#define CQ_ENTRIES 8192  /* what overflows is kept by the kernel */
#define SLOTS_MIN  64    /* sockets; the table grows */
#define READS      1024  /* completions of one turn */
#define GATHERED   64    /* reads of one socket that its owner gets together */
#define FIXED_MAX  65536 /* sockets that the ring holds by itself, 8 bytes each */
#define NO_SLOT    UINT32_MAX
#define RING_FLAGS                                                                \
    (IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | \
     IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED)

/* What a completion is about: the low two bits of its user data. */
enum kind { KIND_RECV, KIND_RECV_SHARED, KIND_SEND, KIND_CANCEL };

/* Sockets that many senders use have buffers of their own: the others, together, could take all. */
enum group { GROUP_SINGLE, GROUP_SHARED, GROUPS };

/* A watched socket. */
struct slot {
    struct udp_sock *sock; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
    bool armed;
    bool erring;   /* on that list */
    uint8_t group; /* enum group */
    bool fixed;    /* its number is that of a file of the ring's own */
};

/* Reads of one socket, next to each other in the completion queue, that wait for their owner. */
struct gathered {
    struct udp_sock *sock; /* NULL: none */
    struct uring_bufs *bufs;
    unsigned n_msg, n_ids;
    uint16_t id[GATHERED];
};
#define GATHER_PKTS (2 * UDP_SLOT_PKTS)

struct uring_io {
    struct io_uring ring;
    bool made, running;             /* running: enabled, by the worker's thread */
    struct uring_bufs bufs[GROUPS]; /* the queue borrows from them */
    struct udp_msg *msg;            /* GATHER_PKTS */
    struct gathered gathered;
    struct msghdr shape; /* of each read: how long name and control may be */
    struct slot *slot;
    uint32_t n_slots, first_free;
    uint32_t *to_arm; /* slots; as many as there are slots */
    uint32_t n_to_arm;
    bool deaf;        /* a receive was not taken: some slot must be armed and is not listed */
    uint32_t push;    /* number of the push at hand */
    uint64_t *erring; /* tags of sockets whose send failed: as many as runs, each at most once */
    unsigned n_erring;
    unsigned n_fixed; /* room for such files */
    int efd;
    struct event *signalled;
};

static uint64_t recv_tag(const struct uring_io *u, uint32_t slot)
{
    const struct slot *s = &u->slot[slot];

    return (uint64_t)s->generation << 32 | (uint64_t)slot << 2 |
           (s->group == GROUP_SHARED ? KIND_RECV_SHARED : KIND_RECV);
}

/* The socket that a completion is about, NULL when it has been unwatched meanwhile. */
static struct udp_sock *sock_of(const struct uring_io *u, uint64_t tag)
{
    const struct slot *slot = &u->slot[(uint32_t)tag >> 2];

    return slot->generation == (uint32_t)(tag >> 32) ? slot->sock : NULL;
}

/* The kernel has not taken this entry: it becomes one that does nothing. A cancellation stays, it
 * is right at any time. */
static void call_off(struct udp_io *io, struct io_uring_sqe *e)
{
    struct uring_io *u = io->state;
    uint64_t tag = e->user_data;

    if ((tag & 3) == KIND_CANCEL)
        return;
    io_uring_prep_nop(e);
    e->flags = IOSQE_CQE_SKIP_SUCCESS;
    e->user_data = KIND_CANCEL;
    if ((tag & 3) <= KIND_RECV_SHARED) {
        u->slot[(uint32_t)tag >> 2].armed = false;
        u->deaf = true;
        worker_want_flush(io->worker, &io->flush);
    } else {
        unsigned pkts = io->queue.run[(uint32_t)tag >> 2].pkts;
        counter_add(&io->stats.sent_pkts, 0 - (uint64_t)pkts);
        counter_add(&io->stats.full, pkts);
    }
}

/* Gives the kernel all entries. Those that it has no memory for are called off: later, buffers and
 * descriptors would be others'. */
static void submit(struct udp_io *io)
{
    struct uring_io *u = io->state;
    struct io_uring_sq *sq = &u->ring.sq;

    while (io_uring_sq_ready(&u->ring) > 0 && io_uring_submit(&u->ring) > 0)
        continue;
    for (unsigned n = io_uring_sq_ready(&u->ring); n > 0; n--)
        call_off(io, &sq->sqes[(sq->sqe_tail - n) & *sq->kring_mask]);
}

/* The next entry for the kernel; when there is none left, what is there goes first. */
static struct io_uring_sqe *entry(struct udp_io *io)
{
    struct uring_io *u = io->state;
    struct io_uring_sqe *e = io_uring_get_sqe(&u->ring);

    if (!e) {
        submit(io);
        e = io_uring_get_sqe(&u->ring);
    }
    return e;
}

/* Makes the entry use the ring's own file, which saves looking up and counting the descriptor. */
static void use_fixed(const struct uring_io *u, struct io_uring_sqe *e, uint32_t slot)
{
    if (!u->slot[slot].fixed)
        return;
    e->fd = (int)slot;
    e->flags |= IOSQE_FIXED_FILE;
}

static void arm(struct udp_io *io, uint32_t slot)
{
    struct uring_io *u = io->state;
    struct io_uring_sqe *e = entry(io);

    if (!e) {
        u->deaf = true;
        return;
    }
    io_uring_prep_recvmsg_multishot(e, u->slot[slot].sock->fd, &u->shape, 0);
    use_fixed(u, e, slot);
    e->flags |= IOSQE_BUFFER_SELECT;
    e->buf_group = u->slot[slot].group;
    e->ioprio |= IORING_RECVSEND_POLL_FIRST; /* not while sends still borrow from buffers */
    e->user_data = recv_tag(u, slot);
    u->slot[slot].armed = true;
}

static void arm_one(struct udp_io *io, uint32_t slot)
{
    const struct slot *s = &((struct uring_io *)io->state)->slot[slot];

    if (s->sock && !s->armed)
        arm(io, slot);
}

static void arm_all(struct udp_io *io)
{
    struct uring_io *u = io->state;
    bool deaf = u->deaf;

    u->deaf = false;
    for (uint32_t i = 0; i < u->n_to_arm; i++)
        arm_one(io, u->to_arm[i]);
    u->n_to_arm = 0;
    for (uint32_t i = 0; deaf && i < u->n_slots; i++)
        arm_one(io, i);
}

static void want_arm(struct udp_io *io, uint32_t slot)
{
    struct uring_io *u = io->state;

    if (u->n_to_arm == u->n_slots) /* the same slots again and again, before the first turn */
        arm_all(io);
    u->to_arm[u->n_to_arm++] = slot;
    worker_want_flush(io->worker, &io->flush);
}

/* Its owner gets what was gathered. */
static void hand_over(struct udp_io *io)
{
    struct uring_io *u = io->state;
    struct gathered *g = &u->gathered;
    struct udp_sock *s = g->sock;

    g->sock = NULL;
    if (s && g->n_msg > 0)
        udp_deliver(io, s, u->msg, g->n_msg);
    for (unsigned i = 0; i < g->n_ids; i++)
        uring_bufs_lend(g->bufs, g->id[i]); /* only now: the owner may have pushed */
    g->n_msg = g->n_ids = 0;
}

/* One read, at p: its datagrams join those gathered. */
static void take_read(struct udp_io *io, uint8_t *p, int len)
{
    struct uring_io *u = io->state;
    struct gathered *g = &u->gathered;
    struct io_uring_recvmsg_out *out = io_uring_recvmsg_validate(p, len, &u->shape);

    if (!out)
        return;
    struct msghdr h = {
        .msg_control = (uint8_t *)io_uring_recvmsg_name(out) + u->shape.msg_namelen,
        .msg_controllen = out->controllen,
        .msg_flags = (int)out->flags,
    };
    unsigned bytes = io_uring_recvmsg_payload_length(out, len, &u->shape);
    g->n_msg += udp_split(io, io_uring_recvmsg_name(out), io_uring_recvmsg_payload(out, &u->shape),
                          bytes, &h, u->msg + g->n_msg);
}

static void take_recv(struct udp_io *io, const struct io_uring_cqe *c)
{
    struct uring_io *u = io->state;
    struct gathered *g = &u->gathered;
    struct udp_sock *s = sock_of(u, c->user_data);

    if (g->sock &&
        (g->sock != s || g->n_ids == GATHERED || g->n_msg > GATHER_PKTS - UDP_SLOT_PKTS)) {
        hand_over(io);
        s = sock_of(u, c->user_data); /* the owner may have unwatched it */
    }
    if (s && !(c->flags & IORING_CQE_F_MORE)) {
        u->slot[s->_slot].armed = false;
        want_arm(io, s->_slot);
    }
    if (c->flags & IORING_CQE_F_BUFFER) {
        uint16_t id = (uint16_t)(c->flags >> IORING_CQE_BUFFER_SHIFT);
        struct uring_bufs *bufs =
            &u->bufs[(c->user_data & 3) == KIND_RECV_SHARED ? GROUP_SHARED : GROUP_SINGLE];
        if (!s || c->res < 0) {
            uring_bufs_lend(bufs, id);
            return;
        }
        g->sock = s;
        g->bufs = bufs;
        g->id[g->n_ids++] = id;
        take_read(io, uring_bufs_at(bufs, id), c->res);
    } else if (s && c->res < 0 && c->res != -ENOBUFS && c->res != -ECANCELED) {
        hand_over(io);
        if (sock_of(u, c->user_data) == s)
            udp_tell_error(io, s);
    }
}

/* Takes what has arrived, at most READS reads. Owners may send and push meanwhile, so completions
 * are taken out one by one; what is next to each other for one owner it gets together. When there
 * is none, io_uring_peek_cqe() lets the kernel do what it has put off, which it does in portions
 * (20 sockets at a time in Linux 6.13): IORING_SQ_TASKRUN tells that something is left. */
static void take_all(struct udp_io *io)
{
    struct uring_io *u = io->state;
    struct io_uring_cqe *c;

    for (unsigned i = 0; i < READS && io_uring_peek_cqe(&u->ring, &c) == 0; i++) {
        struct io_uring_cqe copy = *c;
        io_uring_cqe_seen(&u->ring, c);
        if ((copy.user_data & 3) <= KIND_RECV_SHARED)
            take_recv(io, &copy);
    }
    hand_over(io);
}

/* What a buffer holds before the payload: what the kernel writes about it. */
static size_t before_payload(const struct uring_io *u)
{
    return sizeof(struct io_uring_recvmsg_out) + u->shape.msg_namelen + u->shape.msg_controllen;
}

/* A datagram of head and body whose body begins a buffer: writes the head in front of it, where
 * nothing is needed any more, so that the kernel has one piece to copy instead of a list to read.
 * False when it is not like that, or when this push has written there already. */
static bool make_whole(struct uring_io *u, const struct iovec *iov, struct slice *out)
{
    uint8_t *front =
        uring_bufs_front(&u->bufs[GROUP_SINGLE], iov[1].iov_base, iov[0].iov_len, u->push);

    if (!front)
        return false;
    memcpy(front, iov[0].iov_base, iov[0].iov_len);
    *out = slice_of(front, iov[0].iov_len + iov[1].iov_len);
    return true;
}

/* True for a run of one datagram in one piece. */
static bool is_one_piece(struct uring_io *u, const struct udp_run *r, const struct iovec *iov,
                         struct slice *out)
{
    if (r->pkts != 1 || r->iovs == 0 || r->iovs > 2)
        return false;
    if (r->iovs == 2)
        return make_whole(u, iov, out);
    *out = slice_of(iov->iov_base, iov->iov_len);
    return true;
}

/* Tells the kernel about one run. */
static void put_send(struct udp_io *io, unsigned i)
{
    struct uring_io *u = io->state;
    const struct udp_run *r = &io->queue.run[i];
    struct msghdr *h = udp_queue_describe(&io->queue, r, i);
    struct io_uring_sqe *e = entry(io);

    if (!e) {
        counter_add(&io->stats.full, r->pkts);
        return;
    }
    struct slice whole = {0};
    bool is_whole = h->msg_controllen == 0 && is_one_piece(u, r, h->msg_iov, &whole);
    if (is_whole) {
        io_uring_prep_send(e, r->sock->fd, whole.p, whole.len, MSG_DONTWAIT);
        io_uring_prep_send_set_addr(e, h->msg_name, (uint16_t)h->msg_namelen);
    } else {
        io_uring_prep_sendmsg(e, r->sock->fd, h, MSG_DONTWAIT);
    }
    use_fixed(u, e, r->sock->_slot);
    e->flags |= IOSQE_CQE_SKIP_SUCCESS;
    e->user_data = (uint64_t)u->push << 32 | (uint64_t)i << 2 | KIND_SEND;
    counter_add(&io->stats.sent_pkts, r->pkts);
}

/* An error that a send has taken off the socket will not end its receive: its owner looks at the
 * error queue in the next turn. */
static void note_error(struct udp_io *io, const struct udp_sock *s)
{
    struct uring_io *u = io->state;
    struct slot *slot = &u->slot[s->_slot];

    if (slot->erring || u->n_erring == io->conf.slots)
        return;
    slot->erring = true;
    u->erring[u->n_erring++] = recv_tag(u, s->_slot);
    event_active(u->signalled, EV_READ, 0);
}

static void tell_errors(struct udp_io *io)
{
    struct uring_io *u = io->state;

    while (u->n_erring > 0) {
        struct udp_sock *s = sock_of(u, u->erring[--u->n_erring]);
        if (!s)
            continue;
        u->slot[s->_slot].erring = false;
        udp_tell_error(io, s);
    }
}

/* A run that was not sent. */
static void failed_send(struct udp_io *io, unsigned i, int err)
{
    const struct udp_run *r = &io->queue.run[i];
    struct msghdr *h = &io->queue.hdr[i].msg_hdr;

    counter_add(&io->stats.sent_pkts, 0 - (uint64_t)r->pkts);
    if (err != EAGAIN && err != ENOBUFS)
        note_error(io, r->sock);
    if (udp_may_be_of_an_earlier_one(err)) {
        if (sendmsg(r->sock->fd, h, MSG_DONTWAIT) != -1) {
            counter_add(&io->stats.sent_pkts, r->pkts);
            return;
        }
        err = errno;
    }
    udp_refused(io, r, h, err);
}

/* Only sends that failed leave a completion. Those of this push are looked at here, and passed over
 * by take_all() later. */
static void look_for_failures(struct udp_io *io)
{
    struct uring_io *u = io->state;
    struct io_uring_cqe *c;
    unsigned head;

    io_uring_for_each_cqe(&u->ring, head, c)
    {
        if ((c->user_data & 3) == KIND_SEND && (uint32_t)(c->user_data >> 32) == u->push &&
            c->res < 0)
            failed_send(io, (uint32_t)c->user_data >> 2, -c->res);
    }
}

static void uring_push(struct udp_io *io)
{
    struct uring_io *u = io->state;

    if (!u->running)
        return;
    u->push++;
    for (unsigned i = 0; i < io->queue.n; i++)
        put_send(io, i);
    if (io->queue.n > 0) {
        submit(io);
        look_for_failures(io);
    }
    uring_bufs_give_back(&u->bufs[GROUP_SINGLE]);
    uring_bufs_give_back(&u->bufs[GROUP_SHARED]);
    if (u->n_to_arm > 0 || u->deaf) {
        arm_all(io);
        submit(io);
    }
}

static void on_ring(evutil_socket_t fd, short what, void *arg)
{
    struct udp_io *io = arg;
    struct uring_io *u = io->state;

    (void)fd;
    (void)what;
    tell_errors(io);
    take_all(io);
    if (io_uring_cq_ready(&u->ring) > 0 ||
        IO_URING_READ_ONCE(*u->ring.sq.kflags) & IORING_SQ_TASKRUN)
        event_active(u->signalled, EV_READ, 0); /* no edge will tell of what is left */
    worker_want_flush(io->worker, &io->flush);
}

/* First turn of the worker's thread: the ring is its own from now on. */
static void on_start(void *arg, uint64_t now_us)
{
    struct udp_io *io = arg;
    struct uring_io *u = io->state;

    (void)now_us;
    /* Debian 12's liburing.so does not export io_uring_enable_rings(). */
    u->running =
        io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0;
    io_uring_register_ring_fd(&u->ring); /* saves a look-up per call; it works without */
    worker_want_flush(io->worker, &io->flush);
}

static int grow(struct uring_io *u)
{
    uint32_t n = u->n_slots ? 2 * u->n_slots : SLOTS_MIN;
    uint32_t *to_arm = mem_realloc(u->to_arm, n * sizeof(*to_arm));

    if (!to_arm)
        return -ENOMEM;
    u->to_arm = to_arm;
    struct slot *slot = mem_realloc(u->slot, n * sizeof(*slot));
    if (!slot)
        return -ENOMEM;
    u->slot = slot;
    for (uint32_t i = n; i-- > u->n_slots;) {
        slot[i] = (struct slot){.next_free = u->first_free};
        u->first_free = i;
    }
    u->n_slots = n;
    return 0;
}

/* Gives the socket to the ring, if it has room. */
static void fix(struct uring_io *u, uint32_t at)
{
    struct slot *slot = &u->slot[at];

    slot->fixed =
        at < u->n_fixed && io_uring_register_files_update(&u->ring, at, &slot->sock->fd, 1) == 1;
}

static void unfix(struct uring_io *u, uint32_t at)
{
    const int none = -1;

    if (u->slot[at].fixed)
        io_uring_register_files_update(&u->ring, at, &none, 1);
    u->slot[at].fixed = false;
}

static int uring_watch(struct udp_io *io, struct udp_sock *s, bool shared)
{
    struct uring_io *u = io->state;

    if (u->first_free == NO_SLOT && grow(u) != 0)
        return -ENOMEM;
    uint32_t at = u->first_free;
    struct slot *slot = &u->slot[at];
    u->first_free = slot->next_free;
    slot->sock = s;
    slot->armed = slot->erring = false;
    slot->group = shared ? GROUP_SHARED : GROUP_SINGLE;
    s->_slot = at;
    fix(u, at);
    want_arm(io, at);
    return 0;
}

static void uring_unwatch(struct udp_io *io, struct udp_sock *s)
{
    struct uring_io *u = io->state;
    struct slot *slot = &u->slot[s->_slot];
    struct io_uring_sqe *e = slot->armed && u->running ? entry(io) : NULL;

    if (e) {
        io_uring_prep_cancel64(e, recv_tag(u, s->_slot), 0);
        e->flags |= IOSQE_CQE_SKIP_SUCCESS;
        e->user_data = KIND_CANCEL;
        submit(io); /* now: fd may be another socket's soon */
    }
    unfix(u, s->_slot);
    slot->sock = NULL;
    slot->generation++;
    slot->next_free = u->first_free;
    u->first_free = s->_slot;
}

static void uring_close(struct udp_io *io)
{
    struct uring_io *u = io->state;

    if (!u)
        return;
    if (u->signalled)
        event_free(u->signalled);
    if (u->made)
        io_uring_queue_exit(&u->ring);
    if (u->efd >= 0)
        close(u->efd);
    for (unsigned i = 0; i < GROUPS; i++)
        uring_bufs_fini(&u->bufs[i]);
    mem_free(u->erring);
    mem_free(u->msg);
    mem_free(u->slot);
    mem_free(u->to_arm);
    mem_free(u);
    io->state = NULL;
}

static int make_bufs(struct udp_io *io, char why[UDP_WHY_MAX])
{
    struct uring_io *u = io->state;

    for (unsigned i = 0; i < GROUPS; i++) {
        int err = uring_bufs_init(&u->bufs[i], &u->ring, i, io->conf.slots, before_payload(u),
                                  io->conf.slot_bytes);
        if (err) {
            if (err != -ENOMEM)
                snprintf(why, UDP_WHY_MAX, "no buffer ring: %s", strerror(-err));
            return err;
        }
    }
    return 0;
}

/* The kernel wants no more than there may be descriptors. */
static unsigned files_max(void)
{
    struct rlimit l;

    return getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < FIXED_MAX ? (unsigned)l.rlim_cur
                                                                       : FIXED_MAX;
}

static int make_ring(struct udp_io *io, char why[UDP_WHY_MAX])
{
    struct io_uring_params p = {.flags = RING_FLAGS, .cq_entries = CQ_ENTRIES};
    struct uring_io *u = io->state;
    int err = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &p);

    if (err) {
        snprintf(why, UDP_WHY_MAX, "no io_uring: %s", strerror(-err));
        return err;
    }
    u->made = true;
    err = make_bufs(io, why);
    if (err)
        return err;
    err = io_uring_register_eventfd(&u->ring, u->efd);
    if (err) {
        snprintf(why, UDP_WHY_MAX, "no eventfd for the ring: %s", strerror(-err));
        return err;
    }
    if (io_uring_register_files_sparse(&u->ring, files_max()) == 0)
        u->n_fixed = files_max();
    return 0;
}

static int allocate(struct udp_io *io, struct uring_io *u)
{
    /* Eight bytes alignment for what follows the name. */
    u->shape = (struct msghdr){.msg_namelen = (sizeof(struct sockaddr_in6) + 7) & ~7u,
                               .msg_controllen = sizeof(union udp_read_control)};
    u->first_free = NO_SLOT;
    u->erring = mem_calloc(io->conf.slots, sizeof(*u->erring));
    u->msg = mem_calloc(GATHER_PKTS, sizeof(*u->msg));
    u->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return u->efd >= 0 && u->erring && u->msg && grow(u) == 0 ? 0 : -ENOMEM;
}

static int uring_open(struct udp_io *io, char why[UDP_WHY_MAX])
{
    struct uring_io *u = mem_zalloc(sizeof(*u));
    int err = -ENOMEM;

    io->state = u;
    snprintf(why, UDP_WHY_MAX, "out of memory");
    if (u)
        err = allocate(io, u);
    if (!err)
        err = make_ring(io, why);
    if (!err) {
        u->signalled =
            event_new(worker_base(io->worker), u->efd, EV_READ | EV_PERSIST | EV_ET, on_ring, io);
        if (!u->signalled || event_add(u->signalled, NULL) != 0 ||
            worker_post(io->worker, on_start, io) != 0)
            err = -ENOMEM;
    }
    if (err)
        uring_close(io);
    else
        why[0] = '\0';
    return err;
}

const struct udp_backend udp_backend_uring = {
    "io_uring", uring_open, uring_close, uring_watch, uring_unwatch, uring_push,
};
