/* A relay without sockets, and clients that speak to it: what the tests of turn/ stand on.
 *
 * Ports are opened in a table, time is a variable, answers land in a buffer.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_FAKE_RELAY_H
#define SORI_TESTS_LIB_FAKE_RELAY_H

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proto/chandata.h"
#include "proto/turncred.h"
#include "turn/connect.h"
#include "turn/dispatch.h"

#define FAKE_MIN_PORT  50000
#define FAKE_MAX_PORT  50015
#define FAKE_WALL_S    UINT64_C(1700000000)
#define FAKE_SECRET    "current secret"
#define FAKE_PREVIOUS  "previous secret"
#define FAKE_REALM     "sori"
#define FAKE_REALM2    "second" /* at home on one listener, with the same users */
#define FAKE_LISTENER2 9
#define FAKE_RELAY     "198.41.0.4" /* any address that is not special */
#define FAKE_RELAY6    "2606:4700::4"
#define FAKE_OWN       "198.41.0.99" /* this machine's other address */

struct fake_relay {
    struct turn_shared shared;
    struct turn_relay relays[2];
    struct addr relay_addrs[2], own[1];
    struct turn_core core;
    uint64_t now_us;
    unsigned open[65536];          /* sockets open on a port, over all relay addresses */
    unsigned opened;               /* sockets open now */
    int open_error;                /* what the next opens return */
    unsigned connects;             /* outgoing connections begun */
    unsigned disconnects;          /* connections of either kind ended by us */
    int connect_error, tell_error; /* what the next ones return */
    struct peer_conn *conn;        /* begun last */
    unsigned left;                 /* 5-tuples given up at other workers */
    uint8_t told_buf[512];         /* what relay_ops.tell was given last */
    struct slice told;
    /* The last answer or result. */
    uint8_t buf[DISPATCH_ANSWER_MAX];
    struct slice answer;
    struct relay_to_peer out;
    struct relay_to_client back;
};

/* A client with its credentials and the server's last nonce. */
struct fake_client {
    struct five_tuple tuple;
    char user[128], password[64], realm[32];
    uint8_t key[STUN_KEY_BYTES], key256[STUN_KEY_SHA256_BYTES];
    uint8_t nonce[NONCE_BYTES];
    bool has_nonce;
    bool sha256; /* signs with a SHA-256 key if the last nonce offers it */
    bool hashed; /* sends USERHASH */
    uint64_t tids;
};

static inline struct addr fake_addr(const char *text)
{
    struct addr a;

    if (addr_parse(&a, slice_str(text)) != 0)
        abort();
    return a;
}

static inline int fake_open(void *arg, struct alloc *a, const struct addr *at)
{
    struct fake_relay *f = arg;

    (void)a;
    if (f->open_error)
        return f->open_error;
    f->open[at->port]++;
    f->opened++;
    a->relayed = *at;
    return 0;
}

static inline void fake_close(void *arg, struct alloc *a)
{
    struct fake_relay *f = arg;

    f->open[a->relayed.port]--;
    f->opened--;
}

static inline int fake_connect(void *arg, struct peer_conn *p)
{
    struct fake_relay *f = arg;

    f->connects++;
    f->conn = p;
    return f->connect_error;
}

static inline void fake_disconnect(void *arg, struct peer_conn *p)
{
    struct fake_relay *f = arg;

    f->disconnects++;
    if (f->conn == p)
        f->conn = NULL;
}

static inline int fake_tell(void *arg, const struct alloc *a, struct slice msg)
{
    struct fake_relay *f = arg;

    (void)a;
    if (f->tell_error || msg.len > sizeof(f->told_buf))
        return -ENOBUFS;
    memcpy(f->told_buf, msg.p, msg.len);
    f->told = slice_of(f->told_buf, msg.len);
    return 0;
}

static inline void fake_left(void *arg, unsigned worker, const struct five_tuple *tuple,
                             uint32_t seq)
{
    struct fake_relay *f = arg;

    (void)worker;
    (void)tuple;
    (void)seq;
    f->left++;
}

/* Makes a relay with one IPv4 and one IPv6 address and 16 ports on each. Returns 0 or -ENOMEM with
 * nothing held. */
static inline int fake_relay_init(struct fake_relay *f)
{
    static const struct relay_ops ops = {.open = fake_open,
                                         .close = fake_close,
                                         .connect = fake_connect,
                                         .disconnect = fake_disconnect,
                                         .tell = fake_tell,
                                         .left = fake_left};
    const struct slice secrets[] = {SLICE_LIT(FAKE_SECRET), SLICE_LIT(FAKE_PREVIOUS)};
    char err[CREDENTIALS_ERR_MAX];

    memset(f, 0, sizeof(*f));
    f->now_us = 1000 * US_PER_S;
    f->shared.limits = (struct turn_limits){
        .default_lifetime_s = 600,
        .max_lifetime_s = 3600,
        .nonce_lifetime_s = 600,
        .channel_max = 0x7fff,
        .source = {10000, 10},
        .source_entries = 64,
        .mobility = true,
        .tcp_allocations = true,
        .tcp_per_allocation = 4,
        .tcp_connect_us = 30 * US_PER_S,
        .tcp_bind_us = 30 * US_PER_S,
    };
    f->relay_addrs[0] = fake_addr(FAKE_RELAY);
    f->relay_addrs[1] = fake_addr(FAKE_RELAY6);
    f->own[0] = fake_addr(FAKE_OWN);
    for (size_t i = 0; i < 2; i++) {
        f->relays[i].bound = f->relays[i].shown = f->relay_addrs[i];
        portpool_init(&f->relays[i].pool, FAKE_MIN_PORT, FAKE_MAX_PORT);
    }
    f->shared.policy = (struct peer_policy){
        .own = f->own,
        .n_own = 1,
        .relay = f->relay_addrs,
        .n_relay = 2,
        .allow_relay_to_relay = true,
    };
    f->shared.relays = f->relays;
    f->shared.n_relays = 2;
    static const struct quota_rule rules[] = {{.per_account = 8}, {.per_account = 2}};
    f->shared.quota = quota_new(rules, ARRAY_LEN(rules), 0);
    f->shared.realms.n = ARRAY_LEN(rules);
    f->shared.realms.of[0].name = SLICE_LIT(FAKE_REALM);
    f->shared.realms.of[1] = (struct realm){
        .name = SLICE_LIT(FAKE_REALM2), .has_listeners = true, .listeners[FAKE_LISTENER2] = true};
    f->shared.reserve = reserve_new();
    f->shared.conn_ids = conn_ids_new(6);
    const struct slice users = SLICE_LIT("ann:of green gables\nbob:builder\n");
    const struct credentials_spec first = {
        .realm = SLICE_LIT(FAKE_REALM), .users = users, .secrets = secrets, .n_secrets = 2};
    const struct credentials_spec second = {.realm = SLICE_LIT(FAKE_REALM2), .users = users};
    struct credentials *creds = credentials_new(&first, err);
    struct credentials *more = creds ? credentials_new(&second, err) : NULL;
    if (more)
        credentials_chain(creds, more);
    if (f->shared.quota && f->shared.reserve && f->shared.conn_ids && more) {
        if (turn_core_init(&f->core, &f->shared, creds, &ops, f, f->now_us) == 0) {
            f->core.n_workers = 4;
            f->core.wall_offset_us = FAKE_WALL_S * US_PER_S - f->now_us;
            return 0;
        }
    } else {
        credentials_free(creds);
    }
    quota_free(f->shared.quota);
    reserve_free(f->shared.reserve);
    conn_ids_free(f->shared.conn_ids);
    return -ENOMEM;
}

static inline void fake_relay_fini(struct fake_relay *f)
{
    turn_core_fini(&f->core, f->now_us);
    quota_free(f->shared.quota);
    reserve_free(f->shared.reserve);
    conn_ids_free(f->shared.conn_ids);
}

/* Makes the client one of this realm. */
static inline void fake_client_realm(struct fake_client *c, const char *realm)
{
    slice_to_cstr(slice_str(realm), c->realm, sizeof(c->realm));
    stun_long_term_key(c->key, slice_str(c->user), slice_str(realm), slice_str(c->password));
    stun_long_term_key_sha256(c->key256, slice_str(c->user), slice_str(realm),
                              slice_str(c->password));
}

/* A client of a static user. */
static inline void fake_client_init(struct fake_client *c, const char *at, const char *user,
                                    const char *password)
{
    *c = (struct fake_client){.tuple = {.client = fake_addr(at)}};
    slice_to_cstr(slice_str(user), c->user, sizeof(c->user));
    slice_to_cstr(slice_str(password), c->password, sizeof(c->password));
    fake_client_realm(c, FAKE_REALM);
}

/* A client with a time-limited credential. */
static inline void fake_client_rest(struct fake_client *c, const char *at, const char *secret,
                                    uint64_t expiry_s, const char *call_id, const char *user)
{
    uint8_t name[128], pass[TURNCRED_PASSWORD_BYTES];
    struct wr wn = wr_init(name, sizeof(name)), wp = wr_init(pass, sizeof(pass));
    char n[128], p[64];

    if (turncred_grant(&wn, &wp, slice_str(secret), expiry_s, slice_str(call_id),
                       slice_str(user)) != 0)
        abort();
    slice_to_cstr(wr_done(&wn), n, sizeof(n));
    slice_to_cstr(wr_done(&wp), p, sizeof(p));
    fake_client_init(c, at, n, p);
}

/* Begins a request in w with a new transaction id. */
static inline void fake_begin(struct fake_client *c, struct wr *w, enum stun_method method)
{
    uint8_t tid[STUN_TID_BYTES];
    struct wr t = wr_init(tid, sizeof(tid));

    wr_be32(&t, c->tuple.client.port);
    wr_be64(&t, ++c->tids);
    stun_begin(w, stun_type(method, STUN_REQUEST), tid);
}

/* Adds credentials and integrity. */
static inline void fake_sign(const struct fake_client *c, struct wr *w)
{
    struct slice nonce = slice_of(c->nonce, sizeof(c->nonce));
    uint8_t hash[STUN_USERHASH_BYTES];

    stun_userhash(hash, slice_str(c->user), slice_str(c->realm));
    if (c->hashed)
        stun_put(w, STUN_ATTR_USERHASH, slice_of(hash, sizeof(hash)));
    else
        stun_put(w, STUN_ATTR_USERNAME, slice_str(c->user));
    stun_put(w, STUN_ATTR_REALM, slice_str(c->realm));
    stun_put(w, STUN_ATTR_NONCE, nonce);
    if (c->sha256 && (nonce_features(nonce) & NONCE_PASSWORD_ALGORITHMS)) {
        stun_put(w, STUN_ATTR_PASSWORD_ALGORITHMS, SLICE_LIT("\0\2\0\0\0\1\0\0"));
        stun_put(w, STUN_ATTR_PASSWORD_ALGORITHM, SLICE_LIT("\0\2\0\0"));
        stun_put_sha256(w, slice_of(c->key256, sizeof(c->key256)));
    } else if (c->sha256) {
        stun_put_sha256(w, slice_of(c->key, sizeof(c->key)));
    } else {
        stun_put_sha1(w, slice_of(c->key, sizeof(c->key)));
    }
}

/* Hands bytes to the relay as this client; the verdict's result is in *f. */
static inline enum dispatch_verdict fake_send(struct fake_relay *f, const struct fake_client *c,
                                              struct slice bytes)
{
    struct wr answer = wr_init(f->buf, sizeof(f->buf));
    enum dispatch_verdict v =
        dispatch_client(&f->core, &c->tuple, NULL, bytes, f->now_us, &answer, &f->out);

    f->answer = v == DISPATCH_ANSWER || v == DISPATCH_BIND ? wr_done(&answer) : (struct slice){0};
    return v;
}

/* The answer taken apart: 0 for a success, the error code, or -1 when there is none. Keeps a new
 * nonce. */
static inline int fake_code(struct fake_relay *f, struct fake_client *c)
{
    struct stun_msg m;
    struct slice v;

    if (stun_decode(&m, f->answer) != 0)
        return -1;
    if (stun_find(&m, STUN_ATTR_NONCE, &v) && v.len == NONCE_BYTES) {
        memcpy(c->nonce, v.p, NONCE_BYTES);
        c->has_nonce = true;
    }
    if (stun_class_of(m.type) == STUN_SUCCESS)
        return 0;
    return stun_find(&m, STUN_ATTR_ERROR_CODE, &v) ? stun_error_decode(v) : -1;
}

/* An attribute of the last answer. */
static inline bool fake_find(const struct fake_relay *f, enum stun_attr_type type, struct slice *v)
{
    struct stun_msg m;

    return stun_decode(&m, f->answer) == 0 && stun_find(&m, type, v);
}

static inline struct addr fake_find_addr(const struct fake_relay *f, enum stun_attr_type type)
{
    struct stun_msg m;
    struct slice v;
    struct addr a = {0};

    if (stun_decode(&m, f->answer) == 0 && stun_find(&m, type, &v))
        stun_xaddr_decode(&a, v, m.tid);
    return a;
}

/* Fetches a nonce if the client has none. */
static inline void fake_challenge(struct fake_relay *f, struct fake_client *c)
{
    uint8_t buf[128];
    struct wr w = wr_init(buf, sizeof(buf));

    if (c->has_nonce)
        return;
    fake_begin(c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, (uint32_t)STUN_TRANSPORT_UDP << 24);
    if (c->sha256) /* long enough to be offered it */
        stun_put(&w, STUN_ATTR_SOFTWARE, SLICE_LIT("fake client"));
    fake_send(f, c, wr_done(&w));
    fake_code(f, c);
}

/* Signs what w holds, sends it, gives fake_code(). */
static inline int fake_request(struct fake_relay *f, struct fake_client *c, struct wr *w)
{
    fake_sign(c, w);
    fake_send(f, c, wr_done(w));
    return fake_code(f, c);
}

/* Whole requests with the usual attributes. */
static inline int fake_allocate(struct fake_relay *f, struct fake_client *c)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_challenge(f, c);
    fake_begin(c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, (uint32_t)STUN_TRANSPORT_UDP << 24);
    return fake_request(f, c, &w);
}

/* A TCP allocation; c must come over a stream. */
static inline int fake_allocate_tcp(struct fake_relay *f, struct fake_client *c)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_challenge(f, c);
    fake_begin(c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, (uint32_t)STUN_TRANSPORT_TCP << 24);
    return fake_request(f, c, &w);
}

/* Gives 0 when the Connect waits for the peer (f->conn), else the error code. */
static inline int fake_connect_to(struct fake_relay *f, struct fake_client *c, const char *peer)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));
    struct addr a = fake_addr(peer);

    fake_challenge(f, c);
    fake_begin(c, &w, STUN_CONNECT);
    stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &a, w.base + STUN_HEADER_BYTES - STUN_TID_BYTES);
    fake_sign(c, &w);
    return fake_send(f, c, wr_done(&w)) == DISPATCH_LATER ? 0 : fake_code(f, c);
}

/* A ConnectionBind; 0: f->core.bound_id is what to join with. */
static inline int fake_connection_bind(struct fake_relay *f, struct fake_client *c, uint32_t id)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_challenge(f, c);
    fake_begin(c, &w, STUN_CONNECTION_BIND);
    stun_put_u32(&w, STUN_ATTR_CONNECTION_ID, id);
    return fake_request(f, c, &w);
}

/* What relay_ops.tell was given last, taken apart like an answer. */
static inline int fake_told(struct fake_relay *f, uint32_t *id)
{
    struct stun_msg m;
    struct slice v;

    if (stun_decode(&m, f->told) != 0)
        return -1;
    if (stun_find(&m, STUN_ATTR_CONNECTION_ID, &v))
        stun_u32_decode(id, v);
    if (stun_class_of(m.type) != STUN_ERROR)
        return 0;
    return stun_find(&m, STUN_ATTR_ERROR_CODE, &v) ? stun_error_decode(v) : -1;
}

/* An Allocate that asks for a ticket, which it gives. */
static inline int fake_allocate_mobile(struct fake_relay *f, struct fake_client *c,
                                       uint8_t ticket[TICKET_BYTES])
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice v;

    fake_challenge(f, c);
    fake_begin(c, &w, STUN_ALLOCATE);
    stun_put_u32(&w, STUN_ATTR_REQUESTED_TRANSPORT, (uint32_t)STUN_TRANSPORT_UDP << 24);
    stun_put(&w, STUN_ATTR_MOBILITY_TICKET, (struct slice){0});
    int code = fake_request(f, c, &w);
    if (code == 0 && fake_find(f, STUN_ATTR_MOBILITY_TICKET, &v) && v.len == TICKET_BYTES)
        memcpy(ticket, v.p, TICKET_BYTES);
    return code;
}

/* A Refresh with a ticket, which is replaced by the new one; REQUEST_FORWARD: it is for the worker
 * f->core.forward_to. */
static inline int fake_move(struct fake_relay *f, struct fake_client *c,
                            uint8_t ticket[TICKET_BYTES], uint32_t lifetime_s)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));
    struct slice v;

    fake_challenge(f, c);
    fake_begin(c, &w, STUN_REFRESH);
    stun_put_u32(&w, STUN_ATTR_LIFETIME, lifetime_s);
    stun_put(&w, STUN_ATTR_MOBILITY_TICKET, slice_of(ticket, TICKET_BYTES));
    fake_sign(c, &w);
    if (fake_send(f, c, wr_done(&w)) == DISPATCH_FORWARD)
        return REQUEST_FORWARD;
    int code = fake_code(f, c);
    if (code == 0 && fake_find(f, STUN_ATTR_MOBILITY_TICKET, &v) && v.len == TICKET_BYTES)
        memcpy(ticket, v.p, TICKET_BYTES);
    return code;
}

/* family: as on the wire, 0 = none named. */
static inline int fake_refresh_family(struct fake_relay *f, struct fake_client *c, uint8_t family,
                                      uint32_t lifetime_s)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));

    fake_begin(c, &w, STUN_REFRESH);
    stun_put_u32(&w, STUN_ATTR_LIFETIME, lifetime_s);
    if (family)
        stun_put_u32(&w, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, (uint32_t)family << 24);
    return fake_request(f, c, &w);
}

static inline int fake_refresh(struct fake_relay *f, struct fake_client *c, uint32_t lifetime_s)
{
    return fake_refresh_family(f, c, 0, lifetime_s);
}

/* The transaction id that the next fake_begin() of c has begun in w. */
static inline const uint8_t *fake_tid(const struct wr *w)
{
    return w->base + STUN_HEADER_BYTES - STUN_TID_BYTES;
}

static inline int fake_permit(struct fake_relay *f, struct fake_client *c, const char *peer)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));
    struct addr a = fake_addr(peer);

    fake_begin(c, &w, STUN_CREATE_PERMISSION);
    stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &a, fake_tid(&w));
    return fake_request(f, c, &w);
}

static inline int fake_bind(struct fake_relay *f, struct fake_client *c, uint16_t number,
                            const char *peer)
{
    uint8_t buf[1024];
    struct wr w = wr_init(buf, sizeof(buf));
    struct addr a = fake_addr(peer);

    fake_begin(c, &w, STUN_CHANNEL_BIND);
    stun_put_u32(&w, STUN_ATTR_CHANNEL_NUMBER, (uint32_t)number << 16);
    stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &a, fake_tid(&w));
    return fake_request(f, c, &w);
}

static inline enum dispatch_verdict fake_send_indication(struct fake_relay *f,
                                                         struct fake_client *c, const char *peer,
                                                         struct slice data)
{
    static uint8_t buf[2048];
    struct wr w = wr_init(buf, sizeof(buf));
    struct addr a = fake_addr(peer);
    uint8_t tid[STUN_TID_BYTES] = {9};

    stun_begin(&w, stun_type(STUN_SEND, STUN_INDICATION), tid);
    stun_put_xaddr(&w, STUN_ATTR_XOR_PEER_ADDRESS, &a, tid);
    stun_put(&w, STUN_ATTR_DATA, data);
    return fake_send(f, c, wr_done(&w));
}

static inline enum dispatch_verdict fake_channel(struct fake_relay *f, struct fake_client *c,
                                                 uint16_t number, struct slice data)
{
    static uint8_t buf[2048];
    struct wr w = wr_init(buf, sizeof(buf));

    chandata_put_header(&w, number, data.len);
    wr_bytes(&w, data);
    return fake_send(f, c, wr_done(&w));
}

/* The client's allocation in the core. */
static inline struct alloc *fake_alloc(struct fake_relay *f, const struct fake_client *c)
{
    return alloc_find(&f->core.allocs, &c->tuple);
}

/* A datagram from a peer to the client's relayed address; the result is in f->back. */
static inline bool fake_from_peer(struct fake_relay *f, struct fake_client *c, const char *peer,
                                  struct slice data)
{
    struct addr a = fake_addr(peer);

    return relay_from_peer(&f->core, fake_alloc(f, c), &a, data, f->now_us, &f->back);
}

/* Lets time pass. */
static inline void fake_pass(struct fake_relay *f, uint64_t us)
{
    f->now_us += us;
    turn_core_tick(&f->core, f->now_us);
}

/* Relayed addresses of all allocations. */
static inline unsigned fake_addresses(const struct fake_relay *f)
{
    size_t pos = 0;
    struct hnode *saved = NULL;
    const struct alloc *a;
    unsigned n = 0;

    while ((a = alloc_table_walk(&f->core.allocs, &pos, &saved)))
        n += alloc_addresses(a);
    return n;
}

/* Ports taken on all relay addresses. */
static inline unsigned fake_ports(struct fake_relay *f)
{
    return portpool_in_use(&f->relays[0].pool) + portpool_in_use(&f->relays[1].pool);
}

#endif
