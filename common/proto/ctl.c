/* Words, framing and proof of the control protocol (docs/CONTROL.md).
 *
 * Called by the links of both daemons: server/node_link.c and sfu/ctl_listener.c. The messages
 * themselves: ctl_decode.c, ctl_encode.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/ctl.h"

#include <errno.h>

#include "proto/ctl_words.h"
#include "proto/json.h"

#define IN_ROOM (CTL_HAS_ROOM | CTL_HAS_PARTICIPANT)
#define KEPT    (CTL_CAN_EVENT | CTL_HAS_SEQ)

const struct ctl_word ctl_types[CTL_TYPE_COUNT] = {
    [CTL_NONE] = {"", 0},
    [CTL_CHALLENGE] = {"challenge", CTL_CAN_EVENT},
    [CTL_HELLO] = {"hello", CTL_CAN_REQUEST},
    [CTL_PING] = {"ping", CTL_CAN_REQUEST},
    [CTL_ACK] = {"ack", CTL_CAN_EVENT},
    [CTL_JOIN] = {"join", CTL_CAN_REQUEST | IN_ROOM},
    [CTL_OFFER] = {"offer", CTL_CAN_REQUEST | IN_ROOM},
    [CTL_ANSWER] = {"answer", CTL_CAN_REQUEST | IN_ROOM},
    [CTL_CANDIDATES] = {"candidates", CTL_CAN_REQUEST | IN_ROOM},
    [CTL_SUBSCRIBE] = {"subscribe", CTL_CAN_REQUEST | IN_ROOM},
    [CTL_UNPUBLISH] = {"unpublish", CTL_CAN_REQUEST | IN_ROOM},
    [CTL_MUTE] = {"mute", CTL_CAN_REQUEST | IN_ROOM},
    [CTL_PERMISSIONS] = {"permissions", CTL_CAN_REQUEST | IN_ROOM},
    [CTL_LEAVE] = {"leave", CTL_CAN_REQUEST | IN_ROOM},
    [CTL_CLOSE_ROOM] = {"close_room", CTL_CAN_REQUEST | CTL_HAS_ROOM},
    [CTL_ADOPT] = {"adopt", CTL_CAN_REQUEST | CTL_HAS_ROOM},
    [CTL_SYNC] = {"sync", CTL_CAN_REQUEST | CTL_HAS_ROOM},
    [CTL_SYNC_END] = {"sync_end", CTL_CAN_REQUEST},
    [CTL_STATS] = {"stats", CTL_CAN_REQUEST | CTL_MAY_ROOM},
    [CTL_DRAIN] = {"drain", CTL_CAN_REQUEST},
    [CTL_STATE] = {"state", KEPT | IN_ROOM},
    [CTL_TRACK] = {"track", KEPT | IN_ROOM},
    [CTL_SLOTS] = {"slots", KEPT | IN_ROOM},
    [CTL_LAYERS] = {"layers", KEPT | IN_ROOM},
    [CTL_NEGOTIATE] = {"negotiate", KEPT | IN_ROOM},
    [CTL_ROOM_CLOSED] = {"room_closed", KEPT | CTL_HAS_ROOM},
    [CTL_SPEAKERS] = {"speakers", CTL_CAN_EVENT | CTL_HAS_ROOM},
    [CTL_QUALITY] = {"quality", CTL_CAN_EVENT | CTL_HAS_ROOM},
    [CTL_LOAD] = {"load", CTL_CAN_EVENT},
};

const char *const ctl_err_words[CTL_ERR_COUNT] = {
    [CTL_OK] = "",
    [CTL_ERR_BAD_MESSAGE] = "bad_message",
    [CTL_ERR_UNSUPPORTED] = "unsupported",
    [CTL_ERR_VERSION] = "version",
    [CTL_ERR_UNAUTHORIZED] = "unauthorized",
    [CTL_ERR_NO_ROOM] = "no_room",
    [CTL_ERR_NO_PARTICIPANT] = "no_participant",
    [CTL_ERR_NO_TRACK] = "no_track",
    [CTL_ERR_FORBIDDEN] = "forbidden",
    [CTL_ERR_REJECTED] = "rejected",
    [CTL_ERR_CONFLICT] = "conflict",
    [CTL_ERR_FULL] = "full",
    [CTL_ERR_DRAINING] = "draining",
    [CTL_ERR_STALE] = "stale",
    [CTL_ERR_INTERNAL] = "internal",
};
const char *const ctl_source_words[CTL_SOURCE_COUNT] = {
    [CTL_SOURCE_MICROPHONE] = "microphone", [CTL_SOURCE_CAMERA] = "camera",
    [CTL_SOURCE_SCREEN] = "screen",         [CTL_SOURCE_SCREEN_AUDIO] = "screen_audio",
    [CTL_SOURCE_OTHER] = "other",
};
const char *const ctl_mode_words[CTL_MODE_COUNT] = {"single", "pair"};
const char *const ctl_media_words[CTL_MEDIA_COUNT] = {"connecting", "connected", "disconnected",
                                                      "failed", "closed"};
const char *const ctl_track_words[CTL_TRACK_EVENT_COUNT] = {"published", "ended", "updated"};
const char *const ctl_pause_words[CTL_PAUSE_COUNT] = {"none", "bandwidth", "subscriber", "source"};
const char *const ctl_negotiate_words[CTL_NEGOTIATE_COUNT] = {"need_slots", "offer", "ice_restart"};
const char *const ctl_kind_words[2] = {"audio", "video"};

unsigned ctl_word_find(const char *const *words, unsigned n, struct slice name)
{
    for (unsigned i = 0; i < n; i++)
        if (name.len > 0 && slice_is(name, words[i]))
            return i;
    return n;
}

const char *ctl_type_name(enum ctl_type t)
{
    return (unsigned)t < CTL_TYPE_COUNT ? ctl_types[t].name : "";
}

bool ctl_type_kept(enum ctl_type t)
{
    return (unsigned)t < CTL_TYPE_COUNT && (ctl_types[t].flags & CTL_HAS_SEQ) != 0;
}

const char *ctl_err_name(enum ctl_err e)
{
    return (unsigned)e < CTL_ERR_COUNT ? ctl_err_words[e] : "";
}

const char *ctl_source_name(enum ctl_source s)
{
    return (unsigned)s < CTL_SOURCE_COUNT ? ctl_source_words[s] : "";
}

bool ctl_source_parse(struct slice name, enum ctl_source *out)
{
    unsigned i = ctl_word_find(ctl_source_words, CTL_SOURCE_COUNT, name);

    if (i == CTL_SOURCE_COUNT)
        return false;
    *out = (enum ctl_source)i;
    return true;
}

/* ---- framing ---- */

int ctl_frame(struct slice in, struct slice *text, size_t *used)
{
    struct rd r = rd_init(in);
    uint32_t len = rd_be32(&r);

    if (r.bad)
        return -EAGAIN;
    if (len == 0 || len > CTL_MESSAGE_MAX)
        return -EMSGSIZE;
    struct slice body = rd_take(&r, len);
    if (r.bad)
        return -EAGAIN;
    *text = body;
    *used = CTL_HEADER_BYTES + (size_t)len;
    return 0;
}

/* ---- arrays of sync ---- */

static bool next_item(struct ctl_walk *it, struct slice array, struct slice *item)
{
    struct json_items walk = json_items(array);

    if (it->_at > 0)
        walk._at = it->_at;
    if (!json_items_next(&walk, item))
        return false;
    it->_at = walk._at;
    return true;
}

/* The inside of a string that has no escapes. */
static bool plain_text(struct slice raw, struct slice *out)
{
    uint8_t nothing[1];
    struct wr none = wr_init(nothing, 0);

    return json_text(raw, out, &none);
}

bool ctl_ids(struct ctl_walk *it, struct slice participants, struct slice *id)
{
    struct slice item;

    return next_item(it, participants, &item) && plain_text(item, id);
}

bool ctl_states(struct ctl_walk *it, struct slice states, struct slice *id, enum ctl_media *media)
{
    struct json_field f[] = {{.key = "id"}, {.key = "state"}};
    struct slice item, word;

    if (!next_item(it, states, &item) || json_fields(item, f, ARRAY_LEN(f)) != 0 ||
        !plain_text(f[0].value, id) || !plain_text(f[1].value, &word))
        return false;
    unsigned i = ctl_word_find(ctl_media_words, CTL_MEDIA_COUNT, word);
    if (i == CTL_MEDIA_COUNT)
        return false;
    *media = (enum ctl_media)i;
    return true;
}

void ctl_ids_add(struct wr *w, bool first, struct slice id)
{
    if (!first)
        wr_u8(w, ',');
    json_write_text(w, id);
}

void ctl_states_add(struct wr *w, bool first, struct slice id, enum ctl_media media)
{
    wr_str(w, first ? "{\"id\":" : ",{\"id\":");
    json_write_text(w, id);
    wr_fmt(w, ",\"state\":\"%s\"}", ctl_media_words[media]);
}

/* ---- proof ---- */

/* A field of the proof: its length, then its bytes, so that no two lists of fields read alike. */
static void proof_field(struct wr *w, struct slice s)
{
    wr_be32(w, (uint32_t)s.len);
    wr_bytes(w, s);
}

int ctl_mac(struct slice secret, const struct ctl_proof *p, uint8_t mac[CTL_MAC_BYTES])
{
    uint8_t buf[64 + 2 * CTL_NONCE_BYTES + 2 * CTL_NAME_MAX + 64];
    struct wr w = wr_init(buf, sizeof(buf));

    proof_field(&w, p->by_sfu ? SLICE_LIT("sori-ctl 1 sfu") : SLICE_LIT("sori-ctl 1 server"));
    proof_field(&w, slice_of(p->sfu_nonce, CTL_NONCE_BYTES));
    proof_field(&w, slice_of(p->server_nonce, CTL_NONCE_BYTES));
    proof_field(&w, p->server);
    proof_field(&w, p->node);
    wr_be64(&w, p->server_epoch);
    wr_be64(&w, p->sfu_epoch);
    if (w.bad)
        return -EIO;
    struct slice message = wr_done(&w);
    return crypto_hmac(CRYPTO_SHA256, secret, &message, 1, mac);
}
