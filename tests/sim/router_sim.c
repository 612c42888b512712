/* Simulator of the whole server behind its sockets: the real router, sessions, WebSocket codec and
 * call machine, with clients that follow docs/SIGNALING.md §6 over connections that break and lose
 * what is in flight. Virtual time, seeded.
 *
 *     router_sim [--seeds N] [--start S]     runs N seeds (default 1,000) from S (default 1)
 *     router_sim --seed S -v                 runs one seed again and prints every message
 *
 * Replay: a violation prints its seed; `router_sim --seed S -v` shows the run. Exit code 1 after a
 * violation.
 *
 * Checked: the server's seq has no gap and no message comes twice to the app; what comes again is
 * the same; nothing that was sent is lost while a session lives; each request is answered once; one
 * call.accepted; one call.ended per device and call; call.info arrives complete and in order; a
 * client that has read all believes what the server says; a push rings a device once for a call,
 * and only while that rings. SPDX-License-Identifier: BSD-3-Clause */
#include <unistd.h>

#include "base/log.h"
#include "server/token_keys.h"
#include "tests/sim/router_people.h"

/* ---- connections ---- */

static void disconnect(struct sim *s, struct device *d)
{
    if (!d->sock)
        return;
    SAY(s, d, "-", "connection gone");
    fake_free(d->sock);
    d->sock = NULL;
    d->welcomed = false;
    d->gone_us = s->now_us;
    for (unsigned i = 0; i < d->sent_n; i++)
        d->sent[i].flying = false; /* lost, or seen by the server: the welcome will tell */
}

/* Connects, over the old connection if there is one (which the server has to end). */
static void reconnect(struct sim *s, struct device *d, bool resume)
{
    char text[160];
    struct fake *old = d->sock;

    d->sock = NULL;
    for (unsigned i = 0; i < d->sent_n; i++)
        d->sent[i].flying = false;
    d->welcomed = false;
    d->sock = fake_open(s->r, (uint8_t)(1 + (d - s->dev)));
    (void)snprintf(text, sizeof(text),
                   "{\"sessionId\":\"%s\",\"resumeToken\":\"%s\",\"lastSeq\":%llu}", d->session,
                   d->token, (unsigned long long)d->in_seq);
    SAY(s, d, "+", resume && d->session[0] ? text : "new connection");
    fake_hello(d->sock, d->user, d->name, resume && d->session[0] ? text : NULL);
    if (old) {
        if (!old->closed && !d->sock->closed)
            violate(s, "two sockets of one device", d, "");
        fake_free(old);
    }
}

/* The page is loaded anew: nothing is remembered. */
static void reload(struct sim *s, struct device *d)
{
    disconnect(s, d);
    d->session[0] = d->token[0] = '\0';
    d->sent_n = 0;
    memset(d->belief, 0, sizeof(d->belief));
    reconnect(s, d, false);
}

static bool read_one(struct sim *s, struct device *d)
{
    const char *text = d->sock ? fake_next(d->sock) : NULL;

    if (d->sock && d->sock->pings > 0) {
        d->sock->pings = 0;
        fake_frame(d->sock, WS_OP_PONG, "", 0);
    }
    if (text) {
        receive(s, d, text);
        return true;
    }
    if (d->sock && d->sock->closed) {
        SAY(s, d, "-", "closed by the server");
        if (d->sock->close_code == SIG_CLOSE_MALFORMED)
            violate(s, "the server calls a right client malformed", d, "");
        disconnect(s, d);
    }
    return false;
}

static void act_link(struct sim *s, struct device *d)
{
    if (!d->sock)
        reconnect(s, d, chance(s, 95));
    else if (chance(s, 70))
        disconnect(s, d);
    else if (chance(s, 70))
        reconnect(s, d, true); /* the old socket is a zombie */
    else
        reload(s, d);
}

/* ---- pushes ---- */

/* The device that a token belongs to ("aa03"). */
static struct device *device_of(struct sim *s, const char *token)
{
    return &s->dev[strtoul(token + 2, NULL, 16) % DEVS_MAX];
}

static void give_token(struct sim *s, struct device *d, enum ledger_token_type type)
{
    char token[8];
    struct ledger_token t = {.type = type, .registered_ms = s->now_us / US_PER_MS};
    struct ledger_device dev = {.user = slice_str(d->user),
                                .device = slice_str(d->name),
                                .app = SLICE_LIT("com.acme.talk"),
                                .call_ui = type == LEDGER_VOIP ? LEDGER_CALLKIT : LEDGER_UI_NONE,
                                .seen_ms = 1,
                                .tokens = &t,
                                .tokens_n = 1};

    (void)snprintf(token, sizeof(token), "aa%02x", (unsigned)(d - s->dev));
    t.token = slice_str(token);
    if (device_dir_put(s->dir, &dev) != 0)
        violate(s, "a device can't register", d, token);
}

static int watched_send(void *arg, const struct push_job *job, struct push_out *out, char *id)
{
    struct sim *s = arg;
    char token[16], call[SIG_CALL_ID_TEXT + 1];
    struct sig_call_id cid;

    fake_push_text(token, sizeof(token), job->token);
    fake_push_text(call, sizeof(call), job->content.call_id);
    struct device *d = device_of(s, token);
    if (push_kind_urgent(job->content.kind) && sig_call_id_parse(&cid, job->content.call_id) == 0) {
        const struct call *c = call_table_find(s->r->calls, &cid);
        if (!c || !call_rings(c) || !call_live(c))
            violate(s, "a push for a call that does not ring", d, call);
        else if (!slice_is(call_callee(c), d->user))
            violate(s, "a push for somebody else", d, call);
        if (++s->rung[call_of(call)][d - s->dev] > 1)
            violate(s, "a device is pushed twice for one call", d, call);
        if (job->deadline_us > s->now_us + s->conf.call.ring_timeout_s * US_PER_S)
            violate(s, "a push outlives the ringing", d, call);
    }
    SAY(s, d, "!", push_kind_name(job->content.kind));
    s->pushes++;
    return chance(s, 5) ? -EHOSTDOWN : fake_push_send(&s->push, job, out, id);
}

static void watched_cancel(void *arg, struct slice id)
{
    struct sim *s = arg;

    fake_push_cancel(&s->push, id);
}

/* The service says what became of a push; a device may wake up, now or by itself later. */
static void act_push(struct sim *s)
{
    unsigned i = below(s, FAKE_PUSH_MAX), what = below(s, 100);

    for (unsigned k = 0; k < FAKE_PUSH_MAX && !fake_push_at(&s->push, i)->out; k++)
        i++;
    struct fake_pushed *p = fake_push_at(&s->push, i);
    struct device *d = device_of(s, p->token);
    bool rings = push_kind_urgent(p->kind);
    SAY(s, d, "!", what < 60 ? "push taken" : "push refused");
    if (!fake_push_judge(&s->push, i,
                         what < 60   ? PUSH_TAKEN
                         : what < 75 ? PUSH_NO
                         : what < 90 ? PUSH_GONE
                                     : PUSH_BAD,
                         what < 60 ? 200 : 400))
        return;
    if (what >= 75)
        give_token(s, d, chance(s, 80) ? LEDGER_VOIP : LEDGER_ALERT);
    if (what < 60 && rings && !d->sock && chance(s, 60)) {
        s->woken++;
        reconnect(s, d, chance(s, 60));
    }
}

/* ---- time and steps ---- */

static void pass(struct sim *s, uint64_t us)
{
    uint64_t end = s->now_us + us, at;

    while ((at = router_deadline(s->r)) <= end) {
        s->now_us = at > s->now_us ? at : s->now_us;
        router_clock(s->r, s->now_us, FAKE_WALL + s->now_us);
        router_tick(s->r);
    }
    s->now_us = end;
    router_clock(s->r, end, FAKE_WALL + end);
}

static struct session *session_of(const struct sim *s, const struct device *d)
{
    struct user *u = user_find(s->r->sessions, slice_str(d->user));

    return u ? session_find_device(u, slice_str(d->name)) : NULL;
}

/* The view that the server has of a device's call. False: none, or over. */
static bool view_of(const struct sim *s, const struct device *d, int call, struct sig_view *v)
{
    char text[SIG_CALL_ID_TEXT + 1];
    struct sig_call_id id;

    (void)snprintf(text, sizeof(text), CALL_FMT, (unsigned)call);
    return sig_call_id_parse(&id, slice_str(text)) == 0 &&
           call_table_view(s->r->calls, &id, slice_str(d->user), slice_str(d->name), v,
                           s->now_us) &&
           v->state != SIG_CALL_OVER;
}

/* The server notices that a party is gone, within the call's times. */
static void check_gone(struct sim *s, const struct device *d)
{
    struct sig_view v;

    for (int c = 0; c < s->calls_n && !d->sock; c++) {
        uint64_t gone = s->now_us - d->gone_us;
        if (!view_of(s, d, c, &v))
            continue;
        bool dials = v.caller && v.state <= SIG_CALL_RINGS;
        bool talks = v.state == SIG_CALL_ACTIVE;
        if (dials && gone > (s->conf.call.caller_grace_s + 1) * US_PER_S)
            violate(s, "rings on without its caller", d, "");
        if (talks && gone > US_PER_S)
            violate(s, "active without a party's socket", d, "");
    }
}

/* Whoever has read and sent everything agrees with the server. */
static void check_device(struct sim *s, struct device *d)
{
    const struct session *session = session_of(s, d);

    if (!d->sock || !d->welcomed || d->sock->out_len > 0 || d->sock->closed || !session)
        return;
    for (unsigned i = 0; i < d->sent_n; i++)
        if (d->sent[i].flying)
            return;
    if (session->rel.out_seq != d->in_seq || session->rel.in_seq != d->out_seq)
        violate(s, "a message was lost", d, "");
    for (unsigned i = 0; i < d->sent_n; i++)
        if (d->sent[i].request && !d->sent[i].answered)
            violate(s, "a request was never answered", d, d->sent[i].body);
    for (int c = 0; c < s->calls_n; c++) {
        struct sig_view v;
        bool live = view_of(s, d, c, &v);
        if (live != (d->belief[c] != B_NONE && d->belief[c] != B_OVER))
            violate(s, "client and server disagree on a call", d, "");
    }
}

static void step(struct sim *s)
{
    struct device *d = &s->dev[below(s, (unsigned)s->devs_n)];
    unsigned what = below(s, 100);

    pass(s, (what < 90 ? below(s, 60) : below(s, chance(s, 10) ? 40000 : 3000)) * US_PER_MS);
    if (what < 20)
        act(s, d);
    else if (what < 23)
        act_link(s, d);
    if (chance(s, 10))
        act_push(s);
    for (unsigned n = 1 + below(s, 4); what >= 23 && n > 0 && s->why[0] == '\0'; n--) {
        if (what < 58)
            arrive(s, d);
        else
            read_one(s, d);
    }
    check_gone(s, d);
    check_device(s, d);
}

/* Everybody comes back, sends and reads all. */
static void settle(struct sim *s)
{
    for (int round = 0; round < SETTLE_ROUNDS && s->why[0] == '\0'; round++) {
        bool busy = false;
        for (int i = 0; i < s->devs_n; i++) {
            struct device *d = &s->dev[i];
            if (!d->sock)
                reconnect(s, d, true);
            d->sock->write_max = 0;
            busy = arrive(s, d) || busy;
            busy = read_one(s, d) || busy;
        }
        if (!busy) {
            for (int i = 0; i < s->devs_n; i++)
                check_device(s, &s->dev[i]);
            return;
        }
    }
    if (s->why[0] == '\0')
        violate(s, "never comes to rest", &s->dev[0], "");
}

/* ---- a run ---- */

static void setup(struct sim *s, uint64_t seed, const struct server_conf *conf,
                  struct token_keys *const *keys)
{
    static const char *const users[] = {"ann", "bob", "cyd"}, *const names[] = {"one", "two"};
    const struct device_dir_conf dir = {
        .devices = DEVS_MAX, .devices_per_user = DEVS_MAX, .tokens_per_device = 8};

    rand_src_init(&s->rnd, seed);
    s->now_us = US_PER_S;
    s->conf = *conf;
    s->conf.limits.messages_per_s = s->conf.limits.candidates_per_10s = 0;
    s->conf.limits.invites_per_10s = s->conf.limits.invites_per_hour = 0;
    s->conf.limits.invites_per_pair_per_min = 0;
    /* A client here repeats an invite however late it comes back; a record that is forgotten by
     * then would make it a new call under an old id. */
    s->conf.call.ended_keep_s = ENDED_KEEP_S;
    s->conf.call.busy_policy = chance(s, 50) ? SERVER_BUSY_WAITING : SERVER_BUSY_REJECT;
    s->r = router_new(&s->conf, keys, NULL, s->now_us, FAKE_WALL);
    s->dir = device_dir_new(&dir);
    fake_push_init(&s->push);
    s->service = (struct router_push_service){watched_send, watched_cancel, s};
    if (!router_set_push(s->r, s->dir, &s->service))
        violate(s, "out of memory", &s->dev[0], "");
    unsigned n = 2 + below(s, DEVS_MAX - 1);
    for (unsigned i = 0; i < n; i++) {
        s->dev[i].user = users[i % ARRAY_LEN(users)];
        s->dev[i].name = names[i / ARRAY_LEN(users)];
        reconnect(s, &s->dev[i], false);
        if (chance(s, 5))
            s->dev[i].sock->write_max = 4000; /* reads too slowly */
    }
    s->devs_n = (int)n;
    for (unsigned i = 0; i < n; i++)
        if (chance(s, 70))
            give_token(s, &s->dev[i], chance(s, 70) ? LEDGER_VOIP : LEDGER_ALERT);
}

/* Runs one seed. False: a violation, printed. */
static bool run_seed(struct sim *s, uint64_t seed, bool verbose, const struct server_conf *conf,
                     struct token_keys *const *keys)
{
    memset(s, 0, sizeof(*s));
    uint64_t live = mem_live();
    s->verbose = verbose;
    setup(s, seed, conf, keys);
    for (int i = 0; i < STEPS && s->why[0] == '\0'; i++)
        step(s);
    settle(s);
    for (int i = 0; i < s->devs_n; i++)
        disconnect(s, &s->dev[i]);
    pass(s, (conf->session.resume_ttl_s + conf->call.max_duration_s + 60) * US_PER_S);
    pass(s, (ENDED_KEEP_S + 1) * US_PER_S);
    if (call_table_count(s->r->calls) + call_table_ended(s->r->calls) +
            session_table_count(s->r->sessions) >
        0)
        violate(s, "something is left at the end", &s->dev[0], "");
    router_free(s->r);
    device_dir_free(s->dir);
    if (mem_live() != live)
        violate(s, "memory is left", &s->dev[0], "");
    if (s->why[0] != '\0')
        (void)printf("seed %llu at %.3f s: %s\n", (unsigned long long)seed, (double)s->now_us / 1e6,
                     s->why);
    return s->why[0] == '\0';
}

/* Adds a run's figures to the sum. */
static void add_up(struct sim *sum, const struct sim *s)
{
    sum->messages += s->messages;
    sum->resumes += s->resumes;
    sum->lost += s->lost;
    sum->answered += s->answered;
    sum->infos += s->infos;
    sum->pushes += s->pushes;
    sum->woken += s->woken;
}

static bool run_seeds(uint64_t start, uint64_t seeds, bool verbose, const struct server_conf *conf,
                      struct token_keys *const *keys)
{
    static struct sim s, sum;

    for (uint64_t i = 0; i < seeds; i++) {
        if (!run_seed(&s, start + i, verbose, conf, keys))
            return false;
        add_up(&sum, &s);
        if (isatty(STDERR_FILENO) && i % 50 == 0)
            (void)fprintf(stderr, "\r%llu of %llu", (unsigned long long)i,
                          (unsigned long long)seeds);
    }
    (void)printf(
        "router_sim: %llu seeds from %llu, %llu messages, %llu resumes, %llu new sessions, "
        "%llu calls answered, %llu call.info received, %llu pushes, %llu devices woken, no "
        "violation\n",
        (unsigned long long)seeds, (unsigned long long)start, (unsigned long long)sum.messages,
        (unsigned long long)sum.resumes, (unsigned long long)sum.lost,
        (unsigned long long)sum.answered, (unsigned long long)sum.infos,
        (unsigned long long)sum.pushes, (unsigned long long)sum.woken);
    return true;
}

int main(int argc, char **argv)
{
    uint64_t seeds = 1000, start = 1;
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
    if (!keys || conf_load(server_conf_opts, server_conf_opts_n, &conf, NULL, err) != 0 ||
        token_keys_add_secret(keys, (struct slice){0}, CRYPTO_HS256, SLICE_LIT(FAKE_SECRET), err) !=
            0)
        return 2;
    log_set_level(LOG_ERROR);
    (void)fake_token("warm", 1); /* the JSON library settles on its allocator: mem_live() */
    bool ok = run_seeds(start, seeds, verbose, &conf, &keys);
    token_keys_free(keys);
    conf_free(server_conf_opts, server_conf_opts_n, &conf);
    return ok ? 0 : 1;
}
