/* Simulator of rooms: the real router with its nodes, clients that join, leave and lose their
 * sockets, and SFUs that answer late, lose their connection, and restart. Virtual time, seeded.
 *
 *     room_sim [--seeds N] [--start S]     runs N seeds (default 300) from S (default 1)
 *     room_sim --seed S -v                 runs one seed again and prints every message
 *
 * Checked all the time: the server's numbers have no gap; each request is answered once; nobody is
 * told of himself as of another; control messages are whole. At rest: every client believes of each
 * of its rooms what the server says (who is there, in which state, which tracks), and the SFU has
 * exactly the participants that the server has. Exit code 1 after a violation.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rand.h"
#include "server/router_priv.h"
#include "server/token_keys.h"
#include "tests/lib/fake_client.h"

enum {
    DEVS = 6,
    ROOMS = 2,
    SFUS = 2,
    SEATS = 16,  /* participants that one SFU knows */
    QUEUE = 256, /* messages of one SFU on their way */
    STEPS = 500,
    SETTLE_ROUNDS = 4000,
};

/* ---- an SFU: knows who is where, nothing of media ---- */

struct sfu_seat {
    char room[8], id[CTL_PARTICIPANT_MAX + 1];
    bool fresh; /* "connected" has not been said yet */
};

struct sfu {
    struct sim *sim;
    int index;
    bool up; /* its listener takes connections */
    bool connected, greeted;
    uint64_t epoch, server_epoch, seq;
    uint8_t nonce[CTL_NONCE_BYTES];
    struct sfu_seat seats[SEATS];
    int seats_n;
    bool synced[ROOMS];
    uint64_t handled; /* highest request id done in this epoch */
    uint8_t *out[QUEUE];
    size_t out_len[QUEUE];
    int out_n;
};

/* ---- a client ---- */

struct view { /* what it believes of one room */
    bool in, joining, restart;
    char me[CTL_PARTICIPANT_MAX + 1];
    int n;
    struct {
        char id[CTL_PARTICIPANT_MAX + 1], state[16];
        int tracks;
    } who[SEATS];
};

struct device {
    char user[8];
    struct fake *sock;
    bool welcomed;
    char session[32], token[32];
    uint64_t in_seq;
    unsigned next_id;
    bool fresh[64];    /* of those below: it was a fresh offer */
    unsigned open[64]; /* request ids without an answer, by number */
    struct view view[ROOMS];
};

struct sim {
    struct rand_src rnd;
    uint64_t now;
    bool verbose;
    struct server_conf conf;
    struct router *r;
    struct sfu sfu[SFUS];
    struct device dev[DEVS];
    uint64_t joins, restarts, states, messages;
    char why[200];
};

static unsigned below(struct sim *s, unsigned n)
{
    return (unsigned)rand_src_below(&s->rnd, n);
}

static void violate(struct sim *s, const char *what, const char *text)
{
    if (s->why[0] == '\0')
        (void)snprintf(s->why, sizeof(s->why), "%s: %.120s", what, text);
}

#define SAY(s, ...)                    \
    do {                               \
        if ((s)->verbose)              \
            (void)printf(__VA_ARGS__); \
    } while (0)

static int room_index(const char *name)
{
    return name[0] == 'r' ? (name[1] - '0') % ROOMS : 0;
}

/* ---- the SFU's side of the control protocol ---- */

static void sfu_queue(struct sfu *f, const struct ctl_msg *m)
{
    static uint8_t mem[CTL_HEADER_BYTES + CTL_MESSAGE_MAX];
    struct wr w = wr_init(mem, sizeof(mem));

    ctl_encode(&w, m);
    if (w.bad || f->out_n == QUEUE) {
        violate(f->sim, "an SFU's queue is full", ctl_type_name(m->type));
        return;
    }
    f->out[f->out_n] = malloc(w.len);
    memcpy(f->out[f->out_n], mem, w.len);
    f->out_len[f->out_n++] = w.len;
}

static void sfu_drop_queue(struct sfu *f)
{
    while (f->out_n > 0)
        free(f->out[--f->out_n]);
}

static struct sfu_seat *sfu_find(struct sfu *f, struct slice id)
{
    for (int i = 0; i < f->seats_n; i++)
        if (slice_is(id, f->seats[i].id))
            return &f->seats[i];
    return NULL;
}

static void sfu_remove(struct sfu *f, struct sfu_seat *seat)
{
    *seat = f->seats[--f->seats_n];
}

static void sfu_hello(struct sfu *f, const struct ctl_msg *m)
{
    struct ctl_msg out = {.type = CTL_HELLO, .kind = CTL_KIND_REPLY, .id = m->id};
    const struct ctl_proof p = {.by_sfu = true,
                                .sfu_nonce = f->nonce,
                                .server_nonce = m->u.hello.nonce,
                                .server = m->u.hello.server,
                                .node = SLICE_LIT("s"),
                                .server_epoch = m->u.hello.epoch,
                                .sfu_epoch = f->epoch};

    out.u.welcome.resumed = f->server_epoch == m->u.hello.epoch;
    if (f->server_epoch != 0 && !out.u.welcome.resumed)
        f->seq = f->handled = 0; /* it was dropped and added again: numbers are new */
    out.u.welcome.lost = true;   /* it keeps no events: sync makes up for them */
    f->server_epoch = m->u.hello.epoch;
    out.u.welcome.node = SLICE_LIT("s");
    out.u.welcome.epoch = f->epoch;
    ctl_mac(SLICE_LIT(FAKE_SECRET), &p, out.u.welcome.mac);
    memset(f->synced, 0, sizeof(f->synced));
    f->greeted = true;
    sfu_queue(f, &out);
}

/* Answers a join or offer: one track, one slot. */
static void sfu_answer(struct sfu *f, const struct ctl_msg *m)
{
    struct ctl_msg out = {.type = m->type, .kind = CTL_KIND_REPLY, .id = m->id};
    char track[CTL_TRACK_MAX];

    (void)snprintf(track, sizeof(track), "%.*s:0", SLICE_FMT(m->participant));
    out.u.joined.answer.text = SLICE_LIT("v=0");
    out.u.joined.tracks_n = out.u.joined.slots_n = 1;
    out.u.joined.tracks[0] = (struct ctl_track){
        .track = slice_str(track), .mid = SLICE_LIT("0"), .kind = RTP_KIND_AUDIO, .layers = 1};
    out.u.joined.slots[0].mid = SLICE_LIT("1");
    sfu_queue(f, &out);
}

static void sfu_error(struct sfu *f, const struct ctl_msg *m, enum ctl_err code)
{
    struct ctl_msg out = {.type = m->type, .kind = CTL_KIND_ERROR, .id = m->id};

    out.u.error.code = code;
    sfu_queue(f, &out);
}

static void sfu_join(struct sfu *f, const struct ctl_msg *m)
{
    struct sfu_seat *seat = sfu_find(f, m->participant);

    if (below(f->sim, 10) == 0 || (!seat && f->seats_n == SEATS)) {
        if (seat)
            sfu_remove(f, seat); /* a join starts over, also when it fails */
        sfu_error(f, m, below(f->sim, 2) ? CTL_ERR_REJECTED : CTL_ERR_FULL);
        return;
    }
    if (!seat)
        seat = &f->seats[f->seats_n++];
    (void)snprintf(seat->room, sizeof(seat->room), "%.*s", SLICE_FMT(m->room));
    (void)snprintf(seat->id, sizeof(seat->id), "%.*s", SLICE_FMT(m->participant));
    seat->fresh = true;
    sfu_answer(f, m);
}

static void sfu_sync(struct sfu *f, const struct ctl_msg *m)
{
    struct ctl_msg out = {.type = CTL_SYNC, .kind = CTL_KIND_REPLY, .id = m->id};
    uint8_t mem[SEATS * 128];
    struct wr w = wr_init(mem, sizeof(mem));
    bool first = true;

    f->synced[room_index((const char *)m->room.p)] = true;
    wr_u8(&w, '[');
    for (int i = f->seats_n - 1; i >= 0; i--) {
        struct ctl_walk it = {0};
        struct slice id;
        bool wanted = false;
        if (!slice_is(m->room, f->seats[i].room))
            continue;
        while (ctl_ids(&it, m->u.sync.participants, &id))
            wanted = wanted || slice_is(id, f->seats[i].id);
        if (!wanted) {
            sfu_remove(f, &f->seats[i]);
            continue;
        }
        f->seats[i].fresh = true; /* its state follows */
        ctl_states_add(&w, first, slice_str(f->seats[i].id), CTL_MEDIA_CONNECTING);
        first = false;
    }
    wr_u8(&w, ']');
    out.u.synced.states = wr_done(&w);
    sfu_queue(f, &out);
}

static void sfu_request(struct sfu *f, const struct ctl_msg *m)
{
    struct sfu_seat *seat = sfu_find(f, m->participant);

    switch (m->type) {
    case CTL_JOIN:
        sfu_join(f, m);
        return;
    case CTL_SYNC:
        sfu_sync(f, m);
        return;
    case CTL_LEAVE:
        if (seat)
            sfu_remove(f, seat);
        break;
    case CTL_CLOSE_ROOM:
        for (int i = f->seats_n - 1; i >= 0; i--)
            if (slice_is(m->room, f->seats[i].room))
                sfu_remove(f, &f->seats[i]);
        break;
    case CTL_SYNC_END:
        for (int i = f->seats_n - 1; i >= 0; i--)
            if (!f->synced[room_index(f->seats[i].room)])
                sfu_remove(f, &f->seats[i]);
        break;
    default:
        if (!seat) {
            sfu_error(f, m, CTL_ERR_NO_PARTICIPANT);
            return;
        }
        if (m->type == CTL_OFFER) {
            sfu_answer(f, m);
            return;
        }
        break;
    }
    sfu_queue(f, &(struct ctl_msg){.type = m->type, .kind = CTL_KIND_REPLY, .id = m->id});
}

static void wire_send(void *wire, struct slice bytes)
{
    static uint8_t mem[CTL_MESSAGE_MAX + CTL_SCRATCH_SPARE];
    struct ctl_msg *m = malloc(sizeof(*m));
    struct wr scratch = wr_init(mem, sizeof(mem));
    struct sfu *f = wire;
    struct slice text;
    const char *why;
    size_t used;

    if (ctl_frame(bytes, &text, &used) != 0 || used != bytes.len ||
        ctl_decode(m, text, &scratch, &why) != 0) {
        violate(f->sim, "the server sent no whole control message", "");
    } else {
        SAY(f->sim, "%9.3f sfu%d < %.*s\n", (double)f->sim->now / 1e6, f->index, SLICE_FMT(text));
        if (m->type == CTL_HELLO)
            sfu_hello(f, m);
        else if (m->kind == CTL_KIND_REQUEST && m->type == CTL_PING)
            sfu_queue(f, &(struct ctl_msg){.type = CTL_PING, .kind = CTL_KIND_REPLY, .id = m->id});
        else if (m->kind == CTL_KIND_REQUEST)
            sfu_request(f, m); /* all of them are idempotent here: answers need no store */
    }
    free(m);
}
static const struct node_wire WIRE = {wire_send};

static void sfu_disconnect(struct sfu *f)
{
    if (!f->connected)
        return;
    SAY(f->sim, "%9.3f sfu%d connection gone\n", (double)f->sim->now / 1e6, f->index);
    f->connected = f->greeted = false;
    sfu_drop_queue(f);
    node_closed(router_node(f->sim->r, (size_t)f->index), f->sim->now);
}

static void sfu_connect(struct sfu *f)
{
    struct ctl_msg m = {.type = CTL_CHALLENGE, .kind = CTL_KIND_EVENT};

    if (f->connected || !f->up)
        return;
    f->connected = true;
    f->seq = f->server_epoch ? f->seq : 0;
    node_opened(router_node(f->sim->r, (size_t)f->index), &WIRE, f, f->sim->now);
    memset(f->nonce, 7, sizeof(f->nonce));
    m.u.challenge.version = CTL_VERSION;
    memcpy(m.u.challenge.nonce, f->nonce, CTL_NONCE_BYTES);
    sfu_queue(f, &m);
}

/* Its registration is gone, and comes again: the server has another node for it. */
static void sfu_enter_again(struct sfu *f)
{
    struct router *r = f->sim->r;
    const struct server_sfu sfu = {
        .name = SLICE_LIT("again"), .region = slice_str(f->index == 0 ? "x" : ""), .weight = 1};

    sfu_disconnect(f);
    SAY(f->sim, "%9.3f sfu%d registers again\n", (double)f->sim->now / 1e6, f->index);
    router_node_drop(r, (size_t)f->index);
    if (router_node_add(r, &sfu) != (size_t)f->index)
        violate(f->sim, "no node", "");
}

/* Another process: nothing is known any more. */
static void sfu_restart(struct sfu *f)
{
    sfu_disconnect(f);
    SAY(f->sim, "%9.3f sfu%d restarts\n", (double)f->sim->now / 1e6, f->index);
    f->epoch++;
    f->server_epoch = f->seq = 0;
    f->seats_n = 0;
}

/* One message reaches the server; when none waits, somebody's media comes up. False: at rest. */
static bool sfu_deliver(struct sfu *f)
{
    struct sim *s = f->sim;

    if (!f->connected)
        return false;
    for (int i = 0; i < f->seats_n && f->out_n == 0 && f->greeted; i++) {
        struct ctl_msg m = {.type = CTL_STATE, .kind = CTL_KIND_EVENT};
        if (!f->seats[i].fresh)
            continue;
        f->seats[i].fresh = false;
        m.seq = ++f->seq;
        m.room = slice_str(f->seats[i].room);
        m.participant = slice_str(f->seats[i].id);
        m.u.state.media = CTL_MEDIA_CONNECTED;
        sfu_queue(f, &m);
    }
    if (f->out_n == 0)
        return false;
    uint8_t *bytes = f->out[0];
    size_t len = f->out_len[0];
    memmove(f->out, f->out + 1, (size_t)(f->out_n - 1) * sizeof(f->out[0]));
    memmove(f->out_len, f->out_len + 1, (size_t)(f->out_n - 1) * sizeof(f->out_len[0]));
    f->out_n--;
    SAY(s, "%9.3f sfu%d > %.*s\n", (double)s->now / 1e6, f->index, (int)len - 4,
        (const char *)bytes + 4);
    long used = node_recv(router_node(s->r, (size_t)f->index), slice_of(bytes, len), s->now);
    if (used != (long)len) {
        violate(s, "the server refused", node_why(router_node(s->r, (size_t)f->index)));
        sfu_disconnect(f);
    }
    free(bytes);
    return true;
}

/* ---- clients ---- */

static void request(struct sim *s, struct device *d, const char *type, int room, const char *data)
{
    char text[512];
    unsigned id = d->next_id++;

    if (!d->sock || !d->welcomed || d->sock->closed)
        return;
    (void)snprintf(text, sizeof(text),
                   "{\"type\":\"%s\",\"id\":\"q%u\",\"ack\":%llu,\"roomId\":\"r%d\"%s%s}", type, id,
                   (unsigned long long)d->in_seq, room, data ? ",\"data\":" : "", data ? data : "");
    d->open[id % 64] = id;
    d->fresh[id % 64] = data && strstr(data, "\"fresh\"") != NULL;
    SAY(s, "%9.3f %s > %s\n", (double)s->now / 1e6, d->user, text);
    fake_say(d->sock, text);
}

#define JOIN_DATA                                                                            \
    "{\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\"},\"tracks\":[{\"mid\":\"0\",\"source\":" \
    "\"microphone\"}]}"
#define FRESH_DATA                                                                               \
    "{\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\"},\"fresh\":true,\"tracks\":[{\"mid\":\"0\"," \
    "\"source\":\"microphone\"}]}"

static int count_tracks(struct slice list)
{
    return (int)json_items_count(list);
}

/* Takes in one participant of a list or event. */
static void take_person(struct sim *s, struct view *v, struct slice raw, bool with_tracks)
{
    struct json_field f[] = {{.key = "participantId"}, {.key = "state"}, {.key = "tracks"}};
    int i = 0;

    json_fields(raw, f, ARRAY_LEN(f));
    struct slice id = slice_sub(f[0].value, 1, f[0].value.len - 2);
    struct slice state = slice_sub(f[1].value, 1, f[1].value.len - 2);
    if (slice_is(id, v->me)) {
        violate(s, "told of himself", v->me);
        return;
    }
    while (i < v->n && !slice_is(id, v->who[i].id))
        i++;
    if (i == SEATS)
        return;
    if (i == v->n) {
        v->n++;
        v->who[i].tracks = 0;
        (void)snprintf(v->who[i].id, sizeof(v->who[i].id), "%.*s", SLICE_FMT(id));
    }
    (void)snprintf(v->who[i].state, sizeof(v->who[i].state), "%.*s", SLICE_FMT(state));
    if (with_tracks)
        v->who[i].tracks = count_tracks(f[2].value);
}

static void take_people(struct sim *s, struct view *v, struct slice list)
{
    struct json_items it = json_items(list);
    struct slice item;

    while (json_items_next(&it, &item))
        take_person(s, v, item, true);
}

static void drop_person(struct view *v, const char *id)
{
    for (int i = 0; i < v->n; i++)
        if (strcmp(v->who[i].id, id) == 0)
            v->who[i--] = v->who[--v->n];
}

static void take_event(struct sim *s, struct device *d, struct view *v, const char *type,
                       struct slice data, const char *text)
{
    struct json_field f[] = {{.key = "event"}, {.key = "participant"}, {.key = "participants"},
                             {.key = "full"},  {.key = "reason"},      {.key = "participantId"}};
    const char *event;

    json_fields(data, f, ARRAY_LEN(f));
    event = fake_field(text, "\"event\":");
    if (strcmp(type, "room.participant") == 0) {
        const char *id = fake_field(text, "\"participantId\":");
        if (strcmp(event, "left") == 0)
            drop_person(v, id);
        else
            take_person(s, v, f[1].value, strcmp(event, "joined") == 0);
    } else if (strcmp(type, "room.track") == 0) {
        const char *id = fake_field(text, "\"participantId\":");
        for (int i = 0; i < v->n; i++)
            if (strcmp(v->who[i].id, id) == 0)
                v->who[i].tracks += strcmp(event, "published") == 0     ? 1
                                    : strcmp(event, "unpublished") == 0 ? -1
                                                                        : 0;
    } else if (strcmp(type, "room.state") == 0) {
        s->states++;
        if (f[3].value.len == 4) { /* true: all of it */
            v->n = 0;
            v->restart = false;
        }
        take_people(s, v, f[2].value);
    } else if (strcmp(type, "room.restart") == 0) {
        bool own = strstr(text, "media_lost") != NULL;
        s->restarts++;
        v->restart = true;
        for (int i = 0; i < v->n && !own; i++) {
            v->who[i].tracks = 0;
            (void)snprintf(v->who[i].state, sizeof(v->who[i].state), "reconnecting");
        }
    } else if (strcmp(type, "room.closed") == 0) {
        *v = (struct view){0};
    }
    (void)d;
}

static void take_reply(struct sim *s, struct device *d, struct view *v, const char *type,
                       struct slice data, const char *text)
{
    unsigned id = (unsigned)strtoul(fake_field(text, "\"re\":") + 1, NULL, 10);
    struct json_field f[] = {{.key = "participants"}, {.key = "participantId"}};

    if (d->open[id % 64] != id)
        violate(s, "answered twice", text);
    d->open[id % 64] = 0;
    json_fields(data, f, ARRAY_LEN(f));
    if (strcmp(type, "room.join") == 0) {
        *v = (struct view){.in = true};
        (void)snprintf(v->me, sizeof(v->me), "%s", fake_field(text, "\"participantId\":"));
        take_people(s, v, f[0].value);
        s->joins++;
    } else if (strcmp(type, "room.offer") == 0) {
        v->restart = v->joining = false;
    } else if (strcmp(type, "room.leave") == 0) {
        *v = (struct view){0};
    } else if (strcmp(type, "error") == 0) {
        v->joining = false;
        if (d->fresh[id % 64] && (strstr(text, "\"sfu.") || strstr(text, "\"room.full\"")))
            v->restart = true; /* the SFU was asked: what was there is gone */
        if (strstr(text, "\"room.not_found\""))
            *v = (struct view){0};
    }
}

static void receive(struct sim *s, struct device *d, const char *text)
{
    static const struct json_limits limits = {SIG_DEPTH, 100000, 200000};
    struct json_field f[] = {
        {.key = "type"}, {.key = "re"}, {.key = "seq"}, {.key = "data"}, {.key = "roomId"}};
    char type[40];
    uint64_t seq = 0;

    s->messages++;
    SAY(s, "%9.3f %s < %s\n", (double)s->now / 1e6, d->user, text);
    if (json_scan_object(slice_str(text), &limits, f, ARRAY_LEN(f)) != 0) {
        violate(s, "no JSON", text);
        return;
    }
    (void)snprintf(type, sizeof(type), "%.*s", (int)f[0].value.len - 2,
                   (const char *)f[0].value.p + 1);
    if (json_u64(f[2].value, UINT64_MAX, &seq)) {
        if (seq != d->in_seq + 1)
            violate(s, "a gap", text);
        d->in_seq = seq;
    }
    if (strcmp(type, "welcome") == 0) {
        d->welcomed = true;
        (void)snprintf(d->session, sizeof(d->session), "%s", fake_field(text, "\"sessionId\":"));
        (void)snprintf(d->token, sizeof(d->token), "%s", fake_field(text, "\"resumeToken\":"));
        if (!strstr(text, "\"resumed\":true")) {
            d->in_seq = 0;
            memset(d->open, 0, sizeof(d->open));
            memset(d->view, 0, sizeof(d->view));
        }
        return;
    }
    struct view *v = &d->view[f[4].value.len > 2 ? (f[4].value.p[2] - '0') % ROOMS : 0];
    if (f[1].value.len > 0)
        take_reply(s, d, v, type, f[3].value, text);
    else
        take_event(s, d, v, type, f[3].value, text);
}

static bool read_one(struct sim *s, struct device *d)
{
    const char *text = d->sock ? fake_next(d->sock) : NULL;
    char ack[64];

    if (d->sock && d->sock->pings > 0) {
        d->sock->pings = 0;
        fake_frame(d->sock, WS_OP_PONG, "", 0);
    }
    if (!text)
        return false;
    receive(s, d, text);
    if (d->welcomed && d->in_seq % 8 == 0) {
        (void)snprintf(ack, sizeof(ack), "{\"type\":\"ack\",\"ack\":%llu}",
                       (unsigned long long)d->in_seq);
        fake_say(d->sock, ack);
    }
    return true;
}

static void disconnect(struct sim *s, struct device *d)
{
    if (!d->sock)
        return;
    SAY(s, "%9.3f %s - connection gone\n", (double)s->now / 1e6, d->user);
    fake_free(d->sock);
    d->sock = NULL;
    d->welcomed = false;
}

static void reconnect(struct sim *s, struct device *d)
{
    char text[160];

    disconnect(s, d);
    d->sock = fake_open(s->r, (uint8_t)(1 + (d - s->dev)));
    (void)snprintf(text, sizeof(text),
                   "{\"sessionId\":\"%s\",\"resumeToken\":\"%s\",\"lastSeq\":%llu}", d->session,
                   d->token, (unsigned long long)d->in_seq);
    fake_hello(d->sock, d->user, "d", d->session[0] ? text : NULL);
}

/* ---- steps ---- */

static void pass(struct sim *s, uint64_t us)
{
    uint64_t end = s->now + us;

    while (s->now < end) {
        uint64_t at = router_deadline(s->r);
        for (size_t i = 0; i < SFUS; i++) {
            uint64_t n = node_deadline(router_node(s->r, i));
            at = n < at ? n : at;
        }
        s->now = at > end ? end : at > s->now ? at : s->now + 1;
        router_clock(s->r, s->now, FAKE_WALL + s->now);
        router_tick(s->r);
        for (size_t i = 0; i < SFUS; i++)
            if (!node_tick(router_node(s->r, i), s->now))
                sfu_disconnect(&s->sfu[i]);
    }
}

static void act_client(struct sim *s, struct device *d)
{
    int room = (int)below(s, ROOMS);
    struct view *v = &d->view[room];
    unsigned what = below(s, 100);

    if (!d->sock) {
        reconnect(s, d);
    } else if (what < 8) {
        disconnect(s, d);
    } else if (what < 12) {
        reconnect(s, d); /* over the old one */
    } else if (what < 15) {
        d->session[0] = '\0'; /* a reload */
        reconnect(s, d);
    } else if (v->restart && !v->joining) {
        v->joining = true;
        request(s, d, "room.offer", room, FRESH_DATA);
    } else if (!v->in) {
        request(s, d, "room.join", room, JOIN_DATA);
    } else if (what < 40) {
        request(s, d, "room.update", room, "{\"metadata\":{\"x\":1}}");
    } else if (what < 55) {
        request(s, d, "room.offer", room, JOIN_DATA);
    } else if (what < 62) {
        request(s, d, "room.leave", room, NULL);
    } else if (what < 66) {
        request(s, d, "room.join", room, JOIN_DATA); /* once more */
    }
}

static void act_sfu(struct sim *s, struct sfu *f)
{
    unsigned what = below(s, 100);

    if (!f->up && below(s, 2) == 0)
        node_refused(router_node(s->r, (size_t)f->index)); /* its rooms move, if they can */
    else if (!f->up)
        f->up = below(s, 4) == 0;
    else if (!f->connected)
        sfu_connect(f);
    else if (what < 10)
        sfu_disconnect(f);
    else if (what < 13)
        sfu_restart(f);
    else if (what < 14)
        sfu_enter_again(f);
    else if (what < 16) {
        sfu_disconnect(f);
        f->up = false; /* away for a while: it may be given up */
    } else if (what < 18 && f->seats_n > 0) {
        sfu_remove(f, &f->seats[0]); /* it forgets somebody: the next sync finds out */
        sfu_disconnect(f);
    }
}

static void step(struct sim *s)
{
    unsigned what = below(s, 100);

    pass(s, below(s, 20) == 0 ? below(s, 6000) * US_PER_MS : below(s, 60) * US_PER_MS + 1);
    if (what < 25)
        act_client(s, &s->dev[below(s, DEVS)]);
    else if (what < 30)
        act_sfu(s, &s->sfu[below(s, SFUS)]);
    else if (what < 65)
        sfu_deliver(&s->sfu[below(s, SFUS)]);
    else
        for (unsigned n = below(s, 4) + 1; n > 0; n--)
            read_one(s, &s->dev[below(s, DEVS)]);
}

/* ---- at rest ---- */

static void check_view(struct sim *s, const struct device *d, int room)
{
    static const char *const states[] = {"connecting", "connected", "reconnecting"};
    const struct view *v = &d->view[room];
    const char name[3] = {'r', (char)('0' + room), '\0'};
    const struct seat *me =
        seat_of(s->r->rooms, slice_str(name), slice_str(d->user), SLICE_LIT("d"));
    if (me && me->orphan)
        me = NULL; /* of a session before: this client knows nothing of it */
    int others = 0;

    if ((me && me->in) != v->in) {
        violate(s, me ? "in the room without knowing" : "believes to be in a room", d->user);
        return;
    }
    if (!me || !me->in)
        return;
    if (!slice_is(me->id, v->me) || me->lost != v->restart)
        violate(s, "does not know about its own seat", d->user);
    LIST_EACH(l, tmp, &me->room->seats)
    {
        const struct seat *other = CONTAINER_OF(l, struct seat, of_room);
        int i = 0;
        if (other == me || !other->in)
            continue;
        others++;
        while (i < v->n && !slice_is(other->id, v->who[i].id))
            i++;
        if (i == v->n)
            violate(s, "misses somebody", d->user);
        else if (strcmp(v->who[i].state, states[seat_state(other)]) != 0)
            violate(s, "believes a wrong state", v->who[i].id);
        else if (v->who[i].tracks != (int)other->tracks_n)
            violate(s, "believes wrong tracks", v->who[i].id);
    }
    if (others != v->n)
        violate(s, "believes in somebody who left", d->user);
}

static void check_sfus(struct sim *s)
{
    int known = 0, seats = 0;

    for (int i = 0; i < SFUS; i++) {
        for (int k = 0; k < s->sfu[i].seats_n; k++) {
            const struct seat *seat = seat_find(s->r->rooms, slice_str(s->sfu[i].seats[k].id));
            known++;
            if (!seat || seat->room->node != (size_t)i)
                violate(s, "an SFU has somebody who is not there", s->sfu[i].seats[k].id);
            else if (!seat->in || seat->lost)
                violate(s, "an SFU has somebody who is out of media", s->sfu[i].seats[k].id);
        }
    }
    for (int i = 0; i < DEVS; i++)
        for (int r = 0; r < ROOMS; r++) {
            const char name[3] = {'r', (char)('0' + r), '\0'};
            const struct seat *seat =
                seat_of(s->r->rooms, slice_str(name), slice_str(s->dev[i].user), SLICE_LIT("d"));
            seats += seat && seat->in && !seat->lost;
            if (seat && seat->in && !seat->lost &&
                (seat->room->node == ROOM_NODE_NONE ||
                 !sfu_find(&s->sfu[seat->room->node], seat->id)))
                violate(s, "no SFU has a participant of", s->dev[i].user);
        }
    if (known != seats)
        violate(s, "an SFU misses somebody", "");
}

/* Everybody takes in one message. False: nothing was on its way. */
static bool settle_round(struct sim *s, bool *told)
{
    bool busy = false;

    for (int i = 0; i < SFUS; i++) {
        sfu_connect(&s->sfu[i]);
        busy = sfu_deliver(&s->sfu[i]) || busy;
    }
    for (int i = 0; i < DEVS; i++) {
        if (!s->dev[i].sock || s->dev[i].sock->closed)
            reconnect(s, &s->dev[i]);
        if (read_one(s, &s->dev[i]))
            busy = *told = true;
    }
    return busy;
}

/* Until a second has gone by in which no client was told anything and no request of an SFU is open.
 * Time passes only before another look at what waits, never after the last: whoever's time is over
 * in that second leaves, and the others have yet to hear of it. */
static void come_to_rest(struct sim *s)
{
    bool told = true;

    for (int round = 0; round < SETTLE_ROUNDS && s->why[0] == '\0'; round++) {
        size_t open = 0;
        if (settle_round(s, &told))
            continue;
        for (size_t i = 0; i < SFUS; i++)
            open += node_open_requests(router_node(s->r, i));
        if (open == 0 && !told)
            return;
        told = false;
        pass(s, US_PER_S);
    }
    violate(s, "never comes to rest", "");
}

static void settle(struct sim *s)
{
    for (int i = 0; i < SFUS; i++)
        s->sfu[i].up = true;
    come_to_rest(s);
    for (int i = 0; i < DEVS && s->why[0] == '\0'; i++)
        for (int r = 0; r < ROOMS; r++)
            check_view(s, &s->dev[i], r);
    check_sfus(s);
    for (int i = 0; i < DEVS; i++)
        for (int k = 0; k < 64; k++)
            if (s->dev[i].open[k] != 0)
                violate(s, "a request was never answered", s->dev[i].user);
}

static bool run_seed(struct sim *s, uint64_t seed, bool verbose, const struct server_conf *conf,
                     struct token_keys *const *keys)
{
    uint64_t live = mem_live();

    memset(s, 0, sizeof(*s));
    rand_src_init(&s->rnd, seed);
    s->verbose = verbose;
    s->now = US_PER_S;
    s->conf = *conf;
    s->r = router_new(&s->conf, keys, NULL, s->now, FAKE_WALL);
    for (int i = 0; i < SFUS; i++)
        s->sfu[i] =
            (struct sfu){.sim = s, .index = i, .up = true, .epoch = (uint64_t)(i + 1) << 20};
    for (int i = 0; i < DEVS; i++) {
        (void)snprintf(s->dev[i].user, sizeof(s->dev[i].user), "u%d", i);
        s->dev[i].next_id = 1;
        reconnect(s, &s->dev[i]);
    }
    for (int i = 0; i < STEPS && s->why[0] == '\0'; i++)
        step(s);
    settle(s);
    for (int i = 0; i < DEVS; i++)
        disconnect(s, &s->dev[i]);
    pass(s, (conf->session.resume_ttl_s + conf->room.empty_timeout_s + 5) * US_PER_S);
    if (room_table_count(s->r->rooms) + room_table_seats(s->r->rooms) > 0)
        violate(s, "a room is left at the end", "");
    for (int i = 0; i < SFUS; i++)
        sfu_drop_queue(&s->sfu[i]);
    router_free(s->r);
    if (mem_live() != live)
        violate(s, "memory is left", "");
    if (s->why[0] != '\0')
        (void)printf("seed %llu at %.3f s: %s\n", (unsigned long long)seed, (double)s->now / 1e6,
                     s->why);
    return s->why[0] == '\0';
}

int main(int argc, char **argv)
{
    static const char text[] =
        "[sfu]\nnodes = a=127.0.0.1:1 region=x, b=127.0.0.1:2\nregion = x\n" /* picks do not depend
                                                                                on chance */
        "[room]\njoins_per_10s = 0\nrestart_timeout = 600\n"
        "[limits]\nmessages_per_s = 0\n";
    static struct sim s;
    uint64_t seeds = 300, start = 1, joins = 0, restarts = 0, states = 0, messages = 0;
    struct server_conf conf = {0};
    char err[CONF_ERR_MAX];
    bool verbose = false;

    for (int i = 1; i < argc; i++) {
        bool value = i + 1 < argc;
        if (strcmp(argv[i], "-v") == 0) {
            verbose = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && value) {
            seeds = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--start") == 0 && value) {
            start = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && value) {
            start = strtoull(argv[++i], NULL, 10);
            seeds = 1;
        } else {
            (void)fprintf(stderr, "usage: %s [--seeds N] [--start S] [--seed S] [-v]\n", argv[0]);
            return 2;
        }
    }
    struct token_keys *keys = token_keys_new(TOKEN_ALGS_PRODUCT);
    if (!keys ||
        conf_load_text(server_conf_opts, server_conf_opts_n, &conf, slice_str(text), "sim", err) !=
            0 ||
        token_keys_add_secret(keys, (struct slice){0}, CRYPTO_HS256, SLICE_LIT(FAKE_SECRET), err) !=
            0)
        return 2;
    conf.sfu.secret.p = (uint8_t *)mem_strndup(SLICE_LIT(FAKE_SECRET));
    conf.sfu.secret.len = strlen(FAKE_SECRET);
    log_setup(LOG_ERROR, LOG_TEXT, verbose ? 2 : -1);
    (void)fake_token("warm", 1);
    bool ok = true;
    for (uint64_t i = 0; i < seeds && ok; i++) {
        ok = run_seed(&s, start + i, verbose, &conf, &keys);
        joins += s.joins;
        restarts += s.restarts;
        states += s.states;
        messages += s.messages;
    }
    if (ok)
        (void)printf("room_sim: %llu seeds from %llu, %llu messages, %llu joins, %llu restarts, "
                     "%llu whole states, no violation\n",
                     (unsigned long long)seeds, (unsigned long long)start,
                     (unsigned long long)messages, (unsigned long long)joins,
                     (unsigned long long)restarts, (unsigned long long)states);
    token_keys_free(keys);
    conf_free(server_conf_opts, server_conf_opts_n, &conf);
    return ok ? 0 : 1;
}
