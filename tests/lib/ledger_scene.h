/* A ledger store in a directory of its own, and records to put into it: for the tests of
 * server/ledger*. The engine is SQLite, or what scene_engine says (pg_scene.h).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LEDGER_SCENE_H
#define SORI_TESTS_LEDGER_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/ledger_store_sqlite.h"

#define SCENE_DAY    UINT64_C(86400000)
#define SCENE_NOW    (UINT64_C(20000) * SCENE_DAY) /* 2024-10-04 */
#define SCENE_SECRET SLICE_LIT("0123456789abcdef0123456789abcdef")
#define A            SLICE_LIT("anna@example.org")
#define B            SLICE_LIT("berta@example.org")
#define C            SLICE_LIT("carl@example.org")

static char scene_dir[64], scene_file[96];
static struct ledger_store_conf scene_conf;
static char scene_why[LEDGER_STORE_WHY_MAX];

/* An engine to test: what it needs beside the directory, how it is opened, whether it holds a text
 * elsewhere, and what it answers to SQL: columns by |, rows by a newline. */
struct scene_engine {
    void (*make)(void); /* may be NULL, like holds */
    int (*open)(const struct ledger_store_conf *conf, uint64_t now_ms, struct ledger_store **out,
                char why[LEDGER_STORE_WHY_MAX]);
    bool (*holds)(const char *text);
    const char *(*ask)(const char *sql);
};
static inline const char *scene_sqlite_ask(const char *sql);
static const struct scene_engine scene_sqlite = {.open = ledger_sqlite_open,
                                                 .ask = scene_sqlite_ask};
static const struct scene_engine *scene_engine = &scene_sqlite;

/* A new directory, in memory where there is one: no test here is about a disk. */
static inline void scene_make(void)
{
    snprintf(scene_dir, sizeof(scene_dir), "%s/sori-ledger-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(scene_dir));
    snprintf(scene_file, sizeof(scene_file), "%s/ledger.db", scene_dir);
    scene_conf = (struct ledger_store_conf){.file = scene_file,
                                            .export_dir = "",
                                            .secret = SCENE_SECRET,
                                            .check = true,
                                            .devices_per_user = 3,
                                            .tokens_per_device = 8,
                                            .grace_days = 30,
                                            .export_keep_days = 7,
                                            .export_every_days = 1,
                                            .ndjson_calls = 10,
                                            .calls_days = 180,
                                            .samples_days = 14,
                                            .push_days = 30,
                                            .device_days = 90,
                                            .audit_days = 1095};
    if (scene_engine->make)
        scene_engine->make();
}

static inline void scene_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Runs a command of the test's own directory. */
static inline void scene_shell(const char *fmt, ...)
{
    char command[1024];
    char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", command, NULL};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    pid_t pid = fork();
    if (pid == 0) {
        execv("/bin/sh", argv);
        _exit(127);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static inline const char *scene_sqlite_ask(const char *sql)
{
    static char text[4096];
    char name[128];

    snprintf(name, sizeof(name), "%s/answer", scene_dir);
    scene_shell("sqlite3 '%s' \"%s\" > '%s'", scene_file, sql, name);
    FILE *in = fopen(name, "r");
    assert_non_null(in);
    size_t n = fread(text, 1, sizeof(text) - 1, in);
    fclose(in);
    text[n > 0 ? n - 1 : 0] = '\0'; /* without the last newline */
    return text;
}

/* What the engine says to SQL that both understand. */
#define scene_sql_is(sql, want) assert_string_equal(scene_engine->ask(sql), want)

static inline void scene_remove(void)
{
    scene_shell("rm -rf '%s'", scene_dir);
}

static inline struct ledger_store *scene_open(void)
{
    struct ledger_store *s = NULL;

    if (scene_engine->open(&scene_conf, SCENE_NOW, &s, scene_why) != 0)
        fail_msg("%s", scene_why);
    return s;
}

static inline void scene_close(struct ledger_store *s)
{
    s->ops->free(s);
}

/* Does one thing in a transaction of its own; gives its result. */
#define DO(s, call)                                      \
    ({                                                   \
        assert_int_equal((s)->ops->begin((s), true), 0); \
        int _rc = (s)->ops->call;                        \
        assert_int_equal((s)->ops->commit(s), 0);        \
        _rc;                                             \
    })

static inline struct sig_call_id scene_id(unsigned n)
{
    struct sig_call_id id = {{0xca, 0x11}};

    for (int i = 0; i < 4; i++)
        id.b[12 + i] = (uint8_t)(n >> (8 * (3 - i)));
    return id;
}

/* A call from one to the other that was answered, or (missed) rang in vain, at a time. */
static inline int scene_call(struct ledger_store *s, unsigned n, struct slice from, struct slice to,
                             uint64_t at_ms, bool missed)
{
    const struct ledger_party parties[] = {
        {.user = from, .device = SLICE_LIT("phone-1"), .role = LEDGER_CALLER},
        {.user = to,
         .device = missed ? (struct slice){0} : SLICE_LIT("phone-2"),
         .role = LEDGER_CALLEE,
         .missed = missed},
    };
    const struct ledger_call c = {
        .id = scene_id(n),
        .video = n % 2 == 1,
        .created_ms = at_ms,
        .ring_ms = at_ms + 100,
        .answer_ms = missed ? 0 : at_ms + 4000,
        .end_ms = at_ms + 34000,
        .outcome = missed ? LEDGER_MISSED : LEDGER_ANSWERED,
        .reason = missed ? SIG_REASON_TIMEOUT : SIG_REASON_HANGUP,
        .ended_by = missed ? LEDGER_BY_SYSTEM : LEDGER_BY_CALLEE,
        .path = LEDGER_TURN,
        .node = SLICE_LIT("node-1"),
        .region = SLICE_LIT("eu"),
        .relayed_bytes = 5000,
        .parties = parties,
        .parties_n = 2,
    };
    return DO(s, put_call(s, &c, true));
}

/* A moment of a call's quality, and a summary, of a user. */
static inline int scene_sample(struct ledger_store *s, unsigned n, struct slice user,
                               uint64_t at_ms)
{
    const struct ledger_sample v = {.call_id = scene_id(n),
                                    .user = user,
                                    .leg = SLICE_LIT("heard"),
                                    .codec = SLICE_LIT("opus"),
                                    .path = LEDGER_TURN,
                                    .at_ms = at_ms,
                                    .interval_ms = 10000,
                                    .rtt_ms = 84,
                                    .loss_permille = 12,
                                    .burst_centi = 150,
                                    .bps = 24000,
                                    .r_milli = 81500,
                                    .mos_milli = 4070};

    return DO(s, put_sample(s, &v));
}

/* What a page of history holds, as text: "3< berta@… missed unseen; 2> …". */
struct scene_page {
    char text[4096];
    size_t n;
    bool more;
    struct ledger_cursor last;
    struct ledger_entry first;
};

static inline void scene_on_entry(void *ctx, const struct ledger_entry *e)
{
    struct scene_page *p = ctx;
    size_t len = strlen(p->text);
    unsigned n = 0;

    for (int i = 0; i < 4; i++)
        n = n << 8 | e->id.b[12 + i];
    if (p->n == 0)
        p->first = *e;
    snprintf(p->text + len, sizeof(p->text) - len, "%s%u%s%.*s%s%s%s", p->n > 0 ? " " : "", n,
             e->role == LEDGER_CALLER ? ">" : "<", (int)(e->peer.len < 5 ? e->peer.len : 5),
             e->peer.len > 0 ? (const char *)e->peer.p : "", e->missed ? "!" : "",
             e->seen ? "s" : "", e->hidden ? "h" : "");
    p->last = (struct ledger_cursor){e->created_ms, e->id};
    p->n++;
}

/* The newest entries of a user. */
static inline struct scene_page scene_history(struct ledger_store *s, struct slice user)
{
    struct scene_page p = {.n = 0};
    const struct ledger_query q = {.user = user, .limit = LEDGER_PAGE_MAX};

    assert_int_equal(DO(s, history(s, &q, scene_on_entry, &p, &p.more)), 0);
    return p;
}

static inline uint64_t scene_badge(struct ledger_store *s, struct slice user)
{
    uint64_t n = 0;

    assert_int_equal(DO(s, badge(s, user, &n)), 0);
    return n;
}

/* A device with one voip token. */
static inline int scene_device(struct ledger_store *s, struct slice user, const char *device,
                               const char *token, uint64_t at_ms)
{
    const struct ledger_token t = {
        .type = LEDGER_VOIP, .token = slice_str(token), .registered_ms = at_ms};
    const struct ledger_device d = {.user = user,
                                    .device = slice_str(device),
                                    .app = SLICE_LIT("com.acme.talk"),
                                    .version = SLICE_LIT("1.2"),
                                    .locale = SLICE_LIT("ko_KR"),
                                    .platform = LEDGER_IOS,
                                    .env = LEDGER_SANDBOX,
                                    .call_ui = LEDGER_LCK,
                                    .seen_ms = at_ms,
                                    .tokens = &t,
                                    .tokens_n = 1};
    return DO(s, put_device(s, &d));
}

static inline void scene_on_device(void *ctx, const struct ledger_device *d)
{
    char *text = ctx;
    size_t len = strlen(text);

    len += (size_t)snprintf(text + len, 4096 - len, "%s%.5s/%.*s", len > 0 ? " " : "",
                            (const char *)d->user.p, SLICE_FMT(d->device));
    for (size_t i = 0; i < d->tokens_n; i++)
        len += (size_t)snprintf(text + len, 4096 - len, "=%s:%.*s",
                                ledger_token_type_name(d->tokens[i].type),
                                SLICE_FMT(d->tokens[i].token));
}

/* All devices, "anna@/phone=voip:TOKEN". */
static inline const char *scene_devices(struct ledger_store *s)
{
    static char text[4096];
    const struct ledger_device_key from = {.user = {0}};
    bool more;

    text[0] = '\0';
    assert_int_equal(DO(s, devices(s, &from, 100, scene_on_device, text, &more)), 0);
    assert_false(more);
    return text;
}

/* Sweeps until nothing is left to do. */
static inline unsigned scene_sweep(struct ledger_store *s, uint64_t now_ms)
{
    unsigned n = 0;
    bool more = true;

    while (more) {
        assert_int_equal(DO(s, sweep(s, now_ms, &more)), 0);
        assert_in_range(++n, 1, 1000000);
    }
    return n;
}

/* Whether a file of the directory, or the engine, holds the text. */
static inline bool scene_greps(const char *text)
{
    char command[256];

    snprintf(command, sizeof(command), "grep -raqF -- '%s' '%s'", text, scene_dir);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status == 0 || (scene_engine->holds && scene_engine->holds(text));
}

#endif
