/* JSON into control messages (docs/CONTROL.md). The other way: ctl_encode.c, in the same order.
 *
 * Called by node.c and ctl_listener.c with what ctl_frame() gives. Pure. The peer has the shared
 * secret, but hello has not been seen when the first messages are read, and clients' payloads pass
 * through: every length and count is checked here. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "proto/ctl.h"
#include "proto/ctl_words.h"
#include "proto/json.h"

enum { WORD_MAX = 32 };

/* One message under way. The readers below fail by leaving a literal in `why`. */
struct in {
    struct slice text;
    struct wr *scratch;
    const char *why;
};

static bool fail(struct in *in, const char *why)
{
    in->why = why;
    return false;
}

/* The members of an object that are wanted. */
static bool fields_of(struct in *in, struct slice object, struct json_field *f, size_t n)
{
    return json_fields(object, f, n) == 0 || fail(in, "an object is expected, no key twice");
}

static bool absent(const struct json_field *f)
{
    return f->kind == JSON_KIND_NONE;
}

/* ---- values: an absent one leaves *out alone where `must` is false ---- */

static bool get_text(struct in *in, const struct json_field *f, bool must, size_t max,
                     struct slice *out)
{
    struct slice s;

    if (absent(f) && !must)
        return true;
    if (!json_text(f->value, &s, in->scratch) || s.len == 0 || s.len > max)
        return fail(in, f->key);
    *out = s;
    return true;
}

static bool get_u64(struct in *in, const struct json_field *f, bool must, uint64_t max,
                    uint64_t *out)
{
    if (absent(f) && !must)
        return true;
    return json_u64(f->value, max, out) || fail(in, f->key);
}

static bool get_unsigned(struct in *in, const struct json_field *f, unsigned max, unsigned *out)
{
    uint64_t v = *out;

    if (!get_u64(in, f, false, max, &v))
        return false;
    *out = (unsigned)v;
    return true;
}

/* -1 when it is not there. */
static bool get_level(struct in *in, const struct json_field *f, unsigned max, int *out)
{
    uint64_t v = 0;

    *out = CTL_LAYER_AUTO;
    if (absent(f))
        return true;
    if (!get_u64(in, f, true, max, &v))
        return false;
    *out = (int)v;
    return true;
}

static bool get_bool(struct in *in, const struct json_field *f, bool must, bool *out)
{
    if (absent(f) && !must)
        return true;
    return json_truth(f->value, out) || fail(in, f->key);
}

/* The index of a word; a word that is not known is refused. */
static bool word_of(struct in *in, struct slice raw, const char *key, const char *const *words,
                    unsigned n, unsigned *out)
{
    uint8_t buf[WORD_MAX];
    struct wr scratch = wr_init(buf, sizeof(buf));
    struct slice s;

    if (!json_text(raw, &s, &scratch))
        return fail(in, key);
    unsigned i = ctl_word_find(words, n, s);
    if (i == n)
        return fail(in, key);
    *out = i;
    return true;
}

/* An absent word is the first one. */
#define GET_WORD(in, f, words, out) \
    (absent(f) ? true : word_of(in, (f)->value, (f)->key, words, ARRAY_LEN(words), out))

static bool get_hex(struct in *in, const struct json_field *f, uint8_t *out, size_t n)
{
    struct slice s;

    return (get_text(in, f, true, 2 * n, &s) && s.len == 2 * n && hex_decode(s, out, n) == 0) ||
           fail(in, f->key);
}

/* text is decoded only where `decode`. */
static bool get_sdp(struct in *in, const struct json_field *f, bool must, bool decode,
                    struct ctl_sdp *out)
{
    if (absent(f) && !must)
        return true;
    if (f->kind != JSON_KIND_STRING || f->value.len <= 2 || f->value.len > CTL_SDP_MAX)
        return fail(in, f->key);
    if (decode && !json_text(f->value, &out->text, in->scratch))
        return fail(in, f->key);
    out->raw = f->value;
    return true;
}

static bool get_array(struct in *in, const struct json_field *f, bool must, struct slice *out)
{
    *out = f->value;
    if (absent(f) && !must)
        return true;
    return f->kind == JSON_KIND_ARRAY || fail(in, f->key);
}

/* A list of words as bits. */
static bool get_bits(struct in *in, const struct json_field *f, unsigned *out)
{
    struct slice array, item;
    unsigned i = 0;

    if (!get_array(in, f, true, &array))
        return false;
    *out = 0;
    for (struct json_items it = json_items(array); json_items_next(&it, &item);) {
        if (!word_of(in, item, f->key, ctl_source_words, CTL_SOURCE_COUNT, &i))
            return false;
        *out |= CTL_SOURCE_BIT(i);
    }
    return true;
}

/* ---- parts ---- */

static bool read_perms(struct in *in, const struct json_field *object, struct ctl_perms *out)
{
    struct json_field f[] = {{.key = "publish"}, {.key = "subscribe"}, {.key = "data"}};

    return fields_of(in, object->value, f, ARRAY_LEN(f)) && get_bits(in, &f[0], &out->publish) &&
           get_bool(in, &f[1], true, &out->subscribe) && get_bool(in, &f[2], true, &out->data);
}

static bool read_limits(struct in *in, const struct json_field *object, struct ctl_limits *out)
{
    struct json_field f[] = {
        {.key = "tracks"}, {.key = "slots"}, {.key = "upBps"}, {.key = "downBps"}};

    if (absent(object))
        return true;
    return fields_of(in, object->value, f, ARRAY_LEN(f)) &&
           get_unsigned(in, &f[0], CTL_TRACKS_MAX, &out->tracks) &&
           get_unsigned(in, &f[1], CTL_SLOTS_MAX, &out->slots) &&
           get_u64(in, &f[2], false, UINT64_MAX, &out->up_bps) &&
           get_u64(in, &f[3], false, UINT64_MAX, &out->down_bps);
}

static bool read_wishes(struct in *in, const struct json_field *list, struct ctl_wish *v, size_t *n)
{
    struct slice array, item;
    unsigned source = 0;

    if (!get_array(in, list, false, &array))
        return false;
    for (struct json_items it = json_items(array); json_items_next(&it, &item); (*n)++) {
        struct json_field f[] = {{.key = "mid"}, {.key = "source"}, {.key = "muted"}};
        if (*n == CTL_TRACKS_MAX)
            return fail(in, "tracks: too many");
        source = CTL_SOURCE_OTHER;
        if (!fields_of(in, item, f, ARRAY_LEN(f)) ||
            !get_text(in, &f[0], true, RTP_MID_MAX, &v[*n].mid) ||
            !GET_WORD(in, &f[1], ctl_source_words, &source) ||
            !get_bool(in, &f[2], false, &v[*n].muted))
            return false;
        v[*n].source = (enum ctl_source)source;
    }
    return true;
}

static bool read_track(struct in *in, struct slice object, struct ctl_track *out)
{
    enum { TRACK, MID, KIND, SOURCE, MUTED, LAYERS, N };
    struct json_field f[N] = {{.key = "track"},  {.key = "mid"},   {.key = "kind"},
                              {.key = "source"}, {.key = "muted"}, {.key = "layers"}};
    unsigned kind = 0, source = CTL_SOURCE_OTHER;

    out->layers = 1;
    if (!fields_of(in, object, f, N) ||
        !get_text(in, &f[TRACK], true, CTL_TRACK_MAX, &out->track) ||
        !get_text(in, &f[MID], true, RTP_MID_MAX, &out->mid) ||
        !GET_WORD(in, &f[KIND], ctl_kind_words, &kind) ||
        !GET_WORD(in, &f[SOURCE], ctl_source_words, &source) ||
        !get_bool(in, &f[MUTED], false, &out->muted) ||
        !get_unsigned(in, &f[LAYERS], RTP_LAYERS_MAX, &out->layers) || out->layers == 0)
        return in->why ? false : fail(in, "layers");
    out->kind = kind ? RTP_KIND_VIDEO : RTP_KIND_AUDIO;
    out->source = (enum ctl_source)source;
    return true;
}

static bool read_tracks(struct in *in, const struct json_field *list, struct ctl_track *v,
                        size_t *n)
{
    struct slice array, item;

    if (!get_array(in, list, true, &array))
        return false;
    for (struct json_items it = json_items(array); json_items_next(&it, &item); (*n)++) {
        if (*n == CTL_TRACKS_MAX)
            return fail(in, "tracks: too many");
        if (!read_track(in, item, &v[*n]))
            return false;
    }
    return true;
}

/* What is forwarded of a picture: layer, temporal and pause, in this order at f. */
static bool get_forwarded(struct in *in, const struct json_field *f, int *layer, int *temporal,
                          enum ctl_pause *pause)
{
    unsigned why = CTL_PAUSE_NONE;

    if (!get_level(in, &f[0], RTP_LAYERS_MAX - 1, layer) ||
        !get_level(in, &f[1], CTL_TEMPORAL_MAX, temporal) ||
        !GET_WORD(in, &f[2], ctl_pause_words, &why))
        return false;
    *pause = (enum ctl_pause)why;
    return true;
}

static bool read_slots(struct in *in, const struct json_field *list, struct ctl_slot *v, size_t *n)
{
    struct slice array, item;

    if (!get_array(in, list, true, &array))
        return false;
    for (struct json_items it = json_items(array); json_items_next(&it, &item); (*n)++) {
        enum { MID, TRACK, PARTICIPANT, LAYER, TEMPORAL, PAUSE, N };
        struct json_field f[N] = {{.key = "mid"},   {.key = "track"},    {.key = "participant"},
                                  {.key = "layer"}, {.key = "temporal"}, {.key = "pause"}};
        if (*n == CTL_SLOTS_MAX)
            return fail(in, "slots: too many");
        struct ctl_slot *s = &v[*n];
        if (!fields_of(in, item, f, N) || !get_text(in, &f[MID], true, RTP_MID_MAX, &s->mid) ||
            !get_text(in, &f[TRACK], false, CTL_TRACK_MAX, &s->track) ||
            !get_text(in, &f[PARTICIPANT], false, CTL_PARTICIPANT_MAX, &s->participant))
            return false;
        s->picture = !absent(&f[PAUSE]);
        if (s->picture && !get_forwarded(in, &f[LAYER], &s->layer, &s->temporal, &s->pause))
            return false;
    }
    return true;
}

static bool read_subscription(struct in *in, struct slice object, struct ctl_subscription *out)
{
    enum { TRACK, MID, WANTED, PAUSED, LAYER, TEMPORAL, PRIORITY, N };
    struct json_field f[N] = {{.key = "track"},   {.key = "mid"},   {.key = "wanted"},
                              {.key = "paused"},  {.key = "layer"}, {.key = "temporal"},
                              {.key = "priority"}};

    return fields_of(in, object, f, N) &&
           get_text(in, &f[TRACK], true, CTL_TRACK_MAX, &out->track) &&
           get_text(in, &f[MID], false, RTP_MID_MAX, &out->mid) &&
           get_bool(in, &f[WANTED], true, &out->wanted) &&
           get_bool(in, &f[PAUSED], false, &out->paused) &&
           get_level(in, &f[LAYER], RTP_LAYERS_MAX - 1, &out->layer) &&
           get_level(in, &f[TEMPORAL], CTL_TEMPORAL_MAX, &out->temporal) &&
           get_unsigned(in, &f[PRIORITY], CTL_PRIORITY_MAX, &out->priority);
}

/* ---- messages ---- */

static bool read_error(struct in *in, const struct json_field *object, struct ctl_msg *m)
{
    struct json_field f[] = {{.key = "code"}, {.key = "message"}};
    unsigned code = CTL_ERR_INTERNAL;
    struct slice word;

    if (!fields_of(in, object->value, f, ARRAY_LEN(f)) ||
        !get_text(in, &f[0], true, CTL_NAME_MAX, &word))
        return false;
    /* A code of a newer SFU is an internal error to us: the message says the rest. */
    code = ctl_word_find(ctl_err_words, CTL_ERR_COUNT, word);
    m->u.error.code = code == CTL_ERR_COUNT ? CTL_ERR_INTERNAL : (enum ctl_err)code;
    return get_text(in, &f[1], false, CTL_TEXT_MAX, &m->u.error.text);
}

static bool read_challenge(struct in *in, struct ctl_msg *m)
{
    struct json_field f[] = {{.key = "version"}, {.key = "nonce"}};

    return fields_of(in, in->text, f, ARRAY_LEN(f)) &&
           get_u64(in, &f[0], true, UINT32_MAX, &m->u.challenge.version) &&
           get_hex(in, &f[1], m->u.challenge.nonce, CTL_NONCE_BYTES);
}

static bool read_hello(struct in *in, struct ctl_msg *m)
{
    enum { VERSION, SERVER, EPOCH, SFU_EPOCH, LAST_SEQ, NONCE, MAC, N };
    struct json_field f[N] = {{.key = "version"},  {.key = "server"},  {.key = "epoch"},
                              {.key = "sfuEpoch"}, {.key = "lastSeq"}, {.key = "nonce"},
                              {.key = "mac"}};

    return fields_of(in, in->text, f, N) &&
           get_u64(in, &f[VERSION], true, UINT32_MAX, &m->u.hello.version) &&
           get_text(in, &f[SERVER], true, CTL_NAME_MAX, &m->u.hello.server) &&
           get_u64(in, &f[EPOCH], true, UINT64_MAX, &m->u.hello.epoch) &&
           (m->u.hello.epoch > 0 || fail(in, "epoch")) &&
           get_u64(in, &f[SFU_EPOCH], false, UINT64_MAX, &m->u.hello.sfu_epoch) &&
           get_u64(in, &f[LAST_SEQ], false, UINT64_MAX, &m->u.hello.last_seq) &&
           get_hex(in, &f[NONCE], m->u.hello.nonce, CTL_NONCE_BYTES) &&
           get_hex(in, &f[MAC], m->u.hello.mac, CTL_MAC_BYTES);
}

static bool read_welcome(struct in *in, struct ctl_msg *m)
{
    enum { NODE, EPOCH, RESUMED, LOST, DRAINING, WORKERS, MAX, LOAD, MAC, N };
    struct json_field f[N] = {
        {.key = "node"},     {.key = "epoch"},   {.key = "resumed"},         {.key = "lost"},
        {.key = "draining"}, {.key = "workers"}, {.key = "participantsMax"}, {.key = "load"},
        {.key = "mac"}};

    return fields_of(in, in->text, f, N) &&
           get_text(in, &f[NODE], true, CTL_NAME_MAX, &m->u.welcome.node) &&
           get_u64(in, &f[EPOCH], true, UINT64_MAX, &m->u.welcome.epoch) &&
           (m->u.welcome.epoch > 0 || fail(in, "epoch")) &&
           get_bool(in, &f[RESUMED], true, &m->u.welcome.resumed) &&
           get_bool(in, &f[LOST], false, &m->u.welcome.lost) &&
           get_bool(in, &f[DRAINING], false, &m->u.welcome.draining) &&
           get_u64(in, &f[WORKERS], false, UINT32_MAX, &m->u.welcome.workers) &&
           get_u64(in, &f[MAX], false, UINT32_MAX, &m->u.welcome.participants_max) &&
           get_u64(in, &f[LOAD], false, CTL_LOAD_MAX, &m->u.welcome.load) &&
           get_hex(in, &f[MAC], m->u.welcome.mac, CTL_MAC_BYTES);
}

static bool read_join(struct in *in, struct ctl_msg *m)
{
    enum { MODE, PERMS, LIMITS, AUDIO, VIDEO, OFFER, TRACKS, N };
    struct json_field f[N] = {{.key = "mode"},      {.key = "perms"},     {.key = "limits"},
                              {.key = "autoAudio"}, {.key = "autoVideo"}, {.key = "offer"},
                              {.key = "tracks"}};
    unsigned mode = CTL_MODE_SINGLE;

    if (!fields_of(in, in->text, f, N) || !GET_WORD(in, &f[MODE], ctl_mode_words, &mode) ||
        !read_perms(in, &f[PERMS], &m->u.join.perms) ||
        !read_limits(in, &f[LIMITS], &m->u.join.limits) ||
        !get_bool(in, &f[AUDIO], true, &m->u.join.auto_audio) ||
        !get_bool(in, &f[VIDEO], true, &m->u.join.auto_video) ||
        !get_sdp(in, &f[OFFER], true, true, &m->u.join.offer) ||
        !read_wishes(in, &f[TRACKS], m->u.join.wishes, &m->u.join.wishes_n))
        return false;
    m->u.join.mode = (enum ctl_mode)mode;
    return true;
}

static bool read_offer(struct in *in, struct ctl_msg *m)
{
    struct json_field f[] = {{.key = "offer"}, {.key = "tracks"}};

    return fields_of(in, in->text, f, ARRAY_LEN(f)) &&
           get_sdp(in, &f[0], true, true, &m->u.offer.offer) &&
           read_wishes(in, &f[1], m->u.offer.wishes, &m->u.offer.wishes_n);
}

static bool read_joined(struct in *in, struct ctl_msg *m)
{
    enum { ANSWER, SUB_OFFER, NEGOTIATION, TRACKS, SLOTS, N };
    struct json_field f[N] = {{.key = "answer"},
                              {.key = "subOffer"},
                              {.key = "negotiation"},
                              {.key = "tracks"},
                              {.key = "slots"}};

    return fields_of(in, in->text, f, N) &&
           get_sdp(in, &f[ANSWER], true, false, &m->u.joined.answer) &&
           get_sdp(in, &f[SUB_OFFER], false, false, &m->u.joined.sub_offer) &&
           get_text(in, &f[NEGOTIATION], false, CTL_NEGOTIATION_MAX, &m->u.joined.negotiation) &&
           read_tracks(in, &f[TRACKS], m->u.joined.tracks, &m->u.joined.tracks_n) &&
           read_slots(in, &f[SLOTS], m->u.joined.slots, &m->u.joined.slots_n);
}

static bool read_answer(struct in *in, struct ctl_msg *m)
{
    struct json_field f[] = {{.key = "negotiation"}, {.key = "answer"}};

    return fields_of(in, in->text, f, ARRAY_LEN(f)) &&
           get_text(in, &f[0], true, CTL_NEGOTIATION_MAX, &m->u.answer.negotiation) &&
           get_sdp(in, &f[1], true, true, &m->u.answer.answer);
}

static bool read_candidates(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "candidates"};

    return fields_of(in, in->text, &f, 1) && get_array(in, &f, true, &m->u.candidates.raw) &&
           (json_items_count(f.value) <= CTL_CANDIDATES_MAX || fail(in, f.key));
}

static bool read_subscribe(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "tracks"};
    struct slice array, item;

    if (!fields_of(in, in->text, &f, 1) || !get_array(in, &f, true, &array))
        return false;
    for (struct json_items it = json_items(array); json_items_next(&it, &item);) {
        if (m->u.subscribe.n == CTL_SUBSCRIBE_MAX)
            return fail(in, "tracks: too many");
        if (!read_subscription(in, item, &m->u.subscribe.v[m->u.subscribe.n++]))
            return false;
    }
    return true;
}

static bool read_mute(struct in *in, struct ctl_msg *m)
{
    struct json_field f[] = {{.key = "track"}, {.key = "muted"}, {.key = "forced"}};
    bool must = m->type == CTL_MUTE;

    return fields_of(in, in->text, f, ARRAY_LEN(f)) &&
           get_text(in, &f[0], true, CTL_TRACK_MAX, &m->u.mute.track) &&
           get_bool(in, &f[1], must, &m->u.mute.muted) &&
           get_bool(in, &f[2], false, &m->u.mute.forced);
}

static bool read_permissions(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "perms"};

    return fields_of(in, in->text, &f, 1) && read_perms(in, &f, &m->u.permissions.perms);
}

static bool read_sync(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "participants"};
    struct slice item, id;
    struct ctl_walk it = {0};
    size_t n = 0;

    if (!fields_of(in, in->text, &f, 1) || !get_array(in, &f, true, &m->u.sync.participants))
        return false;
    for (struct json_items all = json_items(f.value); json_items_next(&all, &item); n++)
        if (n == CTL_PARTICIPANTS_MAX || !ctl_ids(&it, f.value, &id) || id.len == 0 ||
            id.len > CTL_PARTICIPANT_MAX)
            return fail(in, f.key);
    return true;
}

static bool read_synced(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "participants"};
    struct slice item, id;
    struct ctl_walk it = {0};
    enum ctl_media media;
    size_t n = 0;

    if (!fields_of(in, in->text, &f, 1) || !get_array(in, &f, true, &m->u.synced.states))
        return false;
    for (struct json_items all = json_items(f.value); json_items_next(&all, &item); n++)
        if (n == CTL_PARTICIPANTS_MAX || !ctl_states(&it, f.value, &id, &media) || id.len == 0 ||
            id.len > CTL_PARTICIPANT_MAX)
            return fail(in, f.key);
    return true;
}

static bool read_sync_end(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "closed"};

    return fields_of(in, in->text, &f, 1) &&
           get_u64(in, &f, false, UINT32_MAX, &m->u.sync_end.closed);
}

static bool read_stats(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "stats"};

    if (!fields_of(in, in->text, &f, 1))
        return false;
    m->u.stats.raw = f.value;
    return f.kind == JSON_KIND_OBJECT || fail(in, f.key);
}

static bool read_adopt(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "from"};

    return fields_of(in, in->text, &f, 1) && get_text(in, &f, true, CTL_NAME_MAX, &m->u.adopt.from);
}

static bool read_drain(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "on"};

    return fields_of(in, in->text, &f, 1) && get_bool(in, &f, true, &m->u.drain.on);
}

static bool read_ack(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "upto"};

    return fields_of(in, in->text, &f, 1) && get_u64(in, &f, true, UINT64_MAX, &m->u.ack.upto);
}

static bool read_state(struct in *in, struct ctl_msg *m)
{
    struct json_field f[] = {{.key = "state"}, {.key = "reason"}};
    unsigned media = CTL_MEDIA_CONNECTING;

    if (!fields_of(in, in->text, f, ARRAY_LEN(f)) ||
        !word_of(in, f[0].value, f[0].key, ctl_media_words, CTL_MEDIA_COUNT, &media) ||
        !get_text(in, &f[1], false, CTL_TEXT_MAX, &m->u.state.reason))
        return false;
    m->u.state.media = (enum ctl_media)media;
    return true;
}

static bool read_track_event(struct in *in, struct ctl_msg *m)
{
    struct json_field f[] = {{.key = "event"}, {.key = "track"}};
    unsigned event = CTL_TRACK_PUBLISHED;

    if (!fields_of(in, in->text, f, ARRAY_LEN(f)) ||
        !word_of(in, f[0].value, f[0].key, ctl_track_words, CTL_TRACK_EVENT_COUNT, &event) ||
        !read_track(in, f[1].value, &m->u.track.track))
        return false;
    m->u.track.event = (enum ctl_track_event)event;
    return true;
}

static bool read_slots_of(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "slots"};

    return fields_of(in, in->text, &f, 1) && read_slots(in, &f, m->u.slots.v, &m->u.slots.n);
}

static bool read_wanted(struct in *in, const struct json_field *f, unsigned *out)
{
    struct slice array, item;
    uint64_t layer;

    if (!get_array(in, f, true, &array))
        return false;
    for (struct json_items it = json_items(array); json_items_next(&it, &item);) {
        if (!json_u64(item, RTP_LAYERS_MAX - 1, &layer))
            return fail(in, f->key);
        *out |= 1u << layer;
    }
    return true;
}

static bool read_layers(struct in *in, struct ctl_msg *m)
{
    enum { TRACK, WANTED, MID, LAYER, TEMPORAL, PAUSE, N };
    struct json_field f[N] = {{.key = "track"}, {.key = "wanted"},   {.key = "mid"},
                              {.key = "layer"}, {.key = "temporal"}, {.key = "pause"}};

    if (!fields_of(in, in->text, f, N) ||
        !get_text(in, &f[TRACK], false, CTL_TRACK_MAX, &m->u.layers.track) ||
        !get_text(in, &f[MID], absent(&f[TRACK]), RTP_MID_MAX, &m->u.layers.mid))
        return false;
    if (!absent(&f[TRACK]))
        return read_wanted(in, &f[WANTED], &m->u.layers.wanted);
    return get_forwarded(in, &f[LAYER], &m->u.layers.layer, &m->u.layers.temporal,
                         &m->u.layers.pause);
}

static bool read_negotiate(struct in *in, struct ctl_msg *m)
{
    enum { REASON, NEGOTIATION, OFFER, AUDIO, VIDEO, N };
    struct json_field f[N] = {{.key = "reason"},
                              {.key = "negotiation"},
                              {.key = "offer"},
                              {.key = "needAudio"},
                              {.key = "needVideo"}};
    unsigned why = CTL_NEGOTIATE_NEED_SLOTS;

    if (!fields_of(in, in->text, f, N) || !word_of(in, f[REASON].value, f[REASON].key,
                                                   ctl_negotiate_words, CTL_NEGOTIATE_COUNT, &why))
        return false;
    bool offers = why == CTL_NEGOTIATE_OFFER;
    m->u.negotiate.why = (enum ctl_negotiate)why;
    return get_text(in, &f[NEGOTIATION], offers, CTL_NEGOTIATION_MAX,
                    &m->u.negotiate.negotiation) &&
           get_sdp(in, &f[OFFER], offers, false, &m->u.negotiate.offer) &&
           get_unsigned(in, &f[AUDIO], CTL_SLOTS_MAX, &m->u.negotiate.need_audio) &&
           get_unsigned(in, &f[VIDEO], CTL_SLOTS_MAX, &m->u.negotiate.need_video);
}

static bool read_room_closed(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "reason"};

    return fields_of(in, in->text, &f, 1) &&
           get_text(in, &f, false, CTL_TEXT_MAX, &m->u.room_closed.reason);
}

static bool read_speakers(struct in *in, struct ctl_msg *m)
{
    struct json_field f[] = {{.key = "dominant"}, {.key = "speakers"}};
    struct slice array, item;

    if (!fields_of(in, in->text, f, ARRAY_LEN(f)) ||
        !get_text(in, &f[0], false, CTL_PARTICIPANT_MAX, &m->u.speakers.dominant) ||
        !get_array(in, &f[1], true, &array))
        return false;
    for (struct json_items it = json_items(array); json_items_next(&it, &item);) {
        struct json_field s[] = {{.key = "participant"}, {.key = "level"}};
        if (m->u.speakers.n == CTL_SPEAKERS_MAX)
            return fail(in, "speakers: too many");
        struct ctl_speaker *v = &m->u.speakers.v[m->u.speakers.n++];
        if (!fields_of(in, item, s, ARRAY_LEN(s)) ||
            !get_text(in, &s[0], true, CTL_PARTICIPANT_MAX, &v->participant) ||
            !get_unsigned(in, &s[1], CTL_LEVEL_MAX, &v->level))
            return false;
    }
    return true;
}

static bool read_quality(struct in *in, struct ctl_msg *m)
{
    struct json_field f = {.key = "participants"};
    struct slice array, item;

    if (!fields_of(in, in->text, &f, 1) || !get_array(in, &f, true, &array))
        return false;
    for (struct json_items it = json_items(array); json_items_next(&it, &item);) {
        struct json_field s[] = {{.key = "participant"}, {.key = "score"}, {.key = "mos"}};
        if (m->u.quality.n == CTL_QUALITY_MAX)
            return fail(in, "participants: too many");
        struct ctl_quality *v = &m->u.quality.v[m->u.quality.n++];
        if (!fields_of(in, item, s, ARRAY_LEN(s)) ||
            !get_text(in, &s[0], true, CTL_PARTICIPANT_MAX, &v->participant) ||
            !get_unsigned(in, &s[1], CTL_SCORE_MAX, &v->score) ||
            !get_unsigned(in, &s[2], CTL_MOS_MAX, &v->mos))
            return false;
    }
    return true;
}

static bool read_load(struct in *in, struct ctl_msg *m)
{
    struct json_field f[] = {
        {.key = "load"}, {.key = "rooms"}, {.key = "participants"}, {.key = "draining"}};

    return fields_of(in, in->text, f, ARRAY_LEN(f)) &&
           get_u64(in, &f[0], true, CTL_LOAD_MAX, &m->u.load.load) &&
           get_u64(in, &f[1], false, UINT32_MAX, &m->u.load.rooms) &&
           get_u64(in, &f[2], false, UINT32_MAX, &m->u.load.participants) &&
           get_bool(in, &f[3], false, &m->u.load.draining);
}

/* Who reads what. NULL: the type has nothing beyond the envelope. */
typedef bool read_fn(struct in *in, struct ctl_msg *m);
static read_fn *const requests[CTL_TYPE_COUNT] = {
    [CTL_HELLO] = read_hello,
    [CTL_JOIN] = read_join,
    [CTL_OFFER] = read_offer,
    [CTL_ANSWER] = read_answer,
    [CTL_CANDIDATES] = read_candidates,
    [CTL_SUBSCRIBE] = read_subscribe,
    [CTL_UNPUBLISH] = read_mute,
    [CTL_MUTE] = read_mute,
    [CTL_PERMISSIONS] = read_permissions,
    [CTL_ADOPT] = read_adopt,
    [CTL_SYNC] = read_sync,
    [CTL_DRAIN] = read_drain,
};
static read_fn *const replies[CTL_TYPE_COUNT] = {
    [CTL_HELLO] = read_welcome,      [CTL_JOIN] = read_joined, [CTL_OFFER] = read_joined,
    [CTL_SUBSCRIBE] = read_slots_of, [CTL_SYNC] = read_synced, [CTL_SYNC_END] = read_sync_end,
    [CTL_STATS] = read_stats,
};
static read_fn *const events[CTL_TYPE_COUNT] = {
    [CTL_CHALLENGE] = read_challenge, [CTL_ACK] = read_ack,
    [CTL_STATE] = read_state,         [CTL_TRACK] = read_track_event,
    [CTL_SLOTS] = read_slots_of,      [CTL_LAYERS] = read_layers,
    [CTL_NEGOTIATE] = read_negotiate, [CTL_ROOM_CLOSED] = read_room_closed,
    [CTL_SPEAKERS] = read_speakers,   [CTL_QUALITY] = read_quality,
    [CTL_LOAD] = read_load,
};

/* ---- envelope ---- */

enum { T, ID, RE, SEQ, ROOM, PARTICIPANT, ERROR, ENVELOPE_N };

static enum ctl_type type_of(struct slice raw)
{
    uint8_t buf[WORD_MAX];
    struct wr scratch = wr_init(buf, sizeof(buf));
    struct slice name;

    if (!json_text(raw, &name, &scratch))
        return CTL_NONE;
    for (unsigned t = CTL_NONE + 1; t < CTL_TYPE_COUNT; t++)
        if (slice_is(name, ctl_types[t].name))
            return (enum ctl_type)t;
    return CTL_NONE;
}

/* Kind and numbers. */
static bool read_numbers(struct in *in, const struct json_field *f, struct ctl_msg *m)
{
    const struct json_field *number = absent(&f[RE]) ? &f[ID] : &f[RE];

    if (f[T].kind != JSON_KIND_STRING)
        return fail(in, "t");
    m->kind = !absent(&f[RE])   ? absent(&f[ERROR]) ? CTL_KIND_REPLY : CTL_KIND_ERROR
              : !absent(&f[ID]) ? CTL_KIND_REQUEST
                                : CTL_KIND_EVENT;
    if (m->kind == CTL_KIND_EVENT)
        return get_u64(in, &f[SEQ], false, UINT64_MAX, &m->seq);
    return get_u64(in, number, true, UINT64_MAX, &m->id) && (m->id > 0 || fail(in, number->key));
}

/* That the type may be of this kind, and whom it is about. */
static bool read_about(struct in *in, const struct json_field *f, struct ctl_msg *m)
{
    unsigned flags = ctl_types[m->type].flags;
    bool event = m->kind == CTL_KIND_EVENT, request = m->kind == CTL_KIND_REQUEST;

    if (!(flags & (event ? CTL_CAN_EVENT : CTL_CAN_REQUEST)))
        return fail(in, "t: not of this kind");
    if (event && (flags & CTL_HAS_SEQ) ? m->seq == 0 : m->seq > 0)
        return fail(in, "seq");
    if (!event && !request)
        return true; /* replies are known by their number */
    return (!(flags & (CTL_HAS_ROOM | CTL_MAY_ROOM)) ||
            get_text(in, &f[ROOM], flags & CTL_HAS_ROOM, CTL_ROOM_MAX, &m->room)) &&
           (!(flags & CTL_HAS_PARTICIPANT) ||
            get_text(in, &f[PARTICIPANT], true, CTL_PARTICIPANT_MAX, &m->participant));
}

static bool read_body(struct in *in, const struct json_field *f, struct ctl_msg *m)
{
    read_fn *const *table = m->kind == CTL_KIND_REQUEST ? requests
                            : m->kind == CTL_KIND_REPLY ? replies
                                                        : events;

    if (m->kind == CTL_KIND_ERROR)
        return read_error(in, &f[ERROR], m);
    return !table[m->type] || table[m->type](in, m);
}

int ctl_decode(struct ctl_msg *out, struct slice text, struct wr *scratch, const char **why)
{
    static const struct json_limits limits = {CTL_DEPTH, CTL_VALUES, CTL_MESSAGE_MAX};
    struct json_field f[ENVELOPE_N] = {{.key = "t"},    {.key = "id"},   {.key = "re"},
                                       {.key = "seq"},  {.key = "room"}, {.key = "participant"},
                                       {.key = "error"}};
    struct in in = {.text = text, .scratch = scratch};
    int rc = -EBADMSG;

    *out = (struct ctl_msg){0};
    if (json_scan_object(text, &limits, f, ENVELOPE_N) != 0) {
        in.why = "no JSON object, or over its limits";
    } else if (read_numbers(&in, f, out)) {
        out->type = type_of(f[T].value);
        if (out->type == CTL_NONE) {
            in.why = "t: unknown";
            rc = -EPROTO;
        } else if (read_about(&in, f, out) && read_body(&in, f, out)) {
            return 0;
        } else if (out->kind == CTL_KIND_REQUEST) {
            rc = -EPROTO;
        }
    }
    *why = in.why;
    return rc;
}
