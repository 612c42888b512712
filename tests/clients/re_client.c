/* A TURN client made of libre (Debian's libre-dev), for tests/e2e/turn_libre_test.py.
 *
 *     re_client udp|tcp|tls|dtls SERVER_PORT PEER_PORT USER PASSWORD [SECONDS]
 *
 * Everything is on 127.0.0.1; the peer echoes. Allocates, sends by permission (Send and Data
 * indications), then by channel with payloads of many sizes, then once every ten seconds for
 * SECONDS more; libre refreshes what runs out meanwhile. Ends with 0 when every echo came back
 * unchanged.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
/* What libre was built with; its headers ask. */
#define HAVE_INET6      1
#define HAVE_INTTYPES_H 1
#define HAVE_STDBOOL_H  1
#include <re/re.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADROOM_BYTES = 64, /* for the headers that libre puts before the payload */
    FRAME_HEADER_BYTES = 4,
    CHANNEL_BYTES_MAX = 1200,
    DEADLINE_MS = 30000,
    BEAT_MS = 10000,
};

/* Request timers longer than libre's own: the test may run the clock many times faster. */
static const struct stun_conf timers = {.rto = 10000, .rc = 7, .rm = 16, .ti = 400000};

static struct {
    const char *transport, *user, *password;
    struct sa server, peer;
    struct turnc *turn;
    struct udp_sock *udp;
    struct tcp_conn *tcp;
    struct tls *tls;
    struct tls_conn *tls_conn;
    struct dtls_sock *dtls;
    struct mbuf *stream;
    struct tmr deadline, beat;
    size_t expect; /* size of the payload that is under way */
    unsigned beats, beats_wanted;
    bool by_channel;
    int result;
} client;

static void finish(int result, const char *why)
{
    printf("%s: %s\n", result ? "failed" : "done", why);
    client.result = result;
    re_cancel();
}

static void fail_on(int err, const char *what)
{
    if (!err)
        return;
    printf("%s: %s\n", what, strerror(err));
    finish(1, what);
}

static uint8_t pattern(size_t size, size_t i)
{
    return (uint8_t)(size * 31 + i);
}

static void send_payload(size_t size)
{
    struct mbuf *mb = mbuf_alloc(HEADROOM_BYTES + size + FRAME_HEADER_BYTES);

    mb->pos = HEADROOM_BYTES;
    for (size_t i = 0; i < size; i++)
        (void)mbuf_write_u8(mb, pattern(size, i));
    mb->pos = HEADROOM_BYTES;
    client.expect = size;
    /* On a UDP socket libre wraps whatever is sent to a permitted peer. */
    fail_on(client.udp ? udp_send(client.udp, &client.peer, mb)
                       : turnc_send(client.turn, &client.peer, mb),
            "send");
    mem_deref(mb);
}

static void on_deadline(void *arg)
{
    (void)arg;
    finish(1, "no answer in time");
}

static void wait_for_answer(void)
{
    tmr_start(&client.deadline, (uint64_t)DEADLINE_MS * (client.beats_wanted ? 100 : 1),
              on_deadline, NULL);
}

static void on_beat(void *arg)
{
    (void)arg;
    send_payload(100);
}

static void on_channel(void *arg)
{
    (void)arg;
    client.by_channel = true;
    send_payload(1);
}

/* An echo came: the next step. Only one payload is under way at a time, so that none is lost to a
 * full buffer. */
static void on_echo(void)
{
    wait_for_answer();
    if (!client.by_channel) {
        fail_on(turnc_add_chan(client.turn, &client.peer, on_channel, NULL), "channel");
    } else if (client.beats == 0 && client.expect < CHANNEL_BYTES_MAX) {
        send_payload(client.expect < 16 ? client.expect + 1 : client.expect * 5 / 4);
    } else if (client.beats < client.beats_wanted) {
        client.beats++;
        tmr_start(&client.beat, BEAT_MS, on_beat, NULL);
    } else {
        finish(0, "all echoes are back");
    }
}

static void on_payload(const struct sa *from, struct mbuf *mb)
{
    size_t size = mbuf_get_left(mb);

    if (!sa_cmp(from, &client.peer, SA_ALL)) {
        finish(1, "data from somebody else");
        return;
    }
    if (size != client.expect) {
        finish(1, "wrong length");
        return;
    }
    for (size_t i = 0; i < size; i++) {
        if (mbuf_buf(mb)[i] != pattern(size, i)) {
            finish(1, "payload was changed");
            return;
        }
    }
    on_echo();
}

static void on_permission(void *arg)
{
    (void)arg;
    send_payload(333);
}

static void on_turn(int err, uint16_t code, const char *reason, const struct sa *relay,
                    const struct sa *mapped, const struct stun_msg *msg, void *arg)
{
    (void)msg;
    (void)arg;
    if (err || code) {
        printf("turn: %d %u %s\n", err, code, reason ? reason : "");
        finish(1, "turn");
        return;
    }
    (void)re_printf("relayed %J, mapped %J\n", relay, mapped);
    fail_on(turnc_add_perm(client.turn, &client.peer, on_permission, NULL), "permission");
}

static void allocate(int transport, void *sock)
{
    fail_on(turnc_alloc(&client.turn, &timers, transport, sock, 0, &client.server, client.user,
                        client.password, 60, on_turn, NULL),
            "allocate");
}

/* Lets libre take what is its own; what is left in mb is a peer's. */
static void on_message(struct mbuf *mb)
{
    struct sa from = client.server;
    int err = turnc_recv(client.turn, &from, mb);

    if (err)
        fail_on(err, "message");
    else if (mbuf_get_left(mb) > 0)
        on_payload(&from, mb);
}

static void on_udp(const struct sa *from, struct mbuf *mb, void *arg)
{
    (void)arg;
    on_payload(from, mb); /* libre hooks into the socket and has unpacked it */
}

static void on_dtls(struct mbuf *mb, void *arg)
{
    (void)arg;
    on_message(mb);
}

static void on_dtls_up(void *arg)
{
    (void)arg;
    allocate(STUN_TRANSP_DTLS, client.tls_conn);
}

static void on_close(int err, void *arg)
{
    (void)arg;
    printf("closed: %s\n", strerror(err));
    finish(1, "closed");
}

static void on_tcp_up(void *arg)
{
    (void)arg;
    allocate(IPPROTO_TCP, client.tcp);
}

/* RFC 8656 §12.5: ChannelData is padded to four bytes on streams; STUN messages are anyway. */
static void on_tcp(struct mbuf *mb, void *arg)
{
    (void)arg;
    client.stream->pos = client.stream->end;
    fail_on(mbuf_write_mem(client.stream, mbuf_buf(mb), mbuf_get_left(mb)), "stream");
    client.stream->pos = 0;
    while (mbuf_get_left(client.stream) >= FRAME_HEADER_BYTES) {
        const uint8_t *p = mbuf_buf(client.stream);
        size_t length = (size_t)p[2] << 8 | p[3];
        size_t frame = p[0] & 0x40 ? FRAME_HEADER_BYTES + length : STUN_HEADER_SIZE + length;
        size_t padded = (frame + 3) / 4 * 4;
        struct mbuf *one;

        if (mbuf_get_left(client.stream) < padded)
            break;
        one = mbuf_alloc(frame);
        (void)mbuf_write_mem(one, p, frame);
        one->pos = 0;
        mbuf_advance(client.stream, (ssize_t)padded);
        on_message(one);
        mem_deref(one);
    }
    if (mbuf_get_left(client.stream) > 0)
        memmove(client.stream->buf, mbuf_buf(client.stream), mbuf_get_left(client.stream));
    client.stream->end = mbuf_get_left(client.stream);
    client.stream->pos = 0;
}

static int connect_stream(bool tls)
{
    int err = tcp_conn_alloc(&client.tcp, &client.server, on_tcp_up, on_tcp, on_close, NULL);

    if (!err && tls)
        err = tls_alloc(&client.tls, TLS_METHOD_SSLV23, NULL, NULL);
    if (!err && tls)
        err = tls_start_tcp(&client.tls_conn, client.tls, client.tcp, 0);
    return err ? err : tcp_conn_connect(client.tcp, &client.server);
}

static int connect_datagram(bool dtls)
{
    struct sa local;
    int err = sa_set_str(&local, "127.0.0.1", 0);

    if (err)
        return err;
    if (!dtls) {
        err = udp_listen(&client.udp, &local, on_udp, NULL);
        if (!err)
            allocate(IPPROTO_UDP, client.udp);
        return err;
    }
    err = tls_alloc(&client.tls, TLS_METHOD_DTLS, NULL, NULL);
    if (!err)
        err = dtls_listen(&client.dtls, &local, NULL, 4, 0, NULL, NULL);
    if (!err)
        err = dtls_connect(&client.tls_conn, client.tls, client.dtls, &client.server, on_dtls_up,
                           on_dtls, on_close, NULL);
    return err;
}

int main(int argc, char **argv)
{
    int err;

    if (argc < 6)
        return 64;
    setvbuf(stdout, NULL, _IOLBF, 0);
    client.transport = argv[1];
    client.user = argv[4];
    client.password = argv[5];
    client.beats_wanted = argc > 6 ? (unsigned)strtoul(argv[6], NULL, 10) * 1000 / BEAT_MS : 0;
    if (libre_init() ||
        sa_set_str(&client.server, "127.0.0.1", (uint16_t)strtoul(argv[2], NULL, 10)) ||
        sa_set_str(&client.peer, "127.0.0.1", (uint16_t)strtoul(argv[3], NULL, 10)))
        return 70;
    tmr_init(&client.deadline);
    tmr_init(&client.beat);
    client.stream = mbuf_alloc(4096);
    wait_for_answer();
    if (strcmp(client.transport, "tcp") == 0 || strcmp(client.transport, "tls") == 0)
        err = connect_stream(client.transport[1] == 'l');
    else
        err = connect_datagram(client.transport[0] == 'd');
    fail_on(err, "connect");
    if (!client.result)
        (void)re_main(NULL);
    tmr_cancel(&client.deadline);
    tmr_cancel(&client.beat);
    mem_deref(client.turn); /* tells the relay that the allocation is not needed any more */
    mem_deref(client.tls_conn);
    mem_deref(client.dtls);
    mem_deref(client.tcp);
    mem_deref(client.udp);
    mem_deref(client.tls);
    mem_deref(client.stream);
    libre_close();
    return client.result;
}
