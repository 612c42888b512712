/* What the operator sees of the router, and does to it.
 *
 * Called by operator_listener.c (sorictl) and main.c (the status page). Pure; worker's thread. A
 * status names no user: the page has no password. SPDX-License-Identifier: BSD-3-Clause */
#include "server/operator.h"

#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "proto/json.h"
#include "server/device_dir.h"
#include "server/router_priv.h"

/* A list that grows line by line and keeps room for the last one. */
struct lines {
    struct wr *w;
    size_t room;
    uint64_t shown, left;
};

static struct lines lines_begin(struct wr *w)
{
    return (struct lines){.w = w,
                          .room = w->cap > OPERATOR_LAST_MAX ? w->cap - OPERATOR_LAST_MAX : 0};
}

/* A writer behind what is there. Once full, it stays full: no gaps. */
static struct wr line_begin(const struct lines *l)
{
    struct wr line = wr_init(l->w->base, l->room);

    line.len = l->w->len;
    line.bad = l->left > 0 || l->w->len > l->room;
    return line;
}

static void line_end(struct lines *l, const struct wr *line)
{
    if (line->bad) {
        l->left++;
        return;
    }
    l->w->len = line->len;
    l->shown++;
}

static void lines_end(const struct lines *l)
{
    wr_fmt(l->w, "{\"ok\":true,\"shown\":%" PRIu64 ",\"left_out\":%" PRIu64 "}\n", l->shown,
           l->left);
}

static void put_text(struct wr *w, const char *key, struct slice text)
{
    wr_fmt(w, "%s\"%s\":", w->len > 0 && w->base[w->len - 1] != '{' ? "," : "", key);
    json_write_text(w, text);
}

static const char *yes(bool v)
{
    return v ? "true" : "false";
}

/* ---- status ---- */

/* Calls by state, and by path as far as clients have told. */
static void put_calls(struct wr *w, const struct router *r)
{
    uint64_t state[SIG_CALL_OVER + 1] = {0}, path[LEDGER_PATH_COUNT] = {0}, seen = 0;
    struct hnode *saved = NULL;
    const struct call *c;
    size_t pos = 0;

    while (seen < OPERATOR_STATUS_CALLS && (c = call_table_walk(r->calls, &pos, &saved))) {
        if (!call_live(c))
            continue;
        seen++;
        state[call_state(c)]++;
        if (!call_rings(c))
            path[router_quality_path(r, call_id(c))]++;
    }
    wr_fmt(w, ",\"calls\":{\"live\":%zu,\"looked_at\":%" PRIu64, call_table_count(r->calls), seen);
    for (int s = 0; s < SIG_CALL_OVER; s++)
        wr_fmt(w, ",\"%s\":%" PRIu64, sig_call_state_name((enum sig_call_state)s), state[s]);
    wr_str(w, ",\"path\":{");
    for (int p = 0; p < LEDGER_PATH_COUNT; p++)
        wr_fmt(w, "%s\"%s\":%" PRIu64, p ? "," : "", ledger_path_name((enum ledger_path)p),
               path[p]);
    wr_str(w, "}}");
}

static void put_node(struct wr *w, const struct router *r, size_t i)
{
    const struct node *n = r->nodes[i];
    struct hnode *saved = NULL;
    size_t pos = 0, rooms = 0, people = 0;

    for (const struct room *room; (room = room_walk(r->rooms, &pos, &saved));) {
        rooms += room->node == i;
        people += room->node == i ? room->seats_n : 0;
    }
    wr_str(w, "{");
    put_text(w, "node", node_name(n));
    put_text(w, "region", node_region(n));
    wr_fmt(w,
           ",\"up\":%s,\"draining\":%s,\"load\":%u,\"weight\":%u,\"rooms\":%zu,"
           "\"participants\":%zu,\"open_requests\":%zu}",
           yes(node_up(n)), yes(node_draining(n)), node_load(n), node_weight(n), rooms, people,
           node_open_requests(n));
}

/* Sums since the start: whoever looks takes the difference of two looks. */
static void put_quality(struct wr *w, const struct router *r)
{
    const struct router_counters *n = &r->count;

    wr_str(w, ",\"quality\":{");
    for (int p = 0; p < SIG_ROUTE_COUNT; p++) {
        uint64_t count = 0, sum = 0;
        for (size_t v = 0; v < ROUTER_VOICES; v++) {
            const struct tally *t = &n->mos[p][v];
            for (size_t b = 0; b <= t->_n; b++)
                count += counter_get(&t->bucket[b]);
            sum += counter_get(&t->sum_milli);
        }
        wr_fmt(w, "%s\"%s\":{\"judged\":%" PRIu64 ",\"mos_milli_sum\":%" PRIu64 "}", p ? "," : "",
               sig_route_name((enum sig_route)p), count, sum);
    }
    wr_fmt(w,
           "},\"bad\":{\"mos\":%" PRIu64 ",\"loss\":%" PRIu64 ",\"rtt\":%" PRIu64
           ",\"jitter\":%" PRIu64 "},\"silence_ms\":%" PRIu64,
           counter_get(&n->quality_bad[ROUTER_BAD_MOS]),
           counter_get(&n->quality_bad[ROUTER_BAD_LOSS]),
           counter_get(&n->quality_bad[ROUTER_BAD_RTT]),
           counter_get(&n->quality_bad[ROUTER_BAD_JITTER]), counter_get(&n->quality_silence_ms));
}

static void put_ended(struct wr *w, const struct router *r)
{
    wr_str(w, ",\"ended\":{");
    for (int e = 1; e < SIG_REASON_COUNT; e++)
        wr_fmt(w, "%s\"%s\":%" PRIu64, e > 1 ? "," : "", sig_reason_name((enum sig_reason)e),
               counter_get(&r->count.ended[e]));
    wr_str(w, "}");
}

void operator_put_status(struct wr *w, struct router *r, const struct operator_facts *f)
{
    wr_str(w, "{\"ok\":true,\"version\":\"" SORI_VERSION "\"");
    put_text(w, "node", slice_str(r->conf->server.node_id));
    put_text(w, "region", slice_str(r->conf->server.region));
    wr_fmt(w, ",\"seconds\":%" PRIu64 ",\"ready\":%s,\"draining\":%s,\"log_level\":\"%s\"",
           f->seconds, yes(f->ready), yes(r->draining), log_level_text());
    if (f->degraded)
        put_text(w, "degraded", slice_str(f->degraded));
    wr_fmt(w,
           ",\"connections\":%" PRIu64 ",\"sessions\":%zu,\"rooms\":%zu,\"participants\":%zu"
           ",\"devices\":%zu",
           counter_get(&r->count.connections), session_table_count(r->sessions),
           room_table_count(r->rooms), room_table_seats(r->rooms),
           r->devices ? device_dir_devices(r->devices) : 0);
    put_calls(w, r);
    put_ended(w, r);
    put_quality(w, r);
    wr_str(w, ",\"nodes\":[");
    for (size_t i = 0, n = 0; i < r->nodes_n; i++) {
        if (!r->nodes[i])
            continue;
        wr_str(w, n++ ? "," : "");
        put_node(w, r, i);
    }
    wr_str(w, "]}\n");
}

/* ---- lists ---- */

static void put_call(struct wr *w, const struct router *r, const struct call *c)
{
    const struct call_times *t = call_times(c);
    char id[SIG_CALL_ID_TEXT + 1];

    wr_fmt(w, "{\"call\":\"%s\",\"state\":\"%s\"", sig_call_id_text(call_id(c), id),
           sig_call_state_name(call_state(c)));
    put_text(w, "caller", call_caller(c));
    put_text(w, "caller_device", call_caller_device(c));
    put_text(w, "callee", call_callee(c));
    put_text(w, "callee_device", call_winner(c));
    put_text(w, "room", call_room(c));
    wr_fmt(w, ",\"video\":%s,\"path\":\"%s\",\"seconds\":%" PRIu64, yes(call_is_video(c)),
           ledger_path_name(router_quality_path(r, call_id(c))),
           (r->now_us - t->made_us) / US_PER_S);
    if (t->answered_us)
        wr_fmt(w, ",\"answered_seconds\":%" PRIu64, (r->now_us - t->answered_us) / US_PER_S);
    wr_str(w, "}\n");
}

static void list_calls(struct wr *w, struct router *r, const struct operator_request *q)
{
    struct slice user = slice_of(q->user, q->user_len);
    struct lines l = lines_begin(w);
    struct hnode *saved = NULL;
    const struct call *c;
    size_t pos = 0;

    while ((c = call_table_walk(r->calls, &pos, &saved))) {
        if (!call_live(c) ||
            (q->has_user && !slice_eq(call_caller(c), user) && !slice_eq(call_callee(c), user)))
            continue;
        struct wr line = line_begin(&l);
        put_call(&line, r, c);
        line_end(&l, &line);
    }
    lines_end(&l);
}

static void list_nodes(struct wr *w, struct router *r)
{
    struct lines l = lines_begin(w);

    for (size_t i = 0; i < r->nodes_n; i++) {
        if (!r->nodes[i])
            continue;
        struct wr line = line_begin(&l);
        put_node(&line, r, i);
        wr_str(&line, "\n");
        line_end(&l, &line);
    }
    lines_end(&l);
}

/* Tokens are secrets: what is shown of one is its type and age. */
static void put_device(struct wr *w, const struct dir_device *d)
{
    wr_str(w, "{");
    put_text(w, "device", d->device);
    put_text(w, "app", d->app);
    put_text(w, "version", d->version);
    put_text(w, "platform", slice_str(ledger_platform_name(d->platform)));
    put_text(w, "environment", slice_str(ledger_env_name(d->env)));
    wr_fmt(w, ",\"seen_ms\":%" PRIu64 ",\"tokens\":[", d->seen_ms);
    for (size_t i = 0; i < d->tokens_n; i++)
        wr_fmt(w, "%s{\"type\":\"%s\",\"registered_ms\":%" PRIu64 ",\"expires_ms\":%" PRIu64 "}",
               i ? "," : "", ledger_token_type_name(d->tokens[i].type), d->tokens[i].registered_ms,
               d->tokens[i].expires_ms);
    wr_str(w, "]}\n");
}

static void list_tokens(struct wr *w, struct router *r, const struct operator_request *q)
{
    struct lines l = lines_begin(w);
    struct slice user = slice_of(q->user, q->user_len);

    for (const struct dir_device *d = r->devices ? device_dir_first(r->devices, user) : NULL; d;
         d = device_dir_next(d)) {
        struct wr line = line_begin(&l);
        put_device(&line, d);
        line_end(&l, &line);
    }
    lines_end(&l);
}

/* ---- the ledger ---- */

int operator_ask_ledger(struct router *r, const struct operator_request *q, ledger_done_fn *done,
                        void *ctx)
{
    struct slice user = slice_of(q->user, q->user_len), actor = SLICE_LIT("operator");

    if (!r->ledger)
        return -ENOTSUP;
    if (q->command == OPERATOR_HOLDS)
        return ledger_holds(r->ledger, done, ctx);
    return ledger_hold(r->ledger, user, actor, q->command == OPERATOR_HOLD, r->wall_us / US_PER_MS,
                       done, ctx);
}

static const char *trouble(int rc)
{
    switch (rc) {
    case -EEXIST:
        return "this user's records are held";
    case -ENOENT:
        return "this user's records are not held";
    case -ENOSPC:
        return "too many are held, or too much waits for the ledger";
    case -ENOTSUP:
        return "there is no ledger";
    default:
        return "the ledger is in trouble: see the log";
    }
}

void operator_put_ledger(struct wr *w, int rc, const struct ledger_result *res)
{
    if (rc != 0) {
        operator_put_error(w, trouble(rc));
        return;
    }
    struct lines l = lines_begin(w);
    for (size_t i = 0; res && i < res->devices_n; i++) {
        struct wr line = line_begin(&l);
        wr_str(&line, "{");
        put_text(&line, "user", res->devices[i].user);
        wr_fmt(&line, ",\"since_ms\":%" PRIu64 "}\n", res->devices[i].seen_ms);
        line_end(&l, &line);
    }
    lines_end(&l);
}

void operator_answer(struct wr *w, struct router *r, const struct operator_request *q)
{
    char id[SIG_CALL_ID_TEXT + 1];

    switch (q->command) {
    case OPERATOR_CALLS:
        list_calls(w, r, q);
        return;
    case OPERATOR_NODES:
        list_nodes(w, r);
        return;
    case OPERATOR_TOKENS:
        list_tokens(w, r, q);
        return;
    case OPERATOR_END:
        if (!router_call_end(r, &q->call, SIG_REASON_ADMIN)) {
            operator_put_error(w, "no such call");
            return;
        }
        log_info("operator", "ended call %s", sig_call_id_text(&q->call, id));
        wr_str(w, "{\"ok\":true}\n");
        return;
    default:
        operator_put_error(w, "not a question to the router");
        return;
    }
}
