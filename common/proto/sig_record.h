/* Messages about what outlives a session (docs/SIGNALING.md §11): the device and its push tokens,
 * the history of calls, privacy requests. Readers of `data`, writers of replies.
 *
 * Words of closed vocabularies (platform, type …) are passed on as text: the ledger has them.
 * Readers take a message that sig_decode() accepted, and the same scratch; they return 0, or
 * -EBADMSG with *fault naming the field. Writers as in sig_server.h. Pure; any thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_SIG_RECORD_H
#define SORI_PROTO_SIG_RECORD_H

#include "proto/sig_server.h"

enum {
    SIG_TOKENS_MAX = 8,   /* in one device.register */
    SIG_TOKEN_MAX = 2048, /* bytes */
    SIG_APP_MAX = 155,    /* a bundle id */
    SIG_VERSION_MAX = 32,
    SIG_LOCALE_MAX = 35,
    SIG_WORD_MAX = 32,
    SIG_CURSOR_MAX = 64,
    SIG_PICK_MAX = 100, /* calls in one history.seen or history.delete */
    SIG_PAGE_MAX = 100, /* calls in one page of the history */
    SIG_PAGE_DEFAULT = 50,
    SIG_RECORD_ENTRY_MAX = 1536, /* one call of a page, one device of device.list without tokens */
};

/* ---- devices ---- */

struct sig_token {
    struct slice type, token; /* token empty: take it away */
    bool has_call;            /* of one call's Live Activity */
    struct sig_call_id call_id;
};
struct sig_device {
    struct slice platform, app, version, locale, environment, call_ui; /* empty: not there */
    struct sig_token tokens[SIG_TOKENS_MAX];
    size_t tokens_n;
};
int sig_record_device(struct sig_device *out, const struct sig_msg *m, struct wr *scratch,
                      struct sig_fault *fault);
/* device.unregister: the device, or empty: the session's own. */
int sig_record_device_id(struct slice *device, const struct sig_msg *m, struct wr *scratch,
                         struct sig_fault *fault);

/* device.list's reply: begin, then for each device open, tokens, close; then end. */
struct sig_device_view {
    struct slice device, app, version, locale;
    const char *platform, *environment, *call_ui;
    uint64_t seen_ms;
    bool self; /* the one that asks */
};
void sig_record_devices_begin(struct wr *w, struct slice re);
void sig_record_device_open(struct wr *w, bool first, const struct sig_device_view *d);
/* Tokens are never shown, only that there is one. */
void sig_record_device_token(struct wr *w, bool first, const char *type, uint64_t registered_ms);
void sig_record_device_close(struct wr *w);
void sig_record_devices_end(struct wr *w);
/* The reply to device.register: how many tokens the device has now. */
void sig_record_registered(struct wr *w, struct slice re, struct slice device, size_t tokens);

/* ---- history ---- */

struct sig_history_query {
    struct slice cursor; /* where the page before ended; empty: from the newest */
    size_t limit;        /* 1 .. SIG_PAGE_MAX */
    bool missed_only;
};
int sig_record_query(struct sig_history_query *out, const struct sig_msg *m, struct wr *scratch,
                     struct sig_fault *fault);

/* history.seen, history.delete: some calls, or all up to a time. */
struct sig_history_pick {
    struct sig_call_id ids[SIG_PICK_MAX];
    size_t n;          /* 0: all up to until_ms */
    uint64_t until_ms; /* UINT64_MAX: not there */
};
int sig_record_pick(struct sig_history_pick *out, const struct sig_msg *m, struct sig_fault *fault);

struct sig_history_entry {
    const struct sig_call_id *call_id;
    bool video, group, missed, seen;
    const char *role, *outcome, *ended_by, *path;
    enum sig_reason reason;
    struct slice peer, device; /* may be empty */
    uint64_t created_ms, ring_ms, answer_ms, end_ms;
    /* Of the leg that is known best; samples 0: none could be judged, with silence_ms 0: none is.
     */
    unsigned samples, mos_avg_milli, mos_p10_milli, mos_min_milli;
    unsigned loss_permille, rtt_ms, jitter_ms, silence_ms;
    const char *quality_path;
    struct slice leg, codec, worst, network; /* the last two may be empty */
};
void sig_record_history_begin(struct wr *w, struct slice re);
void sig_record_history_entry(struct wr *w, bool first, const struct sig_history_entry *e);
/* missed: calls missed and not seen; cursor: empty when there are no older ones. */
void sig_record_history_end(struct wr *w, uint64_t missed, struct slice cursor);
/* The reply to history.seen and history.delete. */
void sig_record_missed(struct wr *w, enum sig_type type, struct slice re, uint64_t missed);

/* ---- privacy ---- */

/* privacy.status: the kind asked for; empty: not there. */
int sig_record_kind(struct slice *kind, const struct sig_msg *m, struct wr *scratch,
                    struct sig_fault *fault);

struct sig_privacy {
    const char *kind, *state;
    struct slice id, sha256; /* binary; empty: not there */
    uint64_t requested_ms, due_ms, expires_ms, bytes;
    struct slice url; /* of the file: path, made of URL characters; empty: not there */
    bool has_file, ndjson;
};
void sig_record_privacy(struct wr *w, enum sig_type type, struct slice re,
                        const struct sig_privacy *p);

#endif
