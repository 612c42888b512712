/* The description of one PeerConnection: what is in force, and how an offer or answer replaces it.
 *
 *            negotiate_offer(): answered at once, from offer, policy and limits
 *              ┌──────┐
 *   NEW ───────┴──► IN FORCE ◄──────────────────────────┐ negotiate_answer()
 *    │                 │  negotiate_make_offer()        │
 *    └─────────────────┴───────────────────────────► AWAITING ──► negotiate_rollback(): back
 *
 * A description is taken in a copy of the sections that takes the place of the old ones when all of
 * it is good: a refusal changes nothing. Called by the media core, on the transport's worker.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/negotiate.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/rand.h"
#include "sfu/negotiate_priv.h"

enum { SESSION_ID_SHIFT = 2 /* RFC 8829 §5.2.1: below 2^62 */ };

/* --- Lists of formats. */

static void codecs_drop(struct neg_codecs *set)
{
    if (set && --set->refs == 0)
        mem_free(set);
}

static void set_codecs(struct neg_entry *to, struct neg_codecs *set)
{
    to->codecs = set;
    to->pub.codec = set ? set->codec : NULL;
    to->pub.n_codecs = (uint8_t)(set ? set->n : 0);
    if (set)
        set->refs++;
}

static struct neg_codecs *find_equal(const struct neg_entry *v, unsigned n,
                                     const struct neg_codec *codec, unsigned n_codecs)
{
    for (unsigned i = 0; i < n; i++) {
        struct neg_codecs *set = v[i].codecs;
        if (set && set->n == n_codecs && memcmp(set->codec, codec, n_codecs * sizeof(*codec)) == 0)
            return set;
    }
    return NULL;
}

static void entries_free(struct neg_entry *v, unsigned n)
{
    for (unsigned i = 0; v && i < n; i++)
        codecs_drop(v[i].codecs);
    mem_free(v);
}

/* --- One description on its way in. */

struct build {
    const struct negotiation *n;
    struct neg_error *e;
    struct neg_session session;
    struct neg_entry *next;
    unsigned count; /* entries of next that are there */
    bool answer;
    unsigned tag, tag_place;
    bool tag_found, has_transport;
    struct neg_transport transport;
    unsigned transport_place;
    struct neg_pt_table pts;
    uint8_t ext_map[256];
};

static const struct neg_entry *old_entry(const struct build *b, unsigned i)
{
    return i < b->n->n ? &b->n->entry[i] : NULL;
}

bool neg_data_closed(const struct negotiation *n, unsigned i)
{
    const struct neg_section *s = &n->entry[i].pub;

    return !n->we_offer && s->kind == RTP_KIND_DATA && !s->recv && !s->rejected && i != n->tag;
}

/* Is section i the one that was there before, as far as it must be? Where port 0 was said by either
 * side, another may take its place (RFC 8829 §5.2.2). */
static int check_known(const struct build *b, unsigned i, const struct neg_entry *x,
                       const struct neg_described *d)
{
    const struct neg_entry *old = &b->n->entry[i];
    bool same = slice_is(d->mid, old->pub.mid) && x->pub.kind == old->pub.kind &&
                (x->pub.kind != RTP_KIND_COUNT || slice_is(d->media, old->media));
    bool free = old->pub.rejected || neg_data_closed(b->n, i);

    if (b->answer && !same && !(d->rejected && d->mid.len == 0))
        return neg_fail(b->e, NEG_E_ANSWER, d->line);
    if (!b->answer && !same && !free && !(d->rejected && d->mid.len == 0))
        return neg_fail(b->e, NEG_E_MID_CHANGED, d->line);
    return 0;
}

static int check_mid(const struct build *b, unsigned i, const struct neg_described *d)
{
    for (unsigned k = 0; k < i; k++) {
        if (d->mid.len > 0 && slice_is(d->mid, b->next[k].pub.mid))
            return neg_fail(b->e, NEG_E_MID_TWICE, d->line);
    }
    return 0;
}

/* The transport is described in the section of the bundle's first mid (RFC 9143 §7.2), else
 * wherever it is. */
static void take_transport(struct build *b, unsigned i, const struct neg_described *d)
{
    if (d->rejected)
        return;
    if (!b->tag_found || d->bundle_place < b->tag_place) {
        b->tag = i;
        b->tag_place = d->bundle_place;
        b->tag_found = true;
    }
    if (d->transport.ufrag.len > 0 && (!b->has_transport || d->bundle_place < b->transport_place)) {
        b->transport = d->transport;
        b->transport_place = d->bundle_place;
        b->has_transport = true;
    }
}

static bool agrees_to(const struct negotiation *n, enum rtp_ext ext, const struct neg_described *d)
{
    bool twcc =
        d->ext[RTP_EXT_TWCC].id != 0 && n->policy.twcc && n->policy.exts & 1u << RTP_EXT_TWCC;

    if (d->ext[ext].id == 0 || !(n->policy.exts & 1u << ext))
        return false;
    if (ext == RTP_EXT_TWCC && !n->policy.twcc)
        return false;
    if (ext == RTP_EXT_ABS_SEND_TIME && twcc)
        return false; /* the same knowledge again, three bytes a packet */
    return d->ext[ext].id <= 14 || d->ext_mixed;
}

/* Header extensions: ours is the mirror of the client's direction (RFC 8285 §6). */
static int take_exts(struct build *b, struct neg_entry *x, const struct neg_described *d)
{
    for (unsigned ext = RTP_EXT_NONE + 1; ext < RTP_EXT_COUNT; ext++) {
        uint8_t id = d->ext[ext].id, theirs = d->ext[ext].direction;
        if (!agrees_to(b->n, (enum rtp_ext)ext, d))
            continue;
        if (b->ext_map[id] != RTP_EXT_NONE && b->ext_map[id] != ext)
            return neg_fail(b->e, NEG_E_EXT_CLASH, d->line);
        if (b->n->ext_map[id] != RTP_EXT_NONE && b->n->ext_map[id] != ext)
            return neg_fail(b->e, NEG_E_EXT_CHANGED, d->line);
        b->ext_map[id] = (uint8_t)ext;
        uint8_t ours = (uint8_t)((theirs & SDP_SENDONLY ? SDP_RECVONLY : 0) |
                                 (theirs & SDP_RECVONLY ? SDP_SENDONLY : 0));
        x->ext[ext] = (struct neg_ext){id, ours};
        x->pub.ext[ext] = ours & SDP_SENDONLY ? id : 0;
    }
    x->pub.ext_mixed = d->ext_mixed;
    x->pub.audio_level_vad = d->vad;
    return 0;
}

static int take_codecs(struct build *b, unsigned i, struct neg_entry *x,
                       const struct neg_described *d)
{
    struct neg_codec list[NEG_CODECS_MAX];
    unsigned n = neg_codecs_choose(list, d, &b->n->policy);

    if (n == 0) {
        x->pub.refused = NEG_REFUSED_CODEC;
        return 0;
    }
    enum neg_error_code clash = neg_pt_table_add(&b->pts, list, n, false);
    if (clash)
        return neg_fail(b->e, clash, d->line);
    struct neg_codecs *set = find_equal(b->next, i, list, n);
    if (!set)
        set = find_equal(b->n->entry, b->n->n, list, n);
    if (!set) {
        set = mem_zalloc(sizeof(*set) + n * sizeof(list[0]));
        if (!set) {
            (void)neg_fail(b->e, NEG_E_MEMORY, 0);
            return -ENOMEM;
        }
        set->n = n;
        memcpy(set->codec, list, n * sizeof(list[0]));
    }
    set_codecs(x, set);
    return 0;
}

/* What a section that we can't use is answered with: its own first words, inactive. */
static void keep_words(struct neg_entry *x, const struct neg_described *d)
{
    struct slice rest = d->formats, first = {0};

    (void)sdp_word(&rest, &first);
    if (slice_to_cstr(d->media, x->media, sizeof(x->media)) != 0 ||
        slice_to_cstr(d->proto, x->proto, sizeof(x->proto)) != 0 ||
        slice_to_cstr(first, x->formats, sizeof(x->formats)) != 0)
        x->media[0] = '\0'; /* no word is that long: answered as audio, which is refused as well */
}

static int take_media(struct build *b, unsigned i, struct neg_entry *x,
                      const struct neg_described *d)
{
    int err = take_exts(b, x, d);

    if (!err)
        err = take_codecs(b, i, x, d);
    if (err || x->pub.refused)
        return err;
    x->pub.rsize = d->rsize;
    x->pub.xr_rtt = d->xr_rtt;
    x->pub.recv = !b->n->we_offer && d->direction & SDP_SENDONLY;
    x->pub.send = d->direction & SDP_RECVONLY && (!b->answer || x->asked);
    return x->pub.recv ? neg_read_streams(&x->pub, d, b->n->limits.layers, b->e) : 0;
}

static int take_section(struct build *b, const struct sdp *sdp, unsigned i)
{
    const struct neg_entry *old = old_entry(b, i);
    struct neg_entry *x = &b->next[i];
    struct neg_described d;
    int err = neg_read_section(&d, &b->session, sdp, i, b->e);

    if (err)
        return err;
    *x = (struct neg_entry){.pub = {.kind = (uint8_t)d.kind, .rejected = d.rejected}};
    if (old && (err = check_known(b, i, x, &d)) != 0)
        return err;
    if ((err = check_mid(b, i, &d)) != 0)
        return err;
    bool known = old && (slice_is(d.mid, old->pub.mid) || d.mid.len == 0);
    if (known && (d.mid.len == 0 || x->pub.kind == old->pub.kind)) {
        memcpy(x->pub.mid, old->pub.mid, sizeof(x->pub.mid));
        x->pub.ssrc = old->pub.ssrc;
        x->pub.rtx_ssrc = old->pub.rtx_ssrc;
        x->want = old->want;
        x->asked = x->told = old->asked;
        x->msid_new = old->msid_new;
        memcpy(x->msid_stream, old->msid_stream, sizeof(x->msid_stream));
        memcpy(x->msid_track, old->msid_track, sizeof(x->msid_track));
    } else {
        (void)slice_to_cstr(d.mid, x->pub.mid, sizeof(x->pub.mid));
    }
    b->count = i + 1;
    keep_words(x, &d);
    take_transport(b, i, &d);
    if (d.rejected)
        return 0;
    switch (d.kind) {
    case RTP_KIND_AUDIO:
    case RTP_KIND_VIDEO:
        return take_media(b, i, x, &d);
    case RTP_KIND_DATA:
        x->pub.recv = x->pub.send = d.sctp_port != 0;
        x->pub.sctp_port = d.sctp_port;
        x->pub.max_message_size = d.max_message_size;
        return 0;
    default:
        x->pub.refused = NEG_REFUSED_KIND;
        return 0;
    }
}

/* --- The transport. */

static int check_fingerprints(const struct build *b, const struct neg_transport *t)
{
    if (t->bad)
        return neg_fail(b->e, NEG_E_BAD_FINGERPRINT, t->fingerprint_line);
    if (t->n_fingerprints == 0 && t->weak)
        return neg_fail(b->e, NEG_E_WEAK_FINGERPRINT, t->fingerprint_line);
    if (t->n_fingerprints == 0)
        return neg_fail(b->e, NEG_E_NO_FINGERPRINT, 0);
    return 0;
}

static int read_role(const struct build *b, const struct neg_transport *t, bool *dtls_client)
{
    bool kept = b->n->in_force && b->n->remote.dtls_client;

    if (!t->has_setup || t->bad_setup || t->setup == SDP_HOLDCONN ||
        (b->answer && t->setup == SDP_ACTPASS))
        return neg_fail(b->e, NEG_E_SETUP, t->setup_line);
    *dtls_client = t->setup == SDP_PASSIVE || (t->setup == SDP_ACTPASS && kept);
    return 0;
}

/* The client's side of the transport: the section's attributes, the session's where it has none. */
static int read_remote(const struct build *b, struct neg_remote *out)
{
    struct neg_transport t = b->transport;
    const struct neg_transport *s = &b->session.transport;

    if (b->session.ice_lite)
        return neg_fail(b->e, NEG_E_ICE_LITE, b->session.ice_lite_line);
    if (t.ufrag.len == 0)
        t.ufrag = s->ufrag;
    if (t.pwd.len == 0)
        t.pwd = s->pwd;
    if (t.fingerprint_line == 0) {
        t.fingerprint_line = s->fingerprint_line;
        t.n_fingerprints = s->n_fingerprints;
        memcpy(t.fingerprint, s->fingerprint, sizeof(t.fingerprint));
        t.weak = s->weak;
        t.bad = s->bad;
    }
    if (t.setup_line == 0) {
        t.has_setup = s->has_setup;
        t.bad_setup = s->bad_setup;
        t.setup = s->setup;
        t.setup_line = s->setup_line;
    }
    *out = (struct neg_remote){
        .n_fingerprints = t.n_fingerprints,
        .trickle = t.trickle || s->trickle,
        .renomination = t.renomination || s->renomination,
    };
    memcpy(out->fingerprint, t.fingerprint, sizeof(out->fingerprint));
    if (t.ufrag.len < NEG_UFRAG_MIN || t.pwd.len < NEG_PWD_MIN ||
        slice_to_cstr(t.ufrag, out->ufrag, sizeof(out->ufrag)) != 0 ||
        slice_to_cstr(t.pwd, out->pwd, sizeof(out->pwd)) != 0)
        return neg_fail(b->e, NEG_E_NO_UFRAG, t.ice_line);
    int err = check_fingerprints(b, &t);
    return err ? err : read_role(b, &t, &out->dtls_client);
}

static void compare_remote(const struct neg_remote *was, const struct neg_remote *is,
                           struct neg_change *change)
{
    change->ice_restart = strcmp(was->ufrag, is->ufrag) != 0 || strcmp(was->pwd, is->pwd) != 0;
    change->fingerprint_changed =
        was->dtls_client != is->dtls_client || was->n_fingerprints != is->n_fingerprints ||
        memcmp(was->fingerprint, is->fingerprint, sizeof(is->fingerprint)) != 0;
}

/* --- Limits and our streams. */

/* Grants a direction of the sections of one kind: those that have it already come first. */
static void grant(struct build *b, enum rtp_kind kind, bool recv, unsigned max)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < b->count; i++) {
            struct neg_section *s = &b->next[i].pub;
            const struct neg_entry *old = old_entry(b, i);
            bool has =
                old && !strcmp(old->pub.mid, s->mid) && (recv ? old->pub.recv : old->pub.send);
            bool *wants = recv ? &s->recv : &s->send;
            if (s->kind != kind || !*wants || has != (pass == 0))
                continue;
            if (max > 0) {
                max--;
                continue;
            }
            *wants = false;
            s->refused = NEG_REFUSED_LIMIT;
        }
    }
}

static void apply_limits(struct build *b)
{
    const struct neg_limits *l = &b->n->limits;

    grant(b, RTP_KIND_AUDIO, true, l->publish[RTP_KIND_AUDIO]);
    grant(b, RTP_KIND_VIDEO, true, l->publish[RTP_KIND_VIDEO]);
    grant(b, RTP_KIND_AUDIO, false, l->slots[RTP_KIND_AUDIO]);
    grant(b, RTP_KIND_VIDEO, false, l->slots[RTP_KIND_VIDEO]);
    grant(b, RTP_KIND_DATA, true, l->publish[RTP_KIND_DATA] ? 1 : 0);
    for (unsigned i = 0; i < b->count; i++) {
        if (b->next[i].pub.kind == RTP_KIND_DATA)
            b->next[i].pub.send = b->next[i].pub.recv;
    }
}

static bool ssrc_taken(const struct neg_entry *v, unsigned n, uint32_t ssrc)
{
    for (unsigned i = 0; i < n; i++) {
        const struct neg_section *s = &v[i].pub;
        if (s->ssrc == ssrc || s->rtx_ssrc == ssrc)
            return true;
        for (unsigned k = 0; k < s->n_layers; k++) {
            if (s->layer[k].ssrc == ssrc || s->layer[k].rtx_ssrc == ssrc)
                return true;
        }
    }
    return false;
}

static uint32_t new_ssrc(const struct neg_entry *v, unsigned n)
{
    uint32_t ssrc;

    do
        rand_bytes(&ssrc, sizeof(ssrc));
    while (ssrc == 0 || ssrc_taken(v, n, ssrc));
    return ssrc;
}

static void give_ssrcs(struct neg_entry *v, unsigned n, struct neg_entry *x)
{
    bool rtx = x->pub.kind == RTP_KIND_VIDEO;

    for (unsigned i = 0; i < x->pub.n_codecs && !rtx; i++)
        rtx = x->pub.codec[i].rtx_pt != 0;
    if (x->pub.ssrc == 0)
        x->pub.ssrc = new_ssrc(v, n);
    if (x->pub.rtx_ssrc == 0 && rtx)
        x->pub.rtx_ssrc = new_ssrc(v, n);
}

/* --- What is different. */

/* Lists of formats are compared byte by byte. */
_Static_assert(sizeof(struct neg_codec) == 12 + 3 * sizeof(uint32_t), "no padding");

static bool layers_differ(const struct neg_section *a, const struct neg_section *b)
{
    for (unsigned i = 0; i < a->n_layers && a->n_layers == b->n_layers; i++) {
        const struct neg_layer *x = &a->layer[i], *y = &b->layer[i];
        if (strcmp(x->rid, y->rid) != 0 || x->ssrc != y->ssrc || x->rtx_ssrc != y->rtx_ssrc ||
            x->paused != y->paused || x->max_width != y->max_width ||
            x->max_height != y->max_height || x->max_bps != y->max_bps)
            return true;
    }
    return a->n_layers != b->n_layers;
}

static uint8_t changes(const struct neg_section *was, const struct neg_section *is)
{
    bool codecs = was->n_codecs != is->n_codecs ||
                  (is->n_codecs > 0 &&
                   memcmp(was->codec, is->codec, is->n_codecs * sizeof(is->codec[0])) != 0);
    bool msid = strcmp(was->stream, is->stream) != 0 || strcmp(was->track, is->track) != 0;

    return (uint8_t)((was->recv != is->recv ? NEG_CHANGED_RECV : 0) |
                     (was->send != is->send ? NEG_CHANGED_SEND : 0) |
                     (codecs ? NEG_CHANGED_CODECS : 0) |
                     (memcmp(was->ext, is->ext, sizeof(is->ext)) ? NEG_CHANGED_EXTS : 0) |
                     (layers_differ(was, is) ? NEG_CHANGED_LAYERS : 0) |
                     (msid ? NEG_CHANGED_MSID : 0));
}

static void mark_changes(struct build *b)
{
    static const struct neg_section none = {.kind = RTP_KIND_COUNT};

    for (unsigned i = 0; i < b->count; i++) {
        struct neg_section *is = &b->next[i].pub;
        const struct neg_entry *old = old_entry(b, i);
        bool is_new =
            !old || strcmp(old->pub.mid, is->mid) != 0 || (old->pub.rejected && !is->rejected);
        is->changed = is_new ? changes(&none, is) | NEG_CHANGED_NEW : changes(&old->pub, is);
    }
}

/* --- Taking a description. */

static const struct neg_section *data_of(const struct neg_entry *v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (v[i].pub.kind == RTP_KIND_DATA && v[i].pub.recv)
            return &v[i].pub;
    }
    return NULL;
}

static int check_count(const struct build *b, const struct sdp *sdp)
{
    unsigned known = b->answer ? b->n->n_offered : b->n->n;

    if (sdp->n_sections == 0)
        return neg_fail(b->e, NEG_E_NO_SECTIONS, 0);
    if (b->answer && sdp->n_sections != known)
        return neg_fail(b->e, NEG_E_ANSWER, 0);
    if (sdp->n_sections < known)
        return neg_fail(b->e, NEG_E_SECTION_GONE, 0);
    if (!b->answer && sdp->n_sections > b->n->limits.sections)
        return neg_fail(b->e, NEG_E_SECTIONS, sdp->section[b->n->limits.sections].line);
    return 0;
}

static int take_all(struct build *b, const struct sdp *sdp, struct neg_remote *remote)
{
    int err = check_count(b, sdp);

    if (err)
        return err;
    unsigned n = b->n->n > sdp->n_sections ? b->n->n : sdp->n_sections;
    b->next = mem_calloc(n, sizeof(*b->next));
    if (!b->next) {
        (void)neg_fail(b->e, NEG_E_MEMORY, 0);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < b->n->n; i++) {
        if (!b->n->entry[i].pub.rejected)
            (void)neg_pt_table_add(&b->pts, b->n->entry[i].pub.codec, b->n->entry[i].pub.n_codecs,
                                   true);
    }
    b->tag_place = b->transport_place = UINT_MAX;
    for (unsigned i = 0; i < sdp->n_sections; i++) {
        if ((err = take_section(b, sdp, i)) != 0)
            return err;
    }
    for (; b->count < b->n->n; b->count++) { /* we offer: wanted since the offer was made */
        struct neg_entry *x = &b->next[b->count];
        *x = b->n->entry[b->count];
        set_codecs(x, b->n->entry[b->count].codecs);
    }
    return b->tag_found || b->n->in_force ? read_remote(b, remote) : 0;
}

/* Puts what was built in force. */
static void commit(struct negotiation *n, struct build *b, const struct neg_remote *remote,
                   struct neg_change *change)
{
    bool had_data = data_of(n->entry, n->n) != NULL;

    *change = (struct neg_change){.first = !n->in_force};
    if (n->in_force && b->tag_found)
        compare_remote(&n->remote, remote, change);
    if (b->tag_found)
        n->remote = *remote;
    mark_changes(b);
    entries_free(n->entry, n->n);
    n->edition++;
    n->entry = b->next;
    n->n = n->cap = b->count;
    n->tag = b->tag;
    n->ext_mixed = b->session.ext_mixed;
    memcpy(n->ext_map, b->ext_map, sizeof(n->ext_map));
    n->in_force = true;
    n->version++;
    change->data_started = !had_data && data_of(n->entry, n->n);
}

static int take(struct negotiation *n, struct slice text, bool answer, struct neg_change *change,
                struct neg_error *e)
{
    struct build b = {.n = n, .e = e, .answer = answer};
    struct neg_remote remote = n->remote;
    struct sdp sdp;

    *e = (struct neg_error){.code = NEG_OK};
    if (answer != n->we_offer || (answer && !n->awaiting))
        return neg_fail(e, NEG_E_STATE, 0);
    int err = neg_read_session(&b.session, &sdp, text, e);
    if (!err)
        err = take_all(&b, &sdp, &remote);
    if (err) {
        entries_free(b.next, b.count);
        return err;
    }
    if (!answer) {
        apply_limits(&b);
        for (unsigned i = 0; i < b.count; i++) {
            if (b.next[i].pub.send && b.next[i].pub.kind != RTP_KIND_DATA)
                give_ssrcs(b.next, b.count, &b.next[i]);
        }
    }
    commit(n, &b, &remote, change);
    n->awaiting = false;
    return 0;
}

int negotiate_offer(struct negotiation *n, struct slice sdp, struct neg_change *change,
                    struct neg_error *e)
{
    return take(n, sdp, false, change, e);
}

int negotiate_answer(struct negotiation *n, struct slice sdp, struct neg_change *change,
                     struct neg_error *e)
{
    return take(n, sdp, true, change, e);
}

void negotiate_refuse(struct negotiation *n, unsigned i, bool recv, bool send)
{
    if (i >= n->n)
        return;
    struct neg_section *s = &n->entry[i].pub;
    if ((recv && s->recv) || (send && s->send))
        s->refused = NEG_REFUSED_CALLER;
    s->recv = s->recv && !recv;
    s->send = s->send && !send;
}

/* --- We offer. */

/* An entry of that kind that nobody wants, else a new one. -ENOSPC, -ENOMEM. */
static int unused_entry(struct negotiation *n, enum rtp_kind kind)
{
    for (unsigned i = 0; i < n->n; i++) {
        const struct neg_entry *x = &n->entry[i];
        if (x->pub.kind == kind && !x->want && !x->pub.rejected)
            return (int)i;
    }
    if (n->n >= n->limits.sections)
        return -ENOSPC;
    if (n->n == n->cap) {
        unsigned cap = n->cap ? 2 * n->cap : 4;
        struct neg_entry *v = mem_realloc(n->entry, cap * sizeof(*v));
        if (!v)
            return -ENOMEM;
        n->edition++;
        n->entry = v;
        n->cap = cap;
    }
    struct neg_entry *x = &n->entry[n->n];
    *x = (struct neg_entry){.pub = {.kind = (uint8_t)kind}};
    (void)snprintf(x->pub.mid, sizeof(x->pub.mid), "%u", n->n);
    if (kind != RTP_KIND_DATA)
        give_ssrcs(n->entry, n->n, x);
    return (int)n->n++;
}

int negotiate_slot_add(struct negotiation *n, enum rtp_kind kind, struct slice stream,
                       struct slice track)
{
    char s[NEG_MSID_MAX + 1], t[NEG_MSID_MAX + 1];

    if (!n->we_offer || kind >= RTP_KIND_DATA || slice_to_cstr(stream, s, sizeof(s)) != 0 ||
        slice_to_cstr(track, t, sizeof(t)) != 0 || strpbrk(s, " \r\n") || strpbrk(t, " \r\n"))
        return -EINVAL;
    int i = unused_entry(n, kind);
    if (i < 0)
        return i;
    struct neg_entry *x = &n->entry[i];
    x->want = true;
    x->msid_new = true;
    memcpy(x->msid_stream, s, sizeof(s));
    memcpy(x->msid_track, t, sizeof(t));
    return i;
}

int negotiate_data_add(struct negotiation *n)
{
    if (!n->we_offer)
        return -EINVAL;
    for (unsigned i = 0; i < n->n; i++) {
        if (n->entry[i].pub.kind == RTP_KIND_DATA && n->entry[i].want)
            return (int)i;
    }
    int i = unused_entry(n, RTP_KIND_DATA);
    if (i >= 0)
        n->entry[i].want = true;
    return i;
}

void negotiate_slot_del(struct negotiation *n, unsigned i)
{
    if (i < n->n)
        n->entry[i].want = false;
}

bool negotiate_needed(const struct negotiation *n)
{
    for (unsigned i = 0; i < n->n; i++) {
        const struct neg_entry *x = &n->entry[i];
        if (x->want != (n->awaiting ? x->asked : x->told) || (x->want && x->msid_new))
            return true;
    }
    return false;
}

void negotiate_rollback(struct negotiation *n)
{
    for (unsigned i = 0; n->awaiting && i < n->n; i++) {
        struct neg_entry *x = &n->entry[i];
        x->asked = x->told;
        x->msid_new |= x->msid_asked;
        x->msid_asked = false;
    }
    n->awaiting = false;
}

int negotiate_make_offer(struct negotiation *n, const struct neg_local *local, struct wr *w)
{
    if (!n->we_offer)
        return -EPROTO;
    for (unsigned i = 0; i < n->n; i++) {
        struct neg_entry *x = &n->entry[i];
        x->asked = x->want;
        x->msid_asked |= x->msid_new;
        x->msid_new = false;
    }
    n->n_offered = n->n;
    n->awaiting = true;
    n->version++;
    neg_write_offer(n, local, w);
    return 0;
}

/* --- Life and look-ups. */

struct negotiation *negotiate_new(const struct codec_policy *policy,
                                  const struct neg_limits *limits, bool we_offer)
{
    struct negotiation *n = mem_zalloc(sizeof(*n));

    if (!n)
        return NULL;
    n->we_offer = we_offer;
    negotiate_set_policy(n, policy);
    negotiate_set_limits(n, limits);
    rand_bytes(&n->session_id, sizeof(n->session_id));
    n->session_id >>= SESSION_ID_SHIFT;
    return n;
}

void negotiate_free(struct negotiation *n)
{
    if (!n)
        return;
    entries_free(n->entry, n->n);
    mem_free(n);
}

void negotiate_set_limits(struct negotiation *n, const struct neg_limits *limits)
{
    n->limits = *limits;
    if (n->limits.sections > NEG_SECTIONS_MAX)
        n->limits.sections = NEG_SECTIONS_MAX;
    if (n->limits.layers > RTP_LAYERS_MAX || n->limits.layers == 0)
        n->limits.layers = RTP_LAYERS_MAX;
}

void negotiate_set_policy(struct negotiation *n, const struct codec_policy *policy)
{
    n->policy = *policy;
}

unsigned negotiate_sections(const struct negotiation *n)
{
    return n->n;
}

const struct neg_section *negotiate_section(const struct negotiation *n, unsigned i)
{
    return i < n->n ? &n->entry[i].pub : NULL;
}

uint32_t negotiate_edition(const struct negotiation *n)
{
    return n->edition;
}

const struct neg_section *negotiate_by_mid(const struct negotiation *n, struct slice mid)
{
    for (unsigned i = 0; i < n->n; i++) {
        if (mid.len > 0 && slice_is(mid, n->entry[i].pub.mid))
            return &n->entry[i].pub;
    }
    return NULL;
}

const struct neg_section *negotiate_by_ssrc(const struct negotiation *n, uint32_t ssrc,
                                            unsigned *layer, bool *rtx)
{
    for (unsigned i = 0; ssrc != 0 && i < n->n; i++) {
        const struct neg_section *s = &n->entry[i].pub;
        for (unsigned k = 0; s->recv && k < s->n_layers; k++) {
            if (s->layer[k].ssrc == ssrc || s->layer[k].rtx_ssrc == ssrc) {
                *layer = k;
                *rtx = s->layer[k].rtx_ssrc == ssrc;
                return s;
            }
        }
    }
    return NULL;
}

const struct neg_remote *negotiate_remote(const struct negotiation *n)
{
    return &n->remote;
}

const struct neg_section *negotiate_data(const struct negotiation *n)
{
    return data_of(n->entry, n->n);
}

const uint8_t *negotiate_ext_map(const struct negotiation *n)
{
    return n->ext_map;
}

const struct neg_section *negotiate_by_pt(const struct negotiation *n, uint8_t pt,
                                          enum neg_pt_role *role, const struct neg_codec **codec)
{
    for (unsigned i = 0; i < n->n; i++) {
        const struct neg_section *s = &n->entry[i].pub;
        enum neg_pt_role r = s->recv ? neg_section_pt(s, pt, codec) : NEG_PT_NONE;
        if (r != NEG_PT_NONE) {
            *role = r;
            return s;
        }
    }
    return NULL;
}

int neg_section_rid(const struct neg_section *s, struct slice rid)
{
    for (unsigned i = 0; i < s->n_layers; i++) {
        if (rid.len > 0 && slice_is(rid, s->layer[i].rid))
            return (int)i;
    }
    return -1;
}
