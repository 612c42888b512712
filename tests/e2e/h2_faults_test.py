"""The HTTP/2 client of sori-server under every fault that push services show: GOAWAY, refusals,
resets, lost connections, black holes, slow answers, moving limits. SPDX-License-Identifier:
BSD-3-Clause
"""
import json
import threading
import time

import h2.config
import h2.connection
import h2.events
import pytest

from h2server import CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, REFUSED_STREAM, RawServer, push


def all_answered(out, srv=None, doubled=0):
    assert out["answered"] == out["sent"], json.dumps(out)
    assert out["wrong_id"] == 0
    if srv:
        assert srv.wrong == []
        assert srv.doubled <= doubled, srv.doubled


def test_plain_load_is_what_the_rfc_and_apple_ask_for():
    with RawServer() as srv:
        out = push(srv, n=2000)
    all_answered(out, srv)
    assert out["status"] == {"200": 2000}
    assert srv.frames["RST_STREAM"] == srv.frames["PRIORITY"] == srv.frames["PING"] == 0
    assert srv.accepted == out["opened"] == 2
    # apns-ids do not fill the header table, paths and tokens are never in it (checked per request).
    assert 0 < srv.table_bytes < 500, srv.table_bytes


class H2Conn:
    """A strict, independent peer: python3-h2 raises on whatever breaks the protocol."""

    def __init__(self, sock, errors):
        self.errors = errors
        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        conn.initiate_connection()
        sock.sendall(conn.data_to_send())
        try:
            while data := sock.recv(65536):
                for e in conn.receive_data(data):
                    if isinstance(e, h2.events.DataReceived):
                        conn.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                    if isinstance(e, h2.events.StreamEnded):
                        conn.send_headers(e.stream_id, [(":status", "200")], end_stream=True)
                    if isinstance(e, h2.events.StreamReset):
                        self.errors.append("a reset")
                sock.sendall(conn.data_to_send())
        except OSError:
            pass
        except Exception as e:  # pylint: disable=broad-except
            self.errors.append(repr(e))


def test_python_h2_finds_nothing_wrong():
    errors = []
    srv = RawServer()
    srv.serve = lambda sock, number: H2Conn(srv.tls.wrap_socket(sock, server_side=True), errors)
    with srv:
        out = push(srv, n=1000, body=5120, inflight=90)
    all_answered(out)
    assert errors == []


def test_one_stream_until_the_first_answer_then_many():
    def on_request(c, stream, *_):
        if c.requests == 1:
            c.settings(max_concurrent=1000)
        c.answer(stream)

    with RawServer(on_request, settings={"max_concurrent": 1}) as srv:
        out = push(srv, n=2000)
    all_answered(out, srv)
    assert out["opened"] == 2 and out["moved_refused"] == 0


@pytest.mark.parametrize("warned", [False, True])
def test_goaway_every_400_loses_and_doubles_nothing(warned):
    def on_request(c, stream, *_):
        c.answer(stream)
        if c.requests == 400:
            if warned:  # RFC 9113 §6.8: first 2^31-1, then the truth
                c.goaway(0x7fffffff)
            c.goaway(stream, debug=b'{"reason":"Shutdown"}')

    with RawServer(on_request) as srv:
        out = push(srv, n=4000, retry_ms=20)
    all_answered(out, srv)
    assert out["goaways"] >= 8 and out["resent"] == 0
    assert srv.frames["RST_STREAM"] == 0
    assert "Shutdown" in out["trouble"]


def test_goaway_lets_those_under_way_finish():
    def on_request(c, stream, *_):
        if c.number > 2:
            c.answer(stream)
        elif c.requests == 50:
            c.goaway(stream)
            threading.Timer(0.3, lambda: [c.answer(1 + 2 * i) for i in range(50)]).start()

    with RawServer(on_request) as srv:
        out = push(srv, n=200)
    all_answered(out, srv)
    assert out["resent"] == out["uncertain"] == 0 and out["moved_goaway"] > 0


def test_every_seventh_is_refused():
    def on_request(c, stream, headers, _):
        if c.requests % 7 == 0:
            c.server.ids[headers["apns-id"]] -= 1  # not acted on
            c.rst(stream, REFUSED_STREAM)
        else:
            c.answer(stream)

    with RawServer(on_request) as srv:
        out = push(srv, n=3000)
    all_answered(out, srv)
    assert out["opened"] == 2 and out["moved_refused"] >= 400


@pytest.mark.parametrize("resend", [0, 1])
def test_resets_are_uncertain(resend):
    def on_request(c, stream, headers, _):
        if headers["apns-id"].endswith("5") and c.server.ids[headers["apns-id"]] == 1:
            c.rst(stream, INTERNAL_ERROR)
        else:
            c.answer(stream)

    with RawServer(on_request) as srv:
        out = push(srv, n=1000, resend=resend)
    if resend:
        all_answered(out, srv, doubled=100)
        assert out["resent"] == 100
    else:
        assert out["uncertain"] == 100 and out["answered"] == 900 and srv.doubled == 0
        assert "INTERNAL_ERROR" in out["why"][0]


@pytest.mark.parametrize("resend", [0, 1])
def test_a_dropped_connection_in_mid_flight(resend):
    """Requests are read, none of a whole batch is answered, the connection breaks."""
    def on_request(c, stream, *_):
        if c.number == 1 and c.requests > 300:
            if c.requests == 500:
                c.drop()
            return
        c.answer(stream)

    with RawServer(on_request) as srv:
        out = push(srv, n=2000, resend=resend)
    if resend:
        all_answered(out, srv, doubled=500)
        assert 0 < out["resent"] <= 500
    else:
        assert out["answered"] + out["uncertain"] == 2000 and srv.doubled == 0
        assert 100 < out["uncertain"] <= 500


def test_a_half_close_after_some_answers():
    def on_request(c, stream, *_):
        c.answer(stream)
        if c.number == 1 and c.requests == 100:
            c.close()

    with RawServer(on_request) as srv:
        out = push(srv, n=1000, inflight=100, resend=1)
    all_answered(out, srv, doubled=100)
    assert out["ended"]["eof"] == 1 and out["opened"] == 3


def test_a_black_hole_costs_less_than_three_seconds():
    """One of two connections goes deaf: neither requests nor PING are answered there."""
    deaf = threading.Event()

    def on_request(c, stream, *_):
        if c.number == 1 and c.requests >= 100:
            c.deaf = True
            deaf.set()
        if not c.deaf:
            c.answer(stream)

    with RawServer(on_request) as srv:
        out = push(srv, n=1000, rate=400, resend=1)
    all_answered(out, srv, doubled=600)
    assert deaf.is_set() and out["ended"]["dead"] == 1
    assert out["max_us"] < 3_000_000, out["max_us"]


def test_an_idle_black_hole_is_found_before_the_next_call():
    """Deaf while idle: the idle PING finds it, the push that comes later is answered at once."""
    def on_open(c):
        if c.number <= 2:
            threading.Timer(0.2, lambda: setattr(c, "deaf", True)).start()

    def on_request(c, stream, *_):
        c.answer(stream)

    with RawServer(on_request, on_open=on_open, answers_ping=False) as srv:
        out = push(srv, n=2, rate=1, warm=1, idle_ms=200, dead_ms=200, resend=1, linger_ms=100)
    assert out["answered"] == 2, out
    assert out["ended"]["dead"] >= 2 and out["p50_us"] < 300_000


def test_slow_answers_keep_their_connection():
    def on_request(c, stream, *_):
        threading.Timer(2.2, c.answer, (stream,)).start()

    with RawServer(on_request) as srv:
        out = push(srv, n=20)
    all_answered(out, srv)
    assert out["opened"] == 2 and out["ended"]["dead"] == 0
    assert 2 <= srv.frames["PING"] <= 8, srv.frames


def test_an_answer_that_never_comes_is_late_and_its_stream_is_freed():
    def on_request(c, stream, headers, _):
        if not headers["apns-id"].endswith("7"):
            c.answer(stream)

    with RawServer(on_request, settings={"max_concurrent": 50}) as srv:
        out = push(srv, n=200, deadline_ms=1000)
    assert out["late"] == 20 and out["answered"] == 180, out
    assert srv.resets == [CANCEL] * 20


def test_answers_out_of_order():
    held = []

    def on_request(c, stream, *_):
        with lock:
            held.append((c, stream))
            if len(held) < 50 and c.server.requests < 1000:
                return
            now = held[::-1]
            held.clear()
        for conn, s in now:
            conn.answer(s)

    lock = threading.Lock()
    with RawServer(on_request) as srv:
        out = push(srv, n=1000, inflight=100)
    all_answered(out, srv)


def test_limits_that_flap_and_fall_to_none():
    def on_request(c, stream, *_):
        c.settings(max_concurrent=[1, 100, 3, 0][c.requests % 4])
        c.answer(stream)
        if c.requests % 4 == 3:
            threading.Timer(0.01, lambda: c.settings(max_concurrent=2)).start()

    with RawServer(on_request) as srv:
        out = push(srv, n=1000)
    all_answered(out, srv)
    assert out["opened"] == 2


def test_large_bodies_through_small_windows():
    with RawServer(settings={"max_concurrent": 1000, "initial_window": 2000}) as srv:
        out = push(srv, n=2000, body=5120)
    all_answered(out, srv)
    assert srv.frames["DATA"] >= 6000


def test_hostile_answers_are_cut():
    def on_request(c, stream, *_):
        kind = stream % 3
        if kind == 0:
            c.answer(stream, 400, b"x" * 8000)
        elif kind == 1:
            c.answer(stream, 400, headers=[(f"x-{i}", "y" * 100) for i in range(80)])
        else:
            c.answer(stream, 400, b"y" * 4096)

    with RawServer(on_request) as srv:
        out = push(srv, n=300, inflight=6)  # the server does not look at our windows
    all_answered(out)
    assert 150 < out["cut"] < 250, out


@pytest.mark.parametrize("junk", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100, b"\0\0\0\x01\x25\0\0\0\x02",
                                  b"\xff" * 1000])
def test_no_http2_behind_the_handshake(junk):
    def on_open(c):
        c.sock.sendall(junk)

    with RawServer(on_open=on_open) as srv:
        out = push(srv, n=5, deadline_ms=300, warm=0)
    assert out["no_connection"] == 5 and out["opened"] == 0 and srv.requests == 0
    assert out["ended"]["protocol"] >= 1 and out["trouble"]


def test_no_settings_at_all():
    with RawServer(settings=False, on_open=lambda c: setattr(c, "mute", True)) as srv:
        out = push(srv, n=1, deadline_ms=700, open_ms=300, warm=0)
    assert out["no_connection"] == 1 and "does not answer" in out["trouble"], out
    assert out["ended"]["protocol"] >= 2 and srv.accepted < 8


def test_a_server_that_ends_each_connection_is_not_hammered():
    def on_request(c, stream, *_):
        c.goaway(0, ENHANCE_YOUR_CALM)
        c.close()

    with RawServer(on_request) as srv:
        out = push(srv, n=50, deadline_ms=2000)
    assert out["answered"] == 0 and out["goaways"] > 2
    assert srv.accepted < 40, srv.accepted
    assert "ENHANCE_YOUR_CALM" in out["trouble"] or "closed" in out["trouble"]


def test_connections_are_replaced_under_load():
    with RawServer() as srv:
        out = push(srv, n=5000, retire=500)
    all_answered(out, srv)
    assert out["retired"] >= 8 and out["uncertain"] == out["resent"] == 0
    assert srv.frames["RST_STREAM"] == 0 and srv.frames["GOAWAY"] >= 8


def test_a_server_that_comes_later_is_found():
    srv = RawServer()
    timer = threading.Timer(0.7, srv.__enter__)
    timer.start()
    begun = time.monotonic()
    out = push(srv, n=10, warm=0)
    timer.join()
    srv.__exit__()
    all_answered(out)
    assert out["ended"]["connect"] >= 2 and time.monotonic() - begun < 4
