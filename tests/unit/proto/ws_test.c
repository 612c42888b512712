/* The WebSocket decoder against RFC 6455, case by case with the coverage of the Autobahn test suite
 * (groups 1 to 7 and 10, 247 cases), each fed whole, byte by byte and in random parts.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "proto/ws.h"

#include "base/mem.h"
#include "base/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define WIRE_MAX       300000
#define LOG_MAX        4096
#define TEXT_MAX       65536
#define FIN            0x80
#define AUTOBAHN_CASES 247

/* One conversation: what the client sends, and what must come out. */
struct talk {
    char name[64];
    uint8_t wire[WIRE_MAX];
    size_t len;
    char want[LOG_MAX];
    struct rand_src rand;
};

static struct talk talk;
static unsigned cases_run;

/* ---- building ---- */

static void begin(const char *name)
{
    snprintf(talk.name, sizeof talk.name, "%s", name);
    talk.len = 0;
    talk.want[0] = '\0';
    rand_src_init(&talk.rand, 7);
}

static void raw(struct slice s)
{
    assert_true(s.len <= WIRE_MAX - talk.len);
    if (s.len > 0)
        memcpy(talk.wire + talk.len, s.p, s.len);
    talk.len += s.len;
}

/* A masked frame; b0 is the whole first byte. */
static void frame(uint8_t b0, struct slice body)
{
    uint8_t h[14];
    struct wr w = wr_init(h, sizeof h);
    uint8_t mask[4];
    uint64_t r = rand_src_u64(&talk.rand);
    memcpy(mask, &r, 4);
    wr_u8(&w, b0);
    if (body.len < 126) {
        wr_u8(&w, (uint8_t)(0x80 | body.len));
    } else if (body.len < 65536) {
        wr_u8(&w, 0x80 | 126);
        wr_be16(&w, (uint16_t)body.len);
    } else {
        wr_u8(&w, 0x80 | 127);
        wr_be64(&w, body.len);
    }
    wr_bytes(&w, slice_of(mask, 4));
    raw(wr_done(&w));
    size_t at = talk.len;
    raw(body);
    for (size_t i = 0; i < body.len; i++) /* plainly, not with the code under test */
        talk.wire[at + i] ^= mask[i % 4];
}

static void text(const char *s)
{
    frame(FIN | WS_OP_TEXT, slice_str(s));
}

static void close_frame(uint16_t code, struct slice reason)
{
    uint8_t b[200] = {(uint8_t)(code >> 8), (uint8_t)code};
    if (reason.len > 0)
        memcpy(b + 2, reason.p, reason.len);
    frame(FIN | WS_OP_CLOSE, slice_of(b, 2 + reason.len));
}

/* ---- expecting ---- */

static void log_event(char *log, const char *what, unsigned code, struct slice s)
{
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < s.len; i++)
        sum = (sum ^ s.p[i]) * 16777619u;
    size_t n = strlen(log);
    snprintf(log + n, LOG_MAX - n, "%s %u %zu %08x\n", what, code, s.len, sum);
}

static void want(const char *what, unsigned code, struct slice s)
{
    log_event(talk.want, what, code, s);
}

static void want_text(const char *s)
{
    want("message", WS_OP_TEXT, slice_str(s));
}

static void want_error(unsigned code)
{
    want("error", code, (struct slice){0});
}

/* ---- feeding ---- */

/* Gives the decoder wire[*at..to) as a stream would: the unconsumed rest comes back in front. */
static void feed(struct ws *w, size_t *at, size_t to, char *log)
{
    static const char *const names[] = {"none", "message", "ping", "pong", "close", "error"};
    static uint8_t buf[WIRE_MAX];
    struct ws_event ev;
    size_t len = to - *at, used = 0;
    memcpy(buf, talk.wire + *at, len);
    do {
        used += ws_recv(w, buf + used, len - used, &ev);
        assert_true(used <= len);
        if (ev.type != WS_NONE)
            log_event(log, names[ev.type], ev.type == WS_MESSAGE ? ev.opcode : ev.code, ev.payload);
    } while (ev.type != WS_NONE);
    assert_true(len - used <= WS_PENDING_MAX);
    *at += used;
}

enum chop { WHOLE, BYTES, RANDOM };

static void run_chopped(enum chop how, uint64_t seed)
{
    char log[LOG_MAX] = "";
    struct ws w;
    struct rand_src rnd;
    size_t at = 0, to = 0;
    rand_src_init(&rnd, seed);
    ws_init(&w, TEXT_MAX);
    while (to < talk.len) {
        size_t left = talk.len - to;
        size_t n = how == WHOLE ? left : how == BYTES ? 1 : 1 + rand_src_below(&rnd, left);
        if (how == RANDOM && rand_src_below(&rnd, 2))
            n = 1 + rand_src_below(&rnd, n < 300 ? n : 300);
        to += n;
        feed(&w, &at, to, log);
    }
    if (strcmp(log, talk.want) != 0)
        fail_msg("case %s, chop %d, seed %lu:\ngot\n%swant\n%s", talk.name, how,
                 (unsigned long)seed, log, talk.want);
    ws_fini(&w);
}

/* Plays the conversation in all ways. */
static void play(void)
{
    uint64_t live = mem_live();
    run_chopped(WHOLE, 0);
    run_chopped(BYTES, 0);
    for (uint64_t seed = 1; seed <= 20; seed++)
        run_chopped(RANDOM, seed);
    assert_true(mem_live() == live);
    cases_run++;
}

/* The error must show when `at` bytes are there and not before. */
static void fails_at(size_t at_byte)
{
    char log[LOG_MAX] = "";
    struct ws w;
    size_t at = 0;
    ws_init(&w, TEXT_MAX);
    feed(&w, &at, at_byte - 1, log);
    assert_null(strstr(log, "error"));
    feed(&w, &at, at_byte, log);
    assert_non_null(strstr(log, "error"));
    ws_fini(&w);
}

static char *filled(size_t n)
{
    static char t[TEXT_MAX + 1];
    memset(t, '*', n);
    t[n] = '\0';
    return t;
}

/* ---- 1 to 5 ---- */

static void test_1_messages_of_all_length_encodings(void **state)
{
    static const size_t sizes[] = {0, 125, 126, 127, 128, 65535, 65536, 65536};
    static const enum ws_opcode ops[] = {WS_OP_TEXT, WS_OP_BINARY};
    (void)state;
    for (size_t o = 0; o < 2; o++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            char name[32];
            snprintf(name, sizeof name, "1.%zu.%zu", o + 1, i + 1);
            begin(name);
            struct slice s = slice_of(filled(sizes[i]), sizes[i]);
            frame((uint8_t)(FIN | ops[o]), s);
            want("message", ops[o], s);
            play();
        }
    }
}

static void ping_case(const char *name, uint8_t op, struct slice body, unsigned times, bool ok)
{
    begin(name);
    for (unsigned i = 0; i < times; i++) {
        frame(FIN | op, body);
        if (ok)
            want(op == WS_OP_PING ? "ping" : "pong", 0, body);
    }
    if (!ok)
        want_error(1002);
    play();
}

static void test_2_pings_and_pongs(void **state)
{
    struct slice hello = SLICE_LIT("Hello, world!"),
                 bin = SLICE_LIT("\x00\xff\xfe\xfd\xfc\xfb\x00\xff");
    (void)state;
    ping_case("2.1", WS_OP_PING, (struct slice){0}, 1, true);
    ping_case("2.2", WS_OP_PING, hello, 1, true);
    ping_case("2.3", WS_OP_PING, bin, 1, true);
    ping_case("2.4", WS_OP_PING, slice_of(filled(125), 125), 1, true);
    ping_case("2.5", WS_OP_PING, slice_of(filled(126), 126), 1, false);
    ping_case("2.6", WS_OP_PING, slice_of(filled(125), 125), 1, true);
    ping_case("2.7", WS_OP_PONG, (struct slice){0}, 1, true);
    ping_case("2.8", WS_OP_PONG, hello, 1, true);
    begin("2.9");
    frame(FIN | WS_OP_PONG, hello);
    frame(FIN | WS_OP_PING, bin);
    want("pong", 0, hello);
    want("ping", 0, bin);
    play();
    ping_case("2.10", WS_OP_PING, hello, 10, true);
    ping_case("2.11", WS_OP_PING, bin, 10, true);
}

/* A good text, then a frame whose first byte is a breach, then what must not be seen. */
static void breach_case(const char *name, uint8_t b0, bool text_first, struct slice body)
{
    begin(name);
    if (text_first) {
        text("Hello, world!");
        want_text("Hello, world!");
    }
    frame(b0, body);
    frame(FIN | WS_OP_PING, SLICE_LIT("x"));
    want_error(1002);
    play();
}

static void test_3_reserved_bits(void **state)
{
    struct slice hello = SLICE_LIT("Hello, world!");
    (void)state;
    breach_case("3.1", FIN | 0x10 | WS_OP_TEXT, false, hello);
    breach_case("3.2", FIN | 0x20 | WS_OP_TEXT, true, hello);
    breach_case("3.3", FIN | 0x30 | WS_OP_TEXT, true, hello);
    breach_case("3.4", FIN | 0x40 | WS_OP_TEXT, true, hello);
    breach_case("3.5", FIN | 0x50 | WS_OP_BINARY, false, hello);
    breach_case("3.6", FIN | 0x60 | WS_OP_PING, false, hello);
    breach_case("3.7", FIN | 0x70 | WS_OP_CLOSE, false, SLICE_LIT("\x03\xe8"));
}

static void test_4_reserved_opcodes(void **state)
{
    (void)state;
    for (uint8_t i = 0; i < 5; i++) {
        char name[16];
        struct slice body = i % 2 ? SLICE_LIT("reserved opcode payload") : (struct slice){0};
        snprintf(name, sizeof name, "4.1.%d", i + 1);
        breach_case(name, (uint8_t)(FIN | (3 + i)), i > 1, body);
        snprintf(name, sizeof name, "4.2.%d", i + 1);
        breach_case(name, (uint8_t)(FIN | (11 + i)), i > 1, body);
    }
}

static void test_5_fragments_and_control_frames_between(void **state)
{
    (void)state;
    breach_case("5.1", WS_OP_PING, false, SLICE_LIT("fragment1"));
    breach_case("5.2", WS_OP_PONG, false, SLICE_LIT("fragment1"));
    /* In the suite 5.3 to 5.5 and the other triples differ in how the bytes are cut: play() does
     * all cuts, so each triple is one conversation played three times. */
    for (int i = 3; i <= 8; i++) {
        char name[16];
        snprintf(name, sizeof name, "5.%d", i);
        begin(name);
        frame(WS_OP_TEXT, SLICE_LIT("fragment1"));
        if (i >= 6) {
            frame(FIN | WS_OP_PING, SLICE_LIT("ping payload"));
            want("ping", 0, SLICE_LIT("ping payload"));
        }
        frame(FIN | WS_OP_CONT, SLICE_LIT("fragment2"));
        want_text("fragment1fragment2");
        play();
    }
    for (int i = 9; i <= 14; i++) {
        char name[16];
        snprintf(name, sizeof name, "5.%d", i);
        begin(name);
        frame(i <= 11 ? FIN | WS_OP_CONT : WS_OP_CONT, SLICE_LIT("non-continuation payload"));
        text("Hello, world!");
        want_error(1002);
        play();
    }
    for (int i = 15; i <= 17; i++) {
        char name[16];
        snprintf(name, sizeof name, "5.%d", i);
        begin(name);
        if (i == 15) {
            frame(WS_OP_TEXT, SLICE_LIT("fragment1"));
            frame(FIN | WS_OP_CONT, SLICE_LIT("fragment2"));
            want_text("fragment1fragment2");
        }
        for (int n = 0; n < 2; n++) {
            frame(i == 16 ? WS_OP_CONT : FIN | WS_OP_CONT, SLICE_LIT("fragment1"));
            frame(WS_OP_TEXT, SLICE_LIT("fragment2"));
            frame(FIN | WS_OP_CONT, SLICE_LIT("fragment3"));
        }
        want_error(1002);
        play();
    }
    begin("5.18");
    frame(WS_OP_TEXT, SLICE_LIT("fragment1"));
    frame(FIN | WS_OP_TEXT, SLICE_LIT("fragment2"));
    want_error(1002);
    play();
    for (int i = 19; i <= 20; i++) {
        begin(i == 19 ? "5.19" : "5.20");
        frame(WS_OP_TEXT, SLICE_LIT("fragment1"));
        frame(WS_OP_CONT, SLICE_LIT("fragment2"));
        frame(FIN | WS_OP_PING, SLICE_LIT("pongme 1!"));
        frame(WS_OP_CONT, SLICE_LIT("fragment3"));
        frame(WS_OP_CONT, SLICE_LIT("fragment4"));
        frame(FIN | WS_OP_PING, SLICE_LIT("pongme 2!"));
        frame(FIN | WS_OP_CONT, SLICE_LIT("fragment5"));
        want("ping", 0, SLICE_LIT("pongme 1!"));
        want("ping", 0, SLICE_LIT("pongme 2!"));
        want_text("fragment1fragment2fragment3fragment4fragment5");
        play();
    }
}

/* ---- 6: UTF-8 ---- */

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    for (; *hex; hex++) {
        if (*hex == ' ')
            continue;
        unsigned v = 0;
        for (int i = 0; i < 2; i++, hex++)
            v = v * 16 + (unsigned)(*hex <= '9' ? *hex - '0' : *hex - 'a' + 10);
        hex--;
        out[n++] = (uint8_t)v;
    }
    return n;
}

/* Each octet a fragment of its own, after which an empty last one. */
static void octet_fragments(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        frame(i == 0 ? WS_OP_TEXT : WS_OP_CONT, slice_sub(s, i, 1));
    frame(FIN | WS_OP_CONT, (struct slice){0});
}

static void want_verdict(struct slice s, bool valid)
{
    if (valid)
        want("message", WS_OP_TEXT, s);
    else
        want_error(1007);
}

/* One sequence of the suite: unfragmented, and (counted once) in one-octet fragments. */
static void utf8_case(const char *name, struct slice s, bool valid)
{
    assert_int_equal(utf8_valid(s), valid);
    begin(name);
    frame(FIN | WS_OP_TEXT, s);
    want_verdict(s, valid);
    play();
    if (s.len == 0)
        return;
    begin(name);
    octet_fragments(s);
    want_verdict(s, valid);
    play();
    cases_run--;
}

#define KOSME "ce ba e1 bd b9 cf 83 ce bc ce b5 "

static void test_6_1_to_6_4_text_in_parts(void **state)
{
    uint8_t b[64];
    struct slice greet =
        SLICE_LIT("Hello-\xC2\xB5@\xC3\x9F\xC3\xB6\xC3\xA4\xC3\xBC\xC3\xA0\xC3\xA1-UTF-8!!");
    struct slice kosme = SLICE_LIT("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5");
    (void)state;
    begin("6.1.1");
    text("");
    want_text("");
    play();
    for (int i = 2; i <= 3; i++) {
        begin(i == 2 ? "6.1.2" : "6.1.3");
        const char *middle = i == 2 ? "" : "middle frame payload";
        frame(WS_OP_TEXT, (struct slice){0});
        frame(WS_OP_CONT, slice_str(middle));
        frame(FIN | WS_OP_CONT, (struct slice){0});
        want_text(middle);
        play();
    }
    begin("6.2.1");
    frame(FIN | WS_OP_TEXT, greet);
    want("message", WS_OP_TEXT, greet);
    play();
    begin("6.2.2");
    frame(WS_OP_TEXT, slice_sub(greet, 0, 12));
    frame(FIN | WS_OP_CONT, slice_sub(greet, 12, 100));
    want("message", WS_OP_TEXT, greet);
    play();
    begin("6.2.3");
    octet_fragments(greet);
    want("message", WS_OP_TEXT, greet);
    play();
    begin("6.2.4");
    octet_fragments(kosme);
    want("message", WS_OP_TEXT, kosme);
    play();
    size_t n = unhex(KOSME "ed a0 80 65 64 69 74 65 64", b);
    begin("6.3.1");
    frame(FIN | WS_OP_TEXT, slice_of(b, n));
    want_error(1007);
    play();
    begin("6.3.2");
    octet_fragments(slice_of(b, n));
    want_error(1007);
    play();
}

/* Fail fast: the verdict must not wait for the end of the message, nor of the frame. */
static void test_6_4_bad_text_fails_at_its_first_bad_byte(void **state)
{
    uint8_t b[64];
    size_t n = unhex(KOSME "f4 90 80 80 65 64 69 74 65 64", b);
    struct slice s = slice_of(b, n);
    (void)state;
    begin("6.4.1"); /* three fragments; the second is bad at its second byte */
    frame(WS_OP_TEXT, slice_sub(s, 0, 11));
    size_t second = talk.len;
    frame(WS_OP_CONT, slice_sub(s, 11, 4));
    frame(FIN | WS_OP_CONT, slice_sub(s, 15, 9));
    want_error(1007);
    fails_at(second + 6 + 2);
    play();
    begin("6.4.2"); /* the same cut after f4: only the continuation is impossible */
    frame(WS_OP_TEXT, slice_sub(s, 0, 12));
    second = talk.len;
    frame(WS_OP_CONT, slice_sub(s, 12, 1));
    frame(FIN | WS_OP_CONT, slice_sub(s, 13, 11));
    want_error(1007);
    fails_at(second + 6 + 1);
    play();
    for (int i = 3; i <= 4; i++) { /* one frame that comes in parts */
        begin(i == 3 ? "6.4.3" : "6.4.4");
        frame(FIN | WS_OP_TEXT, s);
        want_error(1007);
        fails_at(6 + 13);
        play();
    }
}

static const struct {
    const char *group;
    bool valid;
    const char *hex[36];
} sequences[] = {
    {"6.5", true, {KOSME, "24", "c2 a2", "e2 82 ac", "f0 a4 ad a2"}},
    {"6.6 whole",
     true,
     {"ce ba", "ce ba e1 bd b9", "ce ba e1 bd b9 cf 83", "ce ba e1 bd b9 cf 83 ce bc", KOSME}},
    {"6.6 cut",
     false,
     {"ce", "ce ba e1", "ce ba e1 bd", "ce ba e1 bd b9 cf", "ce ba e1 bd b9 cf 83 ce",
      "ce ba e1 bd b9 cf 83 ce bc ce"}},
    {"6.7 first of a length", true, {"00", "c2 80", "e0 a0 80", "f0 90 80 80"}},
    {"6.8 five and six bytes", false, {"f8 88 80 80 80", "fc 84 80 80 80 80"}},
    {"6.9 last of a length", true, {"7f", "df bf", "ef bf bf", "f4 8f bf bf"}},
    {"6.10", false, {"f7 bf bf bf", "fb bf bf bf bf", "fd bf bf bf bf bf"}},
    {"6.11 boundaries", true, {"ed 9f bf", "ee 80 80", "ef bf bd", "f4 8f bf bf"}},
    {"6.11.5", false, {"f4 90 80 80"}},
    {"6.12 continuation bytes alone",
     false,
     {"80", "bf", "80 bf", "80 bf 80", "80 bf 80 bf", "80 bf 80 bf 80", "80 bf 80 bf 80 bf",
      "80 81 82 83 84 85 86 87 88 89 8a 8b 8c 8d 8e 8f 90 9f a0 af b0 bd be"}},
    {"6.13 start bytes alone",
     false,
     {"c0 20 c1 20 c2 20 c3 20 de 20 df 20", "e0 20 e1 20 ee 20 ef 20", "f0 20 f1 20 f6 20 f7 20",
      "f8 20 f9 20 fa 20 fb 20", "fc 20 fd 20"}},
    {"6.14 last byte missing",
     false,
     {"c0", "e0 80", "f0 80 80", "f8 80 80 80", "fc 80 80 80 80", "df", "ef bf", "f7 bf bf",
      "fb bf bf bf", "fd bf bf bf bf"}},
    {"6.15", false, {"c0 e0 80 f0 80 80 f8 80 80 80 fc 80 80 80 80 df ef bf f7 bf bf fb bf bf bf"}},
    {"6.16 impossible bytes", false, {"fe", "ff", "fe fe ff ff"}},
    {"6.17 overlong slash",
     false,
     {"c0 af", "e0 80 af", "f0 80 80 af", "f8 80 80 80 af", "fc 80 80 80 80 af"}},
    {"6.18 longest overlong",
     false,
     {"c1 bf", "e0 9f bf", "f0 8f bf bf", "f8 87 bf bf bf", "fc 83 bf bf bf bf"}},
    {"6.19 overlong NUL",
     false,
     {"c0 80", "e0 80 80", "f0 80 80 80", "f8 80 80 80 80", "fc 80 80 80 80 80"}},
    {"6.20 surrogates",
     false,
     {"ed a0 80", "ed ad bf", "ed ae 80", "ed af bf", "ed b0 80", "ed be 80", "ed bf bf"}},
    {"6.21 surrogate pairs",
     false,
     {"ed a0 80 ed b0 80", "ed a0 80 ed bf bf", "ed ad bf ed b0 80", "ed ad bf ed bf bf",
      "ed ae 80 ed b0 80", "ed ae 80 ed bf bf", "ed af bf ed b0 80", "ed af bf ed bf bf"}},
    {"6.22 non-characters",
     true,
     {"ef bf be",    "ef bf bf",    "f0 9f bf be", "f0 9f bf bf", "f0 af bf be", "f0 af bf bf",
      "f0 bf bf be", "f0 bf bf bf", "f1 8f bf be", "f1 8f bf bf", "f1 9f bf be", "f1 9f bf bf",
      "f1 af bf be", "f1 af bf bf", "f1 bf bf be", "f1 bf bf bf", "f2 8f bf be", "f2 8f bf bf",
      "f2 9f bf be", "f2 9f bf bf", "f2 af bf be", "f2 af bf bf", "f2 bf bf be", "f2 bf bf bf",
      "f3 8f bf be", "f3 8f bf bf", "f3 9f bf be", "f3 9f bf bf", "f3 af bf be", "f3 af bf bf",
      "f3 bf bf be", "f3 bf bf bf", "f4 8f bf be", "f4 8f bf bf"}},
    {"6.23 specials",
     true,
     {"ef bf b9", "ef bf ba", "ef bf bb", "ef bf bc", "ef bf bd", "ef bf be", "ef bf bf"}},
};

static void test_6_5_to_6_23_utf8_sequences(void **state)
{
    (void)state;
    for (size_t g = 0; g < ARRAY_LEN(sequences); g++) {
        for (size_t i = 0; i < ARRAY_LEN(sequences[g].hex) && sequences[g].hex[i]; i++) {
            uint8_t b[128];
            size_t n = unhex(sequences[g].hex[i], b);
            utf8_case(sequences[g].group, slice_of(b, n), sequences[g].valid);
        }
    }
}

static void test_utf8_every_scalar_value_and_only_those(void **state)
{
    (void)state;
    for (uint32_t v = 0; v < 0x20000; v++) {
        uint8_t b[4] = {(uint8_t)(0xF0 | (v >> 12 & 0xF)), (uint8_t)(0x80 | (v >> 6 & 0x3F)),
                        (uint8_t)(0x80 | (v & 0x3F)), 0};
        if (v < 0x10000) { /* three-byte form */
            b[0] = (uint8_t)(0xE0 | v >> 12);
            bool ok = v >= 0x800 && !(v >= 0xD800 && v < 0xE000);
            assert_int_equal(utf8_valid(slice_of(b, 3)), ok);
        }
    }
    for (uint32_t v = 0; v < 0x200000; v += 61) {
        uint8_t b[4] = {(uint8_t)(0xF0 | v >> 18), (uint8_t)(0x80 | (v >> 12 & 0x3F)),
                        (uint8_t)(0x80 | (v >> 6 & 0x3F)), (uint8_t)(0x80 | (v & 0x3F))};
        assert_int_equal(utf8_valid(slice_of(b, 4)), v >= 0x10000 && v < 0x110000);
    }
    /* The fast path: a bad byte at each place of a long ASCII text. */
    for (size_t at = 0; at < 70; at++) {
        char *t = filled(70);
        assert_true(utf8_valid(slice_of(t, 70)));
        t[at] = (char)0x80;
        assert_false(utf8_valid(slice_of(t, 70)));
    }
}

static void test_utf8_prefix_never_cuts_a_character(void **state)
{
    struct slice s = SLICE_LIT("a\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80");
    static const size_t want_len[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
    (void)state;
    for (size_t max = 0; max < ARRAY_LEN(want_len); max++)
        assert_int_equal(utf8_prefix(s, max).len, want_len[max]);
}

/* ---- 7 and 10 ---- */

static void test_7_1_nothing_is_heard_after_a_close(void **state)
{
    (void)state;
    for (int i = 1; i <= 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "7.1.%d", i);
        begin(name);
        if (i == 1) {
            text("Hello World!");
            want_text("Hello World!");
        }
        if (i == 5)
            frame(WS_OP_TEXT, SLICE_LIT("fragment1"));
        if (i == 6) {
            frame(FIN | WS_OP_TEXT, slice_of(filled(TEXT_MAX), TEXT_MAX));
            want("message", WS_OP_TEXT, slice_of(filled(TEXT_MAX), TEXT_MAX));
        }
        close_frame(1000, (struct slice){0});
        want("close", 1000, (struct slice){0});
        if (i == 2)
            close_frame(1000, (struct slice){0});
        if (i == 3 || i == 6)
            frame(FIN | WS_OP_PING, SLICE_LIT("x"));
        if (i == 4)
            text("Hello World!");
        if (i == 5)
            frame(FIN | WS_OP_CONT, SLICE_LIT("fragment2"));
        play();
    }
}

static void close_case(const char *name, struct slice body, unsigned code, unsigned error)
{
    begin(name);
    frame(FIN | WS_OP_CLOSE, body);
    if (error)
        want_error(error);
    else
        want("close", code, slice_sub(body, 2, body.len));
    play();
}

static void test_7_3_and_7_5_close_payloads(void **state)
{
    uint8_t b[140];
    (void)state;
    close_case("7.3.1", (struct slice){0}, WS_CLOSE_NO_STATUS, 0);
    close_case("7.3.2", SLICE_LIT("a"), 0, 1002);
    close_case("7.3.3", SLICE_LIT("\x03\xe8"), 1000, 0);
    close_case("7.3.4", SLICE_LIT("\x03\xe8Hello World!"), 1000, 0);
    memset(b, '*', sizeof b);
    b[0] = 0x03;
    b[1] = 0xe8;
    close_case("7.3.5", slice_of(b, 125), 1000, 0);
    close_case("7.3.6", slice_of(b, 126), 0, 1002);
    size_t n = 2 + unhex(KOSME "ed a0 80 65 64 69 74 65 64", b + 2);
    close_case("7.5.1", slice_of(b, n), 0, 1007);
}

static void test_7_7_to_7_13_close_codes(void **state)
{
    static const uint16_t good[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009,
                                    1010, 1011, 3000, 3999, 4000, 4999};
    /* The last two are 7.13, where the RFC leaves the behaviour open. */
    static const uint16_t bad[] = {0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good) + ARRAY_LEN(bad); i++) {
        bool ok = i < ARRAY_LEN(good);
        uint16_t code = ok ? good[i] : bad[i - ARRAY_LEN(good)];
        uint8_t b[2] = {(uint8_t)(code >> 8), (uint8_t)code};
        close_case(ok ? "7.7" : "7.9", slice_of(b, 2), code, ok ? 0 : 1002);
    }
}

static void test_10_1_many_fragments(void **state)
{
    (void)state;
    begin("10.1.1");
    struct slice all = slice_of(filled(TEXT_MAX), TEXT_MAX);
    for (size_t at = 0; at < TEXT_MAX; at += 1300) {
        bool last = at + 1300 >= TEXT_MAX;
        frame((uint8_t)((at == 0 ? WS_OP_TEXT : WS_OP_CONT) | (last ? FIN : 0)),
              slice_sub(all, at, 1300));
    }
    want("message", WS_OP_TEXT, all);
    play();
}

static void test_all_cases_of_the_suite_were_played(void **state)
{
    (void)state;
    print_message("%u cases played, %d in Autobahn groups 1 to 7 and 10\n", cases_run,
                  AUTOBAHN_CASES);
    assert_int_equal(cases_run, AUTOBAHN_CASES);
}

/* ---- what the suite does not ask ---- */

static void test_unmasked_frame_is_a_protocol_error(void **state)
{
    (void)state;
    begin("unmasked");
    raw(SLICE_LIT("\x81\x05hello"));
    want_error(1002);
    fails_at(2);
    play();
}

static void test_length_must_be_minimal(void **state)
{
    static const struct slice wires[] = {
        SLICE_LIT("\x81\xfe\x00\x7d\x00\x00\x00\x00"),
        SLICE_LIT("\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00"),
        SLICE_LIT("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wires); i++) {
        begin("length");
        raw(wires[i]);
        want_error(1002);
        play();
    }
}

static void test_too_long_is_refused_at_the_header(void **state)
{
    (void)state;
    begin("64 kB and one");
    raw(SLICE_LIT("\x82\xff\x00\x00\x00\x00\x00\x01\x00\x01"));
    want_error(1009);
    fails_at(10);
    play();
    begin("in fragments");
    frame(WS_OP_TEXT, slice_of(filled(TEXT_MAX), TEXT_MAX));
    frame(FIN | WS_OP_CONT, SLICE_LIT("x"));
    want_error(1009);
    play();
}

static void test_limit_can_change_between_and_inside_messages(void **state)
{
    char log[LOG_MAX] = "";
    struct ws w;
    size_t at = 0;
    (void)state;
    begin("limit");
    frame(FIN | WS_OP_TEXT, SLICE_LIT("12345678"));
    ws_init(&w, 8);
    feed(&w, &at, talk.len, log);
    size_t mid = talk.len + 8;
    frame(WS_OP_TEXT, SLICE_LIT("12345678"));
    size_t end = talk.len;
    frame(FIN | WS_OP_CONT, (struct slice){0});
    feed(&w, &at, mid, log);
    ws_set_max(&w, 4);
    feed(&w, &at, end, log);
    assert_null(strstr(log, "error"));
    feed(&w, &at, talk.len, log);
    assert_non_null(strstr(log, "error 1009"));
    ws_fini(&w);
}

static void test_given_message_is_freed_when_the_loop_ends(void **state)
{
    char log[LOG_MAX] = "";
    struct ws w;
    size_t at = 0;
    uint64_t live = mem_live();
    (void)state;
    begin("free");
    frame(WS_OP_TEXT, SLICE_LIT("a"));
    frame(FIN | WS_OP_CONT, SLICE_LIT("b"));
    ws_init(&w, 100);
    feed(&w, &at, talk.len, log);
    assert_true(mem_live() == live);
    ws_fini(&w);
}

static void test_oom_closes_with_1011_and_leaks_nothing(void **state)
{
    (void)state;
    begin("oom");
    struct slice big = slice_of(filled(3000), 3000);
    frame(WS_OP_TEXT, big);
    frame(FIN | WS_OP_CONT, big);
    for (uint64_t n = 0;; n++) {
        char log[LOG_MAX] = "";
        struct ws w;
        size_t at = 0;
        uint64_t live = mem_live();
        ws_init(&w, TEXT_MAX);
        mem_fail_after(n);
        feed(&w, &at, talk.len, log);
        bool failed = mem_failed();
        mem_fail_never();
        ws_fini(&w);
        assert_true(mem_live() == live);
        assert_non_null(strstr(log, failed ? "error 1011" : "message 1 6000"));
        if (!failed)
            break;
    }
}

static void test_mask_at_any_phase_and_alignment(void **state)
{
    static const uint8_t mask[4] = {1, 2, 4, 8};
    uint8_t b[64], ref[64];
    (void)state;
    for (size_t off = 0; off < 9; off++)
        for (size_t n = 0; n < 40; n++)
            for (size_t at = 0; at < 5; at++) {
                for (size_t i = 0; i < sizeof b; i++)
                    b[i] = ref[i] = (uint8_t)(i * 5);
                for (size_t i = 0; i < n; i++)
                    ref[off + i] ^= mask[(at + i) % 4];
                ws_mask(b + off, n, mask, at);
                assert_memory_equal(b, ref, sizeof b);
            }
}

static void test_headers_we_send(void **state)
{
    static const struct {
        size_t len, bytes;
        const char *wire;
    } cases[] = {
        {0, 2, "\x81\x00"},
        {125, 2, "\x81\x7d"},
        {126, 4, "\x81\x7e\x00\x7e"},
        {65535, 4, "\x81\x7e\xff\xff"},
        {65536, 10, "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t h[WS_HEADER_MAX];
        assert_int_equal(ws_frame_header(h, WS_OP_TEXT, cases[i].len), cases[i].bytes);
        assert_memory_equal(h, cases[i].wire, cases[i].bytes);
    }
}

static void test_close_frames_we_send(void **state)
{
    uint8_t f[WS_CLOSE_FRAME_MAX];
    (void)state;
    assert_int_equal(ws_close_frame(f, 0, SLICE_LIT("ignored")), 2);
    assert_memory_equal(f, "\x88\x00", 2);
    assert_int_equal(ws_close_frame(f, WS_CLOSE_NO_STATUS, (struct slice){0}), 2);
    assert_int_equal(ws_close_frame(f, 1013, SLICE_LIT("later")), 9);
    assert_memory_equal(f, "\x88\x07\x03\xf5later", 9);
    assert_int_equal(ws_close_frame(f, 1000, slice_of(filled(200), 200)), 127);
    char *t = filled(122);
    t[122] = (char)0xC3; /* a character that would be cut */
    t[123] = (char)0x9F;
    assert_int_equal(ws_close_frame(f, 1000, slice_of(t, 124)), 2 + 2 + 122);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_1_messages_of_all_length_encodings),
        cmocka_unit_test(test_2_pings_and_pongs),
        cmocka_unit_test(test_3_reserved_bits),
        cmocka_unit_test(test_4_reserved_opcodes),
        cmocka_unit_test(test_5_fragments_and_control_frames_between),
        cmocka_unit_test(test_6_1_to_6_4_text_in_parts),
        cmocka_unit_test(test_6_4_bad_text_fails_at_its_first_bad_byte),
        cmocka_unit_test(test_6_5_to_6_23_utf8_sequences),
        cmocka_unit_test(test_7_1_nothing_is_heard_after_a_close),
        cmocka_unit_test(test_7_3_and_7_5_close_payloads),
        cmocka_unit_test(test_7_7_to_7_13_close_codes),
        cmocka_unit_test(test_10_1_many_fragments),
        cmocka_unit_test(test_all_cases_of_the_suite_were_played),
        cmocka_unit_test(test_utf8_every_scalar_value_and_only_those),
        cmocka_unit_test(test_utf8_prefix_never_cuts_a_character),
        cmocka_unit_test(test_unmasked_frame_is_a_protocol_error),
        cmocka_unit_test(test_length_must_be_minimal),
        cmocka_unit_test(test_too_long_is_refused_at_the_header),
        cmocka_unit_test(test_limit_can_change_between_and_inside_messages),
        cmocka_unit_test(test_given_message_is_freed_when_the_loop_ends),
        cmocka_unit_test(test_oom_closes_with_1011_and_leaks_nothing),
        cmocka_unit_test(test_mask_at_any_phase_and_alignment),
        cmocka_unit_test(test_headers_we_send),
        cmocka_unit_test(test_close_frames_we_send),
    };
    return cmocka_run_group_tests_name("ws", tests, NULL, NULL);
}
