/* Bob's phone at a node of several (far_world.h), and its calls, which other nodes run.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_FAR_SCENE_H
#define SORI_TESTS_LIB_FAR_SCENE_H

#include "tests/lib/far_world.h"

#include <setjmp.h>
#include <cmocka.h>

#define CALL  "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f"
#define CALL2 "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e80"

#define ANSWER_US (5 * US_PER_S)
#define ORPHAN_US (15 * US_PER_S)
#define AGAIN_US  (200 * US_PER_MS)

static inline bool has(const char *text, const char *part)
{
    if (text && strstr(text, part))
        return true;
    printf("# '%s' lacks '%s'\n", text ? text : "(nothing)", part);
    return false;
}

/* Bob's phone says hello; Redis has not told its user's calls yet. */
static inline struct fake *come(struct world *w)
{
    struct fake *f = fake_open(w->r, 1);

    fake_hello(f, "bob", "phone", NULL);
    assert_true(has(fake_next(f), "\"type\":\"welcome\""));
    w->r->messages = w->r->candidates = w->r->frames = (struct bucket_rule){0}; /* no limits */
    far_redis(w);
    return f;
}

/* The same, and there are none. What is counted begins here. */
static inline struct fake *join(struct world *w)
{
    struct fake *f = come(w);

    far_answer(w, NULL, NULL);
    assert_true(far_open() == 0 && far_world.heard_n == 0 && list_empty(&w->r->far->holds));
    far_world.looks = 0;
    return f;
}

static inline struct session *session_of(const struct world *w)
{
    return router_find_session(w->r, SLICE_LIT("bob"), SLICE_LIT("phone"));
}

/* Text of a request; without an id when that is NULL. */
static inline const char *text_of(const char *type, const char *id, const char *call,
                                  const char *data)
{
    static char text[40000];

    snprintf(text, sizeof(text), "{\"type\":\"%s\"%s%s%s,\"callId\":\"%s\"%s%s}", type,
             id ? ",\"id\":\"" : "", id ? id : "", id ? "\"" : "", call, data ? ",\"data\":" : "",
             data ? data : "");
    return text;
}

#define ANSWER_OF(sdp) "{\"answer\":{\"type\":\"answer\",\"sdp\":\"" sdp "\"}}"
#define ANSWER         ANSWER_OF("v=0")
#define CONNECTED      "{\"connectionState\":\"connected\"}"
#define CANDIDATE      "{\"candidates\":[{\"candidate\":\"candidate:1\",\"sdpMid\":\"0\"}]}"

static inline void say(struct world *w, struct fake *f, const char *type, const char *id,
                       const char *call, const char *data)
{
    fake_say(f, text_of(type, id, call, data));
    far_pass(w, 0);
}

/* The n-th body that was sent is the session's request of this text, for that node. */
static inline bool is_asked(const struct world *w, size_t n, char node, const char *text)
{
    const struct far_heard *h = &far_world.heard[n];

    return n < far_world.heard_n && h->kind == FAR_ASK && h->node == node &&
           memcmp(h->session, session_of(w)->id, sizeof(h->session)) == 0 && has(h->text, text);
}

static inline bool is_told(size_t n, char node, enum call_event_kind event, const char *call)
{
    const struct far_heard *h = &far_world.heard[n];
    const struct sig_call_id id = far_call_id(call);

    return n < far_world.heard_n && h->kind == FAR_EVENT && h->node == node && h->event == event &&
           sig_call_id_eq(&h->call, &id) && strcmp(h->device, "phone") == 0;
}

/* A node that runs a call says something of it to bob's phone. */
static inline void node_says(struct world *w, char node, const char *call, const char *text)
{
    far_says(w, node,
             &(struct far_message){.kind = FAR_SAY,
                                   .call = far_call_id(call),
                                   .user = SLICE_LIT("bob"),
                                   .device = SLICE_LIT("phone"),
                                   .text = slice_str(text)});
}

/* It answers the n-th body that was sent. */
static inline void node_replies(struct world *w, size_t n, const char *text)
{
    const struct far_heard *h = &far_world.heard[n];
    struct far_message m = {.kind = FAR_SAY,
                            .call = h->call,
                            .user = SLICE_LIT("bob"),
                            .device = SLICE_LIT("phone"),
                            .id_hash = h->id_hash,
                            .flags = FAR_REPLY,
                            .text = slice_str(text)};

    memcpy(m.session, h->session, sizeof(m.session));
    far_says(w, h->node, &m);
}

static inline bool is_not_found(struct fake *f, const char *id)
{
    const char *m = fake_next(f);

    return has(m, "call.not_found") && strcmp(fake_field(m, "\"re\":"), id) == 0;
}

/* Whose the call is could not be told. */
static inline bool is_unknown(struct fake *f, const char *id)
{
    const char *m = fake_next(f);

    return has(m, "store.unavailable") && strcmp(fake_field(m, "\"re\":"), id) == 0;
}

/* Bob's phone in a call that b runs, of which it has heard. */
static inline struct fake *in_call_of_b(struct world *w)
{
    struct fake *f = join(w);

    node_says(w, 'b', CALL, "\"type\":\"call.info\"}");
    assert_true(has(fake_next(f), "call.info"));
    return f;
}

#endif
