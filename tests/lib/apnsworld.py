"""The stand-in for Apple's push service, keys for it, and sori-server's push client, for tests.

    with StandIn(unknown="active") as apple, PushClient(apple) as us:
        us.push("a"); assert us.verdict("a")["result"] == "accepted"

SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("SORI_BUILD", "build/gcc"))
TOPIC = "com.acme.talk"
TEAM = "TEAM123456"
RING, RING_ALERT, MISSED, LIVE_START, LIVE_UPDATE, LIVE_END = range(6)
UNKNOWN, PRODUCTION, SANDBOX = range(3)
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]


def run(*cmd, **more):
    return subprocess.run(cmd, check=True, capture_output=True, text=True, **more).stdout


def make_key(path):
    """A .p8 file as Apple gives out; returns its public half."""
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    os.chmod(path, 0o600)
    return run("openssl", "pkey", "-in", path, "-pubout")


def make_cert(folder, name="tls", host="localhost", not_after=None):
    """A certificate that is its own authority."""
    key, cert = f"{folder}/{name}.key", f"{folder}/{name}.crt"
    cmd = ["openssl", "req", "-x509", *CURVE, "-nodes", "-keyout", key, "-out", cert, "-subj",
           f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-days", "2"]
    if not_after:  # seconds ago
        cmd = ["faketime", "-f", f"-{not_after}s", *cmd[:-1], "1"]
    run(*cmd)
    return cert, key


class StandIn:
    """tests/lib/apns_stand_in.mjs. keys: names of key ids that it knows, all of them of TEAM."""

    def __init__(self, keys=("KEY1234567",), environment="production", port=0, cert=None, **settings):
        self.folder = tempfile.mkdtemp(prefix="apns")
        self.key_files = {kid: f"{self.folder}/{kid}.p8" for kid in keys}
        self.settings = {"keys": {kid: {"team": TEAM, "public": make_key(path)}
                                  for kid, path in self.key_files.items()},
                         "environment": environment, "port": port, **settings}
        self.cert, key = cert or make_cert(self.folder)
        self.settings.update(cert=self.cert, key=key)

    def __enter__(self):
        self.process = subprocess.Popen(
            ["node", f"{ROOT}/tests/lib/apns_stand_in.mjs", json.dumps(self.settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started = json.loads(self.process.stdout.readline())
        self.port, self.admin = started["port"], started["admin"]
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        self.process.wait()

    def _ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", data, timeout=10) as answer:
            return json.load(answer)

    def set(self, **settings):
        self._ask("/set", settings)

    def do(self, what, **how):
        return self._ask("/do", {"what": what, **how})

    def clear(self):
        self._ask("/clear", {})

    def verdict(self):
        return self._ask("/verdict")

    def last(self):
        return self._ask("/last")

    def wait(self, condition, limit_s=5):
        end = time.monotonic() + limit_s
        while not condition(self.verdict()):
            assert time.monotonic() < end, f"it did not happen: {self.verdict()}"
            time.sleep(0.02)


class PushClient:
    """bench/load/apns_push.c: the push client as sori-server has it."""

    def __init__(self, apple, sandbox=None, kid=None, topic=TOPIC, host="localhost", ca=None,
                 key_file=None, sandbox_kid=None, more=""):
        self.folder = tempfile.mkdtemp(prefix="push")
        self.answers, self.seen = queue.Queue(), {}
        self.config = f"{self.folder}/server.ini"
        secret = f"{self.folder}/secret"
        with open(secret, "w", encoding="ascii") as f:
            f.write("0123456789abcdef0123456789abcdef")
        os.chmod(secret, 0o600)
        kid = kid or next(iter(apple.key_files))
        text = [f"[server]\nlisten_tls =\nlisten_clear = 127.0.0.1:1\n[auth]\nhs256_secret_file = {secret}",
                f"[apns]\nproduction = {host}:{apple.port}\nca_file = {ca or apple.cert}", more]
        app = [f"[app {topic}]\nteam_id = {TEAM}\nkey_id = {kid}\nkey_file = {key_file or apple.key_files[kid]}"]
        if sandbox:
            text.append(f"sandbox = {host}:{sandbox.port}")
            skid = sandbox_kid or next(iter(sandbox.key_files))
            app.append(f"sandbox_key_id = {skid}\nsandbox_key_file = {sandbox.key_files[skid]}")
        self.text = "\n".join(text + app) + "\n"
        self.write(self.text)

    def write(self, text):
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(text)

    def __enter__(self):
        self.log = open(f"{self.folder}/log", "w+", encoding="utf-8")
        self.process = subprocess.Popen([f"{BUILD}/bench/load/apns_push", self.config], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        threading.Thread(target=self._read, daemon=True).start()
        assert self.answers.get(timeout=20).get("ready")
        return self

    def _read(self):
        for line in self.process.stdout:
            self.answers.put(json.loads(line))

    def __exit__(self, kind, *_):
        self.process.stdin.close()
        try:
            code = self.process.wait(10 if kind is None else 1)
        except subprocess.TimeoutExpired:
            code = "still running"
        self.process.kill()
        self.process.wait()
        assert kind is not None or code == 0, f"it ended with {code}: {self.log_text()}"

    def log_text(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as f:
            return f.read()

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self, wanted, limit_s=20):
        """The first answer that has wanted, an earlier one or one to come."""
        end = time.monotonic() + limit_s
        while True:
            for key, answer in list(self.seen.items()):
                if wanted(answer):
                    return self.seen.pop(key)
            try:
                answer = self.answers.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no answer; seen {self.seen}; log {self.log_text()}") from None
            self.seen[len(self.seen), id(answer)] = answer

    def push(self, tag, kind=RING, env=PRODUCTION, token="aa" * 32, topic=TOPIC, ttl_ms=10000):
        self.say(f"push {tag} {kind} {topic} {env} {token} {ttl_ms}")

    def verdict(self, tag, limit_s=20):
        return self.hear(lambda a: a.get("tag") == tag, limit_s)

    def send(self, tag, **how):
        self.push(tag, **how)
        return self.verdict(tag)

    def flood(self, n, inflight=200, kind=RING, ttl_ms=20000, limit_s=60):
        self.say(f"flood {n} {inflight} {kind} {TOPIC} {ttl_ms}")
        return self.hear(lambda a: "flood" in a, limit_s)

    def trouble(self):
        self.say("trouble")
        return self.hear(lambda a: "trouble" in a)["trouble"]

    def reload(self):
        self.say(f"reload {self.config}")
        return self.hear(lambda a: "reload" in a)

    def metric(self, name):
        """Label text -> value."""
        self.say(f"metric {name}")
        found = {}
        while True:
            answer = self.hear(lambda a: "metric" in a or "metrics" in a)
            if "metrics" in answer:
                return found
            label, value = answer["metric"].rsplit(" ", 1)
            found[label] = float(value)
