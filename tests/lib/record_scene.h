/* A router with a real ledger in a file, run inline, and two users: for the tests of what is kept.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_RECORD_SCENE_H
#define SORI_TESTS_LIB_RECORD_SCENE_H

#include "tests/lib/ledger_scene.h"

#include "tests/lib/fake_push.h"
#include "tests/lib/fake_world.h"

#define CALL  "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e7f"
#define CALL2 "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e80"
#define CALL3 "0192f3e4-7b1c-7d0e-9c1f-2b3a4c5d6e81"

static struct {
    struct world *w;
    struct device_dir *dir;
    struct ledger *ledger;
    struct fake_push push;
    struct fake *alice, *bob;
    unsigned entered, swept;
} scene;

static inline bool has(const char *text, const char *part)
{
    if (text && strstr(text, part))
        return true;
    printf("# '%s' lacks '%s'\n", text ? text : "(nothing)", part);
    return false;
}

static inline const char *until(struct fake *f, const char *part)
{
    const char *m;

    while ((m = fake_next(f)) && !strstr(m, part))
        ;
    return m;
}

static inline void enter(void *arg)
{
    (void)arg;
    scene.entered++;
}

static inline void sweep(void *arg)
{
    (void)arg;
    scene.swept++;
}

/* The ledger does all that waits, and answers. */
static inline void commit(void)
{
    for (int i = 0; i < 10; i++) {
        if (ledger_run(scene.ledger) > 0)
            (void)ledger_deliver(scene.ledger);
    }
}

static inline struct fake *join(const char *user, const char *device)
{
    struct fake *f = fake_open(scene.w->r, 1);

    fake_hello(f, user, device, NULL);
    assert_true(has(fake_next(f), "\"type\":\"welcome\""));
    return f;
}

static inline void say(struct fake *f, const char *type, const char *id, const char *call,
                       const char *more)
{
    char text[1200];

    snprintf(text, sizeof(text), "{\"type\":\"%s\",\"id\":\"%s\"%s%s%s%s}", type, id,
             call ? ",\"callId\":\"" : "", call ? call : "", call ? "\"" : "", more);
    fake_say(f, text);
}

static inline void dial(struct fake *f, const char *id, const char *call, const char *to)
{
    char more[300];

    snprintf(more, sizeof(more),
             ",\"to\":\"%s\",\"data\":{\"offer\":{\"type\":\"offer\",\"sdp\":\"v=0\"},\"metadata\":"
             "{\"isVideo\":true}}",
             to);
    say(f, "call.invite", id, call, more);
}

/* The answer to a record request. */
static inline const char *ask(struct fake *f, const char *type, const char *id, const char *more)
{
    char re[32];

    say(f, type, id, NULL, more);
    commit();
    snprintf(re, sizeof(re), "\"re\":\"%s\"", id);
    return until(f, re);
}

#define DEVICE(tokens) \
    ",\"data\":{\"platform\":\"ios\",\"app\":\"com.acme.talk\",\"tokens\":[" tokens "]}"
#define TOKEN(t, hex) "{\"type\":\"" t "\",\"token\":\"" hex "\"}"

static inline int start(void **state)
{
    const struct device_dir_conf dir = {
        .devices = 100, .devices_per_user = 3, .tokens_per_device = 8};
    const struct ledger_conf conf = {
        .queue = 100, .queue_bytes = 1 << 20, .batch = 50, .history = true};

    memset(&scene, 0, sizeof(scene));
    if (setup((void **)&scene.w) != 0)
        return -1;
    scene_make();
    scene.ledger = ledger_new(&conf, scene_open(), NULL, NULL);
    scene.dir = device_dir_new(&dir);
    fake_push_init(&scene.push);
    router_set_ledger(scene.w->r, scene.ledger, enter, sweep, NULL);
    if (!router_set_push(scene.w->r, scene.dir, &scene.push.service))
        return -1;
    scene.alice = join("alice", "laptop");
    scene.bob = join("bob", "phone");
    *state = &scene;
    return 0;
}

static inline int stop(void **state)
{
    void *w = scene.w;

    (void)state;
    fake_free(scene.alice);
    fake_free(scene.bob);
    teardown(&w);
    ledger_free(scene.ledger);
    device_dir_free(scene.dir);
    scene_remove();
    return 0;
}

#endif
