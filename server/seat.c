/* What one seat holds: its names, tracks, slots and wishes, as copies.
 *
 * Called by room_table.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/seat.h"

#include "base/mem.h"

/* Copies s to the end of w and gives the copy. */
static struct slice keep(struct wr *w, struct slice s)
{
    size_t at = w->len;

    wr_bytes(w, s);
    return slice_of(w->base + at, s.len);
}

bool seat_text_put(struct slice *field, struct slice text)
{
    uint8_t *copy = NULL;

    if (text.len > 0) {
        copy = mem_zalloc(text.len);
        if (!copy)
            return false;
        memcpy(copy, text.p, text.len);
    }
    mem_free((void *)(uintptr_t)field->p);
    *field = slice_of(copy, text.len);
    return true;
}

enum sig_room_role seat_role_of(const struct sig_room_perms *p)
{
    return p->admin ? SIG_ROLE_ADMIN : p->publish == 0 ? SIG_ROLE_VIEWER : SIG_ROLE_MEMBER;
}

struct seat *seat_new(const struct room_entry *in, struct slice id)
{
    size_t n = id.len + in->user.len + in->device.len;
    struct seat *s = mem_zalloc(sizeof(*s) + n);

    if (!s)
        return NULL;
    struct wr w = wr_init(s + 1, n);
    s->id = keep(&w, id);
    s->user = keep(&w, in->user);
    s->device = keep(&w, in->device);
    list_init(&s->tracks);
    s->perms = in->perms;
    if (s->perms.hidden)
        s->perms.publish = 0;
    s->role = seat_role_of(&s->perms);
    s->named_by_token = in->name.len > 0;
    s->mode = in->offer->pair ? CTL_MODE_PAIR : CTL_MODE_SINGLE;
    s->auto_audio = in->offer->auto_audio;
    s->auto_video = in->offer->auto_video;
    s->online = true;
    s->gone_us = s->lost_us = CLOCK_NEVER;
    if (seat_text_put(&s->name, in->name) && seat_text_put(&s->metadata, in->offer->metadata) &&
        seat_wishes(s, in->offer))
        return s;
    seat_free(s);
    return NULL;
}

void seat_free(struct seat *s)
{
    if (!s)
        return;
    LIST_EACH(l, tmp, &s->tracks)
    seat_track_del(s, CONTAINER_OF(l, struct seat_track, of_seat));
    seat_text_put(&s->name, (struct slice){0});
    seat_text_put(&s->metadata, (struct slice){0});
    mem_free(s->slots);
    mem_free(s->wishes);
    mem_free(s->quality);
    mem_free(s);
}

/* ---- wishes ---- */

bool seat_wishes(struct seat *s, const struct sig_room_offer *offer)
{
    struct seat_wish *v = offer->n > 0 ? mem_calloc(offer->n, sizeof(*v)) : NULL;

    if (offer->n > 0 && !v)
        return false;
    for (size_t i = 0; i < offer->n; i++) {
        const struct sig_room_wish *from = &offer->v[i];
        v[i].mid_len = (uint8_t)from->wish.mid.len;
        memcpy(v[i].mid, from->wish.mid.p, from->wish.mid.len);
        v[i].name_len = (uint8_t)from->name.len;
        if (from->name.len > 0)
            memcpy(v[i].name, from->name.p, from->name.len);
    }
    mem_free(s->wishes);
    s->wishes = v;
    s->wishes_n = offer->n;
    return true;
}

/* The name that the client gave the section. */
static struct slice wished_name(const struct seat *s, struct slice mid)
{
    for (size_t i = 0; i < s->wishes_n; i++)
        if (slice_eq(slice_of(s->wishes[i].mid, s->wishes[i].mid_len), mid))
            return slice_of(s->wishes[i].name, s->wishes[i].name_len);
    return (struct slice){0};
}

/* ---- tracks ---- */

struct seat_track *seat_track_find(const struct seat *s, struct slice track)
{
    LIST_EACH(l, tmp, &s->tracks)
    {
        struct seat_track *t = CONTAINER_OF(l, struct seat_track, of_seat);
        if (slice_eq(t->t.track, track))
            return t;
    }
    return NULL;
}

static struct seat_track *track_new(struct seat *s, const struct ctl_track *from)
{
    struct slice name = wished_name(s, from->mid);
    size_t n = from->track.len + from->mid.len + name.len;

    if (s->tracks_n >= CTL_TRACKS_MAX)
        return NULL;
    struct seat_track *t = mem_zalloc(sizeof(*t) + n);
    if (!t)
        return NULL;
    struct wr w = wr_init(t + 1, n);
    t->t = *from;
    t->t.track = keep(&w, from->track);
    t->t.mid = keep(&w, from->mid);
    t->name = keep(&w, name);
    list_append(&s->tracks, &t->of_seat);
    s->tracks_n++;
    return t;
}

struct seat_track *seat_track_put(struct seat *s, const struct ctl_track *from, bool *fresh,
                                  bool *changed)
{
    struct seat_track *t = seat_track_find(s, from->track);

    *fresh = *changed = false;
    if (t && t->t.kind != from->kind) { /* the section was reused for something else */
        seat_track_del(s, t);
        t = NULL;
    }
    if (!t) {
        *fresh = true;
        return track_new(s, from);
    }
    *changed = t->t.source != from->source || t->t.layers != from->layers;
    t->t.source = from->source;
    t->t.layers = from->layers;
    return t;
}

void seat_track_del(struct seat *s, struct seat_track *t)
{
    list_del(&t->of_seat);
    s->tracks_n--;
    mem_free(t);
}

/* ---- slots ---- */

static uint8_t copy_text(char *to, size_t cap, struct slice from)
{
    size_t n = from.len < cap ? from.len : cap;

    if (n > 0)
        memcpy(to, from.p, n);
    return (uint8_t)n;
}

static void forward(struct seat_slot *s, int layer, int temporal, enum ctl_pause pause)
{
    s->layer = (int8_t)layer;
    s->temporal = (int8_t)temporal;
    s->pause = (uint8_t)pause;
}

void seat_slots_put(struct seat *s, const struct ctl_slot *v, size_t n)
{
    struct seat_slot *slots = n > 0 ? mem_calloc(n, sizeof(*slots)) : NULL;

    if (n > 0 && !slots)
        return; /* the SFU's next event, or room.state, shows them */
    for (size_t i = 0; i < n; i++) {
        slots[i].mid_len = copy_text(slots[i].mid, sizeof(slots[i].mid), v[i].mid);
        slots[i].track_len = copy_text(slots[i].track, sizeof(slots[i].track), v[i].track);
        slots[i].participant_len =
            copy_text(slots[i].participant, sizeof(slots[i].participant), v[i].participant);
        slots[i].picture = v[i].picture;
        forward(&slots[i], v[i].layer, v[i].temporal, v[i].pause);
    }
    mem_free(s->slots);
    s->slots = slots;
    s->slots_n = n;
}

struct ctl_slot seat_slot_view(const struct seat_slot *s)
{
    return (struct ctl_slot){.mid = slice_of(s->mid, s->mid_len),
                             .track = slice_of(s->track, s->track_len),
                             .participant = slice_of(s->participant, s->participant_len),
                             .picture = s->picture,
                             .layer = s->layer,
                             .temporal = s->temporal,
                             .pause = (enum ctl_pause)s->pause};
}

void seat_slot_forward(struct seat *s, struct slice mid, int layer, int temporal,
                       enum ctl_pause pause)
{
    for (size_t i = 0; i < s->slots_n; i++)
        if (slice_eq(slice_of(s->slots[i].mid, s->slots[i].mid_len), mid))
            forward(&s->slots[i], layer, temporal, pause);
}

/* ---- looking ---- */

enum sig_room_state seat_state(const struct seat *s)
{
    bool good = s->media == CTL_MEDIA_CONNECTED;

    if (!s->online || s->lost || (s->connected_once && !good))
        return SIG_ROOM_RECONNECTING;
    return good ? SIG_ROOM_CONNECTED : SIG_ROOM_CONNECTING;
}

struct ctl_perms seat_ctl_perms(const struct seat *s)
{
    return (struct ctl_perms){
        .publish = s->perms.publish, .subscribe = s->perms.subscribe, .data = s->perms.data};
}
