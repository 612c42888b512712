"""sori-turn with Debian's redis-server: users and secrets from there, records of use to there, and
what goes on while it is away. SPDX-License-Identifier: BSD-3-Clause
"""
import base64
import hashlib
import hmac
import json
import socket
import subprocess
import time

import pytest

from soridaemon import Daemon, free_port, metric, run_to_exit
from soriredis import Channel, Redis, Sentinel
from turnclient import TurnClient, parse

REALM = "sori"


def key(user, password, realm=REALM):
    return hashlib.md5(f"{user}:{realm}:{password}".encode()).hexdigest()


def rest(secret, user="carl"):
    name = f"{int(time.time()) + 600}:call-9:{user}"
    mac = hmac.new(secret.encode(), name.encode(), hashlib.sha1).digest()
    return name, base64.b64encode(mac).decode()


def relay(redis, more="", *, where=None, log="users = plain", realms=""):
    port, admin = free_port(), free_port()
    d = Daemon("sori-turn", f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
threads = 2
[auth]
users_file = @FOLDER@/users
[limits]
unauthenticated_burst = 1000
[admin]
listen = 127.0.0.1:{admin}
[log]
{log}
[redis]
{where or f"address = 127.0.0.1:{redis.port}"}
timeout = 300
{more}
{realms}
""", files={"users": "static:user\n", "password": redis.password or "none"})
    d.port, d.admin = port, admin
    return d


def allocates(d, user, password, **options):
    with TurnClient(d.port, user, password, **options) as c:
        code = again(c, c.allocate)
        return code if code else c.refresh(0)


def again(client, what, timeout_s=5):
    """As a real client does over UDP: sends again what was not answered."""
    if client.sock.type == socket.SOCK_STREAM:
        return what()
    deadline = time.monotonic() + timeout_s
    client.sock.settimeout(0.3)
    while True:
        try:
            return what()
        except socket.timeout:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("socket_path", [False, True])
def test_users_are_found_where_coturn_puts_them(socket_path):
    with Redis(password="hush") as r:
        r.do("SET", f"turn/realm/{REALM}/user/ann/key", key("ann", "green gables"))
        r.do("SET", f"turn/realm/{REALM}/user/a b/key/key", key("a b/key", "odd"))
        r.do("SET", f"turn/realm/two/user/ann/key", key("ann", "other", "two"))
        r.do("SET", f"turn/realm/{REALM}/user/bad/key", "no key at all")
        where = f"socket = {r.path}" if socket_path else None
        with relay(r, "users = yes\npassword_file = @FOLDER@/password", where=where) as d:
            d.wait_log("connection: connected")
            assert allocates(d, "ann", "green gables") == 0  # dropped once, answered again
            assert metric(d.admin, 'sori_turn_dropped_total{reason="look_up"}') >= 1
            assert allocates(d, "ann", "green gables", tcp=True) == 0
            assert allocates(d, "a b/key", "odd", tcp=True) == 0  # held, answered once known
            assert allocates(d, "ann", "wrong", tcp=True) == 401
            for name in ("bad", "nobody", "x" * 500):
                assert allocates(d, name, "x", tcp=True) == 401
            assert allocates(d, "static", "user") == 0
            assert metric(d.admin, 'sori_turn_redis_look_ups_total{result="found"}') >= 2
            assert metric(d.admin, 'sori_turn_redis_look_ups_total{result="failed"}') == 0
            assert metric(d.admin, "sori_turn_redis_up") == 1
            time.sleep(0.7)  # over two timeouts without a question
            assert metric(d.admin, "sori_turn_redis_connects_total") == 1
            assert "trying again" not in d.log()


def test_strangers_make_no_look_up():
    with Redis() as r, relay(r, "users = yes") as d:
        d.wait_log("connection: connected")
        for tcp in (False, True):
            with TurnClient(d.port, "ann", "x", tcp=tcp) as c:
                c.nonce, c.realm = b"obMatJos2AAAA" + b"A" * 16, REALM.encode()
                c.sock.send(c.message(3, b""))
                kind, found = parse(c.sock.recv(2048))
                assert kind == 0x0113 and found[9][2:4] == b"\x04\x26"  # 438, not one look-up
        for result in ("found", "absent", "failed"):
            assert metric(d.admin, f'sori_turn_redis_look_ups_total{{result="{result}"}}') == 0


def test_answers_are_remembered_and_forgotten_on_request():
    with Redis() as r, relay(r, "users = yes\ncache_absent = 3600\ncache_found = 3600") as d:
        d.wait_log("connection: connected")
        name = f"turn/realm/{REALM}/user/ann/key"
        with TurnClient(d.port, "ann", "x", tcp=True) as c:
            assert c.allocate() == 401
            r.do("SET", name, key("ann", "x"))
            assert c.allocate() == 401  # still known as absent
            while r.do("PUBLISH", "turn/reload", "") < 1:
                time.sleep(0.05)
            deadline = time.monotonic() + 5
            while c.allocate() != 0:
                assert time.monotonic() < deadline
            r.do("DEL", name)
            assert c.refresh(600) == 0  # still known as present
            r.do("PUBLISH", "turn/reload", "")
            while c.refresh(600) != 401:
                assert time.monotonic() < deadline


def test_secrets_come_at_the_start_by_message_and_in_time():
    with Redis() as r:
        r.do("SADD", f"turn/realm/{REALM}/secret", "one", "two")
        r.do("SADD", "turn/realm/second/secret", "elsewhere")
        with relay(r, "secrets = yes\nrefresh = 1",
                   realms="[realm second]\norigins = https://second.example") as d:
            assert allocates(d, *rest("one")) == 0 and allocates(d, *rest("two")) == 0
            assert allocates(d, *rest("elsewhere")) == 401 and allocates(d, *rest("three")) == 401
            r.do("SREM", f"turn/realm/{REALM}/secret", "one")
            r.do("SADD", f"turn/realm/{REALM}/secret", "three")
            d.wait_log("reloaded")
            assert allocates(d, *rest("three")) == 0 and allocates(d, *rest("one")) == 401
            at = len(d.lines)
            time.sleep(2.2)  # two rounds without a change
            assert d.process.poll() is None and not any("secrets" in line for line in d.lines[at:])
    with Redis() as r, relay(r, "secrets = yes\nrefresh = 3600") as d:
        d.wait_log("connection: connected")
        r.do("SADD", f"turn/realm/{REALM}/secret", "late")
        while r.do("PUBLISH", "turn/reload", "") < 1:
            time.sleep(0.05)
        d.wait_log("reloaded")
        assert allocates(d, *rest("late")) == 0


def test_all_that_is_known_goes_on_while_redis_is_away():
    with Redis() as r:
        r.do("SET", f"turn/realm/{REALM}/user/ann/key", key("ann", "x"))
        r.do("SADD", f"turn/realm/{REALM}/secret", "one")
        more = "users = yes\nsecrets = yes\nusage = publish\ncache_found = 1\nusage_buffer = 2"
        with relay(r, more) as d, TurnClient(d.port, "ann", "x") as c, \
                TurnClient(d.port, "new", "x", tcp=True) as other:
            d.wait_log("connection: connected")
            assert again(c, c.allocate) == 0
            at = len(d.lines)
            r.stop()
            d.wait_log("connection: .*trying again", since=at)
            assert metric(d.admin, "sori_turn_redis_up") == 0
            time.sleep(1.1)  # what was found is not fresh any more
            start = time.monotonic()
            assert c.refresh(600) == 0  # counts while nobody can be asked
            assert allocates(d, "static", "user") == 0 and allocates(d, *rest("one")) == 0
            assert other.allocate() == 500
            assert time.monotonic() - start < 1  # nobody waited for Redis
            for _ in range(3):
                assert allocates(d, "static", "user") == 0
            deadline = time.monotonic() + 5
            while metric(d.admin, 'sori_turn_redis_records_total{result="lost"}') != 3:
                assert time.monotonic() < deadline
            assert metric(d.admin, "sori_turn_redis_records_waiting") == 2
            time.sleep(1)  # attempts meanwhile, without a line for each
            assert sum("trying again" in line for line in d.lines[at:]) <= 2
            r.start()
            r.do("SET", f"turn/realm/{REALM}/user/new/key", key("new", "x"))
            d.wait_log("connection: connected", timeout_s=15, since=at)
            deadline = time.monotonic() + 5
            while other.allocate() != 0:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            while metric(d.admin, "sori_turn_redis_records_waiting") != 0:
                assert time.monotonic() < deadline + 5


def test_redis_that_does_not_answer_is_given_up():
    """A server that accepts and says nothing: no worker waits, the start is not held up for long."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        silent = Redis()
        silent.port = s.getsockname()[1]
        start = time.monotonic()
        with relay(silent, "users = yes\nsecrets = yes") as d:
            assert time.monotonic() - start < 5
            assert "no secrets from Redis yet" in d.log()
            d.wait_log("no answer")
            start = time.monotonic()
            assert allocates(d, "static", "user") == 0
            assert allocates(d, "ann", "x", tcp=True) == 500
            assert time.monotonic() - start < 1


def test_wrong_password_is_told():
    with Redis(password="hush") as r, relay(r, "users = yes") as d:
        d.wait_log("NOAUTH")
        assert "hush" not in d.log()


def test_records_are_published_when_an_allocation_lives_and_ends():
    with Redis() as r, Channel(r, "turn/usage") as channel, \
            relay(r, "usage = publish\nsecrets = yes", log="users = plain\nusage_interval = 1") as d:
        d.wait_log("connection: connected")
        r.do("SADD", f"turn/realm/{REALM}/secret", "one")
        while r.do("PUBLISH", "turn/reload", "") < 1:
            time.sleep(0.05)
        d.wait_log("reloaded")
        with TurnClient(d.port, *rest("one"), tcp=True) as c:
            assert c.allocate() == 0
            alive = json.loads(channel.wait(1)[0])
            assert c.refresh(0) == 0
        ended = json.loads(channel.wait(2)[-1])
        for record, event in ((alive, "alive"), (ended, "ended")):
            assert record["event"] == event and abs(record["time"] - time.time()) < 30
            assert (record["realm"], record["user"], record["call"]) == (REALM, "carl", "call-9")
            assert (record["transport"], record["relay"], record["family"]) == ("tcp", "udp", "ipv4")
            for amount in ("seconds", "up_packets", "up_bytes", "down_packets", "down_bytes"):
                assert record[amount] >= 0
        assert ended["why"] == "released" and "why" not in alive and ended["id"] != alive["id"]
        deadline = time.monotonic() + 5
        while metric(d.admin, 'sori_turn_redis_records_total{result="sent"}') < 2:
            assert time.monotonic() < deadline


def test_records_are_kept_in_a_stream_until_the_last():
    with Redis() as r:
        with relay(r, "usage = stream", log="users = hashed") as d, \
                TurnClient(d.port, "static", "user") as c, \
                TurnClient(d.port, "static", "user") as last:
            d.wait_log("connection: connected")
            assert c.allocate() == 0 and c.refresh(0) == 0
            assert last.allocate() == 0
        # it has ended with an allocation: its record is there too
        rows = [json.loads(fields[1]) for _, fields in r.do("XRANGE", "turn/usage", "-", "+")]
        assert [row["why"] for row in rows] == ["released", "shutdown"]
        assert all(len(row["user"]) == 16 and "static" not in json.dumps(row) for row in rows)


def certificate(folder):
    """For redis.test and nobody else."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", "/CN=redis.test", "-addext", "subjectAltName=DNS:redis.test", "-keyout",
                    folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True, timeout=30)
    return folder / "cert.pem", folder / "key.pem"


def of_cluster(redis, where, more):
    """Whose [redis] names no server."""
    return relay(redis, more, where=f"""users = yes
secrets = yes
[cluster]
node = relay-1
urls = turn:127.0.0.1:3478
{where}
[redis]""")


@pytest.mark.parametrize("name", ["redis.test", "other.test"])
def test_the_server_of_cluster_is_used_with_its_tls(tmp_path, name):
    cert, secret = certificate(tmp_path)
    port = free_port()
    with Redis("hush", "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", secret, "--tls-ca-cert-file", cert,
               "--tls-auth-clients", "no") as r:
        r.do("SET", f"turn/realm/{REALM}/user/ann/key", key("ann", "green gables"))
        r.do("SADD", f"turn/realm/{REALM}/secret", "north")
        where = f"password_file = @FOLDER@/password\nservers = 127.0.0.1:{port}\ntls = yes\nca_file = {cert}\ntls_name = {name}"
        with of_cluster(r, where, "usage = stream") as d:
            if name == "other.test":  # all of its connections see who that is not
                for link in ("cluster", "connection", "subscription"):
                    d.wait_log(f"{link}: .*TLS failed")
                assert not r.do("EXISTS", "sori:nodes:{relay}")
                return
            d.wait_log("subscription: connected")
            assert allocates(d, "ann", "green gables", tcp=True) == 0
            assert allocates(d, *rest("north"), tcp=True) == 0
            deadline = time.monotonic() + 5
            while r.do("XLEN", "turn/usage") < 2 or b"relay-1" not in r.do("HKEYS", "sori:nodes:{relay}"):
                assert time.monotonic() < deadline
                time.sleep(0.02)


def test_the_server_of_cluster_is_found_by_sentinels():
    with Redis() as r, Sentinel(r, 1) as s:
        r.do("SET", f"turn/realm/{REALM}/user/ann/key", key("ann", "green gables"))
        with of_cluster(r, f"sentinels = 127.0.0.1:{s.port}", "") as d:
            d.wait_log("connection: connected")
            assert allocates(d, "ann", "green gables", tcp=True) == 0


def test_configurations_that_do_not_fit(tmp_path):
    for text, want in (("users = yes", "need address or socket"),
                       ("address = 127.0.0.1", "needs a port"),
                       ("address = 127.0.0.1:1\nsocket = /x", "excludes socket")):
        ini = tmp_path / "t.ini"
        ini.write_text(f"[turn]\nstun_only = yes\n[redis]\n{text}\n")
        code, out = run_to_exit("sori-turn", ["--config", str(ini), "--check-config"])
        assert code == 78 and want in out, out
    ini.write_text("[redis]\naddress = 127.0.0.1:1\nusers = yes\n")
    assert run_to_exit("sori-turn", ["--config", str(ini), "--check-config"])[0] == 0
