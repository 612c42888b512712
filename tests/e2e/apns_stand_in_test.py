"""The stand-in for Apple's push service is strict, and not too strict: three clients that others
wrote get the right answers from it, and every one of its rules is broken once.
SPDX-License-Identifier: BSD-3-Clause"""
import base64
import json
import os
import subprocess
import sys
import time
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from apnsworld import ROOT, TEAM, TOPIC, StandIn, run  # noqa: E402

T = {name: (bytes([i]) * 32).hex() for i, name in enumerate(("ok", "gone", "expired", "bad", "busy", "other", "env"))}
SINCE = 1795000000000
TOKENS = {T["ok"]: {"state": "active"}, T["gone"]: {"state": "unregistered", "since": SINCE},
          T["expired"]: {"state": "expired", "since": SINCE}, T["busy"]: {"state": "flooded", "count": -1},
          T["other"]: {"state": "wrong_topic"}, T["env"]: {"state": "wrong_env"}}
KEYS = ("KEYNODEAPN", "KEYAPNSTWO", "KEYAIOAPNS", "KEYSANDBOX", "KEYCONTROL")
RING = {"aps": {}, "call_id": "c1", "name": "김철수"}


@pytest.fixture(scope="module")
def apple():
    # apns2 can speak to port 443 only.
    with StandIn(keys=KEYS, tokens=TOKENS, port=443) as stand_in:
        yield stand_in


def pushes():
    """What each client sends, and what must come back."""
    big = {"aps": {}, "x": "y" * 4500}
    alert = {"aps": {"alert": "hello"}}
    ring = {"topic": f"{TOPIC}.voip", "type": "voip", "priority": 10, "expiry": 0}
    text = {"topic": TOPIC, "type": "alert", "priority": 10}
    return [
        ({**ring, "token": T["ok"], "payload": RING}, 200, None),
        ({**ring, "token": T["ok"], "payload": big}, 200, None),  # 5 kB for VoIP
        ({**text, "token": T["ok"], "payload": big}, 413, "PayloadTooLarge"),
        ({**text, "token": T["ok"], "payload": alert}, 200, None),
        ({**text, "token": T["bad"], "payload": alert}, 400, "BadDeviceToken"),
        ({**text, "token": T["gone"], "payload": alert}, 410, "Unregistered"),
        ({**text, "token": T["expired"], "payload": alert}, 410, "ExpiredToken"),
        ({**text, "token": T["other"], "payload": alert}, 400, "DeviceTokenNotForTopic"),
        ({**text, "topic": "com.acme.else", "token": T["ok"], "payload": alert}, 400, "BadTopic"),
        ({**text, "token": T["ok"], "payload": alert}, 200, None),
    ]


def check_answers(name, results, asked):
    assert len(results) == len(asked)
    for got, (push, status, reason) in zip(results, asked):
        assert (got.get("status"), got.get("reason")) == (status, reason), (name, push, got)


@pytest.mark.parametrize("name,kid", [("node-apn", "KEYNODEAPN"), ("apns2", "KEYAPNSTWO")])
def test_clients_of_node(apple, name, kid):
    apple.set(tokens=TOKENS)
    how = {"port": apple.port, "key": apple.key_files[kid], "keyId": kid, "teamId": TEAM, "topic": TOPIC}
    asked = [p for p in pushes() if p[1] != 429]
    answer = subprocess.run(["node", f"{ROOT}/tests/clients/apns_clients.mjs", name, json.dumps(how)],
                            input=json.dumps([p for p, _, _ in asked]), capture_output=True, text=True, timeout=60,
                            env=dict(os.environ, NODE_EXTRA_CA_CERTS=apple.cert), check=False)
    assert answer.returncode == 0, answer.stderr
    results = [json.loads(line) for line in answer.stdout.splitlines()]
    check_answers(name, results, asked)
    gone = [r for r in results if r.get("status") == 410]
    assert all(r.get("timestamp") == SINCE for r in gone), gone


AIOAPNS = """
import asyncio, json, ssl, sys, uuid
import aioapns, aioapns.connection as connection
how = json.load(sys.stdin)
connection.APNsBaseClientProtocol.APNS_PORT = connection.APNsTLSClientProtocol.APNS_PORT = how["port"]
connection.APNsProductionClientProtocol.APNS_SERVER = "localhost"
async def main():
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])  # it names no protocol by itself; node does not guess
    client = aioapns.APNs(ssl_context=context, key=how["key"], key_id=how["kid"], team_id=how["team"], topic=how["topic"], max_connections=1)
    for p in how["pushes"]:
        client.pool.apns_topic = p["topic"]
        for c in client.pool.connections:
            c.apns_topic = p["topic"]
        request = aioapns.NotificationRequest(device_token=p["token"], message=p["payload"], priority=str(p["priority"]),
            push_type=aioapns.PushType(p["type"]), time_to_live=p.get("expiry"))
        got = await client.send_notification(request)
        print(json.dumps({"status": int(got.status), "reason": None if got.is_successful else got.description}), flush=True)
asyncio.run(main())
"""


def test_aioapns(apple):
    # Its semaphore loses all but one of its permits when the limit on streams grows again.
    apple.set(tokens=TOKENS, streams_first=1000, streams_rejected=0)
    asked = pushes()
    how = {"port": apple.port, "key": apple.key_files["KEYAIOAPNS"], "kid": "KEYAIOAPNS", "team": TEAM,
           "topic": TOPIC, "pushes": [p for p, _, _ in asked]}
    answer = subprocess.run(["/usr/bin/python3", "-c", AIOAPNS], input=json.dumps(how), capture_output=True, text=True,
                            timeout=60, env=dict(os.environ, SSL_CERT_FILE=apple.cert), check=False)
    assert answer.returncode == 0, answer.stderr
    apple.set(streams_first=1, streams_rejected=1)
    check_answers("aioapns", [json.loads(line) for line in answer.stdout.splitlines()], asked)


# ---- every rule, broken once

def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw_signature(der):
    """r || s of a DER signature."""
    at, out = 3 if der[1] & 0x80 else 2, b""
    for _ in range(2):
        size = der[at + 1]
        out += der[at + 2:at + 2 + size].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + size
    return out


def jwt(apple, kid="KEYCONTROL", team=TEAM, iat=None, alg="ES256", signer=None, cut=0):
    head = b64(json.dumps({"alg": alg, "kid": kid}).encode())
    claims = b64(json.dumps({"iss": team, "iat": int(time.time()) if iat is None else iat}).encode())
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", apple.key_files[signer or kid]],
                         input=f"{head}.{claims}".encode(), capture_output=True, check=True).stdout
    signature = raw_signature(der)
    return f"bearer {head}.{claims}.{b64(signature[:64 - cut])}"


def ask(apple, *connections):
    out = run("node", f"{ROOT}/tests/clients/apns_raw.mjs", str(apple.port), apple.cert, input=json.dumps(connections),
              timeout=60)
    return json.loads(out)


class Request:
    """A correct VoIP push, to be spoiled."""

    def __init__(self, authorization, token=T["ok"], body=None):
        self.h = [[":method", "POST"], [":path", f"/3/device/{token}"], ["authorization", authorization],
                  ["apns-topic", f"{TOPIC}.voip"], ["apns-push-type", "voip"], ["apns-priority", "10"],
                  ["apns-expiration", "0"], ["apns-id", str(uuid.uuid4())]]
        self.body = json.dumps(RING) if body is None else body

    def set(self, **headers):
        for name, value in headers.items():
            name = (":" if name in ("method", "path") else "") + name.replace("_", "-")
            self.h = [h for h in self.h if h[0] != name] + ([] if value is None else [[name, value]])
        return self

    def add(self, name, value):
        self.h.append([name, value])
        return self

    def json(self, body=None, pad=0):
        return {"headers": self.h, "body": self.body if body is None else body, "pad": pad}


@pytest.fixture(scope="module")
def bearer(apple):
    return jwt(apple)


def test_header_rules(apple, bearer):
    apple.set(tokens=TOKENS)

    def ok():
        return Request(bearer)

    live = {"apns_topic": f"{TOPIC}.push-type.liveactivity", "apns_push_type": "liveactivity"}
    alert = {"apns_topic": TOPIC, "apns_push_type": "alert"}
    cases = [
        (ok().json(), 200, None),
        (ok().set(method="GET").json(), 405, "MethodNotAllowed"),
        (ok().set(path="/3/devices/aa").json(), 404, "BadPath"),
        (ok().set(path="/3/device/").json(), 400, "MissingDeviceToken"),
        (ok().set(path="/3/device/xyz").json(), 400, "BadDeviceToken"),
        (ok().set(path="/3/device/abc").json(), 400, "BadDeviceToken"),
        (ok().set(apns_id="ABCDEF01-0000-4000-8000-000000000001").json(), 400, "BadMessageId"),
        (ok().set(apns_id="1").json(), 400, "BadMessageId"),
        (ok().set(apns_id=None).json(), 200, None),
        (ok().set(apns_topic=None).json(), 400, "MissingTopic"),
        (ok().set(apns_topic="com.acme.else.voip").json(), 400, "BadTopic"),
        (ok().set(apns_topic=TOPIC).json(), 400, "TopicDisallowed"),  # without its suffix
        (ok().set(apns_push_type=None).json(), 400, "InvalidPushType"),
        (ok().set(apns_push_type="ring").json(), 400, "InvalidPushType"),
        (ok().set(apns_push_type="alert").json(), 400, "TopicDisallowed"),
        (ok().set(apns_priority="7").json(), 400, "BadPriority"),
        (ok().set(apns_topic=TOPIC, apns_push_type="background").json(), 400, "BadPriority"),
        (ok().set(apns_topic=TOPIC, apns_push_type="background", apns_priority="5").json(), 200, None),
        (ok().set(apns_expiration="tomorrow").json(), 400, "BadExpirationDate"),
        (ok().set(apns_expiration="-1").json(), 400, "BadExpirationDate"),
        (ok().set(apns_collapse_id="c" * 64).json(), 200, None),
        (ok().set(apns_collapse_id="c" * 65).json(), 400, "BadCollapseId"),
        (ok().set(apns_expiration=None).json(), 200, None),
        (ok().json(body=""), 400, "PayloadEmpty"),
        (ok().json(body="{", pad=0), 400, "BadPayload"),
        (ok().json(body="[]"), 400, "BadPayload"),
        (ok().json(body="{}", pad=5118), 200, None),  # spaces are JSON, too
        (ok().json(body="{}", pad=5119), 413, "PayloadTooLarge"),
        (ok().set(**alert).json(body='{"aps":{}}', pad=4086), 200, None),
        (ok().set(**alert).json(body='{"aps":{}}', pad=4087), 413, "PayloadTooLarge"),
        (ok().set(**alert).json(body='{"x":1}'), 400, "PayloadEmpty"),
        (ok().set(**live).json(body='{"aps":{"timestamp":1,"event":"update","content-state":{}}}'), 200, None),
        (ok().set(**live).json(body='{"aps":{"event":"update","content-state":{}}}'), 400, "BadPayload"),
        (ok().set(**live).json(body='{"aps":{"timestamp":1,"event":"go","content-state":{}}}'), 400, "BadPayload"),
        (ok().set(**live).json(body='{"aps":{"timestamp":1,"event":"start","content-state":{}}}'), 400, "BadPayload"),
        (ok().set(authorization=None).json(), 403, "MissingProviderToken"),
        (ok().set(authorization="basic x").json(), 403, "MissingProviderToken"),
        (Request(bearer, token=T["busy"]).json(), 429, "TooManyRequests"),
        (Request(bearer, token=T["env"]).json(), 400, "BadDeviceToken"),
        (Request(bearer, token=T["bad"]).json(), 400, "BadDeviceToken"),
    ]
    answers = ask(apple, [request for request, _, _ in cases])[0]
    for (request, status, reason), got in zip(cases, answers):
        assert (got.get("status"), got.get("reason")) == (status, reason), (request, got)
    assert len(answers) == len(cases)
    assert answers[0]["id"] == dict(cases[0][0]["headers"])["apns-id"]


def test_rules_are_switches(apple, bearer):
    wrong = Request(bearer).set(apns_push_type="ring", apns_priority="7").json()
    apple.set(grammar=False, suffix=False, shape=False)
    try:
        assert ask(apple, [wrong])[0][0]["status"] == 200
    finally:
        apple.set(grammar=True, suffix=True, shape=True)
    assert ask(apple, [wrong])[0][0]["reason"] == "InvalidPushType"


def test_provider_token_rules(apple, bearer):
    now = int(time.time())
    control = Request(bearer).json()

    def one(authorization):
        return [Request(authorization).json()]

    cases = [
        (one(jwt(apple, alg="ES384")), "InvalidProviderToken"),
        (one(jwt(apple, kid="KEYUNKNOWN", signer="KEYCONTROL")), "InvalidProviderToken"),
        (one(jwt(apple, team="TEAMOTHER1")), "InvalidProviderToken"),
        (one(jwt(apple, signer="KEYSANDBOX")), "InvalidProviderToken"),  # another's signature
        (one(jwt(apple, cut=1)), "InvalidProviderToken"),
        (one(bearer[:-4] + "AAAA"), "InvalidProviderToken"),
        (one("bearer x.y.z"), "InvalidProviderToken"),
        (one("bearer x"), "InvalidProviderToken"),
        (one(jwt(apple, iat=now + 7200)), "InvalidProviderToken"),
        (one(jwt(apple, iat=now - 3700)), "ExpiredProviderToken"),
        (one(jwt(apple, iat=now - 60)), "TooManyProviderTokenUpdates"),  # the control's is younger than 20 min
    ]
    answers = ask(apple, [control], *[c for c, _ in cases])
    assert answers[0][0]["status"] == 200
    for (_, reason), got in zip(cases, answers[1:]):
        assert got[0].get("reason") == reason, (reason, got)


def test_a_connection_is_wedged_bound_and_environment_is_checked(apple, bearer):
    now = int(time.time())
    apple.set(keys={"KEYSANDBOX": {**apple.settings["keys"]["KEYSANDBOX"], "environment": "sandbox"}})
    good, old = Request(bearer).json(), Request(jwt(apple, iat=now - 3700)).json()
    other = Request(jwt(apple, kid="KEYNODEAPN", iat=now)).json()
    sandbox = Request(jwt(apple, kid="KEYSANDBOX")).json()
    apple.set(jwt_gap_s=0)
    wedged, bound, env, clean = ask(apple, [good, old, good], [good, other, good], [sandbox], [good])
    apple.set(jwt_gap_s=1200)
    assert [a.get("reason") for a in wedged] == [None, "ExpiredProviderToken", "ExpiredProviderToken"]
    assert [a.get("reason") for a in bound] == [None, "UnrelatedKeyIdInToken", None]
    assert env[0]["reason"] == "BadEnvironmentKeyInToken"
    assert clean[0]["status"] == 200


def test_duplicates(apple, bearer):
    """node's client joins doubled headers, so python3-h2 sends them."""
    import socket
    import ssl

    import h2.config
    import h2.connection
    import h2.events
    context = ssl.create_default_context(cafile=apple.cert)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", apple.port)) as plain, \
            context.wrap_socket(plain, server_hostname="localhost") as s:
        s.settimeout(10)
        c = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False,
                                                                 header_encoding="utf-8"))
        c.initiate_connection()
        request = Request(bearer).add("apns-topic", f"{TOPIC}.voip")
        names = [(":scheme", "https"), (":authority", "localhost")] + [tuple(h) for h in request.h]
        names.sort(key=lambda h: not h[0].startswith(":"))
        c.send_headers(1, names)
        c.send_data(1, request.body.encode(), end_stream=True)
        s.sendall(c.data_to_send())
        text, ended = b"", False
        while not ended:
            for event in c.receive_data(s.recv(65536)):
                if isinstance(event, h2.events.DataReceived):
                    text += event.data
                ended |= isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated))
            s.sendall(c.data_to_send())
        assert json.loads(text)["reason"] == "DuplicateHeaders"


def test_faults(apple, bearer):
    """The faults do what they say, and the verdict counts them."""
    def good():
        return Request(bearer).json()

    apple.set(tokens=TOKENS)
    apple.clear()
    apple.set(refuse_every=2)
    assert [a.get("rst") for a in ask(apple, [good(), good(), good()])[0]] == [None, 7, None]
    apple.set(refuse_every=0, reset_every=2)
    assert [a.get("rst") for a in ask(apple, [good(), good()])[0]] == [None, 2]
    apple.set(reset_every=0, fail={"status": 503, "reason": "ServiceUnavailable", "count": 1})
    assert [a.get("reason") for a in ask(apple, [good(), good()])[0]] == ["ServiceUnavailable", None]
    apple.set(goaway_every=2)
    answers = ask(apple, [good(), good(), good()])[0]
    assert {"goaway": 0, "last": 3, "data": '{"reason":"Shutdown"}'} in answers
    apple.set(goaway_every=0, drop_every=2)
    assert "status" not in ask(apple, [good(), good()])[0][-1]
    apple.set(drop_every=0, bad_tokens_max=2)
    bad = Request(bearer, token=T["bad"]).json()
    assert any("goaway" in a for a in ask(apple, [bad, bad, bad])[0])
    apple.set(bad_tokens_max=0, reply={"status": 200, "body": "x"})
    answer = ask(apple, [good()])[0][0]
    assert (answer["status"], answer["text"]) == (200, "x")
    apple.set(reply=None)
    seen = apple.verdict()
    assert seen["doubled"] == 0 and seen["answers"]["ServiceUnavailable"] == 1
    same = good()
    ask(apple, [same, same])
    assert apple.verdict()["doubled"] == 1
