/* Readers of the `data` of room messages (docs/SIGNALING.md §10).
 *
 * Called by router_room.c after sig_decode(). Pure. What the SFU judges (descriptions, which
 * sections there are) is passed on unread. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sig_room.h"

#include "proto/sig_read.h"

enum { ROOM_RING_MIN_MS = 5000 };

/* What is passed to ctl_*: mids and ids without a control character that a log line would show. */
static bool read_wish(const struct slice item, struct sig_room_wish *out, struct wr *scratch,
                      struct sig_fault *fault)
{
    enum { MID, SOURCE, NAME, MUTED, N };
    struct json_field f[N] = {{.key = "mid"}, {.key = "source"}, {.key = "name"}, {.key = "muted"}};
    uint8_t buf[SCALAR_MAX];
    struct wr word_mem = wr_init(buf, sizeof(buf));
    struct slice source;
    const char *wrong = NULL;

    *out = (struct sig_room_wish){0};
    if (json_fields(item, f, N) != 0 || !text_of(&f[MID], RTP_MID_MAX, &out->wish.mid, scratch))
        wrong = "data.tracks: each with a mid of 1 to 16 bytes";
    else if (!json_text(f[SOURCE].value, &source, &word_mem) ||
             !ctl_source_parse(source, &out->wish.source))
        wrong = "data.tracks: source is microphone, camera, screen, screen_audio or other";
    else if (!absent(&f[NAME]) && !text_of(&f[NAME], CTL_TRACK_NAME_MAX, &out->name, scratch))
        wrong = "data.tracks: name has 1 to 64 bytes";
    else if (!absent(&f[MUTED]) && !json_truth(f[MUTED].value, &out->wish.muted))
        wrong = "data.tracks: muted is true or false";
    return !wrong || refuse(fault, wrong) == 0;
}

static int read_wishes(struct sig_room_offer *out, const struct json_field *list,
                       struct wr *scratch, struct sig_fault *fault)
{
    struct slice item;

    if (absent(list))
        return 0;
    if (list->kind != JSON_KIND_ARRAY)
        return refuse(fault, "data.tracks: a list");
    for (struct json_items it = json_items(list->value); json_items_next(&it, &item);) {
        if (out->n == CTL_TRACKS_MAX)
            return refuse(fault, "data.tracks: at most 32");
        if (!read_wish(item, &out->v[out->n++], scratch, fault))
            return -EBADMSG;
    }
    return 0;
}

static int read_metadata(const struct json_field *f, bool *has, struct slice *out,
                         struct sig_fault *fault)
{
    if (absent(f))
        return 0;
    if (f->kind != JSON_KIND_OBJECT || f->value.len > SIG_ROOM_METADATA_MAX)
        return refuse(fault, "data.metadata: an object of at most 1,024 bytes");
    *has = true;
    *out = f->value;
    return 0;
}

static int read_auto(const struct json_field *object, struct sig_room_offer *out,
                     struct sig_fault *fault)
{
    static const char *const words[] = {"none", "auto"};
    struct json_field f[] = {{.key = "audio"}, {.key = "video"}};
    bool *const to[] = {&out->auto_audio, &out->auto_video};

    out->auto_audio = out->auto_video = true;
    if (absent(object))
        return 0;
    if (object->kind != JSON_KIND_OBJECT || json_fields(object->value, f, ARRAY_LEN(f)) != 0)
        return refuse(fault, "data.subscribe: {audio, video}");
    for (size_t i = 0; i < ARRAY_LEN(f); i++) {
        size_t word_at = absent(&f[i]) ? 1 : name_index(f[i].value, words, ARRAY_LEN(words));
        if (word_at == ARRAY_LEN(words))
            return refuse(fault, "data.subscribe: audio and video are auto or none");
        *to[i] = word_at == 1;
    }
    return 0;
}

int sig_room_join(struct sig_room_offer *out, const struct sig_msg *m, struct wr *scratch,
                  struct sig_fault *fault)
{
    static const char *const modes[] = {"single", "pair"};
    enum { OFFER, MODE, TRACKS, METADATA, SUBSCRIBE, N };
    struct json_field f[N] = {{.key = "offer"},
                              {.key = "mode"},
                              {.key = "tracks"},
                              {.key = "metadata"},
                              {.key = "subscribe"}};

    *out = (struct sig_room_offer){0};
    if (read_fields(m->data, f, N, fault) != 0)
        return -EBADMSG;
    if (sdp_type(&f[OFFER], &out->sdp) != SIG_SDP_OFFER)
        return refuse(fault, "data.offer: {type:\"offer\",sdp} is required");
    size_t mode = absent(&f[MODE]) ? 0 : name_index(f[MODE].value, modes, ARRAY_LEN(modes));
    if (mode == ARRAY_LEN(modes))
        return refuse(fault, "data.mode: single or pair");
    out->pair = mode == 1;
    if (read_wishes(out, &f[TRACKS], scratch, fault) != 0 ||
        read_metadata(&f[METADATA], &out->has_metadata, &out->metadata, fault) != 0)
        return -EBADMSG;
    return read_auto(&f[SUBSCRIBE], out, fault);
}

int sig_room_offer(struct sig_room_offer *out, const struct sig_msg *m, struct wr *scratch,
                   struct sig_fault *fault)
{
    struct json_field f[] = {{.key = "offer"}, {.key = "fresh"}, {.key = "tracks"}};

    *out = (struct sig_room_offer){0};
    if (read_fields(m->data, f, ARRAY_LEN(f), fault) != 0)
        return -EBADMSG;
    if (sdp_type(&f[0], &out->sdp) != SIG_SDP_OFFER)
        return refuse(fault, "data.offer: {type:\"offer\",sdp} is required");
    if (!absent(&f[1]) && !json_truth(f[1].value, &out->fresh))
        return refuse(fault, "data.fresh: true or false");
    return read_wishes(out, &f[2], scratch, fault);
}

int sig_room_answer(struct slice *sdp, struct slice *negotiation, const struct sig_msg *m,
                    struct wr *scratch, struct sig_fault *fault)
{
    struct json_field f[] = {{.key = "answer"}, {.key = "negotiationId"}};

    if (read_fields(m->data, f, ARRAY_LEN(f), fault) != 0)
        return -EBADMSG;
    if (sdp_type(&f[0], sdp) != SIG_SDP_ANSWER)
        return refuse(fault, "data.answer: {type:\"answer\",sdp} is required");
    if (!text_of(&f[1], CTL_NEGOTIATION_MAX, negotiation, scratch))
        return refuse(fault, "data.negotiationId: 1 to 64 bytes of text");
    return 0;
}

int sig_room_candidates(struct slice *raw, const struct sig_msg *m, struct sig_fault *fault)
{
    struct json_field f = {.key = "candidates"};

    if (sig_client_candidates(m, fault) != 0 || read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    *raw = f.value;
    return 0;
}

/* A layer: a number up to max, or "auto", or nothing. */
static bool read_layer(const struct json_field *f, uint64_t max, int *out)
{
    static const char *const words[] = {"auto"};
    uint64_t v = 0;

    *out = CTL_LAYER_AUTO;
    if (absent(f) || name_index(f->value, words, 1) == 0)
        return true;
    if (!json_u64(f->value, max, &v))
        return false;
    *out = (int)v;
    return true;
}

static int read_subscription(struct slice item, struct ctl_subscription *out, struct wr *scratch,
                             struct sig_fault *fault)
{
    enum { TRACK, MID, WANTED, PAUSED, LAYER, TEMPORAL, PRIORITY, N };
    struct json_field f[N] = {{.key = "trackId"}, {.key = "mid"},   {.key = "wanted"},
                              {.key = "paused"},  {.key = "layer"}, {.key = "temporal"},
                              {.key = "priority"}};
    uint64_t priority = 0;

    *out = (struct ctl_subscription){0};
    if (json_fields(item, f, N) != 0 || !text_of(&f[TRACK], CTL_TRACK_MAX, &out->track, scratch))
        return refuse(fault, "data.tracks: each with a trackId");
    if (!absent(&f[MID]) && !text_of(&f[MID], RTP_MID_MAX, &out->mid, scratch))
        return refuse(fault, "data.tracks: mid has 1 to 16 bytes");
    if (!json_truth(f[WANTED].value, &out->wanted) ||
        (!absent(&f[PAUSED]) && !json_truth(f[PAUSED].value, &out->paused)))
        return refuse(fault, "data.tracks: wanted is true or false, and so is paused");
    if (!read_layer(&f[LAYER], RTP_LAYERS_MAX - 1, &out->layer) ||
        !read_layer(&f[TEMPORAL], CTL_TEMPORAL_MAX, &out->temporal))
        return refuse(fault, "data.tracks: layer is 0 to 2, temporal 0 to 3, or \"auto\"");
    if (!absent(&f[PRIORITY]) && !json_u64(f[PRIORITY].value, CTL_PRIORITY_MAX, &priority))
        return refuse(fault, "data.tracks: priority is 0 to 255");
    out->priority = (unsigned)priority;
    return 0;
}

int sig_room_subscribe(struct ctl_subscription *v, size_t *n, const struct sig_msg *m,
                       struct wr *scratch, struct sig_fault *fault)
{
    struct json_field f = {.key = "tracks"};
    struct slice item;

    *n = 0;
    if (read_fields(m->data, &f, 1, fault) != 0)
        return -EBADMSG;
    if (f.kind != JSON_KIND_ARRAY)
        return refuse(fault, "data.tracks: a list is required");
    for (struct json_items it = json_items(f.value); json_items_next(&it, &item);) {
        if (*n == SIG_ROOM_SUBSCRIBE_MAX)
            return refuse(fault, "data.tracks: at most 32");
        if (read_subscription(item, &v[(*n)++], scratch, fault) != 0)
            return -EBADMSG;
    }
    return *n > 0 ? 0 : refuse(fault, "data.tracks: at least one");
}

int sig_room_mute(struct slice *track, bool *muted, const struct sig_msg *m, struct wr *scratch,
                  struct sig_fault *fault)
{
    struct json_field f[] = {{.key = "trackId"}, {.key = "muted"}};

    *muted = false;
    if (read_fields(m->data, f, ARRAY_LEN(f), fault) != 0)
        return -EBADMSG;
    if (!text_of(&f[0], CTL_TRACK_MAX, track, scratch))
        return refuse(fault, "data.trackId: text is required");
    if (m->type == SIG_ROOM_MUTE && !json_truth(f[1].value, muted))
        return refuse(fault, "data.muted: true or false is required");
    return 0;
}

/* `publish`: true, false, or a list of sources. */
static bool read_publish(const struct json_field *f, unsigned *out)
{
    uint8_t buf[SCALAR_MAX];
    enum ctl_source source;
    struct slice item, text_out;
    bool all = false;

    *out = 0;
    if (f->kind == JSON_KIND_ARRAY) {
        for (struct json_items it = json_items(f->value); json_items_next(&it, &item);) {
            struct wr word_mem = wr_init(buf, sizeof(buf));
            if (!json_text(item, &text_out, &word_mem) || !ctl_source_parse(text_out, &source))
                return false;
            *out |= CTL_SOURCE_BIT(source);
        }
        return true;
    }
    if (!json_truth(f->value, &all))
        return false;
    *out = all ? CTL_SOURCES_ALL : 0;
    return true;
}

static int read_perms(const struct json_field *object, struct sig_room_update *out,
                      struct sig_fault *fault)
{
    struct json_field f[] = {{.key = "publish"},
                             {.key = "subscribe"},
                             {.key = "data"},
                             {.key = "admin"},
                             {.key = "hidden"}};
    bool *const to[] = {NULL, &out->perms.subscribe, &out->perms.data, &out->perms.admin,
                        &out->perms.hidden};
    bool *const named[] = {&out->named.publish, &out->named.subscribe, &out->named.data,
                           &out->named.admin, &out->named.hidden};

    if (absent(object))
        return 0;
    if (object->kind != JSON_KIND_OBJECT || json_fields(object->value, f, ARRAY_LEN(f)) != 0)
        return refuse(fault, "data.permissions: an object");
    out->has_perms = true;
    for (size_t i = 0; i < ARRAY_LEN(f); i++) {
        if (absent(&f[i]))
            continue;
        *named[i] = true;
        if (i == 0 ? !read_publish(&f[i], &out->perms.publish) : !json_truth(f[i].value, to[i]))
            return refuse(fault, "data.permissions: publish is true, false or a list of sources, "
                                 "the others true or false");
    }
    return 0;
}

int sig_room_update(struct sig_room_update *out, const struct sig_msg *m, struct wr *scratch,
                    struct sig_fault *fault)
{
    static const char *const roles[SIG_ROLE_COUNT] = {"member", "viewer", "admin"};
    enum { PARTICIPANT, NAME, METADATA, ROLE, PERMS, N };
    struct json_field f[N] = {{.key = "participantId"},
                              {.key = "name"},
                              {.key = "metadata"},
                              {.key = "role"},
                              {.key = "permissions"}};

    *out = (struct sig_room_update){0};
    if (read_fields(m->data, f, N, fault) != 0)
        return -EBADMSG;
    if (!absent(&f[PARTICIPANT]) &&
        !text_of(&f[PARTICIPANT], CTL_PARTICIPANT_MAX, &out->participant, scratch))
        return refuse(fault, "data.participantId: text");
    if (!absent(&f[NAME]) && !text_of(&f[NAME], SIG_ROOM_NAME_MAX, &out->name, scratch))
        return refuse(fault, "data.name: 1 to 128 bytes of text");
    if (read_metadata(&f[METADATA], &out->has_metadata, &out->metadata, fault) != 0)
        return -EBADMSG;
    if (!absent(&f[ROLE])) {
        size_t i = name_index(f[ROLE].value, roles, ARRAY_LEN(roles));
        if (i == ARRAY_LEN(roles))
            return refuse(fault, "data.role: admin, member or viewer");
        out->has_role = true;
        out->role = (enum sig_room_role)i;
    }
    return read_perms(&f[PERMS], out, fault);
}

int sig_room_kick(struct slice *participant, bool *ban, const struct sig_msg *m, struct wr *scratch,
                  struct sig_fault *fault)
{
    struct json_field f[] = {{.key = "participantId"}, {.key = "ban"}};

    *ban = false;
    if (read_fields(m->data, f, ARRAY_LEN(f), fault) != 0)
        return -EBADMSG;
    if (!text_of(&f[0], CTL_PARTICIPANT_MAX, participant, scratch))
        return refuse(fault, "data.participantId: text is required");
    if (!absent(&f[1]) && !json_truth(f[1].value, ban))
        return refuse(fault, "data.ban: true or false");
    return 0;
}

static int invite_users(const struct json_field *list, struct sig_fault *fault)
{
    struct slice item, user;
    size_t n = 0;

    if (list->kind != JSON_KIND_ARRAY)
        return refuse(fault, "data.users: a list of user ids is required");
    for (struct json_items it = json_items(list->value); json_items_next(&it, &item); n++) {
        uint8_t buf[SIG_USER_MAX];
        struct wr mem = wr_init(buf, sizeof(buf));
        if (!json_text(item, &user, &mem) || !sig_user_ok(user))
            return refuse(fault, "data.users: each 1 to 128 of A-Z a-z 0-9 . _ @ + -");
    }
    return n > 0 && n <= SIG_ROOM_INVITE_MAX ? 0 : refuse(fault, "data.users: 1 to 16 user ids");
}

int sig_room_invite(struct sig_room_invite *out, const struct sig_msg *m, struct sig_fault *fault)
{
    enum { USERS, METADATA, RING, N };
    struct json_field f[N] = {{.key = "users"}, {.key = "metadata"}, {.key = "ringTimeoutMs"}};
    struct json_field video = {.key = "isVideo"};
    uint64_t ms = 0;

    *out = (struct sig_room_invite){0};
    if (read_fields(m->data, f, N, fault) != 0 || invite_users(&f[USERS], fault) != 0)
        return -EBADMSG;
    if (!absent(&f[METADATA])) {
        if (f[METADATA].kind != JSON_KIND_OBJECT || f[METADATA].value.len > SIG_METADATA_MAX)
            return refuse(fault, "data.metadata: an object of at most 2,048 bytes");
        if (read_fields(f[METADATA].value, &video, 1, fault) != 0)
            return -EBADMSG;
        if (!absent(&video) && !json_truth(video.value, &out->is_video))
            return refuse(fault, "data.metadata.isVideo: true or false");
    }
    if (!absent(&f[RING]) && (!json_u64(f[RING].value, UINT32_MAX, &ms) || ms < ROOM_RING_MIN_MS))
        return refuse(fault, "data.ringTimeoutMs: a whole number from 5,000");
    out->users = f[USERS].value;
    out->metadata = f[METADATA].value;
    out->ring_timeout_ms = (uint32_t)ms;
    return 0;
}
