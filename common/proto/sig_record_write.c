/* Writers of device, history and privacy replies (docs/SIGNALING.md §11).
 *
 * Called by router_record.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sig_record.h"

#include "proto/sig_write.h"

static void hex_if(struct wr *w, const char *name, struct slice bytes)
{
    static const char digits[] = "0123456789abcdef";

    if (bytes.len == 0)
        return;
    key(w, name);
    wr_u8(w, '"');
    for (size_t i = 0; i < bytes.len; i++) {
        wr_u8(w, (uint8_t)digits[bytes.p[i] >> 4]);
        wr_u8(w, (uint8_t)digits[bytes.p[i] & 15]);
    }
    wr_u8(w, '"');
}

static void number_if(struct wr *w, const char *name, uint64_t v)
{
    if (v > 0)
        number(w, name, v);
}

static void item(struct wr *w, bool first)
{
    if (!first)
        wr_u8(w, ',');
    wr_u8(w, '{');
}

/* ---- devices ---- */

void sig_record_devices_begin(struct wr *w, struct slice re)
{
    begin(w, &(struct sig_head){.type = SIG_DEVICE_LIST, .re = re});
    raw(w, "devices", SLICE_LIT("["));
}

void sig_record_device_open(struct wr *w, bool first, const struct sig_device_view *d)
{
    item(w, first);
    text(w, "deviceId", d->device);
    word(w, "platform", d->platform);
    text_if(w, "app", d->app);
    text_if(w, "version", d->version);
    text_if(w, "locale", d->locale);
    word(w, "environment", d->environment);
    word(w, "callUi", d->call_ui);
    number_if(w, "seen", d->seen_ms);
    truth(w, "self", d->self);
    raw(w, "tokens", SLICE_LIT("["));
}

void sig_record_device_token(struct wr *w, bool first, const char *type, uint64_t registered_ms)
{
    item(w, first);
    word(w, "type", type);
    number_if(w, "registered", registered_ms);
    wr_u8(w, '}');
}

void sig_record_device_close(struct wr *w)
{
    wr_bytes(w, SLICE_LIT("]}"));
}

void sig_record_devices_end(struct wr *w)
{
    wr_u8(w, ']');
    end(w);
}

void sig_record_registered(struct wr *w, struct slice re, struct slice device, size_t tokens)
{
    begin(w, &(struct sig_head){.type = SIG_DEVICE_REGISTER, .re = re});
    text(w, "deviceId", device);
    number(w, "tokens", tokens);
    end(w);
}

/* ---- history ---- */

void sig_record_history_begin(struct wr *w, struct slice re)
{
    begin(w, &(struct sig_head){.type = SIG_HISTORY_LIST, .re = re});
    raw(w, "calls", SLICE_LIT("["));
}

static void mos(struct wr *w, const char *name, unsigned milli)
{
    enum { MILLI = 1000, CENTI = 10 };

    key(w, name);
    wr_fmt(w, "%u.%02u", milli / MILLI, milli % MILLI / CENTI);
}

static void quality(struct wr *w, const struct sig_history_entry *e)
{
    if (e->samples == 0 && e->silence_ms == 0)
        return;
    key(w, "quality");
    wr_u8(w, '{');
    text_if(w, "leg", e->leg);
    text_if(w, "codec", e->codec);
    word(w, "path", e->quality_path);
    number(w, "samples", e->samples);
    if (e->samples > 0) {
        mos(w, "mosAvg", e->mos_avg_milli);
        mos(w, "mosP10", e->mos_p10_milli);
        mos(w, "mosMin", e->mos_min_milli);
        number(w, "lossPermille", e->loss_permille);
        number(w, "rttMs", e->rtt_ms);
        number(w, "jitterMs", e->jitter_ms);
        text_if(w, "worst", e->worst);
    }
    number(w, "silenceMs", e->silence_ms);
    text_if(w, "network", e->network);
    wr_u8(w, '}');
}

void sig_record_history_entry(struct wr *w, bool first, const struct sig_history_entry *e)
{
    item(w, first);
    call_id(w, "callId", e->call_id);
    word(w, "role", e->role);
    text_if(w, "peer", e->peer);
    text_if(w, "deviceId", e->device);
    truth(w, "isVideo", e->video);
    if (e->group)
        truth(w, "group", true);
    number_if(w, "created", e->created_ms);
    number_if(w, "rang", e->ring_ms);
    number_if(w, "answered", e->answer_ms);
    number_if(w, "ended", e->end_ms);
    word(w, "outcome", e->outcome);
    if (e->reason != SIG_REASON_NONE)
        word(w, "reason", sig_reason_name(e->reason));
    if (e->end_ms > 0)
        word(w, "endedBy", e->ended_by);
    word(w, "path", e->path);
    truth(w, "missed", e->missed);
    if (e->missed)
        truth(w, "seen", e->seen);
    quality(w, e);
    wr_u8(w, '}');
}

void sig_record_history_end(struct wr *w, uint64_t missed, struct slice cursor)
{
    wr_u8(w, ']');
    number(w, "missed", missed);
    text_if(w, "cursor", cursor);
    end(w);
}

void sig_record_missed(struct wr *w, enum sig_type type, struct slice re, uint64_t missed)
{
    begin(w, &(struct sig_head){.type = type, .re = re});
    number(w, "missed", missed);
    end(w);
}

/* ---- privacy ---- */

void sig_record_privacy(struct wr *w, enum sig_type type, struct slice re,
                        const struct sig_privacy *p)
{
    begin(w, &(struct sig_head){.type = type, .re = re});
    word(w, "kind", p->kind);
    word(w, "state", p->state);
    hex_if(w, "requestId", p->id);
    number_if(w, "requested", p->requested_ms);
    number_if(w, "due", p->due_ms);
    number_if(w, "expires", p->expires_ms);
    if (p->has_file) {
        number(w, "bytes", p->bytes);
        hex_if(w, "sha256", p->sha256);
        word(w, "form", p->ndjson ? "ndjson" : "json");
        text_if(w, "url", p->url);
    }
    end(w);
}
