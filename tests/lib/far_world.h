/* Other nodes without sockets, around the router of fake_world.h: what is asked of Redis, what is
 * said over the bus, how nodes fare.
 *
 * Nodes are letters from a (this one) to f, and the process of each has an epoch: b has 0xb1. The
 * bus acknowledges nothing. Redis answers all but the question for a user's calls at once: that one
 * waits for far_answer(), and what is asked behind it waits with it.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_FAR_WORLD_H
#define SORI_TESTS_LIB_FAR_WORLD_H

#include "server/call_share.h"
#include "server/room_share.h"
#include "server/router_far_priv.h"
#include "server/session_share.h"
#include "tests/lib/fake_world.h"
#include "tests/lib/redis_world.h"

enum { FAR_NODES = 6, FAR_HEARD_MAX = 600, FAR_ASKED_MAX = 512 };

/* A body that a node was sent. */
struct far_heard {
    char node;
    enum far_kind kind;
    enum call_event_kind event; /* EVENT */
    uint8_t flags;
    struct sig_call_id call;
    uint64_t id_hash;
    uint8_t session[SESSION_ID_BYTES];
    char device[SIG_DEVICE_MAX + 1], text[400]; /* as much as fits */
};

static struct {
    struct node_bus *bus;
    struct call_claims claims;
    bool ready; /* Redis is there; else it was there last at away_us */
    uint64_t away_us;
    bool idle; /* Redis's client looks at no clock of its own, */
    bool cut;  /* and can send nothing */
    enum node_alive alive[FAR_NODES];
    uint64_t dead_us; /* of all that are dead */
    uint64_t lapses, known;
    size_t looks;       /* questions for a user's calls so far */
    char look_key[64];  /* the last one's */
    const char *second; /* a key of a list in which an entry that is added is the second one */
    char removed[4096]; /* values that were taken out of lists, a line each, if there is room */
    char
        asked[FAR_ASKED_MAX]; /* what Redis owes answers to, oldest first: 'L' is such a question */
    size_t asked_n;
    struct far_heard heard[FAR_HEARD_MAX];
    size_t heard_n;
    uint64_t heard_seq[FAR_NODES], said_seq[FAR_NODES];
    struct slice scripts[CALL_SHARE_SCRIPTS + SESSION_SHARE_SCRIPTS + ROOM_SHARE_SCRIPTS];
} far_world;

static inline uint64_t far_epoch(char node)
{
    return 0xa1 + (uint64_t)(node - 'a') * 16;
}

static inline struct sig_call_id far_call_id(const char *text)
{
    struct sig_call_id id;

    if (sig_call_id_parse(&id, slice_str(text)) != 0)
        abort();
    return id;
}

/* ---- the bus ---- */

static inline void far_hear(char node, struct slice body)
{
    struct far_heard *h = &far_world.heard[far_world.heard_n++];
    struct far_message m;

    if (far_world.heard_n > FAR_HEARD_MAX || far_wire_decode(&m, body) != 0)
        abort();
    *h = (struct far_heard){.node = node,
                            .kind = m.kind,
                            .event = (enum call_event_kind)m.event,
                            .flags = m.flags,
                            .call = m.call,
                            .id_hash = m.id_hash};
    memcpy(h->session, m.session, sizeof(h->session));
    (void)slice_to_cstr(m.device, h->device, sizeof(h->device));
    (void)slice_to_cstr(slice_sub(m.text, 0, sizeof(h->text) - 1), h->text, sizeof(h->text));
}

static void far_say(void *arg, struct slice node, struct slice text)
{
    char name = (char)node.p[0];
    struct node_bus_head h;
    struct slice body;

    (void)arg;
    if (node_bus_decode(&h, text) != 0)
        abort();
    for (uint64_t seq = h.seq; node_bus_take(&h.bodies, &body); seq++)
        if (seq > far_world.heard_seq[name - 'a']) {
            far_world.heard_seq[name - 'a'] = seq;
            far_hear(name, body);
        }
}

static enum node_alive far_alive(void *arg, struct slice node, uint64_t epoch)
{
    (void)arg;
    return epoch == far_epoch((char)node.p[0]) ? far_world.alive[node.p[0] - 'a'] : NODE_DEAD;
}

static uint64_t far_dead_us(void *arg, struct slice node, uint64_t epoch)
{
    return far_alive(arg, node, epoch) == NODE_DEAD ? far_world.dead_us : 0;
}

static bool far_dead(void *arg, struct slice node, uint64_t epoch, uint64_t since_us)
{
    (void)since_us;
    return far_alive(arg, node, epoch) == NODE_DEAD;
}

static bool far_lives(void *arg, struct slice node, uint64_t epoch)
{
    return far_alive(arg, node, epoch) == NODE_ALIVE;
}

static bool far_ready(void *arg, uint64_t *away_us)
{
    (void)arg;
    *away_us = far_world.away_us;
    return far_world.ready;
}

static bool far_saves(void *arg)
{
    (void)arg;
    return far_world.ready;
}

static uint64_t far_lapses(void *arg)
{
    (void)arg;
    return far_world.lapses;
}

static void far_is_known(void *arg, uint64_t lapses)
{
    (void)arg;
    far_world.known = lapses;
}

static void far_push(void *arg)
{
    (void)arg;
}

static const struct node_bus_ops far_bus_ops = {far_say, far_dead, far_lives, NULL, NULL};

/* A node says m. */
static inline void far_says(struct world *w, char node, const struct far_message *m)
{
    static uint8_t bytes[2][NODE_BUS_HEAD_MAX + FAR_WIRE_HEAD_MAX + 4096];
    struct wr body = wr_init(bytes[0], sizeof(bytes[0])), one = wr_init(bytes[1], sizeof(bytes[1]));
    uint64_t seq = ++far_world.said_seq[node - 'a'];

    far_wire_encode(&body, m);
    node_bus_add(&one, wr_done(&body));
    body = wr_init(bytes[0], sizeof(bytes[0]));
    node_bus_encode(&body, &(struct node_bus_head){.from_epoch = far_epoch(node),
                                                   .to_epoch = far_epoch('a'),
                                                   .seq = seq,
                                                   .first = seq,
                                                   .from = slice_of((const uint8_t *)&node, 1),
                                                   .bodies = wr_done(&one)});
    if (one.bad || body.bad)
        abort();
    node_bus_heard(far_world.bus, wr_done(&body), w->now);
}

/* ---- Redis ---- */

static inline size_t far_word(const char **p, const char **word)
{
    char *end;
    size_t n = strtoul(*p + 1, &end, 10);

    *word = end + 2;
    *p = *word + n + 2;
    return n;
}

/* Takes what was asked since. */
static inline void far_take_asked(void)
{
    const char *p = world_take(4096);

    while (*p == '*') {
        char *end;
        size_t n = strtoul(p + 1, &end, 10);
        const char *name, *word;
        p = end + 2;
        size_t len = far_word(&p, &name);
        char kind = len == 6 && memcmp(name, "LRANGE", len) == 0    ? 'L'
                    : len == 5 && memcmp(name, "RPUSH", len) == 0   ? '1'
                    : len == 4 && memcmp(name, "LREM", len) == 0    ? 'X'
                    : len == 7 && memcmp(name, "HGETALL", len) == 0 ? 'A'
                    : len == 4 && memcmp(name, "ROLE", len) == 0    ? 'R'
                    : len == 6 && memcmp(name, "SCRIPT", len) == 0  ? 'S'
                                                                    : 'I';
        for (size_t i = 1; i < n; i++) {
            size_t word_len = far_word(&p, &word);
            const struct slice text = slice_of((const uint8_t *)word, word_len);
            if (i == 1 && kind == 'L') {
                far_world.looks++;
                (void)slice_to_cstr(text, far_world.look_key, sizeof(far_world.look_key));
            }
            if (i == 1 && kind == '1' && far_world.second && slice_is(text, far_world.second))
                kind = '2';
            size_t at = strlen(far_world.removed);
            if (i == 3 && kind == 'X' && word_len + 2 < sizeof(far_world.removed) - at)
                snprintf(far_world.removed + at, sizeof(far_world.removed) - at, "%.*s\n",
                         SLICE_FMT(text));
        }
        if (far_world.asked_n == FAR_ASKED_MAX)
            abort();
        far_world.asked[far_world.asked_n++] = kind;
    }
}

static inline void far_reply(const char *text)
{
    memmove(far_world.asked, far_world.asked + 1, --far_world.asked_n);
    world_say(text);
}

/* Redis answers all that it may answer. */
static inline void far_redis(struct world *w)
{
    world.now = w->now;
    if (far_world.cut)
        return;
    for (far_take_asked(); far_world.asked_n > 0 && far_world.asked[0] != 'L'; far_take_asked())
        switch (far_world.asked[0]) {
        case 'A':
            far_reply("*0\r\n");
            break;
        case 'R':
            far_reply("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
            break;
        case 'S':
            far_reply("$40\r\n" REDIS_WORLD_SHA "\r\n");
            break;
        case '1':
            far_reply(":1\r\n");
            break;
        case '2':
            far_reply(":2\r\n");
            break;
        default:
            far_reply(":0\r\n");
        }
}

/* Lets time pass for router and Redis; 0: to the end of the turn. */
static inline void far_pass(struct world *w, uint64_t us)
{
    uint64_t end = w->now + us;

    far_redis(w);
    for (uint64_t at; (at = router_deadline(w->r)) <= end; far_redis(w)) {
        w->now = at > w->now ? at : w->now;
        router_clock(w->r, w->now, FAKE_WALL + w->now);
        if (!far_world.idle)
            redis_client_tick(world.c, w->now);
        router_tick(w->r);
    }
    w->now = end;
    router_clock(w->r, w->now, FAKE_WALL + w->now);
}

/* Questions for a user's calls that have no answer. */
static inline size_t far_open(void)
{
    size_t n = 0;

    for (size_t i = 0; i < far_world.asked_n; i++)
        n += far_world.asked[i] == 'L';
    return n;
}

/* A user's entry of a call that the node runs. Up to 32 live at once. */
static inline const char *far_entry(const char *call, char node)
{
    static char ring[32][80];
    static unsigned at;
    char *out = ring[at++ % 32];

    snprintf(out, sizeof(ring[0]), "%s %016llx %c", call, (unsigned long long)far_epoch(node),
             node);
    return out;
}

/* Redis answers the oldest question for a user's calls as it is told; the turn ends. */
static inline void far_answer_raw(struct world *w, const char *reply)
{
    far_redis(w);
    if (far_world.asked_n == 0)
        abort();
    far_reply(reply);
    far_pass(w, 0);
}

/* The same with these entries. */
static inline void far_answer_all(struct world *w, const char *const *entries, size_t n)
{
    static char text[4096];
    struct wr out = wr_init((uint8_t *)text, sizeof(text) - 1);

    wr_u8(&out, '*');
    wr_u64(&out, n);
    wr_str(&out, "\r\n");
    for (size_t i = 0; i < n; i++) {
        wr_u8(&out, '$');
        wr_u64(&out, strlen(entries[i]));
        wr_str(&out, "\r\n");
        wr_str(&out, entries[i]);
        wr_str(&out, "\r\n");
    }
    text[out.len] = '\0';
    far_answer_raw(w, text);
}

/* The same with up to two (NULL: none). */
static inline void far_answer(struct world *w, const char *one, const char *two)
{
    const char *const entries[] = {one, two};

    far_answer_all(w, entries, (size_t) !!one + !!two);
}

/* ---- life ---- */

/* The node's lease is over, and this node is told so. */
static inline void far_dies(struct world *w, char node)
{
    far_world.alive[node - 'a'] = NODE_DEAD;
    node_bus_look(far_world.bus, w->now);
}

/* cmocka's set-up and tear-down: as those of fake_world.h. */
static inline int far_setup(void **state)
{
    struct redis_client_conf conf = world_conf();

    if (setup(state) != 0)
        return -1;
    struct world *w = *state;
    memset(&far_world, 0, sizeof(far_world));
    memset(&world, 0, sizeof(world));
    far_world.ready = true;
    for (size_t i = 0; i < FAR_NODES; i++)
        far_world.alive[i] = NODE_ALIVE;
    memcpy(far_world.scripts, call_share_scripts, sizeof(call_share_scripts));
    memcpy(far_world.scripts + CALL_SHARE_SCRIPTS, session_share_scripts,
           sizeof(session_share_scripts));
    memcpy(far_world.scripts + CALL_SHARE_SCRIPTS + SESSION_SHARE_SCRIPTS, room_share_scripts,
           sizeof(room_share_scripts));
    conf.scripts = far_world.scripts;
    conf.scripts_n = ARRAY_LEN(far_world.scripts);
    conf.timeout_us = conf.dead_us = conf.idle_us = 3600 * US_PER_S; /* it is slow, not gone */
    conf.calls_max = FAR_ASKED_MAX;
    world.now = w->now;
    world.c = redis_client_new(&conf, &world_ops, NULL, w->now);
    far_world.bus = node_bus_new(SLICE_LIT("a"), far_epoch('a'), 1 << 20, &far_bus_ops, NULL);
    if (!world.c || !far_world.bus || !world_open())
        return -1;
    far_redis(w);
    far_world.claims = (struct call_claims){
        .client = world.c, .prefix = SLICE_LIT("p:"), .node = SLICE_LIT("a"), .epoch = 0xa1};
    const struct router_nodes nodes = {.bus = far_world.bus,
                                       .claims = &far_world.claims,
                                       .ready = far_ready,
                                       .saves = far_saves,
                                       .alive = far_alive,
                                       .dead_us = far_dead_us,
                                       .lapses = far_lapses,
                                       .known = far_is_known,
                                       .push = far_push};
    return redis_client_ready(world.c) && router_set_nodes(w->r, &nodes) ? 0 : -1;
}

static inline int far_teardown(void **state)
{
    struct world *w = *state;

    router_far_free(w->r);
    node_bus_free(far_world.bus);
    redis_client_free(world.c);
    return teardown(state);
}

#endif
