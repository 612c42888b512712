/* Rooms and who is in them: coming in, leaving, sessions, time. What members do to each other:
 * room_rules.c; what becomes of their media: room_media.c.
 *
 * Called by router_room.c. Pure. Every step changes the state first and tells afterwards, so that
 * whoever is told sees what is; a seat or room that ends is told while it is still there and freed
 * last. SPDX-License-Identifier: BSD-3-Clause */
#include "server/room_table.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "server/room_priv.h"

#define TABLE_EXPECT 64

/* ---- lookups ---- */

static uint64_t device_hash(struct slice user, struct slice device)
{
    return hash_bytes(user) * 31 + hash_bytes(device);
}

struct room *room_by_id(const struct room_table *t, struct slice id)
{
    for (struct hnode *n = htable_first(&t->by_id, hash_bytes(id)); n; n = htable_next(n)) {
        struct room *r = CONTAINER_OF(n, struct room, by_id);
        if (slice_eq(r->id, id))
            return r;
    }
    return NULL;
}

struct seat *seat_find(const struct room_table *t, struct slice participant)
{
    for (struct hnode *n = htable_first(&t->seats_by_id, hash_bytes(participant)); n;
         n = htable_next(n)) {
        struct seat *s = CONTAINER_OF(n, struct seat, by_id);
        if (slice_eq(s->id, participant))
            return s;
    }
    return NULL;
}

struct seat *seat_next_of(const struct room_table *t, struct slice user, struct slice device,
                          struct hnode **n)
{
    *n = *n ? htable_next(*n) : htable_first(&t->seats_by_device, device_hash(user, device));
    for (; *n; *n = htable_next(*n)) {
        struct seat *s = CONTAINER_OF(*n, struct seat, by_device);
        if (slice_eq(s->user, user) && slice_eq(s->device, device))
            return s;
    }
    return NULL;
}

struct seat *seat_of(const struct room_table *t, struct slice room, struct slice user,
                     struct slice device)
{
    struct seat *s, *found = NULL;
    struct hnode *n = NULL;

    while ((s = seat_next_of(t, user, device, &n)))
        if (slice_eq(s->room->id, room) && (!found || s->in))
            found = s; /* the one that is in goes before the one that is on its way */
    return found;
}

struct seat *room_twin(const struct room_table *t, const struct seat *s)
{
    struct hnode *n = NULL;
    struct seat *other;

    while ((other = seat_next_of(t, s->user, s->device, &n)))
        if (other != s && other->room == s->room)
            return other;
    return NULL;
}

bool room_table_in_room(const struct room_table *t, struct slice user, struct slice device)
{
    struct hnode *n = NULL;

    return seat_next_of(t, user, device, &n) != NULL;
}

struct seat *room_seat_of_user(const struct room *r, struct slice user)
{
    LIST_EACH(l, tmp, &r->seats)
    {
        struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        if (slice_eq(s->user, user))
            return s;
    }
    return NULL;
}

struct seat *room_seat_of_session(const struct room *r, const uint8_t session[SEAT_SESSION_BYTES],
                                  bool in)
{
    LIST_EACH(l, tmp, &r->seats)
    {
        struct seat *s = CONTAINER_OF(l, struct seat, of_room);
        if (s->in == in && memcmp(s->at.session, session, SEAT_SESSION_BYTES) == 0)
            return s;
    }
    return NULL;
}

struct seat_track *room_track_find(const struct room_table *t, const struct room *r,
                                   struct slice track, struct seat **owner)
{
    const uint8_t *colon = track.len > 0 ? memchr(track.p, ':', track.len) : NULL;

    if (!colon)
        return NULL;
    *owner = seat_find(t, slice_sub(track, 0, (size_t)(colon - track.p)));
    return *owner && (*owner)->room == r && (*owner)->in ? seat_track_find(*owner, track) : NULL;
}

static size_t seats_of_user(const struct room_table *t, struct slice user)
{
    size_t n = 0;

    for (struct hnode *h = htable_first(&t->seats_by_user, hash_bytes(user)); h; h = htable_next(h))
        n += slice_eq(CONTAINER_OF(h, struct seat, by_user)->user, user);
    return n;
}

struct room *room_walk(const struct room_table *t, size_t *pos, struct hnode **saved)
{
    struct hnode *n = htable_walk(&t->by_id, pos, saved);

    return n ? CONTAINER_OF(n, struct room, by_id) : NULL;
}

size_t room_table_count(const struct room_table *t)
{
    return t->by_id.count;
}

size_t room_table_seats(const struct room_table *t)
{
    return t->seats_by_id.count;
}

/* ---- guests ---- */

struct room_guest *room_guest_find(const struct list *head, struct slice user)
{
    LIST_EACH(l, tmp, head)
    {
        struct room_guest *g = CONTAINER_OF(l, struct room_guest, link);
        if (slice_eq(slice_of(g->user, g->len), user))
            return g;
    }
    return NULL;
}

struct room_guest *room_guest_add(struct list *head, size_t *n, struct slice user)
{
    struct room_guest *g = room_guest_find(head, user);

    if (g || *n >= ROOM_GUESTS_MAX)
        return g;
    g = mem_zalloc(sizeof(*g) + user.len);
    if (!g)
        return NULL;
    g->len = user.len;
    memcpy(g->user, user.p, user.len);
    list_append(head, &g->link);
    (*n)++;
    return g;
}

static void guests_clear(struct list *head)
{
    LIST_EACH(l, tmp, head)
    {
        list_del(l);
        mem_free(CONTAINER_OF(l, struct room_guest, link));
    }
}

bool room_invite(struct room_table *t, struct room *r, struct slice user)
{
    room_touch(t, r, NULL);
    return room_guest_add(&r->guests, &r->guests_n, user) != NULL;
}

bool room_is_banned(const struct room *r, struct slice user)
{
    return room_guest_find(&r->banned, user) != NULL;
}

/* ---- what is saved ---- */

void room_touch(const struct room_table *t, struct room *r, struct seat *s)
{
    if (t->ops->changed)
        t->ops->changed(t->arg, r, s, false);
}

/* ---- timers ---- */

void room_arm_seat(struct room_table *t, struct seat *s)
{
    uint64_t at = s->online ? CLOCK_NEVER : s->gone_us + t->conf.gone_us;
    uint64_t lost = s->lost ? s->lost_us + t->conf.restart_us : CLOCK_NEVER;

    timer_set(t->seats_wheel, &s->timer, at < lost ? at : lost);
}

static void arm_room(struct room_table *t, struct room *r, uint64_t now_us)
{
    timer_set(t->rooms_wheel, &r->timer, r->seats_n == 0 ? now_us + t->conf.empty_us : CLOCK_NEVER);
}

/* ---- life ---- */

struct room_table *room_table_new(const struct room_conf *conf, const struct room_ops *ops,
                                  void *arg, uint64_t now_us)
{
    struct room_table *t = mem_zalloc(sizeof(*t));

    if (!t)
        return NULL;
    t->conf = *conf;
    t->ops = ops;
    t->arg = arg;
    t->rooms_wheel = timerwheel_new(now_us);
    t->seats_wheel = timerwheel_new(now_us);
    if (t->rooms_wheel && t->seats_wheel && htable_init(&t->by_id, TABLE_EXPECT) == 0 &&
        htable_init(&t->seats_by_id, TABLE_EXPECT) == 0 &&
        htable_init(&t->seats_by_device, TABLE_EXPECT) == 0 &&
        htable_init(&t->seats_by_user, TABLE_EXPECT) == 0)
        return t;
    room_table_free(t);
    return NULL;
}

static void drop_seat(struct room_table *t, struct seat *s, uint64_t now_us)
{
    struct room *r = s->room;

    timer_cancel(t->seats_wheel, &s->timer);
    htable_del(&t->seats_by_id, &s->by_id);
    htable_del(&t->seats_by_device, &s->by_device);
    htable_del(&t->seats_by_user, &s->by_user);
    list_del(&s->of_room);
    r->seats_n--;
    seat_free(s);
    if (r->seats_n == 0)
        r->node = ROOM_NODE_NONE; /* an empty room ends at the SFU: the next one may be elsewhere */
    arm_room(t, r, now_us);
}

static void drop_room(struct room_table *t, struct room *r)
{
    timer_cancel(t->rooms_wheel, &r->timer);
    htable_del(&t->by_id, &r->by_id);
    list_del(&r->dirty);
    guests_clear(&r->guests);
    guests_clear(&r->banned);
    LIST_EACH(l, tmp, &r->seats_gone)
    {
        list_del(l);
        mem_free(CONTAINER_OF(l, struct room_gone, link));
    }
    mem_free(r);
}

static void end_room(struct room_table *t, struct room *r)
{
    if (t->ops->ended)
        t->ops->ended(t->arg, r);
    drop_room(t, r);
}

void room_table_free(struct room_table *t)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    if (!t)
        return;
    if (t->by_id._slots && t->seats_by_user._slots)
        for (struct room *r; (r = room_walk(t, &pos, &saved));) {
            LIST_EACH(l, tmp, &r->seats)
            drop_seat(t, CONTAINER_OF(l, struct seat, of_room), 0);
            drop_room(t, r);
        }
    htable_fini(&t->by_id);
    htable_fini(&t->seats_by_id);
    htable_fini(&t->seats_by_device);
    htable_fini(&t->seats_by_user);
    timerwheel_free(t->rooms_wheel);
    timerwheel_free(t->seats_wheel);
    mem_free(t);
}

struct room *room_new(struct room_table *t, struct slice id, uint64_t now_us)
{
    struct room *r = mem_zalloc(sizeof(*r) + id.len);

    if (!r)
        return NULL;
    memcpy(r + 1, id.p, id.len);
    r->id = slice_of(r + 1, id.len);
    r->node = ROOM_NODE_NONE;
    list_init(&r->seats);
    list_init(&r->guests);
    list_init(&r->banned);
    list_init(&r->seats_gone);
    htable_add(&t->by_id, &r->by_id, hash_bytes(r->id));
    arm_room(t, r, now_us);
    return r;
}

/* Makes a version 4 UUID. */
static struct slice new_id(char text[SIG_CALL_ID_TEXT + 1])
{
    struct sig_call_id id;

    rand_bytes(id.b, sizeof(id.b));
    id.b[6] = (uint8_t)((id.b[6] & 0x0F) | 0x40); /* RFC 9562 §5.4 */
    id.b[8] = (uint8_t)((id.b[8] & 0x3F) | 0x80);
    return slice_str(sig_call_id_text(&id, text));
}

struct room *room_make(struct room_table *t, struct slice id, const struct sig_call_id *call,
                       struct slice user_a, struct slice user_b, uint64_t now_us)
{
    if (t->by_id.count >= t->conf.rooms)
        return NULL;
    struct room *r = room_new(t, id, now_us);
    if (!r)
        return NULL;
    struct room_guest *a = room_guest_add(&r->guests, &r->guests_n, user_a);
    struct room_guest *b = room_guest_add(&r->guests, &r->guests_n, user_b);
    if (!a || !b) {
        drop_room(t, r);
        return NULL;
    }
    a->admin = b->admin = true;
    r->has_call = true;
    r->call = *call;
    room_touch(t, r, NULL);
    return r;
}

/* ---- coming in ---- */

static enum sig_err may_enter(const struct room_table *t, const struct room *r,
                              const struct room_entry *in)
{
    bool invited = r && room_guest_find(&r->guests, in->user);

    if (in->bound.len > 0 ? !slice_eq(in->bound, in->room) : !t->conf.open && !invited)
        return SIG_ERR_ROOM_FORBIDDEN;
    if (r && room_is_banned(r, in->user))
        return SIG_ERR_ROOM_FORBIDDEN;
    for (size_t i = 0; i < in->offer->n; i++)
        if (in->perms.hidden || !(in->perms.publish & CTL_SOURCE_BIT(in->offer->v[i].wish.source)))
            return SIG_ERR_ROOM_FORBIDDEN;
    return SIG_OK;
}

static enum sig_err has_place(const struct room_table *t, const struct room *r,
                              const struct seat *old, const struct room_entry *in)
{
    size_t going = old ? 1 : 0;

    if (in->offer->metadata.len > t->conf.metadata_bytes || in->offer->n > t->conf.tracks)
        return SIG_ERR_BAD_REQUEST;
    if (!r && t->by_id.count >= t->conf.rooms)
        return SIG_ERR_OVERLOADED;
    if (r && r->seats_n - going >= t->conf.participants)
        return SIG_ERR_ROOM_FULL;
    if (seats_of_user(t, in->user) - going >= t->conf.per_user)
        return SIG_ERR_ROOM_TOO_MANY;
    return SIG_OK;
}

void room_add_seat(struct room_table *t, struct room *r, struct seat *s)
{
    s->room = r;
    list_append(&r->seats, &s->of_room);
    r->seats_n++;
    htable_add(&t->seats_by_id, &s->by_id, hash_bytes(s->id));
    htable_add(&t->seats_by_device, &s->by_device, device_hash(s->user, s->device));
    htable_add(&t->seats_by_user, &s->by_user, hash_bytes(s->user));
    timer_cancel(t->rooms_wheel, &r->timer);
}

enum sig_err room_join(struct room_table *t, const struct room_entry *in, struct seat **out,
                       uint64_t now_us)
{
    struct room *r = room_by_id(t, in->room);
    struct seat *old = r ? seat_of(t, in->room, in->user, in->device) : NULL;
    struct room_entry use = *in;
    char id[SIG_CALL_ID_TEXT + 1];
    bool creates = !r;

    const struct room_guest *guest = r ? room_guest_find(&r->guests, in->user) : NULL;
    if ((guest && guest->admin) || (creates && t->conf.creator_is_admin))
        use.perms.admin = true;
    enum sig_err err = may_enter(t, r, in);
    if (err == SIG_OK)
        err = has_place(t, r, old, in);
    if (err != SIG_OK)
        return err;
    struct seat *s = seat_new(&use, new_id(id));
    if (s && !r)
        r = room_new(t, in->room, now_us);
    if (!s || !r) {
        seat_free(s);
        return SIG_ERR_INTERNAL;
    }
    room_add_seat(t, r, s);
    /* A seat that is in stays until the new one is; one that is on its way makes way now. */
    old = room_twin(t, s);
    if (old && !old->in)
        seat_leave(t, old, ROOM_REASON_REPLACED, now_us);
    *out = s;
    return SIG_OK;
}

/* ---- leaving ---- */

static void part(struct room_table *t, struct seat *s, enum room_reason reason, bool say,
                 uint64_t now_us)
{
    struct ctl_msg leave = {.type = CTL_LEAVE};

    room_command(t, s, &leave);
    if (say)
        room_say_person(t, s, ROOM_LEFT, reason);
    if (reason != ROOM_REASON_LEFT && reason != ROOM_REASON_REPLACED)
        room_say(t, s->room, s,
                 &(struct room_note){.kind = ROOM_NOTE_CLOSED, .about = s, .reason = reason});
    if (s->in && t->ops->left)
        t->ops->left(t->arg, s, reason);
    if (t->ops->changed)
        t->ops->changed(t->arg, s->room, s, true);
    drop_seat(t, s, now_us);
}

void seat_leave(struct room_table *t, struct seat *s, enum room_reason reason, uint64_t now_us)
{
    part(t, s, reason, true, now_us);
}

void room_close(struct room_table *t, struct room *r, enum room_reason reason, uint64_t now_us)
{
    if (r->node != ROOM_NODE_NONE)
        t->ops->sfu(t->arg, r, &(struct ctl_msg){.type = CTL_CLOSE_ROOM, .room = r->id});
    r->node = ROOM_NODE_NONE; /* no leave for each */
    LIST_EACH(l, tmp, &r->seats)
    part(t, CONTAINER_OF(l, struct seat, of_room), reason, false, now_us);
    end_room(t, r);
}

void room_forget(struct room_table *t, struct room *r)
{
    LIST_EACH(l, tmp, &r->seats)
    drop_seat(t, CONTAINER_OF(l, struct seat, of_room), 0);
    drop_room(t, r);
}

/* ---- sessions and time ---- */

void seat_session(struct room_table *t, struct seat *s, enum room_session what,
                  enum room_reason reason, uint64_t now_us)
{
    if (what == ROOM_SESSION_ENDED) {
        seat_leave(t, s, reason, now_us);
        return;
    }
    if (what == ROOM_SESSION_REPLACED)
        s->orphan = true;
    if (what != ROOM_SESSION_BACK && s->online) {
        s->online = false;
        s->gone_us = now_us;
    } else if (what == ROOM_SESSION_BACK && !s->orphan) {
        s->online = true;
        s->gone_us = CLOCK_NEVER;
        s->stale = s->in;
    }
    room_arm_seat(t, s);
    room_review(t, s);
    if (s->stale && s->online)
        room_say(t, s->room, s, &(struct room_note){.kind = ROOM_NOTE_STATE, .about = s});
}

void room_table_session(struct room_table *t, struct slice user, struct slice device,
                        enum room_session what, enum room_reason reason, uint64_t now_us)
{
    struct hnode *n = NULL;
    struct seat *s;

    while ((s = seat_next_of(t, user, device, &n))) {
        if (s->at.where != SEAT_HERE)
            continue;
        if (what == ROOM_SESSION_ENDED)
            n = NULL; /* it is freed: from the first again */
        seat_session(t, s, what, reason, now_us);
    }
}

uint64_t room_table_deadline(const struct room_table *t)
{
    uint64_t a = timerwheel_next(t->rooms_wheel), b = timerwheel_next(t->seats_wheel);

    return a < b ? a : b;
}

/* Nobody is left who has media, or could have: the room's SFU did not come back in time. */
static void seat_due(struct room_table *t, struct seat *s, uint64_t now_us)
{
    if (!s->online && now_us >= s->gone_us + t->conf.gone_us)
        seat_leave(t, s, ROOM_REASON_EXPIRED, now_us);
    else if (s->lost && now_us >= s->lost_us + t->conf.restart_us)
        seat_leave(t, s,
                   s->room->node == ROOM_NODE_NONE ? ROOM_REASON_SFU_UNAVAILABLE
                                                   : ROOM_REASON_MEDIA_FAILED,
                   now_us);
    else
        room_arm_seat(t, s);
}

void room_table_tick(struct room_table *t, uint64_t now_us)
{
    struct timer *timer;

    while ((timer = timerwheel_pop(t->seats_wheel, now_us)))
        seat_due(t, CONTAINER_OF(timer, struct seat, timer), now_us);
    while ((timer = timerwheel_pop(t->rooms_wheel, now_us))) {
        struct room *r = CONTAINER_OF(timer, struct room, timer);
        if (r->seats_n == 0)
            room_close(t, r, ROOM_REASON_CLOSED, now_us);
    }
}
