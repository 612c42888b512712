"""Realms of sori-turn: by listener, by TLS host name, by ORIGIN; secrets and users that change.
SPDX-License-Identifier: BSD-3-Clause
"""
import base64
import hashlib
import hmac
import json
import os
import socket
import ssl
import subprocess
import time

import pytest

from soridaemon import BUILD, Daemon, free_port, make_cert
from turnclient import ALLOCATE, REALM, REQUESTED_TRANSPORT, TurnClient, attr

ORIGIN = 0x802F
UDP = attr(REQUESTED_TRANSPORT, bytes([17, 0, 0, 0]))


@pytest.fixture(scope="module")
def relay():
    one, two, tls = free_port(), free_port(), free_port()
    d = Daemon("sori-turn", f"""
[turn]
realm = one
listen_udp = 127.0.0.1:{one}, 127.0.0.1:{two}
listen_tcp = 127.0.0.1:{one}, 127.0.0.1:{two}
listen_tls = 127.0.0.1:{tls}
threads = 2
[limits]
unauthenticated_burst = 1000
[auth]
users_file = @FOLDER@/users
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[peers]
allow_loopback_peers = yes
[admin]
control = @FOLDER@/control
[log]
users = plain
[realm two]
listeners = 127.0.0.1:{two}
users_file = @FOLDER@/users
allocations_per_user = 1
[realm hosted]
sni = turn.hosted.example
users_file = @FOLDER@/users
[realm web]
origins = https://web.example
users_file = @FOLDER@/users
""", files={"users": "ann:of green gables\n"})
    make_cert(d.folder)
    d.one, d.two, d.tls = one, two, tls
    with d:
        yield d


def client(port, **options):
    return TurnClient(port, "ann", "of green gables", **options)


def ctl(d, *words):
    p = subprocess.run([os.path.join(BUILD, "sori-turnctl"), "--socket",
                        os.path.join(d.folder, "control"), *words], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, timeout=20)
    return p.returncode, [json.loads(line) for line in p.stdout.decode().splitlines()]


def test_listener_has_its_realm_and_the_realm_its_quota(relay):
    with client(relay.one) as a, client(relay.two) as b, client(relay.two, tcp=True) as c:
        assert a.allocate() == b.allocate() == 0
        assert (a.realm, b.realm) == (b"one", b"two")
        assert c.allocate() == 486  # one allocation a user, of this realm
        assert c.realm == b"two"
        code, rows = ctl(relay, "list", "ann", "two")
        assert code == 0 and [r["realm"] for r in rows[:-1]] == ["two"]
        quota = ctl(relay, "quota", "ann", "two")[1][-1]
        assert (quota["realm"], quota["realm_in_use"], quota["user_in_use"], quota["in_use"],
                quota["allocations_per_user"]) == ("two", 1, 1, 2, 1)
        assert ctl(relay, "quota", "ann")[1][-1]["user_in_use"] == 1
        assert ctl(relay, "quota", "ann", "none")[0] == 1
        assert a.refresh(0) == b.refresh(0) == 0
        relay.wait_log(r"allocation ended: user=ann .* realm=two why=released")
        assert c.allocate() == 0 and c.refresh(0) == 0


def test_realm_is_not_used_where_it_is_not_at_home(relay):
    with client(relay.one) as c:
        assert c.request(ALLOCATE, UDP) == 0 and c.refresh(0) == 0
        c.realm = b"two"
        c.sock.send(c.message(ALLOCATE, UDP))
        answer = c.sock.recv(2048)
        assert answer[:2] == b"\x01\x13" and b"one" in answer  # challenged for its own


class TlsClient(TurnClient):
    def __init__(self, port, host):
        super().__init__(port, "ann", "of green gables", tcp=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock, server_hostname=host)


@pytest.mark.parametrize("host,realm", [
    ("turn.hosted.example", b"hosted"), ("TURN.hosted.example", b"hosted"),
    ("hosted.example", b"one"), (None, b"one")])
def test_tls_host_name_chooses_the_realm(relay, host, realm):
    with TlsClient(relay.tls, host) as c:
        assert c.allocate() == 0 and c.realm == realm
        assert c.refresh(0) == 0


def test_origin_chooses_the_realm_of_the_challenge(relay):
    with client(relay.one) as c:
        for value, realm in ((b"https://web.example", b"web"), (b"https://other.example", b"one")):
            c.realm = c.nonce = b""
            assert c.request(ALLOCATE, UDP + attr(ORIGIN, value)) == 0 and c.realm == realm
            assert c.refresh(600) == 0  # without ORIGIN
            assert c.refresh(0) == 0
    # uclient sends it too
    p = subprocess.run(["turnutils_uclient", "-u", "ann", "-w", "of green gables", "-y", "-n", "2",
                        "-c", "-o", "https://web.example", "-p", str(relay.one), "127.0.0.1"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    assert p.returncode == 0, p.stdout
    relay.wait_log(r"allocation ended: user=ann .* realm=web why=")


def rest(secret, user="carl"):
    name = f"{int(time.time()) + 600}:{user}"
    mac = hmac.new(secret.encode(), name.encode(), hashlib.sha1).digest()
    return name, base64.b64encode(mac).decode()


def test_secrets_and_users_change_with_their_files():
    port = free_port()
    d = Daemon("sori-turn", f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp =
threads = 2
[limits]
unauthenticated_burst = 1000
[auth]
secret_files = @FOLDER@/a, @FOLDER@/b, @FOLDER@/c
users_file = @FOLDER@/users
[realm two]
origins = o
users_file = @FOLDER@/two
""", files={"a": "first", "b": "second", "c": "third", "users": "ann:x\n", "two": "ann:x\n"})
    with d:
        def allocates(user, password):
            with TurnClient(port, user, password) as c:
                code = c.allocate()
                return code == 0 and c.refresh(0) == 0
        for secret in ("first", "second", "third"):
            assert allocates(*rest(secret)), secret
        with TurnClient(port, *rest("third")) as old, TurnClient(port, "ann", "x") as ann:
            assert old.allocate() == ann.allocate() == 0
            at = len(d.lines)
            d.add_file("c", "fourth")
            d.add_file("users", "bob:y\n")
            d.wait_log("reloaded", since=at)
            deadline = time.monotonic() + 5
            while old.refresh(600) != 401 or ann.refresh(600) != 401:
                assert time.monotonic() < deadline  # it is on its way to the workers
            assert old.permit("8.8.8.8") == 401 and ann.bind_channel(0x4000, "8.8.8.8", 1) == 401
        assert not allocates(*rest("third")) and allocates(*rest("fourth"))
        assert allocates("bob", "y") and not allocates("ann", "x")
        at = len(d.lines)
        d.add_file("users", "no password here\n")
        d.wait_log("reload refused.*users file, line 1", since=at)
        assert allocates("bob", "y")
        at = len(d.lines)
        with open(d.config, "a", encoding="utf-8") as f:
            f.write(f"[realm three]\norigins = p\nusers_file = {d.folder}/two\n")
        d.add_file("users", "bob:z\n")
        d.wait_log("reload refused.*other realms", since=at)
        assert allocates("bob", "y")
