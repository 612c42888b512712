/* What only the SQLite ledger can get wrong: files of others, damage, bytes that stay, restored
 * backups, interrupted purges, the audit log's chain. SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_sqlite_priv.h" /* first: the scene has short names */

#include "tests/lib/ledger_scene.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "proto/json.h"

static struct ledger_store *s;

static int set_up(void **state)
{
    (void)state;
    scene_make();
    s = scene_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (s)
        scene_close(s);
    s = NULL;
    scene_remove();
    return 0;
}

static void reopen(void)
{
    if (s)
        scene_close(s);
    s = scene_open();
}

static void close_store(void)
{
    scene_close(s);
    s = NULL;
}

/* SQL by somebody else, while the server is away. */
static void tamper(const char *sql)
{
    scene_shell("sqlite3 '%s' \"%s\"", scene_file, sql);
}

static int open_fails(void)
{
    int rc = ledger_sqlite_open(&scene_conf, SCENE_NOW, &s, scene_why);

    if (rc == 0) {
        close_store();
        return 0;
    }
    s = NULL;
    assert_true(strlen(scene_why) > 20);
    return rc;
}

/* ---- opening ---- */

static void test_what_was_committed_is_there_after_a_restart(void **state)
{
    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, true);
    scene_device(s, A, "phone", "tok", SCENE_NOW);
    reopen();
    assert_string_equal(scene_history(s, A).text, "1>berta");
    assert_string_equal(scene_devices(s), "anna@/phone=voip:tok");
}

static void test_nobody_else_may_read_the_files(void **state)
{
    static const char *const NAME[] = {"", "-wal", "-shm", ".lock"};
    char path[128];
    struct stat st;

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, true);
    for (size_t i = 0; i < ARRAY_LEN(NAME); i++) {
        snprintf(path, sizeof(path), "%s%s", scene_file, NAME[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 077, 0);
    }
}

static void test_a_second_server_is_refused(void **state)
{
    struct ledger_store *second;

    (void)state;
    assert_int_equal(ledger_sqlite_open(&scene_conf, SCENE_NOW, &second, scene_why), -EBUSY);
    assert_non_null(strstr(scene_why, "another server"));
}

static void test_files_of_newer_versions_and_other_programs_are_refused(void **state)
{
    (void)state;
    close_store();
    tamper("PRAGMA user_version=99");
    assert_int_equal(open_fails(), -EPROTONOSUPPORT);
    assert_non_null(strstr(scene_why, "newer version"));
    tamper("PRAGMA user_version=1; PRAGMA application_id=7");
    assert_int_equal(open_fails(), -EPROTONOSUPPORT);
    assert_non_null(strstr(scene_why, "another program"));
    scene_shell("rm %s*; sqlite3 %s 'CREATE TABLE t(x)'", scene_file, scene_file);
    assert_int_equal(open_fails(), -EPROTONOSUPPORT);
}

static void test_another_secret_is_refused(void **state)
{
    (void)state;
    close_store();
    scene_conf.secret = SLICE_LIT("another secret of 32 bytes or so");
    assert_int_equal(open_fails(), -EKEYREJECTED);
    assert_non_null(strstr(scene_why, "token_key_file"));
}

static void test_a_directory_that_is_not_there_is_named(void **state)
{
    struct ledger_store_conf conf = scene_conf;
    struct ledger_store *other;

    (void)state;
    conf.file = "/nowhere/at/all/ledger.db";
    assert_int_equal(ledger_sqlite_open(&conf, SCENE_NOW, &other, scene_why), -ENOENT);
    assert_non_null(strstr(scene_why, "/nowhere/at/all"));
}

/* ---- damage ---- */

static void overwrite(long at, size_t n)
{
    FILE *f = fopen(scene_file, "r+");

    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    for (size_t i = 0; i < n; i++)
        fputc(0xff, f);
    fclose(f);
}

static void test_a_damaged_file_is_a_state_and_a_restored_one_works(void **state)
{
    static const long AT[] = {0, 4096, 8200}; /* no database; a page of the tables */

    (void)state;
    for (unsigned i = 0; i < 300; i++)
        scene_call(s, i, A, B, SCENE_NOW + i, false);
    close_store();
    scene_shell("cp %s %s.good", scene_file, scene_file);
    for (size_t i = 0; i < ARRAY_LEN(AT); i++) {
        overwrite(AT[i], 6000);
        assert_int_equal(ledger_sqlite_open(&scene_conf, SCENE_NOW, &s, scene_why), 0);
        assert_int_equal(s->ops->health(s), LEDGER_DAMAGED);
        assert_true(strlen(scene_why) > 20);
        assert_int_equal(s->ops->begin(s, true), -EAGAIN);
        assert_int_equal(s->ops->recover(s, SCENE_NOW), -EAGAIN);
        scene_shell("cp %s.good %s", scene_file, scene_file);
        assert_int_equal(s->ops->recover(s, SCENE_NOW), 0);
        assert_int_equal(s->ops->health(s), LEDGER_FINE);
        assert_int_equal(scene_history(s, A).n, 100);
        close_store();
    }
}

static void test_missing_tables_are_damage(void **state)
{
    (void)state;
    close_store();
    tamper("DROP TABLE cdr_party");
    assert_int_equal(ledger_sqlite_open(&scene_conf, SCENE_NOW, &s, scene_why), 0);
    if (s->ops->health(s) == LEDGER_FINE) { /* found at the first use */
        uint64_t n;
        assert_int_equal(s->ops->begin(s, false), 0);
        assert_int_equal(s->ops->badge(s, A, &n), -EAGAIN);
        s->ops->rollback(s);
    }
    assert_int_equal(s->ops->health(s), LEDGER_DAMAGED);
}

static void test_a_truncated_file_does_not_crash(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++)
        scene_call(s, i, A, B, SCENE_NOW + i, false);
    close_store();
    for (long kept = 60000; kept > 0; kept -= 3333) {
        assert_int_equal(truncate(scene_file, kept), 0);
        int rc = ledger_sqlite_open(&scene_conf, SCENE_NOW, &s, scene_why);
        assert_true(rc == 0 || rc == -EPROTONOSUPPORT);
        if (rc != 0) {
            s = NULL;
            continue;
        }
        assert_int_not_equal(s->ops->health(s), LEDGER_FINE);
        close_store();
    }
}

/* How many rows the query gives, seen by somebody else. */
static void counts(const char *rows, unsigned n)
{
    scene_shell("test $(sqlite3 '%s' 'SELECT COUNT(*) FROM %s') = %u", scene_file, rows, n);
}

static void test_a_file_of_the_first_version_is_brought_up_to_date(void **state)
{
    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, false);
    close_store();
    tamper("INSERT INTO quality_leg(call_id, user_id, leg, at_ms, model, codec, path, samples,"
           " mos_avg, mos_p10, mos_min, loss, rtt_ms, jitter_ms)"
           " SELECT call_id, user_id, 'up', created_ms, 'g107', 'opus', 'sfu', 3, 4000, 3500, 3000,"
           " 7, 80, 9 FROM cdr_party; DROP TABLE quality_sample;"
           " ALTER TABLE quality_leg DROP COLUMN silence_ms;"
           " ALTER TABLE quality_leg DROP COLUMN worst; DROP TABLE usage_push;"
           " ALTER TABLE quality_leg DROP COLUMN network;"
           " ALTER TABLE push_token DROP COLUMN sealed_by; DROP TABLE hold;"
           " ALTER TABLE usage_day DROP COLUMN ice_failed; PRAGMA user_version=1");
    s = scene_open();
    struct ledger_entry e = scene_history(s, A).first;
    assert_int_equal(e.samples, 3);
    assert_int_equal(e.mos_p10_milli, 3500);
    assert_int_equal(e.silence_ms, 0);
    assert_int_equal(scene_sample(s, 1, A, SCENE_NOW), 0);
    counts("quality_sample", 1);
    counts("usage_day WHERE calls=1 AND ice_failed=0", 1);
    counts("usage_push", 0);
}

/* Calls and pushes go, their day's sums stay: once each, however often they are told. */
static void test_sums_of_a_day_outlive_what_they_are_of(void **state)
{
    struct ledger_push p = {.apns_id = SLICE_LIT("1"),
                            .call_id = scene_id(1),
                            .user = A,
                            .kind = SLICE_LIT("ring"),
                            .status = 200,
                            .sent_ms = SCENE_NOW};
    const struct ledger_party parties[] = {{.user = A, .role = LEDGER_CALLER},
                                           {.user = B, .role = LEDGER_CALLEE}};
    struct ledger_call c = {.id = scene_id(7),
                            .created_ms = SCENE_NOW,
                            .answer_ms = SCENE_NOW + 1000,
                            .end_ms = SCENE_NOW + 9000,
                            .outcome = LEDGER_ANSWERED,
                            .reason = SIG_REASON_MEDIA_FAILED,
                            .region = SLICE_LIT("kr"),
                            .parties = parties,
                            .parties_n = 2};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(DO(s, put_call(s, &c, true)), 0);
        assert_int_equal(DO(s, put_push(s, &p)), 0);
    }
    p.apns_id = SLICE_LIT("2");
    assert_int_equal(DO(s, put_push(s, &p)), 0);
    p.status = 410;
    p.reason = SLICE_LIT("Unregistered");
    p.apns_id = SLICE_LIT("3");
    assert_int_equal(DO(s, put_push(s, &p)), 0);
    assert_int_equal(DO(s, count_push(s, &p)), 0); /* history = no: no id is remembered */
    counts("push_log", 3);
    close_store();
    tamper("DELETE FROM push_log; DELETE FROM cdr; DELETE FROM cdr_party");
    s = scene_open();
    counts("usage_day WHERE calls=1 AND seconds=8 AND ice_failed=1", 1);
    counts("usage_push", 2);
    counts("usage_push WHERE status=200 AND pushes=2", 1);
    counts("usage_push WHERE status=410 AND pushes=2", 1);
    tamper("DROP TABLE usage_day"); /* nothing is half done when one half fails */
    c.id = scene_id(8);
    assert_int_not_equal(DO(s, put_call(s, &c, true)), 0);
    counts("cdr", 0);
}

static void test_samples_go_before_their_summary(void **state)
{
    const struct ledger_quality q = {.call_id = scene_id(1),
                                     .user = A,
                                     .leg = SLICE_LIT("heard"),
                                     .at_ms = SCENE_NOW - 15 * SCENE_DAY,
                                     .samples = 1};

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW - 15 * SCENE_DAY, false);
    DO(s, put_quality(s, &q));
    for (unsigned i = 0; i < 150; i++)
        scene_sample(s, 1, A, SCENE_NOW - 15 * SCENE_DAY + i);
    scene_sample(s, 1, A, SCENE_NOW - 13 * SCENE_DAY);
    scene_sample(s, 1, A, SCENE_NOW - 13 * SCENE_DAY); /* told twice */
    counts("quality_sample", 151);
    scene_sweep(s, SCENE_NOW);
    counts("quality_sample", 1);
    assert_int_equal(scene_history(s, A).first.samples, 1);
    DO(s, hide(s, A, NULL, 0, SCENE_NOW)); /* nobody has the call on a list any more */
    DO(s, hide(s, B, NULL, 0, SCENE_NOW));
    counts("quality_sample", 0);
    counts("quality_leg", 0);
}

/* ---- secrets and bytes ---- */

static void test_tokens_are_sealed_and_bound_to_their_device(void **state)
{
    (void)state;
    scene_device(s, A, "phone", "a-token-nobody-may-read", SCENE_NOW);
    scene_device(s, B, "phone", "another-token", SCENE_NOW);
    assert_false(scene_greps("a-token-nobody-may-read"));
    close_store();
    tamper("UPDATE push_token SET token=(SELECT token FROM push_token WHERE user_id LIKE 'anna%')"
           " WHERE user_id LIKE 'berta%'");
    s = scene_open();
    assert_string_equal(scene_devices(s), "anna@/phone=voip:a-token-nobody-may-read berta/phone");
}

/* Many users between one another, with rows that move from page to page; then one of them goes. */
static void test_no_byte_of_an_erased_user_stays(void **state)
{
    const struct slice canary = SLICE_LIT("canary-7f3a-user");
    struct rand_src {
        uint64_t x;
    } r = {88172645463325252u};
    struct ledger_privacy p;
    char user[32], other[32], id[32];

    (void)state;
    for (unsigned i = 0; i < 4000; i++) {
        r.x ^= r.x << 13;
        r.x ^= r.x >> 7;
        r.x ^= r.x << 17;
        snprintf(user, sizeof(user), "canary-7f3a-usa%u", (unsigned)(r.x % 50));
        snprintf(other, sizeof(other), "canary-7f3a-uz%u", (unsigned)(r.x / 50 % 50));
        struct slice from = i % 4 == 0 ? canary : slice_str(user);
        struct sig_call_id call = {.b = {(uint8_t)(r.x >> 8), (uint8_t)r.x, (uint8_t)(r.x >> 16),
                                         (uint8_t)(i >> 8), (uint8_t)i}};
        const struct ledger_party parties[] = {
            {.user = from, .role = LEDGER_CALLER},
            {.user = slice_str(other), .role = LEDGER_CALLEE, .missed = i % 3 == 0}};
        const struct ledger_call c = {.id = call,
                                      .created_ms = SCENE_NOW - r.x % SCENE_DAY,
                                      .end_ms = SCENE_NOW,
                                      .parties = parties,
                                      .parties_n = 2};
        snprintf(id, sizeof(id), "%08x-%u", (unsigned)(r.x >> 32), i);
        const struct ledger_push push = {.apns_id = slice_str(id),
                                         .user = from,
                                         .device = SLICE_LIT("phone"),
                                         .sent_ms = SCENE_NOW - r.x % SCENE_DAY};
        const struct ledger_quality q = {
            .call_id = call, .user = from, .leg = SLICE_LIT("up"), .at_ms = SCENE_NOW};
        if (i % 100 == 0)
            assert_int_equal(s->ops->begin(s, true), 0);
        assert_int_equal(s->ops->put_call(s, &c, true), 0);
        assert_int_equal(s->ops->put_push(s, &push), 0);
        const struct ledger_sample v = {.call_id = call,
                                        .user = from,
                                        .leg = SLICE_LIT("heard"),
                                        .codec = SLICE_LIT("opus"),
                                        .at_ms = SCENE_NOW - r.x % SCENE_DAY};
        assert_int_equal(s->ops->put_quality(s, &q), 0);
        assert_int_equal(s->ops->put_sample(s, &v), 0);
        if (i % 100 == 99)
            assert_int_equal(s->ops->commit(s), 0);
    }
    scene_device(s, canary, "phone", "tok", SCENE_NOW);
    scene_device(s, canary, "phone", "tok2", SCENE_NOW);
    assert_true(scene_greps("canary-7f3a-user"));
    DO(s, erase(s, canary, SLICE_LIT("user"), SCENE_NOW, &p));
    scene_sweep(s, p.due_ms);
    assert_false(scene_greps("canary-7f3a-user"));
    assert_true(scene_greps("canary-7f3a-uz7")); /* the others are there */
    assert_true(scene_history(s, SLICE_LIT("canary-7f3a-uz7")).n > 50);
}

/* Rows that moved to another page left nothing behind: what a page does not use is empty. */
static void test_unused_parts_of_pages_are_empty(void **state)
{
    uint8_t page[SQLITE_STORE_PAGE];
    unsigned pages = 0, gaps = 0;
    size_t at, len;

    (void)state;
    for (unsigned i = 0; i < 3000; i++) { /* in no order: pages split */
        unsigned n = i * 7919 % 3000;
        struct ledger_push p = {.user = n % 2 ? A : B, .device = SLICE_LIT("phone")};
        char id[16];
        snprintf(id, sizeof(id), "%u", n * 2654435761u);
        p.apns_id = slice_str(id);
        p.sent_ms = SCENE_NOW + n;
        if (i % 100 == 0)
            assert_int_equal(s->ops->begin(s, true), 0);
        assert_int_equal(s->ops->put_push(s, &p), 0);
        if (i % 100 == 99)
            assert_int_equal(s->ops->commit(s), 0);
    }
    close_store();
    FILE *f = fopen(scene_file, "r");
    assert_non_null(f);
    while (fread(page, sizeof(page), 1, f) == 1) {
        if (sq_page_gap(page, pages++ == 0, &at, &len)) {
            gaps++;
            for (size_t i = at; i < at + len; i++)
                assert_int_equal(page[i], 0);
        }
    }
    fclose(f);
    assert_true(pages > 50 && gaps > 50);
}

static void test_the_gap_of_a_page_is_found(void **state)
{
    uint8_t page[SQLITE_STORE_PAGE] = {10, 0, 0, 0, 3, 0x0f, 0x00}; /* a leaf, 3 cells */
    size_t at, len;

    (void)state;
    assert_true(sq_page_gap(page, false, &at, &len));
    assert_int_equal(at, 8 + 6);
    assert_int_equal(len, 0x0f00 - 14);
    assert_false(sq_page_gap(page, true, &at, &len)); /* page 1 has it behind the file's header */
    page[0] = 5;                                      /* interior */
    assert_true(sq_page_gap(page, false, &at, &len));
    assert_int_equal(at, 12 + 6);
    page[5] = 0;
    page[6] = 18; /* full */
    assert_false(sq_page_gap(page, false, &at, &len));
    page[5] = 0x10;
    page[6] = 1; /* damaged: past the end */
    assert_false(sq_page_gap(page, false, &at, &len));
    page[0] = 0; /* overflow, free list */
    page[5] = 0x0f;
    assert_false(sq_page_gap(page, false, &at, &len));
}

/* ---- interrupted and restored ---- */

static void many_calls(unsigned n)
{
    assert_int_equal(s->ops->begin(s, true), 0);
    for (unsigned i = 0; i < n; i++) {
        const struct ledger_party parties[] = {{.user = A, .role = LEDGER_CALLER},
                                               {.user = B, .role = LEDGER_CALLEE}};
        const struct ledger_call c = {.id = scene_id(i),
                                      .created_ms = SCENE_NOW - 5000 + i,
                                      .end_ms = SCENE_NOW - 4999 + i,
                                      .parties = parties,
                                      .parties_n = 2};
        assert_int_equal(s->ops->put_call(s, &c, true), 0);
    }
    assert_int_equal(s->ops->commit(s), 0);
}

static void test_an_interrupted_purge_is_ended_before_anything_is_served(void **state)
{
    struct ledger_privacy p;
    bool more = true;

    (void)state;
    for (unsigned steps = 1; steps < 6; steps++) {
        if (s)
            close_store();
        scene_shell("rm -f %s*", scene_file);
        s = scene_open();
        many_calls(2500); /* several steps */
        DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
        for (unsigned i = 0; i < steps; i++)
            DO(s, sweep(s, p.due_ms, &more));
        if (steps > 1)
            assert_true(scene_history(s, A).n > 0 || steps > 3);
        reopen();
        assert_string_equal(scene_history(s, A).text, "");
        assert_int_equal(scene_history(s, B).n, 100);
        assert_int_equal(scene_history(s, B).first.peer.len, 0);
        assert_false(scene_greps("anna@example.org"));
        DO(s, privacy(s, A, LEDGER_DELETION, &p));
        assert_int_equal(p.state, LEDGER_PRIVACY_DONE);
    }
}

static void test_a_restored_backup_does_not_bring_the_erased_back(void **state)
{
    struct ledger_privacy p;
    uint64_t seq;

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, true);
    scene_device(s, A, "phone", "tok", SCENE_NOW);
    DO(s, export(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    close_store();
    scene_shell("cp %s %s/backup", scene_file, scene_dir);
    s = scene_open();
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    scene_sweep(s, p.due_ms);
    scene_call(s, 2, A, B, SCENE_NOW + 40 * SCENE_DAY, false); /* came back */
    close_store();
    scene_shell("cd %s && rm -f ledger.db ledger.db-wal ledger.db-shm && mv backup ledger.db",
                scene_dir);
    s = scene_open();
    assert_string_equal(scene_history(s, A).text, "");
    assert_string_equal(scene_history(s, B).text, "1<!");
    assert_string_equal(scene_devices(s), "");
    assert_false(scene_greps("anna@example.org"));
    assert_int_equal(ledger_sql_audit_verify(s, &seq), 0);
    scene_call(s, 3, A, B, SCENE_NOW + 41 * SCENE_DAY, false); /* of their new life */
    reopen();
    assert_string_equal(scene_history(s, A).text, "3>berta");
}

static void test_a_backup_with_the_request_pending_is_purged_too(void **state)
{
    struct ledger_privacy p;

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, true);
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    close_store();
    scene_shell("cp %s %s/backup", scene_file, scene_dir);
    s = scene_open();
    scene_sweep(s, p.due_ms);
    close_store();
    scene_shell("cd %s && rm -f ledger.db ledger.db-wal ledger.db-shm && mv backup ledger.db",
                scene_dir);
    s = scene_open();
    assert_string_equal(scene_history(s, A).text, "");
    assert_false(scene_greps("anna@example.org"));
    DO(s, privacy(s, A, LEDGER_DELETION, &p));
    assert_int_equal(p.state, LEDGER_PRIVACY_DONE);
}

static void test_the_list_of_the_erased_may_be_cut_but_not_changed(void **state)
{
    struct ledger_privacy p;

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, true);
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    scene_sweep(s, p.due_ms);
    close_store();
    scene_shell("printf 'abcdef0123' >> %s.erased", scene_file); /* a crash within a line */
    s = scene_open();
    close_store();
    scene_shell("test $(wc -l < %s.erased) = 1 && ! grep -q abcdef0123$ %s.erased", scene_file,
                scene_file);
    scene_shell("sed -i 's/^./x/' %s.erased", scene_file);
    assert_int_equal(open_fails(), -EBADMSG);
    assert_non_null(strstr(scene_why, ".erased"));
}

/* ---- audit ---- */

static void test_the_audit_log_names_nobody_and_shows_changes(void **state)
{
    struct ledger_privacy p;
    uint64_t seq = 0;

    (void)state;
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    DO(s, keep(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    DO(s, export(s, B, SLICE_LIT("admin"), SCENE_NOW, &p));
    scene_sweep(s, SCENE_NOW);
    assert_int_equal(ledger_sql_audit_verify(s, &seq), 0);
    close_store();
    scene_shell("sqlite3 %s 'SELECT * FROM audit' > %s/log; test $(wc -l < %s/log) = 4; "
                "! grep -a example.org %s/log; rm %s/log",
                scene_file, scene_dir, scene_dir, scene_dir, scene_dir);
    tamper("UPDATE audit SET actor='user' WHERE seq=3");
    s = scene_open();
    assert_int_equal(ledger_sql_audit_verify(s, &seq), -EBADMSG);
    assert_int_equal(seq, 3);
    close_store();
    tamper("UPDATE audit SET actor='admin' WHERE seq=3; DELETE FROM audit WHERE seq=2");
    s = scene_open();
    assert_int_equal(ledger_sql_audit_verify(s, &seq), -EBADMSG);
    assert_int_equal(seq, 3);
    DO(s, export(s, C, SLICE_LIT("user"), SCENE_NOW, &p)); /* it goes on all the same */
}

static void test_old_audit_records_go_and_the_chain_holds(void **state)
{
    struct ledger_privacy p;
    uint64_t seq;

    (void)state;
    DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    DO(s, keep(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    DO(s, erase(s, B, SLICE_LIT("user"), SCENE_NOW + 1096 * SCENE_DAY, &p));
    scene_sweep(s, SCENE_NOW + 1100 * SCENE_DAY);
    assert_int_equal(ledger_sql_audit_verify(s, &seq), 0);
    close_store();
    scene_shell("test $(sqlite3 %s 'SELECT COUNT(*) FROM audit') = 1", scene_file);
    s = scene_open();
}

/* ---- exports ---- */

/* The export of A as text. */
static size_t export_text(char *out, size_t cap, const char *suffix)
{
    struct ledger_privacy p;
    char path[256];
    size_t n;

    assert_int_equal(DO(s, export(s, A, SLICE_LIT("user"), SCENE_NOW, &p)), 0);
    scene_sweep(s, SCENE_NOW + 100);
    DO(s, privacy(s, A, LEDGER_EXPORT, &p));
    assert_int_equal(p.state, LEDGER_PRIVACY_DONE);
    snprintf(path, sizeof(path), "cat %s/*.%s > %s/whole", scene_dir, suffix, scene_dir);
    scene_shell("%s", path);
    snprintf(path, sizeof(path), "%s/whole", scene_dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    n = fread(out, 1, cap - 1, f);
    out[n] = '\0';
    fclose(f);
    assert_int_equal(n, p.bytes);
    assert_int_equal(p.ndjson, suffix[0] == 'n');
    return n;
}

static void test_an_export_holds_everything_of_its_user_and_nothing_of_others(void **state)
{
    static char text[65536];
    const struct json_limits limits = {.depth = 8, .values = 2000, .bytes = sizeof(text)};
    const struct ledger_push push = {.apns_id = SLICE_LIT("push-1"),
                                     .call_id = scene_id(1),
                                     .user = A,
                                     .device = SLICE_LIT("phone"),
                                     .kind = SLICE_LIT("voip"),
                                     .status = 410,
                                     .reason = SLICE_LIT("Unregistered"),
                                     .sent_ms = SCENE_NOW};
    struct sig_call_id two = scene_id(2);

    (void)state;
    scene_device(s, A, "phone", "tok-\"quoted\"", SCENE_NOW);
    scene_device(s, B, "other-phone", "tok-b", SCENE_NOW);
    scene_call(s, 1, A, B, SCENE_NOW, false);
    scene_call(s, 2, B, A, SCENE_NOW + 1, true);
    scene_call(s, 3, B, C, SCENE_NOW + 2, true);
    DO(s, put_push(s, &push));
    DO(s, hide(s, A, &two, 1, 0));
    size_t n = export_text(text, sizeof(text), "json");
    assert_int_equal(json_scan(slice_of(text, n), &limits), 0);
    assert_non_null(strstr(text, "\"schema\":\"call-export/1\""));
    assert_non_null(strstr(text, "\"generated\":\"2024-10-04T00:00:00.100Z\""));
    assert_non_null(strstr(text, "\"device_id\":\"phone\",\"platform\":\"ios\""));
    assert_null(strstr(text, "tok-"));
    assert_null(strstr(text, "carl@"));
    assert_null(strstr(text, "other-phone"));
    assert_null(strstr(text, "phone-2\",\"created\":\"2024-10-04T00:00:00.000Z\"")); /* B's */
    assert_non_null(strstr(text, "\"direction\":\"in\",\"peer\":\"berta@example.org\""));
    assert_non_null(strstr(text, "\"duration_s\":30,\"result\":\"answered\",\"reason\":\"hangup\","
                                 "\"ended_by\":\"peer\",\"missed\":false"));
    assert_non_null(strstr(text, "\"hidden\":true"));
    assert_non_null(strstr(text, "\"status\":410,\"reason\":\"Unregistered\""));
    assert_non_null(strstr(text, "\"action\":\"export_requested\""));
}

static void test_many_calls_are_one_object_a_line(void **state)
{
    static char text[1 << 20];
    const struct json_limits limits = {.depth = 8, .values = 200, .bytes = 65536};
    unsigned calls = 0, lines = 0;

    (void)state;
    many_calls(1000);
    size_t n = export_text(text, sizeof(text), "ndjson"), at = 0;
    while (at < n) {
        size_t end = at;
        while (text[end] != '\n')
            end++;
        struct slice line = slice_of(text + at, end - at);
        assert_int_equal(json_scan(line, &limits), 0);
        calls += slice_starts(line, SLICE_LIT("{\"record\":\"call\""));
        at = end + 1;
        lines++;
    }
    assert_int_equal(calls, 1000);
    assert_int_equal(lines, 1000 + 3); /* head, the request in the log, end */
    assert_true(strncmp(text, "{\"record\":\"head\"", 16) == 0);
    assert_non_null(strstr(text, "{\"record\":\"end\"}\n"));
}

static void test_an_export_that_can_not_be_written_fails_and_may_be_asked_for_again(void **state)
{
    struct ledger_privacy p;

    (void)state;
    close_store();
    char dir[128];
    snprintf(dir, sizeof(dir), "%s/none", scene_dir);
    scene_conf.export_dir = dir;
    s = scene_open();
    DO(s, export(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    scene_sweep(s, SCENE_NOW);
    DO(s, privacy(s, A, LEDGER_EXPORT, &p));
    assert_int_equal(p.state, LEDGER_PRIVACY_FAILED);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(DO(s, export(s, A, SLICE_LIT("user"), SCENE_NOW + 1, &p)), 0);
    scene_sweep(s, SCENE_NOW + 1);
    DO(s, privacy(s, A, LEDGER_EXPORT, &p));
    assert_int_equal(p.state, LEDGER_PRIVACY_DONE);
}

static void test_an_export_that_a_crash_interrupted_is_made_anew(void **state)
{
    struct ledger_privacy p;
    bool more;

    (void)state;
    many_calls(1000);
    DO(s, export(s, A, SLICE_LIT("user"), SCENE_NOW, &p));
    DO(s, sweep(s, SCENE_NOW, &more));
    DO(s, sweep(s, SCENE_NOW, &more));
    scene_shell("test $(ls %s | grep -c part) = 1", scene_dir);
    reopen();
    scene_sweep(s, SCENE_NOW + 1);
    scene_shell("test $(ls %s | grep -c part) = 0; test $(cat %s/*.ndjson | wc -l) = 1003",
                scene_dir, scene_dir);
}

static void test_oom_at_open_leaves_nothing(void **state)
{
    (void)state;
    close_store();
    uint64_t live = mem_live();
    for (uint64_t i = 0; i < 200; i++) {
        mem_fail_after(i);
        int rc = ledger_sqlite_open(&scene_conf, SCENE_NOW, &s, scene_why);
        bool failed = mem_failed();
        mem_fail_never();
        if (rc == 0) {
            close_store();
            assert_int_equal(mem_live(), live);
            if (!failed)
                return;
        }
        assert_int_equal(rc, rc == 0 ? 0 : -ENOMEM);
        assert_int_equal(mem_live(), live);
        s = NULL;
    }
    fail_msg("the open never ended");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_what_was_committed_is_there_after_a_restart),
        T(test_nobody_else_may_read_the_files),
        T(test_a_second_server_is_refused),
        T(test_files_of_newer_versions_and_other_programs_are_refused),
        T(test_another_secret_is_refused),
        T(test_a_directory_that_is_not_there_is_named),
        T(test_a_damaged_file_is_a_state_and_a_restored_one_works),
        T(test_missing_tables_are_damage),
        T(test_a_truncated_file_does_not_crash),
        T(test_tokens_are_sealed_and_bound_to_their_device),
        T(test_a_file_of_the_first_version_is_brought_up_to_date),
        T(test_sums_of_a_day_outlive_what_they_are_of),
        T(test_samples_go_before_their_summary),
        T(test_no_byte_of_an_erased_user_stays),
        T(test_unused_parts_of_pages_are_empty),
        T(test_the_gap_of_a_page_is_found),
        T(test_an_interrupted_purge_is_ended_before_anything_is_served),
        T(test_a_restored_backup_does_not_bring_the_erased_back),
        T(test_a_backup_with_the_request_pending_is_purged_too),
        T(test_the_list_of_the_erased_may_be_cut_but_not_changed),
        T(test_the_audit_log_names_nobody_and_shows_changes),
        T(test_old_audit_records_go_and_the_chain_holds),
        T(test_an_export_holds_everything_of_its_user_and_nothing_of_others),
        T(test_many_calls_are_one_object_a_line),
        T(test_an_export_that_can_not_be_written_fails_and_may_be_asked_for_again),
        T(test_an_export_that_a_crash_interrupted_is_made_anew),
        T(test_oom_at_open_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
