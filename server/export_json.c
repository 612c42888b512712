/* The export's text, record by record.
 *
 * Called by the stores (sweep). Pure. A call's peer is the identifier that the user knew already,
 * or null when that one is erased or the call had many; nothing else of other parties is in the
 * file. SPDX-License-Identifier: BSD-3-Clause */
#include "server/export_json.h"

#include "base/crypto.h"
#include "proto/json.h"

#include <time.h>

#define SCHEMA "call-export/1"

/* ---- values ---- */

static void put_key(struct wr *w, const char *name)
{
    if (w->len > 0 && w->base[w->len - 1] != '{')
        wr_u8(w, ',');
    wr_u8(w, '"');
    wr_str(w, name);
    wr_str(w, "\":");
}

static void put_text(struct wr *w, const char *name, struct slice value)
{
    put_key(w, name);
    json_write_text(w, value);
}

static void put_word(struct wr *w, const char *name, const char *value)
{
    put_text(w, name, slice_str(value));
}

static void put_number(struct wr *w, const char *name, uint64_t value)
{
    put_key(w, name);
    wr_u64(w, value);
}

static void put_truth(struct wr *w, const char *name, bool value)
{
    put_key(w, name);
    wr_str(w, value ? "true" : "false");
}

/* value / 1000 with three digits behind the point. */
static void put_milli(struct wr *w, const char *name, unsigned value)
{
    put_key(w, name);
    wr_fmt(w, "%u.%03u", value / 1000, value % 1000);
}

/* RFC 3339 in UTC, or null. */
static void put_time(struct wr *w, const char *name, uint64_t ms)
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;

    put_key(w, name);
    if (ms == 0 || ms / 1000 > 253402300799u || !gmtime_r(&s, &tm)) /* 9999-12-31 */
        wr_str(w, "null");
    else
        wr_fmt(w, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03uZ\"", tm.tm_year + 1900, tm.tm_mon + 1,
               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(ms % 1000));
}

static void put_call_id(struct wr *w, const char *name, const struct sig_call_id *id)
{
    put_key(w, name);
    wr_u8(w, '"');
    sig_call_id_write(w, id);
    wr_u8(w, '"');
}

/* ---- records ---- */

/* Begins a record: in a document behind a comma, as a line with its kind. */
static void begin(struct export_json *e, struct wr *w, const char *kind)
{
    if (!e->ndjson && e->more)
        wr_str(w, ",\n");
    e->more = true;
    wr_u8(w, '{');
    if (e->ndjson)
        put_word(w, "record", kind);
}

static void end(struct export_json *e, struct wr *w)
{
    wr_str(w, e->ndjson ? "}\n" : "}");
}

void export_open(struct export_json *e, struct wr *w, bool ndjson, struct slice user,
                 uint64_t now_ms)
{
    *e = (struct export_json){.ndjson = ndjson};
    wr_u8(w, '{');
    if (ndjson)
        put_word(w, "record", "head");
    put_word(w, "schema", SCHEMA);
    put_time(w, "generated", now_ms);
    put_text(w, "user", user);
    if (ndjson)
        wr_str(w, "}\n");
}

void export_part(struct export_json *e, struct wr *w, enum export_part part)
{
    static const char *const NAME[] = {
        [EXPORT_DEVICES] = "devices",         [EXPORT_CALLS] = "calls",
        [EXPORT_SAMPLES] = "quality_samples", [EXPORT_PUSHES] = "pushes",
        [EXPORT_LOG] = "privacy_log",
    };

    if (!e->ndjson) {
        wr_str(w, e->part == EXPORT_HEAD ? "" : "]");
        wr_str(w, ",\n\"");
        wr_str(w, NAME[part]);
        wr_str(w, "\":[");
    }
    e->part = part;
    e->more = false;
}

static void put_tokens(struct wr *w, const struct ledger_device *d)
{
    uint8_t hash[CRYPTO_SHA256_BYTES];

    put_key(w, "tokens");
    wr_u8(w, '[');
    for (size_t i = 0; i < d->tokens_n; i++) {
        const struct ledger_token *t = &d->tokens[i];
        wr_str(w, i > 0 ? ",{" : "{");
        put_word(w, "type", ledger_token_type_name(t->type));
        put_key(w, "sha256");
        wr_u8(w, '"');
        if (crypto_digest(CRYPTO_SHA256, &t->token, 1, hash) == 0)
            hex_encode(w, slice_of(hash, sizeof(hash)));
        wr_u8(w, '"');
        put_time(w, "registered", t->registered_ms);
        wr_u8(w, '}');
    }
    wr_u8(w, ']');
}

void export_device(struct export_json *e, struct wr *w, const struct ledger_device *d)
{
    begin(e, w, "device");
    put_text(w, "device_id", d->device);
    put_word(w, "platform", ledger_platform_name(d->platform));
    put_text(w, "app", d->app);
    put_text(w, "version", d->version);
    put_text(w, "locale", d->locale);
    put_word(w, "env", ledger_env_name(d->env));
    put_word(w, "call_ui", ledger_call_ui_name(d->call_ui));
    put_time(w, "last_seen", d->seen_ms);
    put_tokens(w, d);
    end(e, w);
}

static const char *ended_by(const struct ledger_entry *c)
{
    if (c->ended_by == LEDGER_BY_SYSTEM)
        return "system";
    if (c->ended_by == LEDGER_BY_MEMBER)
        return "me";
    return (c->ended_by == LEDGER_BY_CALLER) == (c->role == LEDGER_CALLER) ? "me" : "peer";
}

static void put_quality(struct wr *w, const struct ledger_entry *c)
{
    put_key(w, "quality");
    if (c->samples == 0) {
        wr_str(w, "null");
        return;
    }
    wr_u8(w, '{');
    put_text(w, "leg", c->leg);
    put_text(w, "model", c->model);
    put_text(w, "codec", c->codec);
    put_word(w, "path", ledger_path_name(c->quality_path));
    put_number(w, "samples", c->samples);
    put_milli(w, "mos_avg", c->mos_avg_milli);
    put_milli(w, "mos_p10", c->mos_p10_milli);
    put_milli(w, "mos_min", c->mos_min_milli);
    put_milli(w, "loss", c->loss_permille);
    put_number(w, "rtt_ms", c->rtt_ms);
    put_number(w, "jitter_ms", c->jitter_ms);
    put_number(w, "silence_ms", c->silence_ms);
    put_text(w, "worst", c->worst);
    put_text(w, "network", c->network);
    wr_u8(w, '}');
}

void export_call(struct export_json *e, struct wr *w, const struct ledger_entry *c)
{
    static const char *const DIRECTION[LEDGER_ROLE_COUNT] = {"out", "in", "room"};
    bool talked = c->answer_ms != 0 && c->end_ms >= c->answer_ms;

    begin(e, w, "call");
    put_call_id(w, "call_id", &c->id);
    put_word(w, "direction", DIRECTION[c->role]);
    if (c->peer.len > 0) {
        put_text(w, "peer", c->peer);
    } else {
        put_key(w, "peer");
        wr_str(w, "null");
    }
    put_word(w, "media", c->video ? "video" : "audio");
    put_text(w, "device_id", c->device);
    put_time(w, "created", c->created_ms);
    put_time(w, "answered", c->answer_ms);
    put_time(w, "ended", c->end_ms);
    put_number(w, "duration_s", talked ? (c->end_ms - c->answer_ms) / 1000 : 0);
    put_word(w, "result", ledger_outcome_name(c->outcome));
    put_word(w, "reason", sig_reason_name(c->reason));
    put_word(w, "ended_by", ended_by(c));
    put_truth(w, "missed", c->missed);
    put_truth(w, "seen", c->seen);
    put_truth(w, "hidden", c->hidden);
    put_word(w, "path", ledger_path_name(c->path));
    put_number(w, "bytes_relayed", c->relayed_bytes);
    put_quality(w, c);
    end(e, w);
}

void export_sample(struct export_json *e, struct wr *w, const struct ledger_sample *v)
{
    begin(e, w, "sample");
    put_call_id(w, "call_id", &v->call_id);
    put_text(w, "leg", v->leg);
    put_time(w, "at", v->at_ms);
    put_number(w, "interval_ms", v->interval_ms);
    put_number(w, "rtt_ms", v->rtt_ms);
    put_number(w, "jitter_ms", v->jitter_ms);
    put_number(w, "buffer_ms", v->buffer_ms);
    put_number(w, "silence_ms", v->silence_ms);
    put_milli(w, "loss", v->loss_permille);
    put_milli(w, "burst_ratio", v->burst_centi * 10);
    put_number(w, "bps", v->bps);
    put_text(w, "codec", v->codec);
    put_word(w, "path", ledger_path_name(v->path));
    put_milli(w, "r", v->r_milli);
    put_milli(w, "mos", v->mos_milli);
    end(e, w);
}

void export_push(struct export_json *e, struct wr *w, const struct ledger_push *p)
{
    begin(e, w, "push");
    put_call_id(w, "call_id", &p->call_id);
    put_text(w, "device_id", p->device);
    put_text(w, "kind", p->kind);
    put_text(w, "apns_id", p->apns_id);
    put_time(w, "sent", p->sent_ms);
    put_time(w, "answered", p->answered_ms);
    put_number(w, "status", p->status);
    put_text(w, "reason", p->reason);
    end(e, w);
}

void export_log(struct export_json *e, struct wr *w, const struct export_log *l)
{
    begin(e, w, "log");
    put_time(w, "ts", l->at_ms);
    put_text(w, "actor", l->actor);
    put_text(w, "action", l->action);
    end(e, w);
}

void export_close(struct export_json *e, struct wr *w)
{
    e->part = EXPORT_END;
    wr_str(w, e->ndjson ? "{\"record\":\"end\"}\n" : "]}\n");
}
