/* Rooms and seats as bytes: one order of fields, a version in front.
 *
 * Called by router_room_keep.c. Pure. When somebody came is written as wall clock: monotonic clocks
 * of two nodes have nothing in common. SPDX-License-Identifier: BSD-3-Clause */
#include "server/room_snapshot.h"

#include "base/mem.h"
#include "server/room_priv.h"

#define VERSION 1

enum { HAS_CALL = 1 };
enum {
    PAIR = 1,
    AUTO_AUDIO = 2,
    AUTO_VIDEO = 4,
    NAMED_BY_TOKEN = 8,
    CONNECTED_ONCE = 16,
    LOST = 32,
};
enum { SUBSCRIBE = 1, DATA = 2, ADMIN = 4, HIDDEN = 8 };

static void put_text(struct wr *w, struct slice s)
{
    wr_be16(w, (uint16_t)s.len);
    wr_bytes(w, s);
}

static struct slice take_text(struct rd *r)
{
    return rd_take(r, rd_be16(r));
}

/* ---- rooms ---- */

static void put_guests(struct wr *w, const struct list *head, size_t n)
{
    wr_u8(w, (uint8_t)n);
    LIST_EACH(l, tmp, head)
    {
        const struct room_guest *g = CONTAINER_OF(l, struct room_guest, link);
        wr_u8(w, g->admin);
        put_text(w, slice_of(g->user, g->len));
    }
}

void room_snapshot_write(struct wr *w, const struct room *r, struct slice sfu, struct slice server)
{
    wr_u8(w, VERSION);
    wr_u8(w, r->has_call ? HAS_CALL : 0);
    wr_bytes(w, slice_of(r->call.b, sizeof(r->call.b)));
    put_text(w, sfu);
    put_text(w, server);
    put_guests(w, &r->guests, r->guests_n);
    put_guests(w, &r->banned, r->banned_n);
}

/* False: not so many, or memory is out. */
static bool take_guests(struct rd *r, struct list *head, size_t *count)
{
    for (size_t n = rd_u8(r); n > 0 && !r->bad; n--) {
        bool admin = rd_u8(r) != 0;
        struct slice user = take_text(r);
        struct room_guest *g =
            r->bad || !sig_user_ok(user) ? NULL : room_guest_add(head, count, user);
        if (!g)
            return false;
        g->admin = admin;
    }
    return !r->bad;
}

struct room *room_snapshot_read(struct room_table *t, struct slice id, struct slice bytes,
                                struct slice *sfu, struct slice *server, uint64_t now_us)
{
    struct rd rd = rd_init(bytes);
    uint8_t version = rd_u8(&rd), flags = rd_u8(&rd);
    struct slice call = rd_take(&rd, sizeof(struct sig_call_id)), on = take_text(&rd),
                 by = take_text(&rd);

    if (rd.bad || version != VERSION || room_by_id(t, id))
        return NULL;
    struct room *r = room_new(t, id, now_us);
    if (!r)
        return NULL;
    r->has_call = (flags & HAS_CALL) != 0;
    memcpy(r->call.b, call.p, sizeof(r->call.b));
    if (!take_guests(&rd, &r->guests, &r->guests_n) ||
        !take_guests(&rd, &r->banned, &r->banned_n) || rd.left > 0) {
        room_forget(t, r);
        return NULL;
    }
    *sfu = on;
    *server = by;
    return r;
}

/* ---- seats ---- */

static void put_track(struct wr *w, const struct seat_track *t)
{
    put_text(w, t->t.track);
    put_text(w, t->t.mid);
    put_text(w, t->name);
    wr_u8(w, (uint8_t)t->t.kind);
    wr_u8(w, (uint8_t)t->t.source);
    wr_u8(w, (uint8_t)t->t.layers);
    wr_u8(w, t->t.muted);
}

void room_snapshot_seat_write(struct wr *w, const struct seat *s, uint64_t now_us, uint64_t wall_us)
{
    const struct sig_room_perms *p = &s->perms;

    wr_u8(w, VERSION);
    put_text(w, s->user);
    put_text(w, s->device);
    wr_bytes(w, slice_of(s->at.session, sizeof(s->at.session)));
    put_text(w, s->name);
    put_text(w, s->metadata);
    wr_u8(w, (uint8_t)((s->mode == CTL_MODE_PAIR ? PAIR : 0) | (s->auto_audio ? AUTO_AUDIO : 0) |
                       (s->auto_video ? AUTO_VIDEO : 0) | (s->named_by_token ? NAMED_BY_TOKEN : 0) |
                       (s->connected_once ? CONNECTED_ONCE : 0) | (s->lost ? LOST : 0)));
    wr_be16(w, (uint16_t)p->publish);
    wr_u8(w, (uint8_t)((p->subscribe ? SUBSCRIBE : 0) | (p->data ? DATA : 0) |
                       (p->admin ? ADMIN : 0) | (p->hidden ? HIDDEN : 0)));
    wr_u8(w, (uint8_t)s->media);
    wr_be64(w, wall_us - (now_us - s->in_us));
    wr_bytes(w, slice_of(s->stay.b, sizeof(s->stay.b)));
    wr_u8(w, (uint8_t)s->tracks_n);
    LIST_EACH(l, tmp, &s->tracks)
    put_track(w, CONTAINER_OF(l, struct seat_track, of_seat));
}

/* False: not so. */
static bool take_tracks(struct rd *r, struct seat *s)
{
    bool fresh, changed;

    for (size_t n = rd_u8(r); n > 0 && !r->bad; n--) {
        struct ctl_track t = {0};
        struct seat_wish wish = {.mid_len = 0};
        t.track = take_text(r);
        t.mid = take_text(r);
        struct slice name = take_text(r);
        t.kind = (enum rtp_kind)rd_u8(r);
        t.source = (enum ctl_source)rd_u8(r);
        t.layers = rd_u8(r);
        t.muted = rd_u8(r) != 0;
        if (r->bad || t.track.len == 0 || t.track.len > CTL_TRACK_MAX || t.mid.len == 0 ||
            t.mid.len > RTP_MID_MAX || name.len > CTL_TRACK_NAME_MAX ||
            t.source >= CTL_SOURCE_COUNT)
            return false;
        wish.mid_len = (uint8_t)t.mid.len;
        memcpy(wish.mid, t.mid.p, t.mid.len);
        wish.name_len = (uint8_t)name.len;
        if (name.len > 0)
            memcpy(wish.name, name.p, name.len);
        s->wishes = &wish; /* names come to tracks by them */
        s->wishes_n = 1;
        const struct seat_track *made = seat_track_put(s, &t, &fresh, &changed);
        s->wishes = NULL;
        s->wishes_n = 0;
        if (!made)
            return false;
    }
    return !r->bad && r->left == 0;
}

static void take_flags(struct seat *s, uint8_t flags)
{
    s->named_by_token = (flags & NAMED_BY_TOKEN) != 0;
    s->connected_once = (flags & CONNECTED_ONCE) != 0;
    s->lost = (flags & LOST) != 0;
}

/* What a seat is made of. False: not so. */
static bool take_entry(struct rd *r, struct room_entry *in, struct sig_room_offer *offer,
                       struct slice *session, uint8_t *flags)
{
    uint8_t version = rd_u8(r);

    in->user = take_text(r);
    in->device = take_text(r);
    *session = rd_take(r, SEAT_SESSION_BYTES);
    in->name = take_text(r);
    offer->metadata = take_text(r);
    *flags = rd_u8(r);
    offer->pair = (*flags & PAIR) != 0;
    offer->auto_audio = (*flags & AUTO_AUDIO) != 0;
    offer->auto_video = (*flags & AUTO_VIDEO) != 0;
    in->perms.publish = rd_be16(r) & CTL_SOURCES_ALL;
    uint8_t may = rd_u8(r);
    in->perms.subscribe = (may & SUBSCRIBE) != 0;
    in->perms.data = (may & DATA) != 0;
    in->perms.admin = (may & ADMIN) != 0;
    in->perms.hidden = (may & HIDDEN) != 0;
    return !r->bad && version == VERSION && sig_user_ok(in->user) && sig_id_ok(in->device);
}

struct seat *room_snapshot_seat_read(struct room_table *t, struct room *r, struct slice id,
                                     struct slice bytes, uint64_t now_us, uint64_t wall_us)
{
    struct sig_room_offer offer = {.n = 0};
    struct room_entry in = {.room = r->id, .offer = &offer};
    struct rd rd = rd_init(bytes);
    struct slice session;
    uint8_t flags;

    if (id.len == 0 || id.len > CTL_PARTICIPANT_MAX || seat_find(t, id) ||
        !take_entry(&rd, &in, &offer, &session, &flags))
        return NULL;
    struct seat *s = seat_new(&in, id);
    if (!s)
        return NULL;
    uint8_t media = rd_u8(&rd);
    uint64_t came_us = rd_be64(&rd);
    struct slice stay = rd_take(&rd, sizeof(s->stay.b));
    take_flags(s, flags);
    if (!take_tracks(&rd, s) || media > CTL_MEDIA_CLOSED) {
        seat_free(s);
        return NULL;
    }
    memcpy(s->at.session, session.p, sizeof(s->at.session));
    memcpy(s->stay.b, stay.p, sizeof(s->stay.b));
    s->at.where = SEAT_NOWHERE;
    s->media = (enum ctl_media)media;
    s->in_us = came_us < wall_us && wall_us - came_us < now_us ? now_us - (wall_us - came_us) : 1;
    s->in = true;
    s->online = false;
    s->gone_us = now_us;
    s->lost_us = s->lost ? now_us : CLOCK_NEVER;
    s->told = seat_state(s);
    room_add_seat(t, r, s);
    room_arm_seat(t, s);
    return s;
}
