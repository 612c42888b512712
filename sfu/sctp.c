/* SCTP associations over DTLS (RFC 8261, 8831), on usrsctp.
 *
 *   sctp_new() ── both ends connect (RFC 8841 §9.3) ──► ops.up ──► messages ──► ops.down
 *
 * Called by data_link.c, in the data thread only. usrsctp's upcalls come from inside its own
 * functions, with its locks held; they only mark the association, and drain() reads what there is
 * when usrsctp has returned: nothing of ours ever runs below it but the output function, which
 * passes bytes on. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/sctp.h"

#include <errno.h>
#include <usrsctp.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/htable.h"
#include "base/list.h"
#include "base/mem.h"

enum {
    ASSOCS_EXPECTED = 64,
    STOP_TRIES = 100,
    US_PER_MS_INT = 1000,
    TICK_MAX_MS = 1000, /* a thread that was held up makes no jump in time */
    INIT_TRIES = 10,
    SCTP_COMMON_HEADER = 12, /* RFC 9260 §3.1 */
    RESET_ROOM = SCTP_STREAMS * sizeof(uint16_t),
};
_Static_assert(SCTP_STREAMS <= 32, "resets wait in the bits of a uint32_t");

struct sctp_assoc {
    struct hnode node;
    struct list marked; /* on stack.marked while drain() has to look */
    struct socket *so;
    const struct sctp_ops *ops;
    void *owner;
    uint32_t id; /* its address inside usrsctp */
    uint32_t max_message;
    uint32_t resets; /* streams whose reset has to wait for one that is under way */
    bool is_marked, up, down, wants_room;
};

static struct {
    struct htable assocs;
    struct list marked;
    uint32_t last_id;
    uint64_t ticked_us, busy_until_us;
    uint8_t buf[SCTP_MESSAGE_MAX + 1];
} stack;

static uint64_t hash_id(uint32_t id)
{
    return hash_bytes(slice_of(&id, sizeof(id)));
}

static struct sctp_assoc *find(uint32_t id)
{
    if (stack.assocs.count == 0)
        return NULL;
    for (struct hnode *n = htable_first(&stack.assocs, hash_id(id)); n; n = htable_next(n)) {
        struct sctp_assoc *a = CONTAINER_OF(n, struct sctp_assoc, node);
        if (a->id == id)
            return a;
    }
    return NULL;
}

static void *address(uint32_t id)
{
    return (void *)(uintptr_t)id;
}

/* --- What usrsctp calls. */

static int on_output(void *addr, void *packet, size_t len, uint8_t tos, uint8_t set_df)
{
    struct sctp_assoc *a = find((uint32_t)(uintptr_t)addr);

    (void)tos;
    (void)set_df;
    if (a)
        a->ops->output(a->owner, slice_of(packet, len));
    return 0;
}

static void on_event(struct socket *so, void *arg, int flags)
{
    struct sctp_assoc *a = arg;

    (void)so;
    (void)flags;
    if (!a->is_marked) {
        a->is_marked = true;
        list_append(&stack.marked, &a->marked);
    }
}

/* --- Reading. */

static void go_down(struct sctp_assoc *a)
{
    if (a->down)
        return;
    a->down = true;
    a->up = false;
    a->ops->down(a->owner);
}

static void try_resets(struct sctp_assoc *a)
{
    union {
        struct sctp_reset_streams head;
        uint8_t room[sizeof(struct sctp_reset_streams) + RESET_ROOM];
    } r = {.head = {.srs_flags = SCTP_STREAM_RESET_OUTGOING}};
    socklen_t len = sizeof(r.head);

    for (uint16_t i = 0; i < SCTP_STREAMS; i++) {
        if (a->resets & 1u << i) {
            memcpy(r.room + len, &i, sizeof(i));
            len += (socklen_t)sizeof(i);
            r.head.srs_number_streams++;
        }
    }
    if (r.head.srs_number_streams > 0 && a->up &&
        usrsctp_setsockopt(a->so, IPPROTO_SCTP, SCTP_RESET_STREAMS, &r, len) == 0)
        a->resets = 0;
}

static void on_reset(struct sctp_assoc *a, struct slice event)
{
    struct sctp_stream_reset_event e;
    size_t head = offsetof(struct sctp_stream_reset_event, strreset_stream_list);

    if (event.len < head)
        return;
    memcpy(&e, event.p, head);
    struct slice list = slice_sub(event, head, SIZE_MAX);
    bool all = list.len < sizeof(uint16_t);
    if (e.strreset_flags & SCTP_STREAM_RESET_INCOMING_SSN) {
        for (uint16_t i = 0; all && i < SCTP_STREAMS; i++)
            a->ops->reset(a->owner, i);
        for (; list.len >= sizeof(uint16_t); list = slice_sub(list, sizeof(uint16_t), SIZE_MAX)) {
            uint16_t stream;
            memcpy(&stream, list.p, sizeof(stream));
            a->ops->reset(a->owner, stream);
        }
    }
    try_resets(a);
}

static void on_notification(struct sctp_assoc *a, struct slice event)
{
    struct sctp_assoc_change change;
    struct sctp_tlv head;

    if (event.len < sizeof(head))
        return;
    memcpy(&head, event.p, sizeof(head));
    if (head.sn_type == SCTP_STREAM_RESET_EVENT) {
        on_reset(a, event);
        return;
    }
    if (head.sn_type != SCTP_ASSOC_CHANGE || event.len < sizeof(change))
        return;
    memcpy(&change, event.p, sizeof(change));
    if (change.sac_state == SCTP_COMM_UP && !a->up && !a->down) {
        a->up = true;
        a->ops->up(a->owner);
        try_resets(a);
    } else if (change.sac_state != SCTP_COMM_UP) {
        go_down(a); /* lost, shut down, refused; a restart has lost its channels as well */
    }
}

/* Reads all that has arrived. */
static void read_all(struct sctp_assoc *a)
{
    while (!a->down) {
        struct sockaddr_conn from;
        struct sctp_rcvinfo info = {0};
        socklen_t from_len = sizeof(from), info_len = sizeof(info);
        unsigned type = SCTP_RECVV_NOINFO;
        int flags = 0;
        ssize_t n = usrsctp_recvv(a->so, stack.buf, a->max_message + 1, (struct sockaddr *)&from,
                                  &from_len, &info, &info_len, &type, &flags);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            go_down(a);
            return;
        }
        struct slice msg = slice_of(stack.buf, (size_t)n);
        if (flags & MSG_NOTIFICATION)
            on_notification(a, msg);
        else if (!(flags & MSG_EOR) || msg.len > a->max_message)
            go_down(a); /* too long: RFC 8841 §6.1 says that it must not be sent */
        else if (type == SCTP_RECVV_RCVINFO)
            a->ops->message(a->owner, info.rcv_sid, ntohl(info.rcv_ppid), msg);
    }
}

/* Looks after all associations to which something happened. */
static void drain(void)
{
    while (!list_empty(&stack.marked)) {
        struct sctp_assoc *a = CONTAINER_OF(list_first(&stack.marked), struct sctp_assoc, marked);
        list_del(&a->marked);
        a->is_marked = false;
        read_all(a);
        if (a->wants_room && !a->down && usrsctp_get_events(a->so) & SCTP_EVENT_WRITE) {
            a->wants_room = false;
            a->ops->writable(a->owner);
        }
    }
}

/* --- Life. */

void sctp_start(uint64_t now_us)
{
    list_init(&stack.marked);
    stack.ticked_us = now_us;
    usrsctp_init_nothreads(0, on_output, NULL);
    usrsctp_sysctl_set_sctp_ecn_enable(0);
    usrsctp_sysctl_set_sctp_asconf_enable(0);
    usrsctp_sysctl_set_sctp_auth_enable(0);
    usrsctp_sysctl_set_sctp_nrsack_enable(0);
    usrsctp_sysctl_set_sctp_pktdrop_enable(0);
    usrsctp_sysctl_set_sctp_pr_enable(1);
    usrsctp_sysctl_set_sctp_reconfig_enable(1);
    usrsctp_sysctl_set_sctp_blackhole(2); /* no answer to packets of no association */
    usrsctp_sysctl_set_sctp_init_rtx_max_default(INIT_TRIES);
}

bool sctp_stop(void)
{
    bool done = false;

    for (unsigned i = 0; i < STOP_TRIES && !done; i++) {
        done = usrsctp_finish() == 0;
        if (!done)
            usrsctp_handle_timers(TICK_MAX_MS);
    }
    return done;
}

static bool set(struct socket *so, int level, int name, const void *value, socklen_t len)
{
    return usrsctp_setsockopt(so, level, name, value, len) == 0;
}

static bool set_int(struct socket *so, int level, int name, int value)
{
    return set(so, level, name, &value, sizeof(value));
}

static bool set_options(struct socket *so, uint32_t max_message)
{
    static const uint16_t events[] = {SCTP_ASSOC_CHANGE, SCTP_STREAM_RESET_EVENT};
    struct linger linger = {.l_onoff = 1, .l_linger = 0}; /* close is an ABORT */
    struct sctp_initmsg init = {.sinit_num_ostreams = SCTP_STREAMS,
                                .sinit_max_instreams = SCTP_STREAMS};
    struct sctp_assoc_value reset = {.assoc_value = SCTP_ENABLE_RESET_STREAM_REQ};
    int room = (int)(2 * max_message > SCTP_BUFFER_MIN ? 2 * max_message : SCTP_BUFFER_MIN);
    bool ok = set_int(so, SOL_SOCKET, SO_RCVBUF, room) &&
              set_int(so, SOL_SOCKET, SO_SNDBUF, room) &&
              set(so, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) &&
              set_int(so, IPPROTO_SCTP, SCTP_NODELAY, 1) &&
              set_int(so, IPPROTO_SCTP, SCTP_RECVRCVINFO, 1) &&
              set(so, IPPROTO_SCTP, SCTP_INITMSG, &init, sizeof(init)) &&
              set(so, IPPROTO_SCTP, SCTP_ENABLE_STREAM_RESET, &reset, sizeof(reset));

    for (unsigned i = 0; i < ARRAY_LEN(events); i++) {
        struct sctp_event e = {.se_assoc_id = SCTP_ALL_ASSOC, .se_type = events[i], .se_on = 1};
        ok = ok && set(so, IPPROTO_SCTP, SCTP_EVENT, &e, sizeof(e));
    }
    return ok;
}

static struct sockaddr_conn address_of(const struct sctp_assoc *a, uint16_t port)
{
    return (struct sockaddr_conn){
        .sconn_family = AF_CONN, .sconn_port = htons(port), .sconn_addr = address(a->id)};
}

/* Opens the socket and begins to connect. */
static bool open_socket(struct sctp_assoc *a, const struct sctp_conf *conf)
{
    struct sockaddr_conn here = address_of(a, conf->local_port);
    struct sockaddr_conn there = address_of(a, conf->remote_port);

    a->so = usrsctp_socket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
    if (!a->so)
        return false;
    if (usrsctp_set_non_blocking(a->so, 1) != 0 || !set_options(a->so, a->max_message) ||
        usrsctp_set_upcall(a->so, on_event, a) != 0 ||
        usrsctp_bind(a->so, (struct sockaddr *)&here, sizeof(here)) != 0)
        return false;
    if (usrsctp_connect(a->so, (struct sockaddr *)&there, sizeof(there)) != 0 &&
        errno != EINPROGRESS)
        return false;
    /* Of the path, which is there only now; usrsctp means the chunks, without the common header. */
    struct sctp_paddrparams path = {.spp_flags = SPP_PMTUD_DISABLE | SPP_HB_ENABLE,
                                    .spp_pathmtu = SCTP_PACKET_MAX - SCTP_COMMON_HEADER};
    memcpy(&path.spp_address, &there, sizeof(there));
    return set(a->so, IPPROTO_SCTP, SCTP_PEER_ADDR_PARAMS, &path, sizeof(path));
}

struct sctp_assoc *sctp_new(const struct sctp_conf *conf, const struct sctp_ops *ops, void *owner,
                            uint64_t now_us)
{
    struct sctp_assoc *a = mem_zalloc(sizeof(*a));

    if (!a)
        return NULL;
    if (!stack.assocs.count && htable_init(&stack.assocs, ASSOCS_EXPECTED) != 0) {
        mem_free(a);
        return NULL;
    }
    if (sctp_deadline() == UINT64_MAX)
        stack.ticked_us = now_us; /* the clock stood still */
    a->ops = ops;
    a->owner = owner;
    a->max_message = conf->max_message < SCTP_MESSAGE_MAX ? conf->max_message : SCTP_MESSAGE_MAX;
    do
        a->id = ++stack.last_id;
    while (a->id == 0 || find(a->id));
    htable_add(&stack.assocs, &a->node, hash_id(a->id));
    usrsctp_register_address(address(a->id));
    if (!open_socket(a, conf)) {
        sctp_free(a);
        return NULL;
    }
    return a;
}

void sctp_free(struct sctp_assoc *a)
{
    if (!a)
        return;
    if (a->so) {
        usrsctp_set_upcall(a->so, NULL, NULL);
        usrsctp_close(a->so);
    }
    usrsctp_deregister_address(address(a->id));
    if (a->is_marked)
        list_del(&a->marked);
    htable_del(&stack.assocs, &a->node);
    if (stack.assocs.count == 0) {
        htable_fini(&stack.assocs);
        stack.assocs = (struct htable){0};
    }
    stack.busy_until_us = stack.ticked_us + SCTP_LINGER_US;
    mem_free(a);
}

void sctp_input(struct sctp_assoc *a, struct slice packet)
{
    usrsctp_conninput(address(a->id), packet.p, packet.len, 0);
    drain();
}

/* --- Sending. */

int sctp_send(struct sctp_assoc *a, const struct sctp_send_as *as, struct slice msg)
{
    static const uint16_t policies[] = {SCTP_PR_SCTP_NONE, SCTP_PR_SCTP_RTX, SCTP_PR_SCTP_TTL};
    struct sctp_sendv_spa spa = {
        .sendv_flags = SCTP_SEND_SNDINFO_VALID,
        .sendv_sndinfo = {.snd_sid = as->stream,
                          .snd_flags = (uint16_t)(SCTP_EOR | (as->unordered ? SCTP_UNORDERED : 0)),
                          .snd_ppid = htonl(as->ppid)},
    };

    if (!a->up)
        return -ENOTCONN;
    if (as->partial > 0 && as->partial < ARRAY_LEN(policies)) {
        spa.sendv_flags |= SCTP_SEND_PRINFO_VALID;
        spa.sendv_prinfo.pr_policy = policies[as->partial];
        spa.sendv_prinfo.pr_value = as->value;
    }
    if (usrsctp_sendv(a->so, msg.p, msg.len, NULL, 0, &spa, sizeof(spa), SCTP_SENDV_SPA, 0) >= 0)
        return 0;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
        a->wants_room = true;
        return -EAGAIN;
    }
    return errno == EMSGSIZE ? -EMSGSIZE : -ENOTCONN;
}

void sctp_reset(struct sctp_assoc *a, uint16_t stream)
{
    if (stream >= SCTP_STREAMS)
        return;
    a->resets |= 1u << stream;
    try_resets(a);
}

/* --- Time. */

uint64_t sctp_deadline(void)
{
    if (stack.assocs.count == 0 && stack.ticked_us >= stack.busy_until_us)
        return UINT64_MAX;
    return stack.ticked_us + SCTP_TICK_US;
}

void sctp_tick(uint64_t now_us)
{
    uint64_t ms = now_us > stack.ticked_us ? (now_us - stack.ticked_us) / US_PER_MS_INT : 0;

    if (ms == 0)
        return;
    stack.ticked_us += ms * US_PER_MS_INT;
    usrsctp_handle_timers((uint32_t)(ms < TICK_MAX_MS ? ms : TICK_MAX_MS));
    drain();
}
