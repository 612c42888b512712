/* What a client sent: answered, relayed or dropped.
 *
 * Called by turn_udp_listener.c, turn_dtls_listener.c and turn_tcp_listener.c. Pure.
 *
 *     first byte 64..127 ──► relay_channel                                  ──► to the peer
 *     first byte 0..3 ──► stun_decode ─┬─ Binding ──► bind_answer          ──► answer
 *                                      ├─ Send ──► relay_send              ──► to the peer
 *                                      └─ request ──► stun_auth_check ──► handler ──► answer
 *                        (Connect: connect_done ──► dispatch_late ──► answer)
 *
 * Answers over UDP to who is not authenticated carry no reason phrase and no SOFTWARE and are
 * limited per source: they are worth little to somebody who forges the source address.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/dispatch.h"

#include "base/crypto.h"
#include "proto/chandata.h"
#include "turn/allocate.h"
#include "turn/connect.h"
#include "turn/discovery.h"
#include "turn/permit.h"

#define HELD_US            (30 * US_PER_S) /* no request waits longer, whatever happens */
#define UNKNOWN_LISTED_MAX 8               /* attribute types that a 420 names */
#define AMPLIFY_TENTHS     26 /* a challenge that offers SHA-256 is at most 2.6 times the request */

static enum dispatch_verdict drop(struct turn_core *c, enum turn_drop why)
{
    turn_metrics_drop(&c->metrics, why);
    return DISPATCH_DROP;
}

/* Comprehension-required attributes that we know; known ones out of place are ignored. */
static bool is_known(uint16_t type)
{
    switch (type) {
    case STUN_ATTR_MAPPED_ADDRESS:
    case STUN_ATTR_USERNAME:
    case STUN_ATTR_ERROR_CODE:
    case STUN_ATTR_UNKNOWN_ATTRIBUTES:
    case STUN_ATTR_CHANNEL_NUMBER:
    case STUN_ATTR_LIFETIME:
    case STUN_ATTR_XOR_PEER_ADDRESS:
    case STUN_ATTR_DATA:
    case STUN_ATTR_REALM:
    case STUN_ATTR_NONCE:
    case STUN_ATTR_XOR_RELAYED_ADDRESS:
    case STUN_ATTR_REQUESTED_ADDRESS_FAMILY:
    case STUN_ATTR_EVEN_PORT:
    case STUN_ATTR_REQUESTED_TRANSPORT:
    case STUN_ATTR_DONT_FRAGMENT:
    case STUN_ATTR_PASSWORD_ALGORITHM:
    case STUN_ATTR_USERHASH:
    case STUN_ATTR_XOR_MAPPED_ADDRESS:
    case STUN_ATTR_RESERVATION_TOKEN:
    case STUN_ATTR_CONNECTION_ID:
        return true;
    default:
        return type >= STUN_ATTR_OPTIONAL_MIN;
    }
}

/* Known where the realm takes tokens: elsewhere it is unexpected (RFC 7635 §9). */
static bool is_token(const struct request *r, uint16_t type)
{
    return type == STUN_ATTR_ACCESS_TOKEN && stun_method_of(r->msg->type) != STUN_BINDING &&
           credentials_access_keys(credentials_of(r->core->creds, r->realm));
}

/* The requests that we know. Others are dropped, those of methods that are indications too (RFC
 * 8489 §6.3). */
static bool is_request(uint16_t method)
{
    switch (method) {
    case STUN_BINDING:
    case STUN_ALLOCATE:
    case STUN_REFRESH:
    case STUN_CREATE_PERMISSION:
    case STUN_CHANNEL_BIND:
    case STUN_CONNECT:
    case STUN_CONNECTION_BIND:
        return true;
    default:
        return false;
    }
}

static bool is_of_discovery(uint16_t type)
{
    return type == STUN_ATTR_CHANGE_REQUEST || type == STUN_ATTR_RESPONSE_PORT ||
           type == STUN_ATTR_PADDING;
}

/* Lists what we must understand but do not. Returns how many types were written to list. */
static unsigned unknown_attrs(const struct request *r, struct wr *list)
{
    bool discovery = stun_method_of(r->msg->type) == STUN_BINDING && discovery_applies(r);
    struct slice at = r->msg->attrs;
    struct stun_attr a;
    unsigned n = 0;

    while (n < UNKNOWN_LISTED_MAX && stun_next(&at, &a)) {
        if (!is_known(a.type) && !is_token(r, a.type) && !(discovery && is_of_discovery(a.type))) {
            wr_be16(list, a.type);
            n++;
        }
    }
    return n;
}

/* Adds what a client needs to try again. SHA-256 is offered to a client whose address is proven
 * and where the answer stays short against the request; or as configured. */
static void put_challenge(const struct request *r, struct wr *w)
{
    struct turn_core *c = r->core;
    const struct credentials *creds = credentials_of(c->creds, r->realm);
    enum turn_sha256 rule = c->shared->limits.sha256;
    size_t len = w->len + stun_auth_challenge_bytes(creds);
    bool brief = len * 10 <= r->msg->raw.len * AMPLIFY_TENTHS;
    bool offer = rule == TURN_SHA256_ALWAYS ||
                 (rule == TURN_SHA256_AUTO && (brief || five_tuple_is_proven(r->from)));

    stun_auth_challenge(w, creds, &c->nonces, r->from, offer, r->now_us);
}

/* Where to go instead: the address of the client's family first. The name in the certificate there
 * is for who checks one, and knows the attribute: he has signed with SHA-256 (RFC 8489 §10). */
static void put_alternates(const struct request *r, struct wr *w)
{
    const struct turn_shared *s = r->core->shared;
    uint8_t family = r->from->client.family;
    const struct addr *other = turn_shared_alternate(s, family == ADDR_V4 ? ADDR_V6 : ADDR_V4);
    bool tls = r->from->transport == FIVE_TUPLE_TLS || r->from->transport == FIVE_TUPLE_DTLS;

    stun_put_addr(w, STUN_ATTR_ALTERNATE_SERVER, turn_shared_alternate(s, family));
    if (other)
        stun_put_addr(w, STUN_ATTR_ALTERNATE_SERVER, other);
    if (tls && r->msg->mi256_at && s->alternate_domain.len > 0)
        stun_put(w, STUN_ATTR_ALTERNATE_DOMAIN, s->alternate_domain);
}

/* Replaces whatever w holds by an error answer without integrity. */
static void put_error(const struct request *r, int code, struct wr *w)
{
    const struct stun_msg *m = r->msg;

    *w = wr_init(w->base, w->cap);
    stun_begin(w, stun_type((enum stun_method)stun_method_of(m->type), STUN_ERROR), m->tid);
    stun_put_error(w, (enum stun_error)code, r->id.key_len > 0 || five_tuple_is_proven(r->from));
    if (code == STUN_ERR_UNAUTHENTICATED || code == STUN_ERR_STALE_NONCE)
        put_challenge(r, w);
    if (code == STUN_ERR_TRY_ALTERNATE)
        put_alternates(r, w);
    if (code == STUN_ERR_UNKNOWN_ATTRIBUTE) {
        uint8_t types[2 * UNKNOWN_LISTED_MAX];
        struct wr list = wr_init(types, sizeof(types));
        unknown_attrs(r, &list);
        stun_put(w, STUN_ATTR_UNKNOWN_ATTRIBUTES, wr_done(&list));
    }
    turn_metrics_error(&r->core->metrics, code);
}

/* Req of TRANSACTION_TRANSMIT_COUNTER is echoed; we do not count retransmissions, each answer is
 * told as the only one: with Req, that is what a client needs to match them (RFC 7982 §3.1). */
static uint32_t counter_echo(uint32_t counter)
{
    return (counter & 0xff00) | 1;
}

/* What follows is added before integrity. */
static void put_software(const struct request *r, struct wr *w)
{
    uint16_t method = stun_method_of(r->msg->type);

    if (r->core->shared->software.len > 0 && (method == STUN_ALLOCATE || method == STUN_REFRESH))
        stun_put(w, STUN_ATTR_SOFTWARE, r->core->shared->software);
}

static void put_counter(const struct request *r, struct wr *w)
{
    struct slice value;
    uint32_t counter;

    if (stun_find(r->msg, STUN_ATTR_TRANSMIT_COUNTER, &value) &&
        stun_u32_decode(&counter, value) == 0)
        stun_put_u32(w, STUN_ATTR_TRANSMIT_COUNTER, counter_echo(counter));
}

/* Ends an answer. FINGERPRINT only for those who use it: 8 bytes less for a reflector. */
static enum dispatch_verdict finish(const struct request *r, struct wr *w)
{
    if (r->msg->has_fingerprint)
        stun_put_fingerprint(w);
    return w->bad ? drop(r->core, TURN_DROP_NO_MEMORY) : DISPATCH_ANSWER;
}

/* True when the source is proven, or an answer to it is within its limit. */
static bool may_answer(const struct request *r)
{
    return five_tuple_is_proven(r->from) ||
           source_limit_take(r->core->sources, &r->from->client, r->now_us);
}

static enum dispatch_verdict refuse(const struct request *r, int code, struct wr *w)
{
    if (!may_answer(r))
        return drop(r->core, TURN_DROP_SOURCE_LIMIT);
    put_error(r, code, w);
    return finish(r, w);
}

/* Binding: where does the client come from (RFC 8489 §6.3.1.1)? Needs no credentials. */
static enum dispatch_verdict bind_answer(const struct request *r, struct wr *w)
{
    uint8_t types[2 * UNKNOWN_LISTED_MAX];
    struct wr list = wr_init(types, sizeof(types));

    if (unknown_attrs(r, &list) > 0)
        return refuse(r, STUN_ERR_UNKNOWN_ATTRIBUTE, w);
    bool discovery = discovery_applies(r);
    struct discovery_route route;
    if (discovery && discovery_route(r, &route) != 0)
        return refuse(r, STUN_ERR_BAD_REQUEST, w);
    if (!may_answer(r))
        return drop(r->core, TURN_DROP_SOURCE_LIMIT);
    stun_begin(w, stun_type(STUN_BINDING, STUN_SUCCESS), r->msg->tid);
    stun_put_xaddr(w, STUN_ATTR_XOR_MAPPED_ADDRESS, &r->from->client, r->msg->tid);
    put_counter(r, w);
    if (!discovery)
        return finish(r, w);
    discovery_put(r, &route, w);
    r->core->elsewhere_from = route.listener;
    r->core->elsewhere_to = route.to;
    return finish(r, w) == DISPATCH_ANSWER ? DISPATCH_ANSWER_ELSEWHERE : DISPATCH_DROP;
}

/* Data for a peer; dropped when there is something in it that must be understood and is not (RFC
 * 8489 §6.3.2). */
static enum dispatch_verdict send_indication(const struct request *r, struct relay_to_peer *out)
{
    uint8_t types[2 * UNKNOWN_LISTED_MAX];
    struct wr list = wr_init(types, sizeof(types));

    turn_metrics_request(&r->core->metrics, STUN_SEND);
    if (unknown_attrs(r, &list) > 0)
        return drop(r->core, TURN_DROP_UNEXPECTED);
    return relay_send(r->core, r->from, r->msg, r->now_us, out) ? DISPATCH_RELAY : DISPATCH_DROP;
}

static int handle(struct request *r, struct wr *w)
{
    uint8_t types[2 * UNKNOWN_LISTED_MAX];
    struct wr list = wr_init(types, sizeof(types));

    if (unknown_attrs(r, &list) > 0)
        return STUN_ERR_UNKNOWN_ATTRIBUTE;
    switch (stun_method_of(r->msg->type)) {
    case STUN_ALLOCATE:
        return allocate_request(r, w);
    case STUN_REFRESH:
        return allocate_refresh(r, w);
    case STUN_CREATE_PERMISSION:
        return permit_create(r, w);
    case STUN_CHANNEL_BIND:
        return permit_bind(r, w);
    case STUN_CONNECT:
        return connect_request(r, w);
    case STUN_CONNECTION_BIND:
        return connect_bind(r, w);
    default:
        return STUN_ERR_BAD_REQUEST;
    }
}

/* The realm that the request is checked under, or challenged for. */
static unsigned realm_of(const struct request *r)
{
    struct slice named = {0}, origin = {0};

    stun_find(r->msg, STUN_ATTR_REALM, &named);
    stun_find(r->msg, STUN_ATTR_ORIGIN, &origin);
    return realm_for(&r->core->shared->realms, r->from, named, origin);
}

/* The token that holds the client's allocation, or NULL. */
static const struct access_token *session_of(const struct request *r)
{
    return r->alloc && r->alloc->realm == r->realm ? r->alloc->grant : NULL;
}

/* A proxy may have taken another port meanwhile: data goes where the last good request came from.
 */
static void keep_route(const struct request *r)
{
    struct alloc *a = alloc_find(&r->core->allocs, r->from);

    if (a)
        *(five_tuple_eq(&a->tuple, r->from) ? &a->via : &a->mobile->next.via) = r->core->via;
}

/* Whether the user is asked for, or was before and the answer is on its way. Each question counts
 * against the source, as an answer to a stranger does. */
static bool is_asked(const struct request *r)
{
    struct turn_core *c = r->core;
    struct slice name = r->id.username;
    struct known_keys keys;

    if (key_cache_find(c->keys, r->realm, name, r->now_us, &keys) == KEY_CACHE_ASKED)
        return true;
    if (!source_limit_take(c->sources, &r->from->client, r->now_us))
        return false;
    if (key_cache_asked(c->keys, r->realm, name, r->now_us) == 0 && c->ops->look_up &&
        c->ops->look_up(c->ops_arg, r->realm, name) == 0)
        return true;
    key_cache_failed(c->keys, r->realm, name, r->now_us);
    return false;
}

static enum dispatch_verdict authenticated(struct request *r, struct wr *w);

/* The user may be known elsewhere. Over UDP the client sends again, by the time that the answer is
 * there; of a stream nothing comes again, so the request waits. */
static enum dispatch_verdict ask(struct request *r, struct wr *w)
{
    struct turn_core *c = r->core;
    struct known_keys keys;

    if (!is_asked(r)) {
        /* What is remembered from earlier counts as long as nobody can be asked. */
        bool stale =
            key_cache_find(c->keys, r->realm, r->id.username, r->now_us, &keys) == KEY_CACHE_FOUND;
        crypto_wipe(&keys, sizeof(keys));
        return stale ? authenticated(r, w) : refuse(r, STUN_ERR_SERVER_ERROR, w);
    }
    if (!five_tuple_is_stream(r->from))
        return drop(c, TURN_DROP_LOOK_UP);
    if (c->forwarded || /* its connection is another worker's: the client has to ask again */
        held_add(&c->held, r->from, r->link, r->realm, r->id.username, r->msg->raw,
                 r->now_us + HELD_US) != 0)
        return refuse(r, STUN_ERR_SERVER_ERROR, w);
    return DISPATCH_DROP;
}

/* A request that needs credentials: verify, handle, answer with integrity. */
static enum dispatch_verdict authenticated(struct request *r, struct wr *w)
{
    struct turn_core *c = r->core;
    struct slice unexpected;

    r->realm = realm_of(r);
    r->alloc = alloc_find(&c->allocs, r->from);
    const struct credentials *creds = credentials_of(c->creds, r->realm);
    if (!credentials_access_keys(creds) && stun_find(r->msg, STUN_ATTR_ACCESS_TOKEN, &unexpected))
        return refuse(r, STUN_ERR_UNKNOWN_ATTRIBUTE, w); /* RFC 7635 §9 */
    const struct stun_auth_env env = {
        .creds = creds,
        .realm = r->realm,
        .nonces = &c->nonces,
        .from = r->from,
        .session = session_of(r),
        .cache = c->keys,
        .now_us = r->now_us,
        .wall_us = r->now_us + c->wall_offset_us,
    };
    int code = stun_auth_check(&r->id, r->msg, &env);

    if (code == STUN_AUTH_ASK)
        return ask(r, w);
    if (code)
        return refuse(r, code, w);
    stun_begin(w, stun_type((enum stun_method)stun_method_of(r->msg->type), STUN_SUCCESS),
               r->msg->tid);
    code = handle(r, w);
    if (code == REQUEST_FORWARD) {
        crypto_wipe(&r->id, sizeof(r->id));
        return DISPATCH_FORWARD;
    }
    if (code && code != REQUEST_LATER)
        put_error(r, code, w);
    else
        keep_route(r);
    if (r->alloc)
        turn_core_offload(c, r->alloc, true);
    put_counter(r, w);
    put_software(r, w);
    stun_auth_sign(w, &r->id);
    crypto_wipe(&r->id, sizeof(r->id));
    if (code == REQUEST_LATER)
        return DISPATCH_LATER;
    enum dispatch_verdict v = finish(r, w);
    return v == DISPATCH_ANSWER && r->bound ? DISPATCH_BIND : v;
}

void dispatch_late(struct turn_core *c, const struct deferred *d, int code, uint32_t id,
                   struct wr *w)
{
    enum stun_method method = (enum stun_method)d->method;

    stun_begin(w, stun_type(method, code ? STUN_ERROR : STUN_SUCCESS), d->tid);
    if (code) {
        stun_put_error(w, (enum stun_error)code, true);
        turn_metrics_error(&c->metrics, code);
    } else {
        stun_put_u32(w, STUN_ATTR_CONNECTION_ID, id);
    }
    if (d->has_counter)
        stun_put_u32(w, STUN_ATTR_TRANSMIT_COUNTER, counter_echo(d->counter));
    stun_auth_sign(w, &d->id);
    if (d->fingerprint)
        stun_put_fingerprint(w);
}

/* True when the message is for the worker that has the client's allocation: not Binding, which
 * anybody answers. */
static bool is_guests(struct turn_core *c, const struct five_tuple *from, struct slice msg,
                      uint64_t now_us)
{
    struct guest *g = c->forwarded ? NULL : guest_find(&c->guests, from);
    bool stun = !chandata_is(msg.p[0]);

    if (!g || (stun && (msg.len < 2 ||
                        stun_method_of((uint16_t)(msg.p[0] << 8 | msg.p[1])) == STUN_BINDING)))
        return false;
    if (stun)
        guest_extend(&c->guests, g,
                     now_us + c->shared->limits.max_lifetime_s * US_PER_S + GUEST_US);
    c->forward_to = g->owner;
    return true;
}

enum dispatch_verdict dispatch_client(struct turn_core *c, const struct five_tuple *from,
                                      void *link, struct slice msg, uint64_t now_us,
                                      struct wr *answer, struct relay_to_peer *out)
{
    struct stun_msg m;

    if (msg.len == 0)
        return drop(c, TURN_DROP_NOT_TURN);
    if (guests_count(&c->guests) > 0 && is_guests(c, from, msg, now_us))
        return DISPATCH_FORWARD;
    if (chandata_is(msg.p[0]))
        return relay_channel(c, from, msg, now_us, out) ? DISPATCH_RELAY : DISPATCH_DROP;
    if (msg.p[0] > 3)
        return drop(c, TURN_DROP_NOT_TURN);
    if (!client_policy_allows(&c->shared->clients, &from->client))
        return drop(c, TURN_DROP_CLIENT_DENIED);
    if (stun_decode(&m, msg) != 0)
        return drop(c, TURN_DROP_BAD_STUN);

    struct request r = {.core = c, .msg = &m, .from = from, .link = link, .now_us = now_us};
    enum stun_class class = stun_class_of(m.type);
    uint16_t method = stun_method_of(m.type);
    if (class == STUN_INDICATION && method == STUN_SEND)
        return send_indication(&r, out);
    if (class != STUN_REQUEST || !is_request(method))
        return drop(c, TURN_DROP_UNEXPECTED);
    turn_metrics_request(&c->metrics, method);
    if (method == STUN_BINDING)
        return bind_answer(&r, answer);
    if (c->shared->limits.stun_only)
        return drop(c, TURN_DROP_STUN_ONLY);
    return authenticated(&r, answer);
}
