/* Which of a client's addresses are its own, and which one we send to.
 *
 * Called by transport.c and demux.c. Pure.
 *
 * The controlling agent nominates, at any time and as often as it likes (RFC 8445 §8.1.1, and what
 * browsers do beyond it); the last nomination counts. Except that an agent that nominates
 * aggressively (RFC 5245 §8.1.1.2) flags every check: while two paths are being nominated at the
 * same time, the one with the higher priority stays.
 *
 * A client whose address changes without its knowledge (a NAT forgot it) goes on sending checks and
 * media by what is a new path to us: it follows from their coming while the selected path is
 * silent. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/transport_priv.h"

enum {
    CONTEST_US = 1000000,      /* nominations of two paths so near to each other are in contest, */
    CONTEST_END_US = 5000000,  /* so long after the first nomination */
    SILENT_CHECK_US = 2000000, /* nothing by the selected path: a check by another one moves it */
    SILENT_MEDIA_US = 200000,  /* media by another one does */
    TAKEN_US = 5000000,        /* so long an address stays with whom it was heard from */
};

static void select_path(struct transport_path *p)
{
    struct transport *t = p->t;
    bool moved = t->selected != NULL;

    if (t->selected == p)
        return;
    t->selected = p;
    transport_selected(t, moved);
}

void transport_path_del(struct transport_path *p)
{
    struct transport *t = p->t;
    struct transport_path *best = NULL;

    htable_del(&t->d->paths, &p->node);
    *p = (struct transport_path){0};
    if (t->from == p)
        t->from = NULL;
    if (t->selected != p)
        return;
    t->selected = NULL;
    for (unsigned i = 0; i < TRANSPORT_PATHS_MAX; i++) {
        struct transport_path *q = &t->path[i];
        if (q->t && (!best || q->heard_us > best->heard_us))
            best = q;
    }
    t->selected = best;
    transport_selected(t, best != NULL);
}

/* A free place, made if need be; the selected path keeps its own. */
static struct transport_path *place(struct transport *t)
{
    struct transport_path *old = NULL;

    for (unsigned i = 0; i < TRANSPORT_PATHS_MAX; i++) {
        struct transport_path *p = &t->path[i];
        if (!p->t)
            return p;
        if (p != t->selected && (!old || p->heard_us < old->heard_us))
            old = p;
    }
    transport_path_del(old);
    return old;
}

struct transport_path *transport_path_verify(struct transport *t, const struct media_path *at)
{
    uint64_t now_us = t->d->now_us;
    struct transport_path *p = demux_path(t->d, at);

    if (p && p->t == t)
        return p;
    if (p && now_us - p->heard_us < TAKEN_US)
        return NULL;
    if (p)
        transport_path_del(p);
    p = place(t);
    *p = (struct transport_path){.t = t, .at = *at, .heard_us = now_us};
    htable_add(&t->d->paths, &p->node, media_path_hash(at));
    return p;
}

/* True when both are being nominated at the same time, and the selected one is the better. */
static bool loses_contest(const struct transport_path *p)
{
    const struct transport *t = p->t;
    uint64_t now_us = t->d->now_us;
    const struct transport_path *s = t->selected;

    return s->nominated_us != 0 && now_us - t->nominated_us < CONTEST_END_US &&
           now_us - s->nominated_us < CONTEST_US && p->priority < s->priority &&
           p->nominated_us <= s->nominated_us;
}

void transport_path_checked(struct transport_path *p, const struct ice_lite_in *in)
{
    struct transport *t = p->t;
    uint64_t now_us = t->d->now_us;
    const struct transport_path *s = t->selected;
    bool nominated = in->use_candidate;

    p->priority = in->priority;
    if (in->has_nomination && (!t->has_nomination || in->nomination > t->nomination)) {
        t->nomination = in->nomination;
        t->has_nomination = nominated = true;
        p->nominated_us = now_us;
        select_path(p);
    }
    if (!nominated && in->is_new && t->ice.has_old && !t->anew) {
        /* The first path after an ICE restart: the client may be on another network, and nominates
         * only when all its checks have settled, half a second and more later. */
        t->anew = true;
        select_path(p);
        return;
    }
    if (!nominated) {
        if (!s || (s != p && now_us - s->heard_us >= SILENT_CHECK_US))
            select_path(p);
        return;
    }
    counter_inc(&t->d->stats.nominations);
    if (t->nominated_us == 0)
        t->nominated_us = now_us;
    if (!t->selected || (t->selected != p && !loses_contest(p)))
        select_path(p);
    p->nominated_us = now_us;
}

void transport_path_media(struct transport_path *p)
{
    const struct transport_path *s = p->t->selected;

    if (s != p && (!s || p->t->d->now_us - s->heard_us >= SILENT_MEDIA_US))
        select_path(p);
}
