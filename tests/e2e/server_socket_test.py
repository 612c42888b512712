"""sori-server over real sockets: TLS, HTTP, WebSocket, limits in time, reload, stop.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import json
import os
import signal
import socket
import ssl
import time
import uuid

import pytest
import websockets

from soriclient import SECRET, Client, token, trust_anything
from soridaemon import free_port, make_cert, run_to_exit
from soriserver import Server

CONFIG = """
[server]
listen_tls = 127.0.0.1:{tls}
listen_clear = 127.0.0.1:{clear}
origins = https://calls.example
page = yes
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[auth]
hs256_secret_file = @FOLDER@/secret
[session]
handshake_timeout = 1
[limits]
handshakes_per_s = 1000
handshakes_burst = 1000
login_failures_per_10min = 1000
{extra}
"""


@pytest.fixture(scope="module")
def server():
    with Server(CONFIG, extra="") as s:
        yield s


def http(port, text, wait=5):
    """Sends bytes in the clear and gives all that comes back until the end."""
    with socket.create_connection(("127.0.0.1", port), wait) as s:
        s.sendall(text if isinstance(text, bytes) else text.encode())
        out = b""
        while True:
            try:
                part = s.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            out += part
        return out.decode("latin-1")


def get(port, path, extra=""):
    return http(port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n")


def test_http_answers(server):
    assert "200 OK" in get(server.clear, "/livez")
    assert "200 OK" in get(server.clear, "/readyz")
    assert "sori.js" in get(server.clear, "/")
    assert "404" in get(server.clear, "/etc/passwd").split("\r\n")[0]
    assert "404" in get(server.clear, "/dev/token?user=a").split("\r\n")[0]
    assert "426" in get(server.clear, "/ws").split("\r\n")[0]
    assert "405" in http(server.clear, "POST / HTTP/1.1\r\nHost: x\r\n\r\n").split("\r\n")[0]
    assert "400" in http(server.clear, "GET / HTTP/1.1\r\n\r\n").split("\r\n")[0]
    assert "400" in http(server.clear, "\x16\x03\x01\x02\r\n\r\n").split("\r\n")[0]
    assert "431" in http(server.clear, "GET / HTTP/1.1\r\nHost: x\r\nA: " + "a" * 9000 + "\r\n\r\n").split("\r\n")[0]


def test_two_requests_on_one_connection(server):
    out = http(server.clear, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert out.count("200 OK") == 2


def test_head_has_no_body(server):
    out = http(server.clear, "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert "200 OK" in out and out.endswith("\r\n\r\n")


@pytest.mark.parametrize("origin,ok", [
    (None, True), ("https://calls.example", True), ("https://CALLS.example", True),
    ("https://calls.example:443", True), ("http://calls.example", False), ("https://calls.example.evil.com", False),
    ("https://evil.example", False), ("null", False), ("https://calls.example:8443", False)])
def test_origin(server, origin, ok):
    async def go():
        c = Client(server.ws, "alice", "o-" + uuid.uuid4().hex)
        try:
            await c.connect(origin=origin)
        except websockets.InvalidStatusCode as refused:
            assert not ok and refused.status_code == 403
        else:
            assert ok
            await c.socket.close()
    asyncio.run(go())


def test_the_subprotocol_is_required(server):
    async def go():
        with pytest.raises(websockets.InvalidStatusCode) as refused:
            await websockets.connect(server.ws, subprotocols=["other.v1"])
        assert refused.value.status_code == 400
    asyncio.run(go())


def test_a_call_over_tls(server):
    async def go():
        alice, bob = Client(server.wss, "alice", "a"), Client(server.wss, "bob", "b")
        await alice.connect()
        await bob.connect()
        call = str(uuid.uuid4())
        offer = {"offer": {"type": "offer", "sdp": "v=0\r\n" + "a=x\r\n" * 9000}, "metadata": {"isVideo": False}}
        assert (await alice.request("call.invite", call, offer, to="bob"))["data"]["state"] == "inviting"
        incoming = await bob.until("call.incoming")
        assert incoming["data"]["offer"] == offer["offer"] and incoming["from"] == "alice"
        await bob.request("call.ringing", call)
        await alice.until("call.ringing")
        await bob.request("call.answer", call, {"answer": {"type": "answer", "sdp": "v=0"}})
        assert (await alice.until("call.accepted"))["data"]["answer"]["sdp"] == "v=0"
        await alice.request("call.hangup", call)
        assert (await bob.until("call.ended"))["data"]["reason"] == "hangup"
        await alice.socket.close()
        await bob.socket.close()
    asyncio.run(go())


def test_a_broken_socket_resumes_with_nothing_lost(server):
    async def go():
        alice, bob = Client(server.wss, "ann", "a"), Client(server.wss, "ben", "b")
        await alice.connect()
        await bob.connect()
        bob.socket.transport.abort()
        call = str(uuid.uuid4())
        offer = {"offer": {"type": "offer", "sdp": "v=0"}, "metadata": {"isVideo": False}}
        await alice.request("call.invite", call, offer, to="ben")
        welcome = await bob.connect(bob.resume())
        assert welcome["resumed"] and welcome["activeCalls"][0]["callId"] == call
        assert (await bob.until("call.incoming"))["callId"] == call
        await alice.request("call.cancel", call)
        assert (await bob.until("call.ended"))["data"]["reason"] == "cancelled"
        alice.socket.transport.abort()
        bob.socket.transport.abort()
    asyncio.run(go())


def test_timeouts_of_each_step(server):
    start = time.monotonic()
    assert http(server.tls, b"") == ""  # no TLS handshake
    assert http(server.clear, "") == ""  # no request
    assert http(server.clear, "GET / HTTP/1.1\r\nHo") == ""  # half a request
    assert time.monotonic() - start < 9

    async def no_hello():
        socket_ = await websockets.connect(server.ws, subprotocols=["sori.v1"], ping_interval=None)
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket_.recv(), 5)
        assert socket_.close_code == 4408
    asyncio.run(no_hello())


def test_a_big_message_before_hello_is_too_large(server):
    async def go():
        s = await websockets.connect(server.ws, subprotocols=["sori.v1"], compression=None)
        await s.send("x" * 8193)
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(s.recv(), 5)
        assert s.close_code == 1009
    asyncio.run(go())


def test_nothing_is_compressed(server):
    async def go():
        s = await websockets.connect(server.ws, subprotocols=["sori.v1"], compression="deflate")
        assert s.extensions == []
        await s.close()
    asyncio.run(go())


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 20 + "1" + "}" * 20, "{}", '"x"', "\0", '{"type":1}',
                                  '{"type":"hello","type":"hello"}', '{"type":"hello","id":"a","data":[]}'],
                         ids=["deep-array", "deep-object", "empty", "text", "nul", "type", "double", "data"])
def test_malformed_first_messages(server, text):
    async def go():
        s = await websockets.connect(server.ws, subprotocols=["sori.v1"])
        await s.send(text)
        m = json.loads(await asyncio.wait_for(s.recv(), 5))
        assert m["type"] == "error" and m["data"]["status"] == 400, m
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(s.recv(), 5)
        assert s.close_code == 4400
    asyncio.run(go())


def test_tls_is_modern(server):
    def handshake(**kw):
        context = trust_anything()
        for k, v in kw.items():
            if k == "ciphers":
                context.set_ciphers(v)
            else:
                setattr(context, k, v)
        with socket.create_connection(("127.0.0.1", server.tls), 5) as raw:
            with context.wrap_socket(raw) as s:
                return s.version(), s.cipher()[0]

    assert handshake()[0] == "TLSv1.3"
    two = ssl.TLSVersion.TLSv1_2
    assert "GCM" in handshake(maximum_version=two)[1] or "CHACHA" in handshake(maximum_version=two)[1]
    for bad in ({"maximum_version": ssl.TLSVersion.TLSv1_1, "minimum_version": ssl.TLSVersion.TLSv1, "ciphers": "ALL:@SECLEVEL=0"},
                {"maximum_version": two, "ciphers": "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA"}):
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            handshake(**bad)


def serial(port):
    der = ssl.get_server_certificate(("127.0.0.1", port))
    return der


def test_reload_takes_a_new_certificate_and_keeps_the_old_when_it_is_bad():
    with Server(CONFIG, extra="") as s:
        before = serial(s.tls)
        make_cert(s.d.folder)
        at = len(s.d.lines)
        s.d.signal(signal.SIGHUP)
        s.d.wait_log("read again", since=at)
        after = serial(s.tls)
        assert before != after
        s.d.add_file("key.pem", "nonsense")
        at = len(s.d.lines)
        s.d.signal(signal.SIGHUP)
        s.d.wait_log("stay in force.*key.pem", since=at)
        assert serial(s.tls) == after


def test_stop_tells_the_clients_and_is_clean():
    async def go(s):
        c = Client(s.wss, "alice")
        await c.connect()
        s.d.signal(signal.SIGTERM)
        assert (await c.until("server.goaway"))["data"]["deadlineMs"] >= 0
        assert await c.closed() == 1012
    with Server(CONFIG, extra="") as s:
        asyncio.run(go(s))
        s.d.stop()


def test_a_killed_server_comes_back_and_clients_start_anew():
    async def go():
        s = Server(CONFIG, extra="")
        with s:
            c = Client(s.wss, "alice")
            await c.connect()
            folder = s.d.folder
            s.d.process.kill()
            s.d.process.wait()
            await c.closed()
            s.d._reader.join(5)
            s.d.lines.clear()
            assert os.path.isdir(folder)
            s.d.start()
            welcome = await c.connect(c.resume())
            assert not welcome["resumed"]
            await c.socket.close()
    asyncio.run(go())


def test_an_address_that_connects_too_often_is_turned_away():
    config = CONFIG.replace("handshakes_per_s = 1000", "handshakes_per_s = 1").replace(
        "handshakes_burst = 1000", "handshakes_burst = 5")
    with Server(config, extra="") as s:
        answered = sum("200 OK" in get(s.clear, "/livez") for _ in range(20))
        assert 5 <= answered <= 7


def test_a_slow_reader_is_cut_off_and_nobody_else_waits():
    async def go(s):
        slow, fast, talker = Client(s.wss, "slow", "s"), Client(s.wss, "fast", "f"), Client(s.wss, "talker", "t")
        for c in (slow, fast, talker):
            await c.connect()
        call = str(uuid.uuid4())
        offer = {"offer": {"type": "offer", "sdp": "v=0"}, "metadata": {"isVideo": False}}
        await talker.request("call.invite", call, offer, to="slow")
        await slow.until("call.incoming")
        await slow.request("call.answer", call, {"answer": {"type": "answer", "sdp": "v=0"}})
        await talker.until("call.accepted")
        for c in (slow, talker):
            await c.send("call.state", call, {"connectionState": "connected"})
        await slow.until("call.state")
        slow.socket.transport.pause_reading()
        lost, full, end, n = False, False, time.monotonic() + 30, -1
        while not lost and time.monotonic() < end:  # no pong comes: given up after two intervals
            n += 1
            what = {"type": "rollback", "sdp": ""} if n % 2 else {"type": "offer", "sdp": "x" * 60000}
            ident = await talker.send("call.negotiate", call, {"description": what, "negotiationId": "n"})
            while True:
                m = await talker.next()
                lost = lost or (m["type"] == "call.state" and m["data"]["state"] == "reconnecting")
                if m.get("re") == ident:
                    break
            full = full or (m["type"] == "error" and m["data"]["code"] == "overloaded")
            start = time.monotonic()
            fast.ids += 1
            await fast.raw({"type": "ping", "id": f"p{n}"})
            await fast.until("pong")
            assert time.monotonic() - start < 1
            await asyncio.sleep(0.02 if full else 0)
        for c in (slow, fast, talker):
            c.socket.transport.abort()
        return lost and full
    with Server(CONFIG, extra="messages_per_s = 10000\nmessages_burst = 10000\n") as s:
        assert asyncio.run(go(s)), "the talker was never told that the slow one is full, then gone"


# ---- configuration and command line ----

def test_command_line(tmp_path):
    assert run_to_exit("sori-server", ["--version"])[1].startswith("sori-server ")
    assert "--check-config" in run_to_exit("sori-server", ["--help"])[1]
    assert run_to_exit("sori-server", ["--nonsense"])[0] == 64
    assert run_to_exit("sori-server", ["extra"])[0] == 64
    code, out = run_to_exit("sori-server", ["--print-config"])
    assert code == 0 and "[session]" in out and "ring_timeout = 30" in out
    code, out = run_to_exit("sori-server", ["--check-config", "--config", str(tmp_path / "none.ini")])
    assert code == 78 and "none.ini" in out


@pytest.mark.parametrize("line,says", [
    ("[call]\nring_timeout = 0", "1 to 600"), ("[call]\nring_timout = 3", "ring_timeout"),
    ("[cal]\nring_timeout = 3", "cal"), ("[call]\nring_timeout = 3\nring_timeout = 4", "ring_timeout"),
    ("stray = 1", "before the first [section]"), ("[log]\nlevel = loud", "error, warn, info, debug")])
def test_a_bad_line_is_named_with_file_and_number(tmp_path, line, says):
    f = tmp_path / "bad.ini"
    f.write_text("; comment\n" + line + "\n")
    code, out = run_to_exit("sori-server", ["--check-config", "--config", str(f)])
    assert code == 78 and f"{f}:" in out and says in out, out


def test_an_open_secret_stops_the_start(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    os.chmod(secret, 0o644)
    f = tmp_path / "s.ini"
    f.write_text(f"[server]\nlisten_tls =\nlisten_clear = 127.0.0.1:{free_port()}\n[auth]\nhs256_secret_file = {secret}\n")
    code, out = run_to_exit("sori-server", ["--config", str(f)])
    assert code == 78 and "secret" in out
    os.chmod(secret, 0o600)
    assert run_to_exit("sori-server", ["--check-config", "--config", str(f)])[0] == 0


def test_an_open_private_key_stops_the_start(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    os.chmod(secret, 0o600)
    cert, key = make_cert(str(tmp_path))
    os.chmod(key, 0o644)
    f = tmp_path / "s.ini"
    f.write_text(f"[server]\nlisten_tls = 127.0.0.1:{free_port()}\n[auth]\nhs256_secret_file = {secret}\n"
                 f"[tls]\ncert_file = {cert}\nkey_file = {key}\n")
    code, out = run_to_exit("sori-server", ["--config", str(f)])
    assert code == 78 and "key.pem" in out


def test_a_taken_port_is_said(server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    os.chmod(secret, 0o600)
    f = tmp_path / "s.ini"
    f.write_text(f"[server]\nlisten_tls =\nlisten_clear = 127.0.0.1:{server.clear}\n[auth]\nhs256_secret_file = {secret}\n")
    code, out = run_to_exit("sori-server", ["--config", str(f)])
    assert code == 69 and str(server.clear) in out and "in use" in out
