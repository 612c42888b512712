/* Who speaks.
 *
 * A packet is loud when its level is over the threshold and clearly over the source's own noise;
 * presence rises quickly while it is (80 ms) and falls slowly (500 ms), so that it ranks by speech,
 * not by clicks. The dominant one changes at once when it pauses and somebody else speaks; against
 * one who goes on speaking only to who stays clearly louder: talk-over and short agreement do not
 * switch. Called by producer.c (packets) and room_audio.c (ranking).
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/speaker.h"

#include <math.h>

#define SILENCE     127
#define FLOOR_MAX   80.0f /* what is louder than -47 dBov is never taken for noise */
#define FLOOR_RISE  6.0f  /* dB a second */
#define OVER_FLOOR  9.0f
#define VOICED_OVER 3.0f /* when the sender takes it for voice */
#define ATTACK_US   80000.0f
#define RELEASE_US  500000.0f
#define STEP_MAX_US 100000 /* after a longer silence a packet counts like this */
#define GAP_US      120000 /* pauses up to here do not end an utterance */
#define OUTDO_DB    8.0f

static float decay(float v, uint64_t us, float tau)
{
    return us == 0 ? v : v * expf(-(float)us / tau);
}

bool speaker_hear(struct speaker *s, uint8_t level, bool voice, uint8_t threshold, uint64_t now_us)
{
    uint64_t step =
        s->heard_us == 0 || now_us - s->heard_us > STEP_MAX_US ? STEP_MAX_US : now_us - s->heard_us;
    float db = level > SILENCE ? 0.0f : (float)(SILENCE - level);
    float over = voice ? VOICED_OVER : OVER_FLOOR;

    if (s->heard_us == 0)
        s->floor = db < FLOOR_MAX ? db : FLOOR_MAX;
    bool loud = level <= threshold && (db >= s->floor + over || db >= FLOOR_MAX + OVER_FLOOR);
    s->floor += FLOOR_RISE * (float)step / (float)US_PER_S;
    s->floor = db < s->floor ? db : s->floor > FLOOR_MAX ? FLOOR_MAX : s->floor;
    if (!loud || now_us - s->heard_us > STEP_MAX_US)
        s->presence = decay(s->presence, s->heard_us ? now_us - s->heard_us : 0, RELEASE_US);
    s->heard_us = now_us;
    if (!loud)
        return false;
    if (s->loud_us == 0 || now_us - s->loud_us > GAP_US)
        s->since_us = now_us;
    s->loud_us = now_us;
    if (db > s->presence)
        s->presence += (db - s->presence) * (1.0f - expf(-(float)step / ATTACK_US));
    return true;
}

bool speaker_active(const struct speaker *s, uint64_t now_us)
{
    return s->loud_us != 0 && now_us - s->loud_us < SPEAKER_ACTIVE_US;
}

float speaker_rank(const struct speaker *s, uint64_t now_us)
{
    return s->heard_us == 0 ? 0.0f : decay(s->presence, now_us - s->heard_us, RELEASE_US);
}

/* Speaks at this moment, and has for so long. */
static bool speaks_for(const struct speaker *s, uint64_t us, uint64_t now_us)
{
    return s->loud_us != 0 && now_us - s->loud_us < SPEAKER_PAUSE_US && now_us - s->since_us >= us;
}

/* Whether s may take over from cur (NULL: nobody). Keeps count of how long it has been louder. */
static bool may_take_over(struct speaker *s, const struct speaker *cur, uint64_t now_us)
{
    if (!cur)
        return speaks_for(s, SPEAKER_ONSET_US, now_us);
    if (!speaks_for(cur, 0, now_us))
        return speaks_for(s, SPEAKER_TAKEOVER_US, now_us);
    if (!speaks_for(s, 0, now_us) ||
        speaker_rank(s, now_us) < speaker_rank(cur, now_us) + OUTDO_DB) {
        s->louder_us = 0;
        return false;
    }
    if (s->louder_us == 0)
        s->louder_us = now_us;
    return now_us - s->louder_us >= SPEAKER_OUTDO_US;
}

int speaker_dominant(struct speaker *const *v, int n, int current, uint64_t now_us)
{
    const struct speaker *cur = current >= 0 && current < n ? v[current] : NULL;
    int best = cur ? current : -1;
    float best_rank = -1.0f;

    for (int i = 0; i < n; i++) {
        if (!v[i] || i == current || !may_take_over(v[i], cur, now_us))
            continue;
        float rank = speaker_rank(v[i], now_us);
        if (rank > best_rank) {
            best = i;
            best_rank = rank;
        }
    }
    return best;
}
