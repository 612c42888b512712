"""The push client of sori-server against the stand-in for Apple: what is sent, every reaction, every
fault of the transport. SPDX-License-Identifier: BSD-3-Clause"""
import json
import os
import re
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from apnsworld import (BUILD, LIVE_END, LIVE_START, LIVE_UPDATE, MISSED, PRODUCTION, RING,  # noqa: E402
                       RING_ALERT, SANDBOX, TOPIC, UNKNOWN, PushClient, StandIn, make_cert, make_key)

ANY = {"unknown": "active"}
T = "aa" * 32
DEAD = "dd" * 32


@pytest.fixture(scope="module")
def apple():
    with StandIn(**ANY) as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def client(apple):
    with PushClient(apple) as client:
        yield client


def test_every_kind_is_accepted_by_the_strict_one(apple, client):
    for tag, kind in (("r", RING), ("a", RING_ALERT), ("m", MISSED), ("s", LIVE_START), ("u", LIVE_UPDATE), ("e", LIVE_END)):
        got = client.send(tag, kind=kind)
        assert (got["result"], got["tries"]) == ("accepted", 1), got
    ring = next(p for p in apple.last() if p["headers"]["apns-push-type"] == "voip")
    assert ring["headers"]["apns-expiration"] == "0"
    assert ring["headers"]["apns-priority"] == "10"
    assert ring["headers"][":path"] == f"/3/device/{T}"
    payload = json.loads(ring["payload"])
    assert payload["call_id"] and payload["ring_until"] - payload["ts"] == 30 and payload["k"] == "ring-token"
    seen = apple.verdict()
    assert seen["answers"] == {"ok": 6} and seen["jwts"] == 1
    assert client.trouble() == ""


def test_tokens_of_any_length(apple, client):
    for n in (1, 8, 32, 80, 100, 200):
        assert client.send(f"t{n}", token="ab" * n)["result"] == "accepted"
    assert client.send("t256", token="ab" * 256)["result"] == "token_bad"  # more than Apple has
    assert client.send("t0", token="x" * 2)["error"]
    client.push("t257", token="ab" * 257)
    assert client.verdict("t257")["error"]


def test_answers_about_tokens(apple, client):
    apple.set(tokens={"01" * 32: {"state": "unregistered", "since": 1795000000000},
                      "02" * 32: {"state": "expired", "since": 1795000000001},
                      "03" * 32: {"state": "wrong_topic"}, "04" * 32: {"state": "flooded", "count": -1},
                      "05" * 32: {"state": "wrong_env"}})
    got = client.send("gone", token="01" * 32)
    assert (got["result"], got["gone_since_ms"], got["reason"]) == ("token_gone", 1795000000000, "Unregistered")
    assert client.send("old", token="02" * 32)["gone_since_ms"] == 1795000000001
    assert client.send("other", token="03" * 32)["result"] == "token_parked"
    assert client.send("busy", token="04" * 32)["why"] == "busy"
    assert client.send("bad", token="05" * 32)["result"] == "token_bad"
    # A rejection takes the limit down to one stream; pushes go on and it comes back.
    assert client.flood(300, inflight=100)["accepted"] == 300


def test_server_errors_are_retried_once_on_another_connection(apple, client):
    apple.set(fail={"status": 503, "reason": "ServiceUnavailable", "count": 1})
    got = client.send("x")
    assert (got["result"], got["tries"]) == ("accepted", 2) and 200 <= got["took_ms"] < 1500
    apple.set(fail={"status": 500, "reason": "InternalServerError", "count": 2})
    assert client.send("y")["why"] == "server"
    apple.set(fail={"status": 503, "reason": "Shutdown", "count": 1})
    before = apple.verdict()["sessions"]
    assert client.send("z")["result"] == "accepted"
    apple.wait(lambda v: v["sessions"] > before)  # that connection was replaced


def test_payload_too_large_is_shortened(apple, client):
    apple.set(fail={"status": 413, "reason": "PayloadTooLarge", "count": 1})
    assert client.send("x")["tries"] == 2
    assert "ws" not in json.loads(apple.last()[-1]["payload"])


@pytest.mark.parametrize("reply", [
    {"status": 200, "body": "\0" * 5000}, {"status": 400, "body": "{" * 4000}, {"status": 400, "body": "x" * 100000},
    {"status": 410, "body": "{\"reason\":\"Unregistered\",\"timestamp\":-5}"}, {"status": 599, "body": ""},
    {"status": 400, "body": "{\"reason\":\"" + "A" * 3000 + "\"}"},
    {"status": 400, "body": "{}", "headers": {f"x-{i}": "y" * 100 for i in range(60)}},
    {"status": 302, "headers": {"location": "https://elsewhere.example/"}}])
def test_hostile_answers(apple, client, reply):
    """Whatever comes, there is a verdict, and the next push goes through."""
    apple.set(reply=reply)
    got = client.send("x", kind=MISSED, ttl_ms=3000)
    assert got["result"] in ("accepted", "rejected", "token_gone", "gave_up")
    if reply["status"] == 410:
        assert got["gone_since_ms"] == 0
    apple.set(reply=None)
    assert client.send("y")["result"] == "accepted"


def test_thousands_of_pushes_lose_and_double_none(apple, client):
    apple.clear()
    got = client.flood(5000, inflight=500)
    seen = apple.verdict()
    assert got["accepted"] == seen["unique"] == seen["accepted"] == 5000
    assert seen["doubled"] == 0 and seen["client_rst"] == {} and seen["jwts"] == 1
    assert got["tries"] == 5000


FAULTS = {
    "goaway": {"goaway_every": 400},
    "goaway below": {"goaway_every": 400, "goaway_below": 20},
    "refused": {"refuse_every": 7},
    "flapping limit": {"flap_every": 50},
    "spread": {"delay_ms": 2, "spread_ms": 30},
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_that_cost_nothing(apple, client, name):
    apple.clear()
    apple.set(**FAULTS[name])
    got = client.flood(2000, inflight=200)
    apple.set(**{key: 0 for key in FAULTS[name]})
    seen = apple.verdict()
    assert got["accepted"] == seen["unique"] == 2000, (got, seen)
    assert seen["doubled"] == 0


def test_broken_connections_lose_none(apple, client):
    """What may have been done is sent again under the same id: doubled by at most what was out."""
    for fault in ({"drop_every": 500}, {"drop_after_every": 500}, {"reset_every": 100}):
        apple.clear()
        apple.set(**fault)
        got = client.flood(1500, inflight=100)
        apple.set(**{key: 0 for key in fault})
        seen = apple.verdict()
        assert seen["unique"] == 1500, (fault, got, seen)
        assert got["accepted"] + got.get("why_uncertain", 0) == 1500, (fault, got)
        assert seen["doubled"] <= max(200 * seen["sessions"], seen["requests"] // 100 + 1), (fault, seen)


def test_black_hole():
    """A connection that swallows everything costs a call less than 3 s."""
    with StandIn(**ANY) as apple, PushClient(apple) as us:
        for i in range(4):
            us.push(f"w{i}")
            us.push(f"m{i}", kind=MISSED)
        for i in range(4):
            us.verdict(f"w{i}")
            us.verdict(f"m{i}")
        assert apple.do("black_hole")["sessions"] >= 4  # every open one, calls and others
        got = us.send("x", ttl_ms=10000)
        assert got["result"] == "accepted" and got["took_ms"] < 3000, got
        got = us.send("y", ttl_ms=10000)
        assert got["took_ms"] < 3000
        dead = us.metric("sori_push_conn_ended_total")
        assert sum(v for k, v in dead.items() if "pool='call'" in k and "why='dead'" in k) >= 1
        streams = us.metric("sori_push_streams_limit")
        assert len(streams) == 4 and max(streams.values()) >= 1, streams


def test_half_closed_and_dropped(apple, client):
    client.send("w")
    for what in ("half_close", "drop", "goaway"):
        apple.do(what, twice=what == "goaway")
        got = client.send(what)
        assert got["result"] == "accepted" and got["took_ms"] < 2000


def test_small_windows_and_large_payloads():
    with StandIn(window=16384, **ANY) as apple, PushClient(apple) as us:
        assert us.flood(3000, inflight=500)["accepted"] == 3000


def test_a_slow_answer_is_hedged(apple, client):
    apple.set(delay_ms=4000)
    client.push("x")
    time.sleep(1)
    apple.set(delay_ms=0)
    got = client.verdict("x")
    assert got["result"] == "accepted" and got["tries"] == 2 and got["took_ms"] < 3500


def test_a_storm_of_bad_tokens_leaves_calls_alone(apple, client):
    """Alerts and calls have connections of their own."""
    apple.set(tokens={f"{i:064x}": {"state": "unknown"} for i in range(1, 3000, 2)})
    got = client.send("w", kind=MISSED)
    assert got["result"] == "accepted", got
    client.say(f"flood 3000 200 {MISSED} {TOPIC} 20000")
    took = [client.send(f"c{i}")["took_ms"] for i in range(100)]
    storm = client.hear(lambda a: "flood" in a, 60)
    assert storm["token_bad"] + storm["rejected"] == 1500, storm
    apple.set(tokens={f"{i:064x}": {"state": "active"} for i in range(1, 3000, 2)})
    assert sorted(took)[90] < 200, sorted(took)[-10:]


# ---- environments, keys, clocks

def test_environment_is_found():
    dev, prod = "0d" * 32, "0e" * 32
    with StandIn(tokens={prod: {"state": "active"}}) as production, \
            StandIn(keys=("KEYSANDBOX",), environment="sandbox", tokens={dev: {"state": "active"}},
                    cert=(production.cert, production.cert[:-3] + "key")) as sandbox, \
            PushClient(production, sandbox) as us:
        got = us.send("d", env=UNKNOWN, token=dev)
        assert (got["result"], got["env"], got["env_changed"]) == ("accepted", "sandbox", True), got
        got = us.send("p", env=UNKNOWN, token=prod)
        assert (got["result"], got["env"], got["env_changed"]) == ("accepted", "production", True)
        assert us.send("s", env=SANDBOX, token=dev)["tries"] == 1
        assert us.send("n", env=UNKNOWN, token="0f" * 32)["result"] == "token_bad"


def test_mass_rejection_marks_none():
    with StandIn() as apple, PushClient(apple) as us:
        results = [us.send(f"x{i}", token=f"{i:064x}")["result"] for i in range(1, 6)]
        assert results == ["token_bad"] * 2 + ["rejected"] * 3
        assert "wrong topic or environment" in us.trouble()
        apple.set(unknown="active")
        assert us.send("y")["result"] == "accepted"
        assert us.trouble() == ""


@pytest.mark.parametrize("settings,says", [
    ({"clock_s": 7200}, "clock"),  # ours is two hours behind
    ({"clock_s": -7200}, "clock"),  # and two hours ahead
    ({"keys": {"KEY1234567": {"team": "TEAMOTHER1", "public": ""}}}, "team_id"),
    ({"environment": "sandbox", "env_key": True}, "environment"),
])
def test_a_key_that_is_not_accepted_stops_and_says_why(settings, says):
    settings = dict(settings)
    with StandIn(**ANY) as apple:
        key = apple.settings["keys"]["KEY1234567"]
        if settings.pop("env_key", None):
            settings["keys"] = {"KEY1234567": {**key, "environment": "production"}}
        elif "keys" in settings:
            settings["keys"]["KEY1234567"]["public"] = key["public"]
        apple.set(**settings)
        with PushClient(apple) as us:
            assert us.send("x")["result"] == "rejected"
            assert says in us.trouble()
            assert us.send("y")["error"]  # at once, without asking Apple
            assert apple.verdict()["requests"] == 1


def test_clock_jumps_do_not_stop_what_works(apple, client):
    """Apple's clock goes on; a token that it has taken is not made anew when ours jumps. Here the
    stand-in's clock jumps instead, which is harder: its own age rule strikes, and must be met."""
    client.send("w")
    jwts = apple.verdict()["jwts"]
    apple.set(clock_s=3300)  # 55 min older for Apple: still fine
    assert client.send("x")["result"] == "accepted"
    assert apple.verdict()["jwts"] == jwts
    apple.set(clock_s=0)


def test_key_rotation_without_restart():
    with StandIn(keys=("KEY1234567", "KEYROTATED"), **ANY) as apple, PushClient(apple) as us:
        assert us.send("a")["result"] == "accepted"
        us.write(us.text.replace("KEY1234567", "KEYROTATED"))
        assert us.reload()["reload"] == 1
        got = us.send("b")
        assert got["result"] == "accepted", got
        assert us.reload()["reload"] == 0
        bad = f"{us.folder}/bad.p8"
        with open(bad, "w", encoding="ascii") as f:
            f.write("no key")
        os.chmod(bad, 0o600)
        us.write(re.sub("key_file = .*", f"key_file = {bad}", us.text))
        got = us.reload()
        assert got["reload"] < 0 and "bad.p8" in got["error"]
        assert us.send("c")["result"] == "accepted"


# ---- certificates and what else may be wrong

@pytest.mark.parametrize("name", ["wrong name", "expired", "not trusted"])
def test_servers_that_are_not_apple(name, tmp_path):
    folder = str(tmp_path)
    cert = make_cert(folder, host="other.example" if name == "wrong name" else "localhost",
                     not_after=10 * 86400 if name == "expired" else None)
    ca = make_cert(folder, "ca")[0] if name == "not trusted" else cert[0]
    with StandIn(cert=cert, **ANY) as apple, PushClient(apple, ca=ca) as us:
        got = us.send("x", ttl_ms=700)
        assert (got["result"], got["why"]) == ("gave_up", "no_connection"), got
        assert apple.verdict()["requests"] == 0


def test_certificate_authentication(tmp_path):
    """Without provider tokens: the connection shows who we are."""
    cert, key = make_cert(str(tmp_path), "voip", host="com.acme.talk")
    os.chmod(key, 0o600)
    with StandIn(jwt=False, client_ca=cert, **ANY) as apple:
        us = PushClient(apple)
        us.write(us.text[:us.text.index("team_id")] + f"cert_file = {cert}\ncert_key_file = {key}\n")
        with us:
            assert us.send("x")["result"] == "accepted"
            assert apple.last()[-1]["headers"].get("authorization") is None
            apple.set(fail={"status": 403, "reason": "BadCertificateEnvironment", "count": 1})
            assert us.send("y")["result"] == "rejected"
            assert "certificate" in us.trouble()
        other = make_cert(str(tmp_path), "other")[1]
        us.write(us.text[:us.text.index("team_id")] + f"cert_file = {cert}\ncert_key_file = {other}\n")
        os.chmod(other, 0o600)
        ended = subprocess.run([f"{BUILD}/bench/load/apns_push", us.config], capture_output=True, text=True,
                               input="", timeout=20, check=False)
        assert ended.returncode != 0 and "other.key" in ended.stderr, ended.stderr


def test_wrong_keys_are_refused_at_the_start(apple, tmp_path):
    p384 = str(tmp_path / "p384.p8")
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", p384],
                   check=True, capture_output=True)
    os.chmod(p384, 0o600)
    shown = str(tmp_path / "shown.p8")
    make_key(shown)
    os.chmod(shown, 0o644)
    for path, says in ((p384, "P-256"), (shown, "others"), (str(tmp_path / "missing"), "no such file")):
        us = PushClient(apple, key_file=path)
        ended = subprocess.run([f"{BUILD}/bench/load/apns_push", us.config], capture_output=True, text=True,
                               input="", timeout=20, check=False)
        assert ended.returncode != 0 and says in ended.stderr, ended.stderr
        assert (78, True) == (check(us)[0], says in check(us)[1])


def check(us):
    ended = subprocess.run([f"{BUILD}/sori-server", "--check-config", "--config", us.config], capture_output=True,
                           text=True, timeout=20, check=False)
    return ended.returncode, ended.stderr


def test_check_config(apple, tmp_path):
    us = PushClient(apple)
    assert check(us) == (0, "")
    text = us.text
    for old, new, says in (("ca_file = .*", "ca_file = /missing", "/missing"),
                           ("production = .*", "production = localhost:port", "expected host:port"),
                           ("key_file = .*", f"cert_file = /missing\ncert_key_file = {us.folder}/secret", "/missing"),
                           ("key_id = .*", "key_id = short", "10 characters"),
                           ("app com.acme.talk", "app com acme", "bundle id")):
        us.write(re.sub(old, new, text))
        code, told = check(us)
        assert code == 78 and says in told, told


def test_nobody_there():
    class Nobody:
        port = 1
    with StandIn(**ANY) as apple:
        nobody = Nobody()
        nobody.key_files, nobody.cert = apple.key_files, apple.cert
        with PushClient(nobody) as us:
            got = us.send("x", ttl_ms=1000)
            assert got["why"] == "no_connection" and not got["maybe_done"]
            assert 900 < got["took_ms"] < 1500
