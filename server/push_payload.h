/* What a push says to a device: the payload and the headers that belong to it, for APNs
 * (docs/IOS.md lists every payload).
 *
 * Payloads are JSON objects that fit Apple's limit: a display name that is too long loses its end,
 * never half a character. Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PUSH_PAYLOAD_H
#define SORI_SERVER_PUSH_PAYLOAD_H

#include "base/bytes.h"

enum {
    PUSH_VOIP_BYTES = 5120,  /* largest payload of a VoIP push */
    PUSH_OTHER_BYTES = 4096, /* of every other */
    PUSH_COLLAPSE_MAX = 64,  /* bytes of apns-collapse-id */
    PUSH_TOPIC_MAX = 155,    /* bytes of a bundle id */
    PUSH_NAME_MAX = 256,     /* bytes of a display name that are sent at most */
    PUSH_WS_MAX = 512,       /* bytes of the server's address */
    PUSH_RING_TOKEN_MAX = 512,
    PUSH_CALL_ID_MAX = 64,
    PUSH_WORD_MAX = 64,           /* status and type of a Live Activity */
    PUSH_MISSED_S = 24 * 3600,    /* how long APNs keeps a missed call */
    PUSH_LIVE_S = 60,             /* how long APNs keeps an update of a Live Activity */
    PUSH_LIVE_STALE_S = 8 * 3600, /* a Live Activity without news counts as stale after it */
    PUSH_LIVE_DISMISS_S = 60,     /* an ended one stays on the screen so long */
};

enum push_kind {
    PUSH_RING,        /* VoIP push: the phone must show a call. For a ringing call only, ever */
    PUSH_RING_ALERT,  /* the same call for a device without CallKit: a time-sensitive alert */
    PUSH_MISSED,      /* alert; replaces the same caller's last one */
    PUSH_LIVE_START,  /* starts a Live Activity (iOS 17.2; push-to-start token) */
    PUSH_LIVE_UPDATE, /* to the token of an activity */
    PUSH_LIVE_END,
    PUSH_KIND_COUNT
};

/* "ring", "ring_alert", "missed", "live_start", "live_update", "live_end": for metrics and the push
 * log. Never NULL. */
const char *push_kind_name(enum push_kind k);
/* It makes a phone ring now: such pushes have connections of their own. */
bool push_kind_urgent(enum push_kind k);

/* What a push is about. Slices are borrowed for the call; text that is not UTF-8 comes out with
 * U+FFFD. Unused members stay zero. */
struct push_content {
    enum push_kind kind;
    struct slice topic;   /* bundle id, without suffix: A-Z a-z 0-9 . - */
    struct slice call_id; /* text */
    struct slice from;    /* the other side's user id (SIG_USER_MAX) */
    struct slice name;    /* its display name; empty: from is shown */
    bool video;
    uint64_t now_s;          /* wall clock, seconds since 1970 */
    uint64_t ring_until_s;   /* RING, RING_ALERT: when ringing ends */
    struct slice ws;         /* RING, RING_ALERT: the server to connect to; may be empty */
    struct slice ring_token; /* RING, RING_ALERT: shown after connecting; may be empty */
    unsigned badge;          /* MISSED: unseen missed calls, this one included; 0 = no badge */
    struct slice live_type;  /* LIVE_START: name of the ActivityAttributes type */
    struct slice status;     /* LIVE_*: "connecting", "active", "held", "ended" */
    uint64_t started_s;      /* LIVE_*: when the call was answered; 0 = not yet */
    uint64_t seconds;        /* LIVE_END: how long it was */
    bool live_quiet;         /* LIVE_UPDATE: priority 5 (does not count against the budget) */
};

/* A push as APNs wants it. Slices borrow from the writer given. */
struct push_apns {
    const char *type;         /* apns-push-type */
    struct slice topic;       /* apns-topic, with its suffix */
    struct slice priority;    /* apns-priority: "10" or "5" */
    struct slice expiration;  /* apns-expiration: decimal seconds; "0" for a VoIP push */
    struct slice collapse_id; /* apns-collapse-id; empty: none */
    struct slice payload;
};

/* Room that w needs for any push. */
#define PUSH_APNS_BYTES (PUSH_VOIP_BYTES + 1024)

/* Writes headers and payload of c into w (room for PUSH_APNS_BYTES).
 *
 * brief: leave out what the device can do without (name, server, colours of the text): the second
 * try after "PayloadTooLarge".
 *
 * Returns 0; -EINVAL when a member is missing, too long or (topic, call_id) has characters that do
 * not belong there: nothing was written and no other content will do better; -ENOSPC when w is too
 * small. Never allocates. */
int push_payload_apns(struct push_apns *out, struct wr *w, const struct push_content *c,
                      bool brief);

#endif
