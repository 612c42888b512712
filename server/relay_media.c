/* How the media of one allocation fared in one interval, as a relay publishes it.
 *
 * Called by registry_link.c (records) and router_quality.c. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/relay_media.h"

#include <errno.h>

#include "proto/json.h"

#define VERSION        1
#define VALUES_MAX     64
#define SAMPLES_PER_MS 48
#define OPUS_HZ        48000
#define G711_HZ        8000
#define FRAME_MS       20
#define HEAD_BYTES     22 /* RTP's header and SRTP's tag */

static const struct {
    const char *key;
    size_t offset;
    uint32_t most;
} numbers[] = {
    {"packets", offsetof(struct relay_media_leg, packets), SIG_QUALITY_PACKETS_MAX},
    {"bytes", offsetof(struct relay_media_leg, bytes), UINT32_MAX},
    {"expected", offsetof(struct relay_media_leg, expected), SIG_QUALITY_PACKETS_MAX},
    {"lost", offsetof(struct relay_media_leg, lost), SIG_QUALITY_PACKETS_MAX},
    {"runs", offsetof(struct relay_media_leg, runs), SIG_QUALITY_PACKETS_MAX},
    {"jitter_us", offsetof(struct relay_media_leg, jitter_us), SIG_QUALITY_DELAY_MAX_MS * 1000},
    {"frame_us", offsetof(struct relay_media_leg, frame_us), SIG_QUALITY_FRAME_MAX_MS * 1000},
    {"clock", offsetof(struct relay_media_leg, clock), 192000},
    {"rtt_us", offsetof(struct relay_media_leg, rtt_us), SIG_QUALITY_DELAY_MAX_MS * 1000},
};

static bool read_leg(struct slice object, struct relay_media_leg *leg)
{
    struct json_field f[ARRAY_LEN(numbers)];
    uint64_t v;

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        f[i] = (struct json_field){.key = numbers[i].key};
    if (json_fields(object, f, ARRAY_LEN(f)) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (!json_u64(f[i].value, UINT64_C(1) << 53, &v))
            return false;
        uint32_t *at = (uint32_t *)(void *)((char *)leg + numbers[i].offset);
        *at = v < numbers[i].most ? (uint32_t)v : numbers[i].most;
    }
    leg->lost = leg->lost < leg->expected ? leg->lost : leg->expected;
    leg->runs = leg->runs < leg->lost ? leg->runs : leg->lost;
    return true;
}

int relay_media_decode(struct relay_media *out, struct slice text)
{
    static const struct json_limits limits = {
        .depth = 2, .values = VALUES_MAX, .bytes = RELAY_MEDIA_BYTES};
    enum { V, CALL, USER, MS, UP, DOWN, FIELDS };
    struct json_field f[FIELDS] = {
        [V] = {.key = "v"},   [CALL] = {.key = "call"}, [USER] = {.key = "user"},
        [MS] = {.key = "ms"}, [UP] = {.key = "up"},     [DOWN] = {.key = "down"}};
    uint8_t id_buf[64];
    struct wr id = wr_init(id_buf, sizeof(id_buf)), user = wr_init(out->_user, SIG_USER_MAX);
    struct relay_media_leg up = {0}, down = {0};
    struct sig_call_id call;
    struct slice call_text, user_text;
    uint64_t version, ms;

    if (json_scan_object(text, &limits, f, FIELDS) != 0 || !json_u64(f[V].value, 1000, &version) ||
        version != VERSION || !json_text(f[CALL].value, &call_text, &id) ||
        sig_call_id_parse(&call, call_text) != 0 || !json_text(f[USER].value, &user_text, &user) ||
        user_text.len == 0 || user_text.len > SIG_USER_MAX ||
        !json_u64(f[MS].value, UINT64_C(1) << 53, &ms) || ms == 0 || !read_leg(f[UP].value, &up) ||
        !read_leg(f[DOWN].value, &down))
        return -EBADMSG;
    out->call = call;
    out->user = user_text;
    out->ms = ms < SIG_QUALITY_INTERVAL_MAX_MS ? (uint32_t)ms : SIG_QUALITY_INTERVAL_MAX_MS;
    out->up = up;
    out->down = down;
    return 0;
}

bool relay_media_heard(const struct relay_media *m, const struct relay_media_leg *leg,
                       struct sig_quality *out)
{
    uint32_t frame_ms = leg->frame_us >= 500 ? (leg->frame_us + 500) / 1000 : FRAME_MS;
    uint32_t rtt_us = m->up.rtt_us + m->down.rtt_us;
    uint64_t head = (uint64_t)leg->packets * HEAD_BYTES;
    uint64_t bps = leg->bytes > head ? (leg->bytes - head) * 8000 / m->ms : 0;
    uint64_t samples = (uint64_t)leg->expected * frame_ms * SAMPLES_PER_MS;

    if (leg->packets == 0 || leg->expected == 0)
        return false;
    *out = (struct sig_quality){
        .interval_ms = m->ms,
        .has = SIG_QUALITY_JITTER | SIG_QUALITY_RECEIVED | SIG_QUALITY_LOST |
               SIG_QUALITY_CONCEALED | SIG_QUALITY_CONCEALMENTS |
               (rtt_us > 0 ? SIG_QUALITY_RTT : 0),
        .rtt_ms = (rtt_us + 500) / 1000,
        .jitter_ms = (leg->jitter_us + 500) / 1000,
        .received = leg->packets,
        .lost = leg->lost,
        .in_bps = bps < SIG_QUALITY_BPS_MAX ? (uint32_t)bps : SIG_QUALITY_BPS_MAX,
        .frame_ms = frame_ms,
        .voice = leg->clock == OPUS_HZ   ? SIG_VOICE_OPUS
                 : leg->clock == G711_HZ ? SIG_VOICE_PCMU
                                         : SIG_VOICE_OTHER,
        .route = SIG_ROUTE_TURN};
    /* Lost packets are judged as what nobody heard: 48 samples a millisecond, as clients count. */
    if (samples > SIG_QUALITY_SAMPLES_MAX) {
        out->has &= ~(unsigned)(SIG_QUALITY_CONCEALED | SIG_QUALITY_CONCEALMENTS);
        return true;
    }
    out->samples = (uint32_t)samples;
    out->concealed = leg->lost * frame_ms * SAMPLES_PER_MS;
    out->concealments = leg->runs;
    return true;
}
