/* Chooses the frames of one stream that one consumer gets.
 *
 * Called by video_forward.c. Pure. Three kinds of streams:
 *   - with a dependency descriptor: the consumer follows one decode target. A target can be
 * followed from a frame on that is a switch for it (AV1 RTP specification §A.8.4), or at any time
 * when nothing that it needs was left out so far ("complete"). What a frame refers to is checked
 *     besides, frame by frame.
 *   - VP9 without one: P, D and Z bits say what a layer's frame needs, U (or, in flexible mode, the
 *     references) where a temporal layer may be added.
 *   - all others: temporal layers, when the descriptor has them; VP8's Y says where one may be
 * added. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/video_select.h"

enum { UNKNOWN, SENT, LEFT_OUT };

static uint8_t bit(unsigned n)
{
    return (uint8_t)(1u << n);
}

void video_select_begin(struct video_select *s)
{
    *s = (struct video_select){.sid = s->sid, .tid = s->tid, ._target = -1};
    s->now_sid = s->sid;
    s->now_tid = s->tid;
    s->_intact = UINT8_MAX;
}

/* Where it is noted what became of frame n, a number of so many bits. */
static uint8_t *slot(struct video_select *s, unsigned n, unsigned bits)
{
    return &s->_known[(n & ((1u << bits) - 1)) % VIDEO_SELECT_KNOWN];
}

/* Moves the window of known frames up to number n. False: n is too old for it. */
static bool window_at(struct video_select *s, uint16_t n, unsigned bits)
{
    if (!s->_any) {
        s->_any = true;
        s->_top = n;
        return true;
    }
    int ahead = (int16_t)(uint16_t)((unsigned)(n - s->_top) << (16 - bits)) >> (16 - bits);
    if (ahead <= -VIDEO_SELECT_KNOWN)
        return false;
    if (ahead >= VIDEO_SELECT_KNOWN)
        memset(s->_known, UNKNOWN, sizeof(s->_known));
    for (int i = 1; i <= ahead && ahead < VIDEO_SELECT_KNOWN; i++)
        *slot(s, s->_top + (unsigned)i, bits) = UNKNOWN;
    if (ahead > 0)
        s->_top = n;
    return true;
}

/* --- Dependency descriptor (_known: what became of a frame) --- */

static uint32_t targets_of(const struct video_targets *t, const struct video_packet *v,
                           unsigned kinds)
{
    uint32_t mask = 0;

    for (unsigned i = 0; i < t->n; i++) {
        if (kinds >> dependency_dti(v->dti, i) & 1)
            mask |= 1u << i;
    }
    return mask;
}

uint32_t video_select_targets(const struct video_targets *t, uint32_t active, uint8_t target)
{
    uint32_t mask = 0;

    for (unsigned i = 0; i < t->n; i++) {
        if (t->sid[i] <= target >> 4 && t->tid[i] <= (target & 0x0f))
            mask |= 1u << i;
    }
    return mask & active;
}

static int better(const struct video_targets *t, int a, int b)
{
    if (a < 0 || b < 0)
        return a < 0 ? b : a;
    if (t->sid[a] != t->sid[b])
        return t->sid[a] > t->sid[b] ? a : b;
    return t->tid[a] >= t->tid[b] ? a : b;
}

static int best_of(const struct video_targets *t, uint32_t mask)
{
    int best = -1;

    for (unsigned i = 0; i < t->n; i++) {
        if (mask >> i & 1)
            best = better(t, (int)i, best);
    }
    return best;
}

static int lowest_of(const struct video_targets *t, uint32_t mask)
{
    int low = -1;

    for (unsigned i = 0; i < t->n; i++) {
        if ((mask >> i & 1) && (low < 0 || better(t, low, (int)i) == low))
            low = (int)i;
    }
    return low;
}

static bool left_out(struct video_select *s, unsigned frames_ago, uint16_t frame)
{
    return *slot(s, frame - frames_ago, 16) == LEFT_OUT;
}

static bool refs_were_sent(struct video_select *s, const struct video_packet *v)
{
    for (unsigned i = 0; i < v->n_ref; i++) {
        if (left_out(s, v->ref[i], v->frame))
            return false;
    }
    return true;
}

/* The chain that protects the target has lost a link here. */
static bool chain_broken(struct video_select *s, const struct video_targets *t,
                         const struct video_packet *v)
{
    unsigned chain = s->_target < 0 || t->n_chains == 0 ? VIDEO_CHAINS_MAX : t->chain[s->_target];

    return chain < VIDEO_CHAINS_MAX && v->chain[chain] > 0 &&
           left_out(s, v->chain[chain], v->frame);
}

/* Chooses the target to follow from this frame on. */
static void choose_target(struct video_select *s, const struct video_targets *t,
                          const struct video_packet *v, uint32_t reachable, bool begins)
{
    uint8_t limit = (uint8_t)(s->sid << 4 | s->tid);
    uint32_t allowed = video_select_targets(t, v->active, limit);
    int wish = best_of(t, allowed);
    if (wish < 0) { /* all that is active is more than what is wanted */
        wish = lowest_of(t, v->active);
        allowed = wish < 0 ? 0 : 1u << wish;
    }
    int next = best_of(t, reachable & allowed);
    bool can_stay = s->_target >= 0 && (s->_complete >> s->_target & 1);
    /* In the middle of a picture the target only goes up: what was sent of it may count on the
     * rest.
     */
    if (next < 0 || (!begins && can_stay && better(t, s->_target, next) == s->_target))
        next = can_stay ? s->_target : next;
    if (next != s->_target) {
        s->_target = (int8_t)next;
        s->_mask_frame = v->frame;
        s->_mask_due = true;
    }
    s->need_key = next < 0 || (wish >= 0 && t->sid[wish] != t->sid[next]);
    if (next >= 0) {
        s->now_sid = t->sid[next];
        s->now_tid = t->tid[next];
    }
}

static bool select_dependency(struct video_select *s, const struct video_targets *t,
                              const struct video_packet *v, bool begins, bool late)
{
    if (v->structure != s->_structure || ((v->facts & VIDEO_KEY) && !late)) {
        late = late && !(v->facts & VIDEO_KEY); /* late as it is, what follows builds on it */
        s->_structure = v->structure;
        s->_key_frame = v->frame;
        s->_complete = 0;
        s->_target = -1;
        s->_any = false;
        memset(s->_known, UNKNOWN, sizeof(s->_known));
    }
    if (!window_at(s, v->frame, 16))
        return false;
    uint8_t *known = slot(s, v->frame, 16);
    if (*known != UNKNOWN)
        return *known == SENT;

    uint32_t is_switch = targets_of(t, v, 1u << DEPENDENCY_SWITCH);
    uint32_t needs = is_switch | targets_of(t, v, 1u << DEPENDENCY_REQUIRED);
    bool refs = refs_were_sent(s, v);
    if (chain_broken(s, t, v))
        s->_complete &= ~(1u << s->_target);
    if (!late)
        choose_target(s, t, v, s->_complete | (refs ? is_switch : 0), begins);
    bool wanted = s->_target >= 0 && refs &&
                  dependency_dti(v->dti, (unsigned)s->_target) != DEPENDENCY_NOT_PRESENT;
    if (wanted)
        s->_complete |= is_switch;
    else
        s->_complete &= ~needs;
    *known = wanted ? SENT : LEFT_OUT;
    return wanted;
}

/* --- VP9 without dependency descriptor --- */

/* A new picture begins: layers are added and left here. */
static void vp9_begin_picture(struct video_select *s)
{
    if (s->_up_next || s->now_tid > s->tid)
        s->now_tid = s->tid;
    s->_up_next = false;
    if (s->sid < s->now_sid && (s->_intact & bit(s->sid)))
        s->now_sid = s->sid;
    /* Its chain broke: the next lower one that can go on. */
    while (s->now_sid > 0 && !(s->_intact & bit(s->now_sid)))
        s->now_sid--;
    bool stuck = s->sid < s->now_sid || !(s->_intact & bit(s->now_sid));
    s->need_key = stuck || (s->need_key && s->sid > s->now_sid);
    s->_top_sid = s->_pic_sid;
    s->_pic_sid = 0;
}

static bool vp9_refs_were_sent(struct video_select *s, const struct video_packet *v)
{
    if (!(v->facts & VIDEO_INTER_PICTURE))
        return true;
    if (!(v->facts & VIDEO_HAS_REFS))
        return s->_intact & bit(v->sid);
    for (unsigned i = 0; i < v->n_ref; i++) {
        if (*slot(s, (unsigned)v->pid - v->ref[i], v->pid_bits) & bit(v->sid))
            return false;
    }
    return true;
}

/* Whether the temporal layer is one of those that are sent, or may become one here. */
static bool vp9_takes_tid(struct video_select *s, const struct video_packet *v, bool late)
{
    if (v->tid > s->tid)
        return false;
    if (v->tid <= s->now_tid || (v->facts & VIDEO_HAS_REFS))
        return true;
    /* RFC 9628 §4.2: U is about the pictures after this one; senders set it on those too that need
     * none of their own layer. */
    if (!(v->facts & VIDEO_UP_SWITCH) || v->tid != s->now_tid + 1)
        return false;
    if (!late)
        s->now_tid = v->tid;
    return true;
}

static bool select_vp9(struct video_select *s, const struct video_source *src,
                       const struct video_packet *v, const struct video_picture *pic, bool begins,
                       bool late)
{
    unsigned sid = v->sid;
    bool key = (v->facts & VIDEO_KEY) && !late;

    if (key) {
        s->now_sid = s->sid < src->_max_sid ? s->sid : src->_max_sid;
        s->now_tid = s->tid;
        s->_top_sid = s->now_sid;
        s->_pic_sid = 0;
        s->_intact = UINT8_MAX;
        s->need_key = false;
        s->_any = false;
        memset(s->_known, 0, sizeof(s->_known));
    } else if (begins && !late) {
        vp9_begin_picture(s);
    }
    if ((v->facts & VIDEO_HAS_PID) && !window_at(s, v->pid, v->pid_bits))
        return false;

    if (sid > s->_pic_sid)
        s->_pic_sid = (uint8_t)sid;
    bool below = !(v->facts & VIDEO_INTER_LAYER) || sid == 0 || !(pic->decided & bit(sid - 1)) ||
                 (pic->wanted & bit(sid - 1));
    bool decodable = below && vp9_refs_were_sent(s, v);
    bool in_time = vp9_takes_tid(s, v, late);
    bool up = sid > s->now_sid && sid <= s->sid && decodable && in_time && !late;
    if (up)
        s->now_sid = (uint8_t)sid;
    /* Z is set for the top layer too: only below one that was there lately is it of no use. */
    bool idle = (v->facts & VIDEO_NOT_BELOW) && sid < s->now_sid && sid < s->_top_sid;
    bool wanted = decodable && in_time && sid <= s->now_sid && !idle;
    if (wanted && !late)
        s->_intact |= bit(sid);
    if (!wanted) {
        if (in_time && !late)
            s->_intact &= (uint8_t)~bit(sid);
        if (in_time && sid > s->now_sid && sid <= s->sid)
            s->need_key = true;
        if (v->facts & VIDEO_HAS_PID)
            *slot(s, v->pid, v->pid_bits) |= bit(sid);
    }
    if (wanted && (v->facts & VIDEO_UP_SWITCH) && !late)
        s->_up_next = true;
    return wanted;
}

/* --- Temporal layers only --- */

static bool select_temporal(struct video_select *s, const struct video_packet *v, bool late)
{
    unsigned tid = v->tid;

    s->now_sid = 0;
    if ((v->facts & VIDEO_KEY) && !late) {
        s->_intact = UINT8_MAX;
        s->now_tid = s->tid;
        s->need_key = false;
    }
    if (tid == 0 || !(v->facts & VIDEO_HAS_TID))
        return true;
    uint8_t below = (uint8_t)(bit(tid + 1) - 2); /* layers 1 .. tid */
    bool sync = v->facts & VIDEO_UP_SWITCH;
    bool wanted = tid <= s->tid && (sync || (s->_intact & below) == below);
    if (late)
        return wanted;
    if (wanted)
        s->_intact |= bit(tid);
    else /* frames of this layer and above may count on it */
        s->_intact &= (uint8_t)(bit(tid) - 1);
    s->now_tid = 0;
    while (s->now_tid < s->tid && s->now_tid < 3 && (s->_intact & bit(s->now_tid + 1u)))
        s->now_tid++;
    return wanted;
}

bool video_select_packet(struct video_select *s, const struct video_source *src,
                         const struct video_packet *v, struct video_picture *pic, bool begins,
                         bool late)
{
    if (v->sid > VIDEO_SID_MAX)
        return false;
    /* Of the structure before: no receiver can read it any more. Of one that is to come: rather too
     * much than a key frame in pieces. */
    if (v->facts & VIDEO_DD_UNKNOWN)
        return (int16_t)(uint16_t)(v->frame - s->_key_frame) >= 0;
    if (!(v->facts & VIDEO_DD) && (pic->decided & bit(v->sid)))
        return pic->wanted & bit(v->sid);
    bool wanted;
    if (v->facts & VIDEO_DD) {
        const struct video_targets *t = video_source_targets(src, v->structure);
        wanted = t && select_dependency(s, t, v, begins, late);
    } else if (v->codec == RTP_CODEC_VP9) {
        wanted = select_vp9(s, src, v, pic, begins, late);
    } else {
        wanted = select_temporal(s, v, late);
    }
    pic->decided |= bit(v->sid);
    if (wanted)
        pic->wanted |= bit(v->sid);
    return wanted;
}

bool video_select_ends_picture(const struct video_select *s, const struct video_packet *v)
{
    bool layered = (v->facts & VIDEO_DD) || v->codec == RTP_CODEC_VP9;

    return layered && (v->facts & VIDEO_END) && v->sid == s->now_sid;
}

uint8_t video_select_mask(const struct video_select *s, const struct video_source *src,
                          const struct video_packet *v)
{
    const struct video_targets *t =
        v->facts & VIDEO_DD ? video_source_targets(src, v->structure) : NULL;

    if (!t || s->_target < 0 || s->_target >= t->n)
        return VIDEO_NO_MASK;
    uint8_t target = (uint8_t)(t->sid[s->_target] << 4 | t->tid[s->_target]);
    bool says = v->facts & (VIDEO_DD_STRUCTURE | VIDEO_DD_ACTIVE);
    if (!says && !(s->_mask_due && s->_mask_frame == v->frame))
        return VIDEO_NO_MASK;
    /* Nothing to say when the receiver gets all there is. */
    bool all = video_select_targets(t, v->active, target) == v->active;
    return all && says ? VIDEO_NO_MASK : target;
}
