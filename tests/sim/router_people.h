/* The clients of router_sim.c: what they keep of a session, what they make of each message, and
 * what the people in front of them do.
 *
 * Included by router_sim.c only. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_SIM_ROUTER_PEOPLE_H
#define SORI_TESTS_SIM_ROUTER_PEOPLE_H

#include "base/hash.h"
#include "base/rand.h"
#include "server/router_priv.h"
#include "tests/lib/fake_client.h"
#include "tests/lib/fake_push.h"

enum {
    DEVS_MAX = 6,
    CALLS_MAX = 32,
    STEPS = 600,
    SENT_MAX = 400,
    TEXT_MAX = 512,
    SEEN_MAX = 1024,
    SETTLE_ROUNDS = 4000,
    ENDED_KEEP_S = 3600,
    EPOCH = 10000,
};

enum belief { B_NONE, B_DIALING, B_ALERTING, B_UP, B_OVER };

/* A message that the server has not acknowledged yet. */
struct sent {
    uint64_t seq;
    bool request, answered, flying; /* flying: on the present socket's way */
    unsigned id;
    char body[TEXT_MAX]; /* behind the seq and ack */
};

struct device {
    const char *user, *name;
    struct fake *sock;
    bool welcomed;    /* on the present socket */
    uint64_t gone_us; /* since when there is no socket */
    char session[32], token[32];
    uint64_t in_seq, out_seq;
    uint64_t seen[SEEN_MAX]; /* hash of each message by seq */
    struct sent sent[SENT_MAX];
    unsigned sent_n, next_id;
    enum belief belief[CALLS_MAX];
    bool ended[CALLS_MAX];        /* call.ended was heard in this session */
    unsigned info_out[CALLS_MAX]; /* call.info sent */
    unsigned info_in[CALLS_MAX];  /* next expected from the peer; 0 = the first one may be any */
    unsigned epoch;               /* sessions so far: infos count from epoch * EPOCH + 1 */
};

struct sim {
    struct rand_src rnd;
    uint64_t now_us;
    bool verbose;
    struct server_conf conf;
    struct router *r;
    int devs_n, calls_n;
    struct device dev[DEVS_MAX];
    unsigned accepted[CALLS_MAX];
    struct device_dir *dir;
    struct fake_push push;
    struct router_push_service service; /* watches over push.service */
    unsigned rung[CALLS_MAX][DEVS_MAX]; /* ring pushes */
    uint64_t messages, resumes, lost, answered, infos, pushes, woken;
    char why[160];
};

static inline unsigned below(struct sim *s, unsigned n)
{
    return (unsigned)rand_src_below(&s->rnd, n);
}

static inline bool chance(struct sim *s, unsigned percent)
{
    return below(s, 100) < percent;
}

static inline void violate(struct sim *s, const char *what, const struct device *d,
                           const char *text)
{
    if (s->why[0] == '\0')
        (void)snprintf(s->why, sizeof(s->why), "%s (%s/%s: %.60s)", what, d->user, d->name, text);
}

#define SAY(s, d, dir, text)                                                                     \
    do {                                                                                         \
        if ((s)->verbose)                                                                        \
            (void)printf("%9.3f %s/%s %s %s\n", (double)(s)->now_us / 1e6, (d)->user, (d)->name, \
                         dir, text);                                                             \
    } while (0)

/* ---- call ids: the last digits are the index ---- */

#define CALL_FMT "00000000-0000-4000-8000-%012x"

static inline int call_of(const char *id)
{
    size_t n = strlen(id);

    return n == SIG_CALL_ID_TEXT ? (int)strtol(id + 24, NULL, 16) % CALLS_MAX : 0;
}

static inline bool is_type(const char *text, const char *type)
{
    return strcmp(fake_field(text, "\"type\":"), type) == 0;
}

/* ---- sending ---- */

static inline void transmit(struct sim *s, struct device *d, struct sent *m)
{
    m->flying = true;
    (void)s;
    (void)d;
}

/* Numbers a message and keeps it until it is acknowledged. */
static inline void say(struct sim *s, struct device *d, bool request, const char *type, int call,
                       const char *more)
{
    if (d->sent_n == SENT_MAX)
        return;
    struct sent *m = &d->sent[d->sent_n++];
    *m = (struct sent){.seq = ++d->out_seq, .request = request, .id = d->next_id++};
    int n = snprintf(m->body, sizeof(m->body), "\"type\":\"%s\",\"callId\":\"" CALL_FMT "\"", type,
                     (unsigned)call);
    if (request)
        n += snprintf(m->body + n, sizeof(m->body) - (size_t)n, ",\"id\":\"r%u\"", m->id);
    (void)snprintf(m->body + n, sizeof(m->body) - (size_t)n, "%s}", more);
    if (d->welcomed)
        transmit(s, d, m);
}

static inline void forget_sent(struct device *d, unsigned i)
{
    memmove(&d->sent[i], &d->sent[i + 1], (--d->sent_n - i) * sizeof(d->sent[0]));
}

static inline void acked(struct device *d, uint64_t seq)
{
    while (d->sent_n > 0 && d->sent[0].seq <= seq) {
        if (d->sent[0].request && !d->sent[0].answered)
            break; /* kept to see its answer; not sent again */
        forget_sent(d, 0);
    }
}

/* The first message that is on its way reaches the server. */
static inline bool arrive(struct sim *s, struct device *d)
{
    char text[TEXT_MAX + 64];

    for (unsigned i = 0; d->sock && d->welcomed && i < d->sent_n; i++) {
        if (!d->sent[i].flying)
            continue;
        d->sent[i].flying = false;
        (void)snprintf(text, sizeof(text), "{\"seq\":%llu,\"ack\":%llu,%s",
                       (unsigned long long)d->sent[i].seq, (unsigned long long)d->in_seq,
                       d->sent[i].body);
        SAY(s, d, ">", text);
        fake_say(d->sock, text);
        return true;
    }
    return false;
}

/* ---- receiving ---- */

static inline void receive_answer(struct sim *s, struct device *d, const char *text)
{
    const char *re = fake_field(text, "\"re\":");
    unsigned id = (unsigned)strtoul(re + 1, NULL, 10);

    for (unsigned i = 0; i < d->sent_n; i++) {
        if (!d->sent[i].request || d->sent[i].id != id)
            continue;
        if (d->sent[i].answered && !strstr(text, "\"duplicate_request\""))
            violate(s, "a request is answered twice", d, text);
        d->sent[i].answered = true;
        return;
    }
    if (!strstr(text, "\"duplicate_request\""))
        violate(s, "an answer to nothing", d, text);
}

static inline void come_up(struct sim *s, struct device *d, int call)
{
    d->belief[call] = B_UP;
    say(s, d, false, "call.state", call, ",\"data\":{\"connectionState\":\"connected\"}");
}

static const char answer_data[] = ",\"data\":{\"answer\":{\"type\":\"answer\",\"sdp\":\"v=0 a\"}}";

static inline void receive_reply(struct sim *s, struct device *d, const char *text, int call)
{
    if (is_type(text, "call.invite")) {
        if (strstr(text, "\"state\":\"glare\"")) {
            int into = call_of(fake_field(text, "\"mergedInto\":"));
            d->belief[call] = B_OVER;
            d->belief[into] = B_ALERTING;
            say(s, d, true, "call.answer", into, answer_data);
        } else if (d->belief[call] == B_NONE || d->belief[call] == B_OVER) {
            d->belief[call] = B_DIALING;
        }
    } else if (is_type(text, "call.answer")) {
        come_up(s, d, call);
    } else if (is_type(text, "call.reject") || is_type(text, "call.cancel") ||
               is_type(text, "call.hangup")) {
        d->belief[call] = B_OVER;
    }
}

static inline void receive_error(struct device *d, const char *text, int call)
{
    const char *code = fake_field(text, "\"code\":");

    if (strcmp(code, "call.invalid_state") != 0 && strcmp(code, "call.glare") != 0 &&
        strcmp(code, "duplicate_request") != 0)
        d->belief[call] = B_OVER;
}

static inline void receive_event(struct sim *s, struct device *d, const char *text, int call)
{
    if (is_type(text, "call.incoming")) {
        d->belief[call] = B_ALERTING;
        d->ended[call] = false;
        say(s, d, true, "call.ringing", call, "");
    } else if (is_type(text, "call.accepted")) {
        s->answered++;
        if (++s->accepted[call] > 1)
            violate(s, "accepted twice", d, text);
        come_up(s, d, call);
    } else if (is_type(text, "call.ended")) {
        if (d->ended[call])
            violate(s, "ended twice", d, text);
        d->ended[call] = true;
        d->belief[call] = B_OVER;
    } else if (is_type(text, "call.info")) {
        unsigned n = (unsigned)strtoul(fake_field(text, "\"custom\":"), NULL, 10);
        unsigned want = d->info_in[call];
        bool new_epoch = want != 0 && n / EPOCH > (want - 1) / EPOCH && n % EPOCH == 1;
        if (want != 0 && n != want && !new_epoch)
            violate(s, "call.info lost, doubled or out of order", d, text);
        d->info_in[call] = n + 1;
        s->infos++;
    }
}

/* A new session: the numbers start over, unanswered requests are sent again under their ids. */
static inline void start_over(struct device *d)
{
    d->in_seq = d->out_seq = 0;
    memset(d->ended, 0, sizeof(d->ended));
    memset(d->info_in, 0, sizeof(d->info_in));
    for (unsigned i = d->sent_n; i-- > 0;)
        if (!d->sent[i].request || d->sent[i].answered)
            forget_sent(d, i);
    for (unsigned i = 0; i < d->sent_n; i++)
        d->sent[i].seq = ++d->out_seq;
    d->epoch++;
    for (int c = 0; c < CALLS_MAX; c++)
        d->info_out[c] = d->epoch * EPOCH;
}

/* The invite has no answer yet: the server may not know the call. */
static inline bool invite_pending(const struct device *d, int call)
{
    char head[96];

    (void)snprintf(head, sizeof(head), "\"type\":\"call.invite\",\"callId\":\"" CALL_FMT "\"",
                   (unsigned)call);
    for (unsigned i = 0; i < d->sent_n; i++)
        if (!d->sent[i].answered && strncmp(d->sent[i].body, head, strlen(head)) == 0)
            return true;
    return false;
}

static inline void receive_welcome(struct sim *s, struct device *d, const char *text)
{
    bool resumed = strstr(text, "\"resumed\":true") != NULL;
    uint64_t last = strtoull(fake_field(text, "\"lastSeq\":"), NULL, 10);
    bool live[CALLS_MAX] = {false};

    (void)snprintf(d->session, sizeof(d->session), "%s", fake_field(text, "\"sessionId\":"));
    (void)snprintf(d->token, sizeof(d->token), "%s", fake_field(text, "\"resumeToken\":"));
    d->welcomed = true;
    s->resumes += resumed;
    s->lost += !resumed;
    if (!resumed)
        start_over(d);
    if (last > d->out_seq)
        violate(s, "the server has what was never sent", d, text);
    bool all = chance(s, 30); /* what the server has already, too: it has to notice */
    for (unsigned i = 0; i < d->sent_n; i++)
        if (all || d->sent[i].seq > last)
            transmit(s, d, &d->sent[i]);
    for (const char *p = text; (p = strstr(p, "\"callId\":")); p++)
        live[call_of(fake_field(p, "\"callId\":"))] = true;
    for (int c = 0; c < s->calls_n; c++) {
        if (!live[c] && d->belief[c] != B_NONE && !invite_pending(d, c))
            d->belief[c] = B_OVER;
        else if (live[c] && (d->belief[c] == B_NONE || d->belief[c] == B_OVER) && !resumed)
            d->belief[c] = B_UP;
    }
}

/* Judges the number of a message. True: it is for the app. */
static inline bool take_seq(struct sim *s, struct device *d, const char *text)
{
    const char *number = strncmp(text, "{\"seq\":", 7) == 0 ? text + 7 : NULL;
    const char *body = strstr(text, "\"type\":");
    uint64_t seq = number ? strtoull(number, NULL, 10) : 0;

    if (seq == 0 || !body)
        return true;
    uint64_t hash = hash_bytes(slice_str(body));
    if (seq <= d->in_seq) {
        if (seq < SEEN_MAX && d->seen[seq] != hash)
            violate(s, "another message under an old number", d, text);
        return false;
    }
    if (seq != d->in_seq + 1)
        violate(s, "a gap in the server's numbers", d, text);
    d->in_seq = seq;
    if (seq < SEEN_MAX)
        d->seen[seq] = hash;
    return true;
}

static inline void receive(struct sim *s, struct device *d, const char *text)
{
    int call = call_of(fake_field(text, "\"callId\":"));

    s->messages++;
    SAY(s, d, "<", text);
    if (is_type(text, "welcome")) {
        receive_welcome(s, d, text);
        return;
    }
    const char *ack = fake_field(text, "\"ack\":");
    if (ack[0] != '\0')
        acked(d, strtoull(ack, NULL, 10));
    if (!take_seq(s, d, text))
        return;
    if (strstr(text, "\"re\":\"r")) {
        receive_answer(s, d, text);
        if (is_type(text, "error"))
            receive_error(d, text, call);
        else
            receive_reply(s, d, text, call);
    } else if (!is_type(text, "error")) {
        receive_event(s, d, text, call);
    }
}

/* ---- what people do ---- */

static inline void act_up(struct sim *s, struct device *d, int call)
{
    char more[96];
    unsigned what = below(s, 100);

    if (what < 55) {
        (void)snprintf(more, sizeof(more), ",\"data\":{\"custom\":%u}", ++d->info_out[call]);
        say(s, d, false, "call.info", call, more);
    } else if (what < 70) {
        say(s, d, false, "call.candidates", call,
            ",\"data\":{\"candidates\":[{\"candidate\":\"\"}]}");
    } else if (what < 80) {
        say(s, d, true, "call.negotiate", call,
            ",\"data\":{\"description\":{\"type\":\"offer\",\"sdp\":\"\"},\"negotiationId\":"
            "\"n\"}");
    } else if (what < 90) {
        say(s, d, false, "call.state", call,
            chance(s, 70) ? ",\"data\":{\"connectionState\":\"connected\"}"
                          : ",\"data\":{\"connectionState\":\"disconnected\"}");
    } else {
        say(s, d, true, "call.hangup", call, "");
    }
}

static inline void act_alerting(struct sim *s, struct device *d, int call)
{
    unsigned what = below(s, 100);

    if (what < 60)
        say(s, d, true, "call.answer", call, answer_data);
    else if (what < 75)
        say(s, d, true, "call.reject", call,
            chance(s, 50) ? ",\"data\":{\"scope\":\"device\"}" : "");
    else
        say(s, d, false, "call.candidates", call,
            ",\"data\":{\"candidates\":[{\"candidate\":\"x\"}]}");
}

static inline void act_invite(struct sim *s, struct device *d)
{
    const char *to = s->dev[below(s, (unsigned)s->devs_n)].user;
    char more[200];

    if (s->calls_n == CALLS_MAX || to == d->user)
        return;
    int call = s->calls_n++;
    d->belief[call] = B_DIALING;
    (void)snprintf(more, sizeof(more),
                   ",\"to\":\"%s\",\"data\":{\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\"},"
                   "\"metadata\":{\"isVideo\":false}}",
                   to);
    say(s, d, true, "call.invite", call, more);
}

static inline void act(struct sim *s, struct device *d)
{
    int call = s->calls_n > 0 ? (int)below(s, (unsigned)s->calls_n) : 0;

    for (int i = 0; i < s->calls_n && (d->belief[call] == B_NONE || d->belief[call] == B_OVER); i++)
        call = (call + 1) % s->calls_n;
    switch (d->belief[call]) {
    case B_DIALING:
        if (chance(s, 20))
            say(s, d, true, "call.cancel", call, "");
        else
            say(s, d, false, "call.candidates", call,
                ",\"data\":{\"candidates\":[{\"candidate\":\"y\"}]}");
        break;
    case B_ALERTING:
        act_alerting(s, d, call);
        break;
    case B_UP:
        act_up(s, d, call);
        break;
    default:
        act_invite(s, d);
        break;
    }
}

#endif
