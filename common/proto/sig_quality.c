/* Reads call.quality and writes its answer (docs/SIGNALING.md §5).
 *
 * Called by router_quality.c after sig_decode(). Pure. One table says of each number what it is
 * called, where it goes and what it may be at most. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sig_quality.h"

#include "proto/sig_read.h"
#include "proto/sig_write.h"

static const char *const voices[SIG_VOICE_COUNT] = {"other", "opus", "red", "pcmu", "pcma", "g722"};
static const char *const networks[SIG_NETWORK_COUNT] = {"unknown",  "wifi", "cellular",
                                                        "ethernet", "vpn",  "other"};
static const char *const routes[SIG_ROUTE_COUNT] = {"unknown", "p2p", "turn", "sfu"};

const char *sig_voice_name(enum sig_voice v)
{
    return voices[(unsigned)v < SIG_VOICE_COUNT ? v : SIG_VOICE_OTHER];
}

const char *sig_network_name(enum sig_network v)
{
    return (unsigned)v < SIG_NETWORK_COUNT ? networks[v] : "";
}

const char *sig_route_name(enum sig_route r)
{
    return routes[(unsigned)r < SIG_ROUTE_COUNT ? r : SIG_ROUTE_UNKNOWN];
}

static const struct {
    const char *key, *wrong;
    unsigned bit;
    uint32_t max;
    size_t at;
} numbers[] = {
#define NUMBER(key, field, bit, max)                                                              \
    {                                                                                             \
        key, "data." key ": a whole number from 0", bit, max, offsetof(struct sig_quality, field) \
    }
    NUMBER("intervalMs", interval_ms, 0, SIG_QUALITY_INTERVAL_MAX_MS), /* the first */
    NUMBER("rttMs", rtt_ms, SIG_QUALITY_RTT, SIG_QUALITY_DELAY_MAX_MS),
    NUMBER("jitterMs", jitter_ms, SIG_QUALITY_JITTER, SIG_QUALITY_DELAY_MAX_MS),
    NUMBER("bufferMs", buffer_ms, SIG_QUALITY_BUFFER, SIG_QUALITY_DELAY_MAX_MS),
    NUMBER("received", received, SIG_QUALITY_RECEIVED, SIG_QUALITY_PACKETS_MAX),
    NUMBER("lost", lost, SIG_QUALITY_LOST, SIG_QUALITY_PACKETS_MAX),
    NUMBER("sent", sent, SIG_QUALITY_SENT, SIG_QUALITY_PACKETS_MAX),
    NUMBER("samples", samples, 0, SIG_QUALITY_SAMPLES_MAX),
    NUMBER("concealed", concealed, SIG_QUALITY_CONCEALED, SIG_QUALITY_SAMPLES_MAX),
    NUMBER("concealments", concealments, SIG_QUALITY_CONCEALMENTS, SIG_QUALITY_SAMPLES_MAX),
    NUMBER("silenceMs", silence_ms, SIG_QUALITY_SILENCE, SIG_QUALITY_INTERVAL_MAX_MS),
    NUMBER("inBps", in_bps, 0, SIG_QUALITY_BPS_MAX),
    NUMBER("outBps", out_bps, 0, SIG_QUALITY_BPS_MAX),
    NUMBER("maxBps", max_bps, 0, SIG_QUALITY_BPS_MAX),
    NUMBER("frameMs", frame_ms, 0, SIG_QUALITY_FRAME_MAX_MS),
#undef NUMBER
};
enum {
    INTERVAL = 0,
    FINAL = ARRAY_LEN(numbers),
    FEC,
    DTX,
    CODEC,
    PATH,
    LOCAL,
    REMOTE,
    RELAY,
    NETWORK,
    FIELDS
};

static bool there(const struct json_field *f)
{
    return f->kind != JSON_KIND_NONE && f->kind != JSON_KIND_NULL;
}

static uint32_t *number_at(struct sig_quality *out, size_t i)
{
    return (uint32_t *)(void *)((uint8_t *)out + numbers[i].at);
}

static void cut(struct sig_quality *out, uint32_t *v, uint32_t max)
{
    if (*v <= max)
        return;
    *v = max;
    out->clamped++;
}

static int read_numbers(struct sig_quality *out, const struct json_field *f,
                        struct sig_fault *fault)
{
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uint64_t v;
        if (!there(&f[i]))
            continue;
        if (!json_u64(f[i].value, UINT64_MAX, &v))
            return refuse(fault, numbers[i].wrong);
        uint32_t *to = number_at(out, i);
        *to = v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
        cut(out, to, numbers[i].max);
        out->has |= numbers[i].bit;
    }
    if (out->interval_ms == 0)
        return refuse(fault, "data.intervalMs: 1 to 60,000 ms are required");
    return 0;
}

/* One figure against the other. */
static void reconcile(struct sig_quality *out)
{
    cut(out, &out->concealed, out->samples);
    cut(out, &out->concealments, out->concealed);
    cut(out, &out->silence_ms, out->interval_ms);
    if (out->samples == 0)
        out->has &= ~(unsigned)(SIG_QUALITY_CONCEALED | SIG_QUALITY_CONCEALMENTS);
}

/* A word of a list. False: it is none of them. Not there: *i stays. */
static bool read_word(const struct json_field *f, const char *const *names, size_t n, size_t *i)
{
    if (!there(f))
        return true;
    size_t at = name_index(f->value, names, n);
    if (at == n)
        return false;
    *i = at;
    return true;
}

/* The codec's name in any case, as fmtp lines and getStats() have it; unknown ones are "other". */
static bool read_codec(const struct json_field *f, struct sig_quality *out)
{
    uint8_t buf[SCALAR_MAX], lower[SCALAR_MAX];
    struct wr scratch = wr_init(buf, sizeof(buf));
    struct slice text;

    if (!there(f))
        return true;
    if (!json_text(f->value, &text, &scratch) || text.len == 0 || text.len > sizeof(lower))
        return false;
    for (size_t i = 0; i < text.len; i++)
        lower[i] = text.p[i] >= 'A' && text.p[i] <= 'Z' ? (uint8_t)(text.p[i] | 0x20) : text.p[i];
    for (size_t i = 0; i < SIG_VOICE_COUNT; i++)
        if (slice_is(slice_of(lower, text.len), voices[i]))
            out->voice = (enum sig_voice)i;
    return true;
}

/* The way, as told, or as the candidates at its ends say. */
static const char *read_route(const struct json_field *f, struct sig_quality *out)
{
    static const char *const types[] = {"host", "srflx", "prflx", "relay"};
    static const char *const relays[] = {"udp", "tcp", "tls"};
    enum { RELAYED = ARRAY_LEN(types) - 1 };
    size_t path = SIG_ROUTE_UNKNOWN, local = ARRAY_LEN(types), remote = ARRAY_LEN(types), relay = 0;

    if (!read_word(&f[PATH], routes, SIG_ROUTE_COUNT, &path))
        return "data.path: p2p, turn, sfu or unknown";
    if (!read_word(&f[LOCAL], types, ARRAY_LEN(types), &local) ||
        !read_word(&f[REMOTE], types, ARRAY_LEN(types), &remote))
        return "data.local, data.remote: host, srflx, prflx or relay";
    if (!read_word(&f[RELAY], relays, ARRAY_LEN(relays), &relay))
        return "data.relay: udp, tcp or tls";
    if (path == SIG_ROUTE_UNKNOWN && (local == RELAYED || remote == RELAYED))
        path = SIG_ROUTE_TURN;
    else if (path == SIG_ROUTE_UNKNOWN && local < RELAYED && remote < RELAYED)
        path = SIG_ROUTE_P2P;
    out->route = (enum sig_route)path;
    return NULL;
}

int sig_quality_decode(struct sig_quality *out, const struct sig_msg *m, struct sig_fault *fault)
{
    struct json_field f[FIELDS] = {
        [FINAL] = {.key = "final"},   [FEC] = {.key = "fec"},     [DTX] = {.key = "dtx"},
        [CODEC] = {.key = "codec"},   [PATH] = {.key = "path"},   [LOCAL] = {.key = "local"},
        [REMOTE] = {.key = "remote"}, [RELAY] = {.key = "relay"}, [NETWORK] = {.key = "network"}};
    size_t network = SIG_NETWORK_UNKNOWN;

    *out = (struct sig_quality){0};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        f[i].key = numbers[i].key;
    if (m->data.len > SIG_QUALITY_BYTES) {
        *fault = (struct sig_fault){SIG_ERR_TOO_LARGE, "data: over 1,024 bytes"};
        return -EBADMSG;
    }
    if (read_fields(m->data, f, FIELDS, fault) != 0 || read_numbers(out, f, fault) != 0)
        return -EBADMSG;
    if ((there(&f[FINAL]) && !json_truth(f[FINAL].value, &out->final)) ||
        (there(&f[FEC]) && !json_truth(f[FEC].value, &out->fec)) ||
        (there(&f[DTX]) && !json_truth(f[DTX].value, &out->dtx)))
        return refuse(fault, "data.final, data.fec, data.dtx: true or false");
    if (!read_codec(&f[CODEC], out))
        return refuse(fault, "data.codec: 1 to 64 bytes of text");
    if (!read_word(&f[NETWORK], networks, SIG_NETWORK_COUNT, &network))
        return refuse(fault, "data.network: wifi, cellular, ethernet, vpn, other or unknown");
    const char *wrong = read_route(f, out);
    if (wrong)
        return refuse(fault, wrong);
    out->network = (enum sig_network)network;
    reconcile(out);
    return 0;
}

static void milli(struct wr *w, const char *name, unsigned v)
{
    key(w, name);
    wr_fmt(w, "%u.%03u", v / 1000, v % 1000);
}

void sig_quality_reply(struct wr *w, struct slice re, const struct sig_call_id *call,
                       const struct sig_quality_view *v)
{
    begin(w, &(struct sig_head){.type = SIG_CALL_QUALITY, .re = re, .call_id = call});
    if (v->judged) {
        milli(w, "mos", v->mos_milli);
        milli(w, "r", v->r_milli);
    }
    number(w, "samples", v->samples);
    if (v->samples > 0) {
        milli(w, "mosAvg", v->avg_milli);
        milli(w, "mosP10", v->p10_milli);
        milli(w, "mosMin", v->min_milli);
        number(w, "lossPermille", v->loss_permille);
        number(w, "rttMs", v->rtt_ms);
    }
    number(w, "silenceMs", v->silence_ms);
    word(w, "path", sig_route_name(v->route));
    number(w, "clamped", v->clamped);
    end(w);
}
