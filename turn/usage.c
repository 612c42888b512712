/* The record of one allocation's use, as a log line and as JSON.
 *
 * Called by turn_worker.c when an allocation ends, and at intervals while it lives. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/usage.h"

#include <inttypes.h>

#include "base/hash.h"
#include "proto/json.h"
#include "proto/turncred.h"

#define DUE_AT_LEAST 64 /* records at once */

static void put_user(struct wr *w, struct slice user, enum usage_user privacy)
{
    if (privacy == USAGE_USER_PLAIN)
        wr_bytes(w, user);
    else if (privacy == USAGE_USER_HASHED)
        wr_fmt(w, "%016" PRIx64, hash_bytes(user));
    else
        wr_str(w, "-");
}

static const char *const ways[MEDIA_WAYS] = {"up", "down"};

static uint64_t mean(uint64_t sum, uint64_t n)
{
    return n > 0 ? sum / n : 0;
}

/* Sums of voice of each way that had any, up to the relay. */
static void put_media_words(struct wr *w, const struct media_quality *m)
{
    for (unsigned i = 0; i < MEDIA_WAYS; i++) {
        const struct media_sums *s = &m->sums[i];
        if (s->jitter_n > 0)
            wr_fmt(w,
                   " %s_lost=%" PRIu64 "/%" PRIu64 " %s_jitter_us=%" PRIu64 " %s_rtt_us=%" PRIu64,
                   ways[i], s->lost, s->expected, ways[i], mean(s->jitter_us, s->jitter_n), ways[i],
                   mean(s->rtt_us, s->rtt_n));
    }
}

static void put_media_sums(struct wr *w, const struct media_quality *m)
{
    const char *sep = "";

    wr_str(w, ",\"media\":{");
    for (unsigned i = 0; i < MEDIA_WAYS; i++) {
        const struct media_sums *s = &m->sums[i];
        if (s->jitter_n == 0)
            continue;
        wr_fmt(w,
               "%s\"%s\":{\"expected\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"runs\":%" PRIu64
               ",\"jitter_us\":%" PRIu64 ",\"rtt_us\":%" PRIu64 "}",
               sep, ways[i], s->expected, s->lost, s->runs, mean(s->jitter_us, s->jitter_n),
               mean(s->rtt_us, s->rtt_n));
        sep = ",";
    }
    wr_str(w, "}");
}

static const char *transport_of(const struct alloc *a)
{
    static const char *const transport[] = {
        [FIVE_TUPLE_UDP] = "udp",
        [FIVE_TUPLE_TCP] = "tcp",
        [FIVE_TUPLE_TLS] = "tls",
        [FIVE_TUPLE_DTLS] = "dtls",
    };

    return transport[a->tuple.transport];
}

void usage_format(struct wr *w, const struct alloc *a, struct slice realm, enum usage_user privacy,
                  const char *why, uint64_t now_us)
{
    struct turncred cred = {.user = alloc_user(a)};
    uint64_t up, down;

    alloc_bytes(a, &up, &down);
    turncred_parse(&cred, alloc_user(a)); /* a static name stays as it is */
    wr_str(w, why ? "allocation ended: user=" : "allocation alive: user=");
    put_user(w, cred.user, privacy);
    wr_str(w, " call=");
    wr_bytes(w, cred.call_id.len > 0 ? cred.call_id : SLICE_LIT("-"));
    wr_fmt(w,
           " transport=%s seconds=%" PRIu64 " up_packets=%" PRIu64 " up_bytes=%" PRIu64
           " down_packets=%" PRIu64 " down_bytes=%" PRIu64,
           transport_of(a), (now_us - a->start_us) / US_PER_S, a->up_pkts, up, a->down_pkts, down);
    wr_str(w, " realm=");
    wr_bytes(w, realm);
    if (why)
        wr_fmt(w, " why=%s", why);
    if (why && a->media && media_quality_has_sums(a->media))
        put_media_words(w, a->media);
}

static const char *families(const struct alloc *a)
{
    return alloc_addresses(a) > 1 ? "dual" : a->relayed.family == ADDR_V6 ? "ipv6" : "ipv4";
}

void usage_json(struct wr *w, const struct alloc *a, struct slice realm, enum usage_user privacy,
                const char *why, const struct usage_stamp *stamp)
{
    struct turncred cred = {.user = alloc_user(a)};
    uint8_t buf[STUN_USERNAME_MAX];
    struct wr user = wr_init(buf, sizeof(buf));
    uint64_t up, down;

    alloc_bytes(a, &up, &down);
    turncred_parse(&cred, alloc_user(a)); /* a static name stays as it is */
    put_user(&user, cred.user, privacy);
    wr_fmt(w,
           "{\"v\":%d,\"id\":\"%016" PRIx64 "-%" PRIu64 "\",\"alloc\":\"%016" PRIx64 "-%" PRIu64
           "\",\"time\":%" PRIu64 ",\"event\":\"%s\",\"node\":",
           USAGE_VERSION, stamp->boot, stamp->id, stamp->boot, a->serial, stamp->wall_us / US_PER_S,
           why ? "ended" : "alive");
    json_write_text(w, stamp->node);
    wr_str(w, ",\"region\":");
    json_write_text(w, stamp->region);
    wr_str(w, ",\"realm\":");
    json_write_text(w, realm);
    wr_str(w, ",\"user\":");
    json_write_text(w, wr_done(&user));
    wr_str(w, ",\"call\":");
    json_write_text(w, cred.call_id);
    wr_fmt(w,
           ",\"transport\":\"%s\",\"relay\":\"%s\",\"family\":\"%s\",\"seconds\":%" PRIu64
           ",\"up_packets\":%" PRIu64 ",\"up_bytes\":%" PRIu64 ",\"down_packets\":%" PRIu64
           ",\"down_bytes\":%" PRIu64,
           transport_of(a), a->tcp ? "tcp" : "udp", families(a),
           (stamp->now_us - a->start_us) / US_PER_S, a->up_pkts, up, a->down_pkts, down);
    if (why)
        wr_fmt(w, ",\"why\":\"%s\"", why);
    if (why && a->media && media_quality_has_sums(a->media))
        put_media_sums(w, a->media);
    wr_str(w, "}");
}

static void put_leg(struct wr *w, const char *way, const struct media_leg *leg)
{
    const struct media_count *v = &leg->voice;

    wr_fmt(w,
           ",\"%s\":{\"packets\":%u,\"bytes\":%u,\"expected\":%u,\"lost\":%u,\"runs\":%u,"
           "\"jitter_us\":%u,\"frame_us\":%u,\"clock\":%u,\"rtt_us\":%u}",
           way, v->packets, v->bytes, v->expected, v->lost, v->runs, leg->jitter_us, leg->frame_us,
           leg->clock, leg->rtt_us);
}

void usage_media_json(struct wr *w, const struct alloc *a, const struct media_report *media,
                      const struct usage_stamp *stamp)
{
    struct turncred cred = {.user = alloc_user(a)};

    turncred_parse(&cred, alloc_user(a));
    wr_fmt(w, "{\"v\":%d,\"alloc\":\"%016" PRIx64 "-%" PRIu64 "\",\"node\":", USAGE_VERSION,
           stamp->boot, a->serial);
    json_write_text(w, stamp->node);
    wr_str(w, ",\"user\":");
    json_write_text(w, cred.user);
    wr_str(w, ",\"call\":");
    json_write_text(w, cred.call_id);
    wr_fmt(w, ",\"ms\":%" PRIu64, media->us / 1000);
    put_leg(w, "up", &media->leg[MEDIA_UP]);
    put_leg(w, "down", &media->leg[MEDIA_DOWN]);
    wr_str(w, "}");
}

void usage_due(const struct alloc_table *t, uint64_t interval_us, uint64_t now_us, usage_fn *fn,
               void *arg)
{
    size_t budget = alloc_table_count(t) / 8 + DUE_AT_LEAST, pos = 0;
    struct hnode *saved = NULL;
    struct alloc *a;

    while (budget > 0 && (a = alloc_table_walk(t, &pos, &saved))) {
        uint64_t last_us = a->reported_us ? a->reported_us : a->start_us;
        if (now_us - last_us < interval_us)
            continue;
        a->reported_us = now_us;
        fn(arg, a);
        budget--;
    }
}
