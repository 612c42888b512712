/* A signaling client for the load generators: token, hello, numbers and acknowledgements
 * (docs/SIGNALING.md §2, §3), and the pieces of a call that all of them need.
 *
 * Each message that comes in must be valid JSON and carry the next `seq`: a message lost, doubled
 * or out of order ends the program. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BENCH_SIG_USER_H
#define SORI_BENCH_SIG_USER_H

#include "bench/load/sig_conn.h"
#include "proto/json.h"
#include "server/token.h"

#define SIG_NAME_MAX    32
#define SIG_CALL_TEXT   36
#define SIG_TOKEN_TTL_S 86400
#define SIG_SDP_BYTES   2200 /* an offer with audio and video */

struct sig_user;

/* What a client hears; slices are raw JSON and last for the call. */
struct sig_text {
    struct slice type; /* without quotes */
    struct slice re, call_id, data;
    uint64_t seq, ack;
};

struct sig_user {
    struct sig_wss conn;
    struct sig_world *world;
    void *owner;
    uint64_t in_seq, told, out_seq, out_acked, ids;
    unsigned index;
    bool welcome;
    char name[SIG_NAME_MAX];
};

/* What all users of a program share. */
struct sig_world {
    struct sig_loop *loop;
    struct slice secret;
    const char *prefix;     /* of user names */
    const char *odd, *even; /* where users of such an index connect; NULL: the loop's address */
    void (*welcome)(struct sig_user *u);
    void (*message)(struct sig_user *u, const struct sig_text *m); /* numbered messages */
    uint64_t received, sent;
    uint8_t secret_bytes[256];
};

/* Reads the HS256 secret. */
static inline void sig_world_init(struct sig_world *w, const char *addr, const char *secret_file)
{
    FILE *f = fopen(secret_file, "r");

    w->loop = sig_loop_new(addr);
    w->secret =
        slice_of(w->secret_bytes, f ? fread(w->secret_bytes, 1, sizeof(w->secret_bytes), f) : 0);
    if (!f || w->secret.len == 0)
        sig_die("cannot read the secret", slice_str(secret_file));
    fclose(f);
    while (w->secret.len > 0 && w->secret.p[w->secret.len - 1] == '\n')
        w->secret.len--;
}

/* ---- output ---- */

/* Begins a message: {"type":...,"id":...,"seq":...,"ack":...,"callId":... The rest and the closing
 * brace are the caller's. with_id: a request. */
static inline void sig_user_begin(struct sig_user *u, struct wr *w, const char *type, bool with_id,
                                  const char *call_id)
{
    wr_str(w, "{\"type\":\"");
    wr_str(w, type);
    wr_str(w, "\"");
    if (with_id) {
        wr_str(w, ",\"id\":\"r");
        wr_u64(w, ++u->ids);
        wr_str(w, "\"");
    }
    wr_str(w, ",\"seq\":");
    wr_u64(w, ++u->out_seq);
    if (u->in_seq > u->told) {
        wr_str(w, ",\"ack\":");
        wr_u64(w, u->in_seq);
        u->told = u->in_seq;
    }
    wr_str(w, ",\"callId\":\"");
    wr_str(w, call_id);
    wr_str(w, "\"");
}

static inline void sig_user_send(struct sig_user *u, const struct wr *w)
{
    if (w->bad)
        sig_die("a message does not fit its buffer", slice_str(u->name));
    u->world->sent++;
    sig_conn_frame(&u->conn, WS_OP_TEXT, wr_done(w));
}

/* A message whose data is given as text: ",\"data\":{...}", with or without more fields. */
static inline void sig_user_say(struct sig_user *u, const char *type, bool with_id,
                                const char *call_id, const char *rest)
{
    uint8_t text[8192];
    struct wr w = wr_init(text, sizeof(text));

    sig_user_begin(u, &w, type, with_id, call_id);
    wr_str(&w, rest);
    wr_str(&w, "}");
    sig_user_send(u, &w);
}

/* Acknowledges what no other message has. */
static inline void sig_user_ack(struct sig_user *u)
{
    uint8_t text[64];
    struct wr w = wr_init(text, sizeof(text));

    if (u->in_seq == u->told)
        return;
    u->told = u->in_seq;
    wr_str(&w, "{\"type\":\"ack\",\"ack\":");
    wr_u64(&w, u->in_seq);
    wr_str(&w, "}");
    sig_user_send(u, &w);
}

static inline void sig_user_hello(struct sig_wss *c)
{
    struct sig_user *u = c->user;
    uint64_t now_s = clock_wall_us() / US_PER_S;
    struct token t = {.expires_at_s = now_s + SIG_TOKEN_TTL_S,
                      .perms = {.call = true, .presence = true}};
    uint8_t text[TOKEN_JWS_MAX + 512];
    struct wr w = wr_init(text, sizeof(text));

    snprintf(t.user, sizeof(t.user), "%s", u->name);
    wr_str(&w, "{\"type\":\"hello\",\"id\":\"h\",\"data\":{\"token\":\"");
    if (token_sign_hs256(&w, u->world->secret, NULL, &t, &(struct token_rules){0}, now_s) != 0)
        sig_die("cannot sign a token", slice_str(u->name));
    wr_str(&w, "\",\"deviceId\":\"bench\",\"platform\":\"other\"}}");
    sig_user_send(u, &w);
}

/* ---- input ---- */

static inline struct slice sig_unquote(struct slice raw)
{
    return raw.len >= 2 ? slice_of(raw.p + 1, raw.len - 2) : (struct slice){0};
}

static inline void sig_user_text(struct sig_wss *c, struct slice text)
{
    static const struct json_limits limits = {.depth = 32, .values = 1024, .bytes = SIG_BUF_BYTES};
    enum { TYPE, RE, SEQ, ACK, CALL, DATA, N };
    struct json_field f[N] = {{.key = "type"}, {.key = "re"},     {.key = "seq"},
                              {.key = "ack"},  {.key = "callId"}, {.key = "data"}};
    struct sig_user *u = c->user;

    if (json_scan_object(text, &limits, f, N) != 0)
        sig_die("not JSON", text);
    struct sig_text m = {.type = sig_unquote(f[TYPE].value),
                         .re = sig_unquote(f[RE].value),
                         .call_id = sig_unquote(f[CALL].value),
                         .data = f[DATA].value};
    u->world->received++;
    if (slice_is(m.type, "error"))
        sig_die("an error", text);
    if (json_u64(f[ACK].value, u->out_seq, &m.ack))
        u->out_acked = m.ack;
    if (slice_is(m.type, "welcome")) {
        u->welcome = true;
        if (u->world->welcome)
            u->world->welcome(u);
        return;
    }
    if (!json_u64(f[SEQ].value, UINT64_MAX, &m.seq))
        return; /* ack, server.goaway */
    if (m.seq != ++u->in_seq)
        sig_die("seq is not the next one", text);
    if (u->world->message)
        u->world->message(u, &m);
}

static inline void sig_user_closed(struct sig_wss *c)
{
    (void)c;
}

/* Connects and says hello as PREFIX<index>; world->welcome() follows. */
static inline void sig_user_start(struct sig_user *u, struct sig_world *world, unsigned index)
{
    static const struct sig_conn_ops ops = {
        .open = sig_user_hello, .text = sig_user_text, .closed = sig_user_closed};

    if (world->odd)
        sig_loop_aim(world->loop, index % 2 ? world->odd : world->even);
    u->world = world;
    u->index = index;
    snprintf(u->name, sizeof(u->name), "%s%u", world->prefix, index);
    sig_conn_start(&u->conn, world->loop, &ops, u);
}

/* Connects n users, at most `at_once` of them on the way. */
static inline struct sig_user *sig_users_new(struct sig_world *world, unsigned n, unsigned at_once)
{
    struct sig_user *u = mem_calloc(n, sizeof(*u));
    unsigned started = 0, there = 0;
    uint64_t heard = clock_now_us();

    if (!u)
        sig_die("out of memory", (struct slice){0});
    while (there < n) {
        while (started < n && started - there < at_once) {
            sig_user_start(&u[started], world, started);
            started++;
        }
        if (sig_loop_turn(world->loop, 1000) > 0)
            heard = clock_now_us();
        else if (clock_now_us() - heard > SIG_TIMEOUT_US)
            sig_die("the server does not take more connections", slice_str(u[there].name));
        while (there < started && u[there].welcome)
            there++;
    }
    return u;
}

/* ---- calls ---- */

/* Writes the id of call number n: a UUID in lower case. */
static inline void sig_call_name(char out[SIG_CALL_TEXT + 1], unsigned salt, uint64_t n)
{
    snprintf(out, SIG_CALL_TEXT + 1, "%08x-%04x-7000-8000-%012llx", salt,
             (unsigned)(n >> 48) & 0xFFFF, (unsigned long long)n & 0xFFFFFFFFFFFFULL);
}

/* Fills text with something of the size and shape of a browser's description, as JSON content. */
static inline void sig_sdp_fill(char *text, size_t len)
{
    static const char head[] =
        "v=0\\r\\no=- 4611731400430051336 2 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\n"
        "a=group:BUNDLE 0 1\\r\\na=msid-semantic: WMS stream\\r\\n";
    static const char line[] = "a=rtpmap:111 opus/48000/2\\r\\na=fmtp:111 minptime=10\\r\\n";
    size_t at = 0;

    while (at + sizeof(line) < len) {
        const char *piece = at == 0 ? head : line;
        size_t n = strlen(piece);
        memcpy(text + at, piece, n);
        at += n;
    }
    text[at] = '\0';
}

/* Invites `to` with an offer of SIG_SDP_BYTES: a message of about 2.4 kB. */
static inline void sig_user_invite(struct sig_user *u, const char *call_id, const char *to)
{
    char sdp[SIG_SDP_BYTES], rest[SIG_SDP_BYTES + 256];

    sig_sdp_fill(sdp, sizeof(sdp));
    snprintf(rest, sizeof(rest),
             ",\"to\":\"%s\",\"data\":{\"offer\":{\"type\":\"offer\",\"sdp\":\"%s\"},"
             "\"metadata\":{\"isVideo\":true}}",
             to, sdp);
    sig_user_say(u, "call.invite", true, call_id, rest);
}

static inline void sig_user_answer(struct sig_user *u, const char *call_id)
{
    char sdp[SIG_SDP_BYTES], rest[SIG_SDP_BYTES + 256];

    sig_sdp_fill(sdp, sizeof(sdp));
    snprintf(rest, sizeof(rest), ",\"data\":{\"answer\":{\"type\":\"answer\",\"sdp\":\"%s\"}}",
             sdp);
    sig_user_say(u, "call.answer", true, call_id, rest);
}

#endif
