"""What a stranger and a rude client can do to sori-server over real sockets, and what it costs them.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import base64
import json
import signal
import socket
import struct
import time

import pytest

from soriclient import Client, token
from soridaemon import metric
from soriserver import Server

CONFIG = """
[server]
listen_tls = 127.0.0.1:{tls}
listen_clear = 127.0.0.1:{clear}
max_connections = {most}
page = yes
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[auth]
hs256_secret_file = @FOLDER@/secret
[admin]
listen = 127.0.0.1:{admin}
[session]
handshake_timeout = 1
[limits]
handshakes_per_s = 1000
handshakes_burst = 1000
"""


@pytest.fixture(scope="module")
def server():
    with Server(CONFIG, most=1000) as s:
        yield s


UPGRADE = ("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
           + base64.b64encode(b"0123456789abcdef").decode()
           + "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sori.v1\r\n\r\n").encode()


def frame(opcode, payload=b""):
    """A masked frame (mask zero: the payload reads the same)."""
    n = len(payload)
    size = bytes([0x80 | n]) if n < 126 else b"\xfe" + struct.pack(">H", n)
    return bytes([0x80 | opcode]) + size + b"\0\0\0\0" + payload


def hello(user="alice", device="d"):
    return frame(1, json.dumps({"type": "hello", "data": {"token": token(user), "deviceId": device}}).encode())


def frames(data):
    """The (opcode, payload) of unmasked frames."""
    while len(data) >= 2:
        n, at = data[1], 2
        if n == 126:
            n, at = struct.unpack(">H", data[2:4])[0], 4
        yield data[0] & 15, data[at:at + n]
        data = data[at + n:]


def talk(port, *parts, pause=0.05):
    """Sends the parts and gives all that comes back until the end."""
    out = b""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        for part in parts:
            s.sendall(part)
            time.sleep(pause)
        try:
            while part := s.recv(65536):
                out += part
        except ConnectionResetError:
            pass
    return out


def close_code(out):
    """The code of the Close frame, 0: an empty one, None: there was none."""
    for opcode, payload in frames(out.split(b"\r\n\r\n", 1)[1]):
        if opcode == 8:
            return struct.unpack(">H", payload[:2])[0] if payload else 0
    return None


def test_frames_may_come_in_the_segment_of_the_upgrade(server):
    out = talk(server.clear, UPGRADE + hello() + frame(9, b"p") + frame(8))
    got = list(frames(out.split(b"\r\n\r\n", 1)[1]))
    assert [op for op, _ in got] == [1, 10, 8] and b"welcome" in got[0][1] and got[1][1] == b"p"


def test_a_request_before_the_upgrade_may_be_pipelined(server):
    out = talk(server.clear, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + UPGRADE + hello() + frame(8))
    assert b"200 OK" in out and b"101 Switching" in out and b"welcome" in out


@pytest.mark.parametrize("sent,answer", [
    (b"", 1000), (b"\x03\xe8", 1000), (b"\x03\xe9bye", 1001), (b"\x0b\xb8", 3000), (b"\x13\x87", 4999),
    (b"\x03", 1002), (b"\x03\xed", 1002), (b"\x03\xee", 1002), (b"\x03\xf7", 1002), (b"\x13\x88", 1002), (b"\x03\xe8\xff", 1007)])
@pytest.mark.parametrize("who", ["stranger", "user"])
def test_a_close_frame_gets_its_code_back_or_the_fault(server, sent, answer, who):
    first = hello() if who == "user" else b""
    assert close_code(talk(server.clear, UPGRADE + first + frame(8, sent))) == answer


def test_nothing_is_read_after_a_close(server):
    out = talk(server.clear, UPGRADE + frame(8, b"\x03\xe8") + hello() + frame(9))
    assert [op for op, _ in frames(out.split(b"\r\n\r\n", 1)[1])] == [8]


@pytest.mark.parametrize("bad,code", [
    (frame(2, b"x"), 1003), (frame(1, b"\xff"), 1007), (b"\x81\x00", 1002), (b"\xc1\x80\0\0\0\0", 1002),
    (frame(0, b"x"), 1002), (b"\x09\x80\0\0\0\0", 1002), (frame(3), 1002), (b"\x81\xff" + b"\xff" * 8, 1002)])
def test_bad_frames_have_their_codes(server, bad, code):
    assert close_code(talk(server.clear, UPGRADE + hello() + bad)) == code


@pytest.mark.parametrize("what", [frame(9), frame(10), frame(1, b'{"type":"ack","ack":0}'), frame(1, b"nonsense")])
def test_a_flood_of_small_frames_ends(server, what):
    assert close_code(talk(server.clear, UPGRADE + hello(), what * 3000)) == 4429


def test_keep_alive_does_not_hold_a_connection_for_ever(server):
    """It is told to close, or closed when it was silent for too long (this test may be starved itself)."""
    start, answers, got = time.monotonic(), 0, b"200 OK"
    with socket.create_connection(("127.0.0.1", server.clear), 5) as s:
        while b"200 OK" in got and b"Connection: close" not in got:
            assert time.monotonic() - start < 20
            answers += 1
            time.sleep(0.4)
            try:
                s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                got = s.recv(4096)
            except ConnectionError:
                got = b""
    assert answers >= 3 and (got == b"" or b"200 OK" in got)


def test_requests_without_reading_the_answers_end_early(server):
    """The page's largest file, asked for a thousand times: only so much may wait unsent."""
    request = b"GET /sori.js HTTP/1.1\r\nHost: x\r\n\r\n"
    size = len(talk(server.clear, request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
    out = talk(server.clear, request * 1000)
    assert 0 < out.count(b"HTTP/1.1 200 OK") <= 65536 // size + 2 and b"Connection: close" in out


def test_a_full_listener_waits_and_goes_on(server):
    with Server(CONFIG, most=5) as s:
        held = [socket.create_connection(("127.0.0.1", s.clear), 5) for _ in range(12)]
        time.sleep(0.3)
        for h in held:  # those that wait in the backlog get their turn when the first ones time out
            h.settimeout(8)
            try:
                assert h.recv(100) == b""
            except ConnectionResetError:
                pass
            h.close()
        async def go():
            c = Client(s.ws, "alice")
            await c.connect()
            await c.socket.close()
        asyncio.run(go())


def test_running_out_of_descriptors_is_survived():
    with Server(CONFIG, most=1000, prefix=("prlimit", "--nofile=40:40")) as s:
        held = [socket.create_connection(("127.0.0.1", s.clear), 5) for _ in range(60)]
        time.sleep(0.5)
        ticks = cpu_ticks(s.d.pid)
        time.sleep(0.5)
        assert cpu_ticks(s.d.pid) - ticks < 10, "it spins"
        for h in held:
            h.close()
        time.sleep(0.5)
        assert b"200 OK" in talk(s.clear, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_an_idle_server_sleeps(server):
    async def go():
        c = Client(server.wss, "idle")
        await c.connect()
        before = cpu_ticks(server.d.pid)
        await asyncio.sleep(2)
        used = cpu_ticks(server.d.pid) - before
        await c.socket.close()
        return used
    assert asyncio.run(go()) <= 5


def test_metrics_and_signals_beside_traffic():
    """The operator's thread reads while the worker writes (for the thread sanitizer), and signals come in a row."""
    with Server(CONFIG, most=1000) as s:
        async def go():
            for n in range(20):
                c = Client(s.wss, f"user-{n}")
                await c.connect()
                assert metric(s.admin, "sori_sessions") == n + 1
                s.d.signal(signal.SIGHUP)
                await c.socket.close()
        asyncio.run(go())
        s.d.wait_log("read again")
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            s.d.signal(number)
        assert s.d.process.wait(5) == 0
