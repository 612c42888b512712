/* Tests of server/ledger.c on a scripted store: order, batches, trouble, limits, answers, memory.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "server/ledger_store.h"

#define A SLICE_LIT("anna")
#define P SLICE_LIT("phone")

/* What the store was told and what done heard, as text. */
static char did[8192], heard[8192];
static struct {
    struct ledger_store base;
    enum ledger_health health;
    int fail_commits, fail_begins, fail_recovers; /* the next so many, with -EAGAIN */
    int eagain_at;                                /* the n-th operation from now; -1: none */
    int next_rc;                                  /* of the next operation */
    bool freed;
} disk;
static struct ledger *l;
static unsigned woken;

static void note(char *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(char *log, const char *fmt, ...)
{
    size_t len = strlen(log);
    va_list ap;

    va_start(ap, fmt);
    if (len > 0)
        log[len++] = ' ';
    vsnprintf(log + len, 8192 - len, fmt, ap);
    va_end(ap);
}

static int next_rc(void)
{
    int rc = disk.next_rc;

    disk.next_rc = 0;
    if (disk.eagain_at == 0) {
        disk.health = LEDGER_DISK_FULL;
        rc = -EAGAIN;
    }
    if (disk.eagain_at >= 0)
        disk.eagain_at--;
    return rc;
}

static enum ledger_health s_health(struct ledger_store *s)
{
    (void)s;
    return disk.health;
}
static const char *s_detail(struct ledger_store *s)
{
    (void)s;
    return "";
}
static int s_recover(struct ledger_store *s, uint64_t now_ms)
{
    (void)s;
    (void)now_ms;
    note(did, "recover");
    if (disk.fail_recovers > 0) {
        disk.fail_recovers--;
        return -EAGAIN;
    }
    return 0;
}
static int s_begin(struct ledger_store *s, bool write)
{
    (void)s;
    note(did, write ? "begin" : "begin-read");
    return disk.fail_begins > 0 ? disk.fail_begins--, -EAGAIN : 0;
}
static int s_commit(struct ledger_store *s)
{
    (void)s;
    if (disk.fail_commits > 0) {
        disk.fail_commits--;
        disk.health = LEDGER_DISK_FULL;
        note(did, "commit!");
        return -EAGAIN;
    }
    note(did, "commit");
    disk.health = LEDGER_FINE;
    return 0;
}
static void s_rollback(struct ledger_store *s)
{
    (void)s;
    note(did, "rollback");
}
static int s_put_call(struct ledger_store *s, const struct ledger_call *c, bool history)
{
    (void)s;
    note(did, "call%llu/%zu%s", (unsigned long long)c->created_ms, c->parties_n,
         history ? "" : "-");
    if (c->parties_n > 0)
        note(did, "%.*s", SLICE_FMT(c->parties[0].user));
    return next_rc();
}
static int s_count_push(struct ledger_store *s, const struct ledger_push *p)
{
    (void)s;
    (void)p;
    return 0;
}

static int s_put_push(struct ledger_store *s, const struct ledger_push *p)
{
    (void)s;
    note(did, "push:%.*s:%.*s:%.*s", SLICE_FMT(p->apns_id), SLICE_FMT(p->kind),
         SLICE_FMT(p->reason));
    return next_rc();
}
static int s_put_quality(struct ledger_store *s, const struct ledger_quality *q)
{
    (void)s;
    note(did, "quality:%.*s:%.*s", SLICE_FMT(q->leg), SLICE_FMT(q->model));
    return next_rc();
}
static int s_put_sample(struct ledger_store *s, const struct ledger_sample *v)
{
    (void)s;
    note(did, "sample:%.*s:%.*s", SLICE_FMT(v->leg), SLICE_FMT(v->codec));
    return next_rc();
}
static int s_put_device(struct ledger_store *s, const struct ledger_device *d)
{
    (void)s;
    note(did, "device:%.*s:%.*s", SLICE_FMT(d->device),
         d->tokens_n > 0 ? (int)d->tokens[0].token.len : 0,
         d->tokens_n > 0 ? (const char *)d->tokens[0].token.p : "");
    return next_rc();
}
static int s_del_device(struct ledger_store *s, struct slice user, struct slice device)
{
    (void)s;
    note(did, "del:%.*s/%.*s", SLICE_FMT(user), SLICE_FMT(device));
    return next_rc();
}
static int s_bad_token(struct ledger_store *s, struct slice token, uint64_t since_ms)
{
    (void)s;
    note(did, "bad:%.*s@%llu", SLICE_FMT(token), (unsigned long long)since_ms);
    return next_rc();
}
static int s_set_env(struct ledger_store *s, struct slice u, struct slice d, enum ledger_env env)
{
    (void)s;
    note(did, "env:%.*s/%.*s=%s", SLICE_FMT(u), SLICE_FMT(d), ledger_env_name(env));
    return next_rc();
}
static int s_touch(struct ledger_store *s, struct slice u, struct slice d, uint64_t now_ms)
{
    (void)s;
    note(did, "touch:%.*s/%.*s@%llu", SLICE_FMT(u), SLICE_FMT(d), (unsigned long long)now_ms);
    return next_rc();
}
static int s_history(struct ledger_store *s, const struct ledger_query *q, ledger_entry_fn *row,
                     void *ctx, bool *more)
{
    char peer[] = "peer-0";

    (void)s;
    note(did, "history:%zu%s%s", q->limit, q->after ? "+" : "", q->missed_only ? "!" : "");
    for (size_t i = 0; i < q->limit; i += 2) {
        peer[5] = (char)('0' + i % 10);
        row(ctx, &(struct ledger_entry){.peer = SLICE_LIT(""), .created_ms = i});
        row(ctx, &(struct ledger_entry){.peer = slice_str(peer), .model = SLICE_LIT("m")});
    }
    *more = true;
    return next_rc();
}
static int s_devices(struct ledger_store *s, const struct ledger_device_key *after, size_t limit,
                     ledger_device_fn *row, void *ctx, bool *more)
{
    const struct ledger_token t = {.token = SLICE_LIT("tok")};

    (void)s;
    note(did, "devices:%.*s/%.*s:%zu", SLICE_FMT(after->user), SLICE_FMT(after->device), limit);
    row(ctx, &(struct ledger_device){.user = A, .device = P, .tokens = &t, .tokens_n = 1});
    row(ctx, &(struct ledger_device){.user = A, .device = SLICE_LIT("pad")});
    *more = false;
    return next_rc();
}
static int s_devices_of(struct ledger_store *s, struct slice user, ledger_device_fn *row, void *ctx)
{
    (void)s;
    note(did, "devices of %.*s", SLICE_FMT(user));
    row(ctx, &(struct ledger_device){.user = user, .device = P});
    return next_rc();
}
static int s_badge(struct ledger_store *s, struct slice user, uint64_t *count)
{
    (void)s;
    (void)user;
    note(did, "badge");
    *count = 3;
    return next_rc();
}
static int s_mark(struct ledger_store *s, struct slice user, const struct sig_call_id *ids,
                  size_t n, uint64_t until_ms)
{
    (void)s;
    (void)user;
    note(did, "mark:%zu:%d:%llu", n, n > 0 ? ids[n - 1].b[0] : 0, (unsigned long long)until_ms);
    return next_rc();
}
static int s_ask(struct ledger_store *s, struct slice user, struct slice actor, uint64_t now_ms,
                 struct ledger_privacy *out)
{
    (void)s;
    note(did, "ask:%.*s:%.*s:%llu", SLICE_FMT(user), SLICE_FMT(actor), (unsigned long long)now_ms);
    out->state = LEDGER_PRIVACY_PENDING;
    return next_rc();
}
static int s_privacy(struct ledger_store *s, struct slice user, enum ledger_privacy_kind kind,
                     struct ledger_privacy *out)
{
    (void)s;
    (void)user;
    note(did, "privacy:%s", ledger_privacy_kind_name(kind));
    out->state = LEDGER_PRIVACY_DONE;
    return next_rc();
}
static int s_hold(struct ledger_store *s, struct slice user, struct slice actor, bool on,
                  uint64_t now_ms)
{
    (void)s;
    note(did, "%s:%.*s:%.*s:%llu", on ? "hold" : "unhold", SLICE_FMT(user), SLICE_FMT(actor),
         (unsigned long long)now_ms);
    return next_rc();
}
static int s_holds(struct ledger_store *s, ledger_device_fn *row, void *ctx)
{
    const struct ledger_device d = {.user = SLICE_LIT("ann"), .seen_ms = 7};

    (void)s;
    note(did, "holds");
    row(ctx, &d);
    return next_rc();
}
static int s_sweep(struct ledger_store *s, uint64_t now_ms, bool *more)
{
    (void)s;
    note(did, "sweep%llu", (unsigned long long)now_ms);
    *more = true;
    return next_rc();
}
static void s_free(struct ledger_store *s)
{
    (void)s;
    disk.freed = true;
}
static const struct ledger_store_ops OPS = {
    s_health,   s_detail,     s_recover,     s_begin,      s_commit,     s_rollback,   s_put_call,
    s_put_push, s_count_push, s_put_quality, s_put_sample, s_put_device, s_del_device, s_bad_token,
    s_set_env,  s_touch,      s_history,     s_devices,    s_devices_of, s_badge,      s_mark,
    s_mark,     s_ask,        s_ask,         s_ask,        s_privacy,    s_hold,       s_holds,
    s_sweep,    NULL,         NULL,          NULL,         s_free,
};

static void on_wake(void *arg)
{
    (void)arg;
    woken++;
}

/* done: says its name, the result and what came with it. */
static void on_done(void *ctx, int rc, const struct ledger_result *r)
{
    note(heard, "%s=%d", (const char *)ctx, rc);
    if (rc != 0)
        return;
    if (r->entries_n > 0)
        note(heard, "entries:%zu:%.*s:%.*s more:%d", r->entries_n, SLICE_FMT(r->entries[1].peer),
             SLICE_FMT(r->entries[1].model), r->more);
    if (r->devices_n > 0)
        note(heard, "devices:%zu:%.*s:%.*s", r->devices_n, SLICE_FMT(r->devices[1].device),
             SLICE_FMT(r->devices[0].tokens[0].token));
    if (r->count > 0)
        note(heard, "count:%llu", (unsigned long long)r->count);
    if (r->privacy.state != LEDGER_PRIVACY_NONE)
        note(heard, "%s", ledger_privacy_state_name(r->privacy.state));
}

static void make(struct ledger_conf conf)
{
    memset(&disk, 0, sizeof(disk));
    disk.base.ops = &OPS;
    disk.eagain_at = -1;
    did[0] = heard[0] = '\0';
    woken = 0;
    l = ledger_new(&conf, &disk.base, on_wake, NULL);
    assert_non_null(l);
}

static int set_up(void **state)
{
    (void)state;
    make((struct ledger_conf){.queue = 100, .queue_bytes = 100000, .batch = 3, .history = true});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ledger_free(l);
    l = NULL;
    return 0;
}

static int call(uint64_t n, const char *name)
{
    char user[] = "anna";
    const struct ledger_party party = {.user = slice_str(user), .device = P};
    const struct ledger_call c = {.created_ms = n, .parties = &party, .parties_n = 1};
    int rc = ledger_put_call(l, &c, name ? on_done : NULL, (void *)(uintptr_t)name);

    memset(user, 'x', 4); /* it was copied */
    return rc;
}

static long turn(void)
{
    long n = ledger_run(l);

    ledger_deliver(l);
    return n;
}

static void test_done_comes_after_the_commit_in_order(void **state)
{
    (void)state;
    assert_int_equal(call(1, "a"), 0);
    assert_int_equal(call(2, "b"), 0);
    assert_int_equal(ledger_badge(l, A, on_done, "c"), 0);
    assert_int_equal(call(4, "d"), 0); /* the next batch */
    assert_int_equal(woken, 1);
    assert_int_equal(ledger_queued(l), 4);
    assert_int_equal(ledger_run(l), 3);
    assert_string_equal(did, "begin call1/1 anna call2/1 anna badge commit");
    assert_string_equal(heard, "");
    assert_int_equal(ledger_deliver(l), 3);
    assert_string_equal(heard, "a=0 b=0 c=0 count:3");
    assert_int_equal(turn(), 1);
    assert_int_equal(turn(), 0);
    assert_int_equal(ledger_queued(l), 0);
    call(5, "e");
    assert_int_equal(woken, 2);
    assert_int_equal(counter_get(&ledger_count(l)->records), 3);
    assert_int_equal(counter_get(&ledger_count(l)->batches), 2);
}

static void test_everything_reaches_the_store(void **state)
{
    const struct sig_call_id ids[] = {{{1}}, {{2}}};
    const struct ledger_push push = {.apns_id = SLICE_LIT("id"),
                                     .user = A,
                                     .device = P,
                                     .kind = SLICE_LIT("voip"),
                                     .reason = SLICE_LIT("Gone")};
    const struct ledger_quality q = {.user = A, .leg = SLICE_LIT("up"), .model = SLICE_LIT("g107")};
    const struct ledger_sample v = {
        .user = A, .leg = SLICE_LIT("heard"), .codec = SLICE_LIT("opus")};
    const struct ledger_token t = {.token = SLICE_LIT("tok")};
    const struct ledger_device d = {.user = A, .device = P, .tokens = &t, .tokens_n = 1};
    const struct ledger_cursor cursor = {0};
    const struct ledger_query query = {
        .user = A, .limit = 4, .after = &cursor, .missed_only = true};

    (void)state;
    assert_int_equal(ledger_put_push(l, &push, NULL, NULL), 0);
    assert_int_equal(ledger_put_quality(l, &q, NULL, NULL), 0);
    assert_int_equal(ledger_put_sample(l, &v, NULL, NULL), 0);
    assert_int_equal(ledger_put_device(l, &d, on_done, "dev"), 0);
    assert_int_equal(ledger_del_device(l, A, P, on_done, "del"), 0);
    assert_int_equal(ledger_bad_token(l, SLICE_LIT("tok"), 77, NULL, NULL), 0);
    assert_int_equal(ledger_set_env(l, A, P, LEDGER_SANDBOX, NULL, NULL), 0);
    assert_int_equal(ledger_touch(l, A, P, 9, NULL, NULL), 0);
    assert_int_equal(ledger_history(l, &query, on_done, "his"), 0);
    assert_int_equal(ledger_seen(l, A, ids, 2, 0, on_done, "seen"), 0);
    assert_int_equal(ledger_hide(l, A, NULL, 0, 5, on_done, "hide"), 0);
    assert_int_equal(ledger_erase(l, A, SLICE_LIT("user"), 6, on_done, "erase"), 0);
    assert_int_equal(ledger_privacy(l, A, LEDGER_EXPORT, on_done, "priv"), 0);
    assert_int_equal(ledger_devices(l, A, P, 2, on_done, "devs"), 0);
    assert_int_equal(ledger_sweep(l, 8, on_done, "sweep"), 0);
    while (turn() > 0)
        ;
    assert_string_equal(
        did, "begin push:id:voip:Gone quality:up:g107 sample:heard:opus commit begin "
             "device:phone:tok del:anna/phone bad:tok@77 commit begin env:anna/phone=sandbox "
             "touch:anna/phone@9 history:4+! badge commit begin mark:2:2:0 badge mark:0:0:5 badge "
             "ask:anna:user:6 commit begin privacy:export devices:anna/phone:2 sweep8 commit");
    assert_string_equal(heard, "dev=0 del=0 his=0 entries:4:peer-0:m more:1 count:3 seen=0 count:3 "
                               "hide=0 count:3 erase=0 pending priv=0 done devs=0 "
                               "devices:2:pad:tok sweep=0");
}

static void test_what_is_not_a_record_is_refused(void **state)
{
    static uint8_t big[LEDGER_TOKEN_MAX + 1];
    struct ledger_party many[LEDGER_PARTIES_MAX + 1] = {{.user = {0}}};
    const struct ledger_call none = {.parties = many, .parties_n = 1};
    const struct ledger_call crowd = {.parties = many, .parties_n = ARRAY_LEN(many)};
    const struct ledger_push push = {.user = A, .device = P};
    const struct ledger_token t = {.token = slice_of(big, sizeof(big))};
    const struct ledger_device d = {.user = A, .device = P, .tokens = &t, .tokens_n = 1};
    const struct ledger_query q = {.user = A, .limit = LEDGER_PAGE_MAX + 1};
    const struct ledger_query zero = {.user = A};

    (void)state;
    assert_int_equal(ledger_put_call(l, &none, NULL, NULL), -EINVAL);
    assert_int_equal(ledger_put_call(l, &crowd, NULL, NULL), -EINVAL);
    assert_int_equal(ledger_put_push(l, &push, NULL, NULL), -EINVAL);
    assert_int_equal(ledger_put_device(l, &d, NULL, NULL), -EINVAL);
    assert_int_equal(ledger_history(l, &q, NULL, NULL), -EINVAL);
    assert_int_equal(ledger_history(l, &zero, NULL, NULL), -EINVAL);
    assert_int_equal(ledger_erase(l, A, (struct slice){0}, 0, NULL, NULL), -EINVAL);
    assert_int_equal(ledger_bad_token(l, (struct slice){0}, 0, NULL, NULL), -EINVAL);
    assert_int_equal(ledger_queued(l), 0);
}

static void test_records_wait_for_a_disk_and_requests_do_not(void **state)
{
    (void)state;
    disk.fail_commits = 2;
    disk.fail_recovers = 1;
    call(1, "a");
    assert_int_equal(ledger_del_device(l, A, P, on_done, "req"), 0);
    call(2, "b");
    assert_int_equal(turn(), -EAGAIN);
    assert_string_equal(did, "begin call1/1 anna del:anna/phone call2/1 anna commit! rollback");
    assert_string_equal(heard, "req=-11");
    assert_int_equal(ledger_health(l), LEDGER_DISK_FULL);
    assert_int_equal(counter_get(&ledger_count(l)->health[LEDGER_DISK_FULL]), 1);
    assert_int_equal(counter_get(&ledger_count(l)->health[LEDGER_FINE]), 0);
    did[0] = heard[0] = '\0';
    for (int i = 3; i < 6; i++)
        call((uint64_t)i, "r");
    ledger_badge(l, A, on_done, "read"); /* behind all of them: is not held up */
    ledger_erase(l, A, A, 0, on_done, "write");
    assert_int_equal(turn(), -EAGAIN);
    assert_string_equal(did, "badge recover");
    assert_string_equal(heard, "read=0 count:3 write=-11");
    assert_int_equal(turn(), -EAGAIN); /* the disk is still full */
    assert_int_equal(turn(), 3);
    assert_int_equal(ledger_health(l), LEDGER_FINE);
    assert_int_equal(turn(), 2);
    assert_string_equal(heard, "read=0 count:3 write=-11 a=0 b=0 r=0 r=0 r=0");
    assert_int_equal(counter_get(&ledger_count(l)->retries), 2);
}

static void test_an_operation_that_meets_trouble_ends_the_batch(void **state)
{
    (void)state;
    disk.eagain_at = 1;
    call(1, "a");
    call(2, "b");
    call(3, "c");
    assert_int_equal(turn(), -EAGAIN);
    assert_string_equal(did, "begin call1/1 anna call2/1 anna rollback");
    assert_string_equal(heard, "");
    assert_int_equal(turn(), 3);
    assert_string_equal(heard, "a=0 b=0 c=0");
}

static void test_a_record_of_its_own_fault_does_not_stop_others(void **state)
{
    (void)state;
    disk.next_rc = -EIO;
    call(1, "a");
    call(2, "b");
    assert_int_equal(turn(), 2);
    assert_string_equal(heard, "a=-5 b=0");
    assert_int_equal(counter_get(&ledger_count(l)->failed), 1);
    assert_int_equal(counter_get(&ledger_count(l)->records), 1);
}

static void test_recovery_without_work_is_noticed(void **state)
{
    (void)state;
    ledger_free(l);
    struct ledger_conf conf = {.queue = 9, .queue_bytes = 9999, .batch = 3, .history = true};
    memset(&disk, 0, sizeof(disk));
    disk.base.ops = &OPS;
    disk.eagain_at = -1;
    disk.health = LEDGER_READ_ONLY;
    did[0] = '\0';
    l = ledger_new(&conf, &disk.base, NULL, NULL);
    assert_int_equal(ledger_health(l), LEDGER_READ_ONLY);
    assert_int_equal(turn(), 0);
    assert_int_equal(ledger_health(l), LEDGER_FINE);
    assert_string_equal(did, "recover begin-read commit");
}

static uint64_t fake_us;
static uint64_t fake_now_us(void)
{
    return fake_us;
}

static void test_trouble_is_tried_with_growing_pauses(void **state)
{
    unsigned tries = 0;

    (void)state;
    ledger_free(l);
    make((struct ledger_conf){
        .queue = 9, .queue_bytes = 9999, .batch = 3, .history = true, .now_us = fake_now_us});
    disk.fail_begins = 1;
    disk.fail_recovers = 1000;
    call(1, "a");
    fake_us = 1000;
    turn();
    assert_int_equal(ledger_health(l), LEDGER_TROUBLE);
    for (int i = 0; i < 240; i++) { /* a minute of ticks */
        did[0] = '\0';
        assert_int_equal(turn(), -EAGAIN);
        tries += strstr(did, "recover") != NULL;
        fake_us += 250 * US_PER_MS;
    }
    assert_in_range(tries, 8, 14);
    disk.fail_recovers = 0;
    fake_us += 20 * US_PER_S; /* the longest pause, with its jitter */
    assert_int_equal(turn(), 1);
    assert_string_equal(heard, "a=0");
}

static void test_the_queue_is_bounded(void **state)
{
    unsigned n = 0;

    (void)state;
    while (call(n, NULL) == 0)
        n++;
    assert_int_equal(n, 100);
    assert_int_equal(call(n, NULL), -ENOSPC);
    assert_int_equal(counter_get(&ledger_count(l)->refused), 2);
    assert_int_equal(ledger_sweep(l, 1, NULL, NULL), 0); /* our own */
    while (turn() > 0)
        ;
    assert_int_equal(call(n, NULL), 0);
}

static void test_the_queue_is_bounded_in_bytes(void **state)
{
    static uint8_t token[LEDGER_TOKEN_MAX];
    const struct ledger_token t[] = {{.token = slice_of(token, sizeof(token))}};
    const struct ledger_device d = {.user = A, .device = P, .tokens = t, .tokens_n = 1};
    unsigned n = 0;

    (void)state;
    while (ledger_put_device(l, &d, NULL, NULL) == 0)
        n++;
    assert_in_range(n, 20, 50);
    assert_int_equal(turn(), 3);
    assert_int_equal(ledger_put_device(l, &d, NULL, NULL), 0);
}

static void test_without_history_calls_are_only_counted(void **state)
{
    const struct ledger_push push = {.apns_id = SLICE_LIT("id"), .user = A, .device = P};
    const struct ledger_quality q = {.user = A};

    (void)state;
    ledger_free(l);
    make((struct ledger_conf){.queue = 9, .queue_bytes = 9999, .batch = 9});
    call(1, "a");
    ledger_put_push(l, &push, on_done, "b");
    ledger_put_quality(l, &q, on_done, "c");
    turn();
    assert_string_equal(did, "begin call1/1- anna commit");
    assert_string_equal(heard, "a=0 b=0 c=0");
}

static void on_done_again(void *ctx, int rc, const struct ledger_result *r)
{
    (void)rc;
    (void)r;
    call(2, ctx);
}

static unsigned asked;
static void on_asked(void *arg)
{
    (void)arg;
    asked++;
}

static void test_what_there_is_to_sweep_is_told(void **state)
{
    (void)state;
    ledger_free(l);
    make((struct ledger_conf){.queue = 9, .queue_bytes = 9999, .batch = 9, .asked = on_asked});
    ledger_privacy(l, A, LEDGER_EXPORT, NULL, NULL);
    ledger_keep(l, A, A, 0, NULL, NULL);
    turn();
    assert_int_equal(asked, 0);
    ledger_export(l, A, A, 0, NULL, NULL);
    ledger_erase(l, A, A, 0, NULL, NULL);
    turn();
    assert_int_equal(asked, 2);
    disk.next_rc = -EBUSY;
    ledger_export(l, A, A, 0, NULL, NULL);
    turn();
    assert_int_equal(asked, 2);
}

static void test_done_may_use_the_ledger(void **state)
{
    (void)state;
    ledger_badge(l, A, on_done_again, "again");
    turn();
    turn();
    assert_string_equal(heard, "again=0");
}

static void test_oom_loses_nothing_that_was_taken(void **state)
{
    const struct ledger_query query = {.user = A, .limit = 4};
    uint64_t live = mem_live();
    int taken = 0;

    (void)state;
    for (uint64_t i = 0; i < 20; i++) {
        mem_fail_after(i);
        heard[0] = '\0';
        taken = (call(1, "a") == 0) + (ledger_history(l, &query, on_done, "h") == 0) +
                (ledger_devices(l, A, P, 2, on_done, "d") == 0);
        assert_int_equal(turn(), taken);
        bool failed = mem_failed();
        mem_fail_never();
        assert_int_equal(mem_live(), live);
        if (!failed)
            break;
    }
    assert_int_equal(taken, 3);
    assert_non_null(strstr(heard, "a=0 h=0"));
}

static void test_free_drops_what_waits(void **state)
{
    uint64_t live = mem_live();

    (void)state;
    call(1, "a");
    ledger_run(l);
    call(2, "b");
    tear_down(NULL);
    assert_true(disk.freed);
    assert_string_equal(heard, "");
    set_up(NULL);
    assert_int_equal(mem_live(), live);
}

static void test_words_come_back(void **state)
{
    enum ledger_platform p;
    enum ledger_env e;
    enum ledger_call_ui u;
    enum ledger_token_type t = LEDGER_FCM;
    enum sig_reason r;

    (void)state;
    for (unsigned i = 0; i < LEDGER_PLATFORM_COUNT; i++) {
        assert_int_equal(ledger_platform_parse(slice_str(ledger_platform_name(i)), &p), 0);
        assert_int_equal(p, i);
    }
    for (unsigned i = 0; i < LEDGER_ENV_COUNT; i++) {
        assert_int_equal(ledger_env_parse(slice_str(ledger_env_name(i)), &e), 0);
        assert_int_equal(e, i);
    }
    for (unsigned i = 0; i < LEDGER_CALL_UI_COUNT; i++) {
        assert_int_equal(ledger_call_ui_parse(slice_str(ledger_call_ui_name(i)), &u), 0);
        assert_int_equal(u, i);
    }
    for (unsigned i = 0; i < SIG_REASON_COUNT; i++) {
        assert_int_equal(ledger_reason_parse(slice_str(sig_reason_name(i)), &r), 0);
        assert_int_equal(r, i);
    }
    assert_int_equal(ledger_token_type_parse(SLICE_LIT("voi"), &t), -EINVAL);
    assert_int_equal(ledger_token_type_parse((struct slice){0}, &t), -EINVAL);
    assert_int_equal(t, LEDGER_FCM);
    assert_string_equal(ledger_health_name(LEDGER_HEALTH_COUNT), "");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_done_comes_after_the_commit_in_order),
        T(test_everything_reaches_the_store),
        T(test_what_is_not_a_record_is_refused),
        T(test_records_wait_for_a_disk_and_requests_do_not),
        T(test_an_operation_that_meets_trouble_ends_the_batch),
        T(test_a_record_of_its_own_fault_does_not_stop_others),
        T(test_recovery_without_work_is_noticed),
        T(test_trouble_is_tried_with_growing_pauses),
        T(test_the_queue_is_bounded),
        T(test_the_queue_is_bounded_in_bytes),
        T(test_without_history_calls_are_only_counted),
        T(test_done_may_use_the_ledger),
        T(test_what_there_is_to_sweep_is_told),
        T(test_oom_loses_nothing_that_was_taken),
        T(test_free_drops_what_waits),
        T(test_words_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
