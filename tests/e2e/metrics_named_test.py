"""What the alerts and the dashboard ask for is what the daemons expose, and docs/OPERATIONS.md names all
of it.

Each daemon runs with everything switched on that has metrics. SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import json
import os
import re
import subprocess
import tempfile
import urllib.request

import pytest

from apnsworld import TEAM, TOPIC, make_cert, make_key
from soridaemon import Daemon, free_port
from soriredis import Redis
from soriserver import Server

ROOT = os.environ["SORI_ROOT"]
PROMETHEUS = os.path.join(ROOT, "deploy/prometheus")
DASHBOARD = os.path.join(ROOT, "deploy/grafana/sori.json")
PARTS = re.compile(r"_(bucket|count|sum)$")

SERVER = """
[server]
listen_tls =
listen_clear = 127.0.0.1:{clear}
[auth]
hs256_secret_file = @FOLDER@/secret
[push]
address = ws://127.0.0.1:{clear}/ws
[ledger]
file = @FOLDER@/ledger.db
token_key_file = @FOLDER@/secret
[privacy]
export_dir = @FOLDER@
[apns]
production = localhost:{apple}
ca_file = {ca}
[app {topic}]
team_id = {team}
key_id = KEY1234567
key_file = {key}
[redis]
servers = 127.0.0.1:{redis}
[admin]
listen = 127.0.0.1:{admin}
"""
TURN = """
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
listen_tls = 127.0.0.1:{tls}
relay_addresses = 127.0.0.1
[auth]
users_file = @FOLDER@/users
secret_file = @FOLDER@/secret
[tls]
cert_file = @FOLDER@/tls.crt
key_file = @FOLDER@/tls.key
dtls = yes
[redis]
address = 127.0.0.1:{redis}
users = yes
usage = stream
[usage]
directory = @FOLDER@/usage
node = relay-1
[cluster]
servers = 127.0.0.1:{redis}
[admin]
listen = 127.0.0.1:{admin}
"""
SFU = """
[sfu]
listen = 127.0.0.1
port = {port}
threads = 1
[control]
listen = unix:@FOLDER@/control
secret_file = @FOLDER@/secret
[cluster]
servers = 127.0.0.1:{redis}
[admin]
listen = 127.0.0.1:{admin}
"""


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as r:
        return r.read().decode()


def start_server(stack):
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    make_key(f"{folder}/app.p8")
    ca, _ = make_cert(folder)
    s = stack.enter_context(Server(SERVER, apple=free_port(), ca=ca, topic=TOPIC, team=TEAM,
                                   key=f"{folder}/app.p8", redis=stack.enter_context(Redis()).port))
    return scrape(s.admin)


def start_turn(stack):
    redis = stack.enter_context(Redis())
    admin = free_port()
    d = Daemon("sori-turn", TURN.format(port=free_port(), tls=free_port(), redis=redis.port, admin=admin),
               files={"users": "ann:secret\n", "secret": "0123456789abcdef" * 4 + "\n"})
    os.mkdir(os.path.join(d.folder, "usage"))
    make_cert(d.folder)
    os.chmod(os.path.join(d.folder, "tls.key"), 0o600)
    stack.enter_context(d)
    return scrape(admin)


def start_sfu(stack):
    admin = free_port()
    stack.enter_context(Daemon("sori-sfu", SFU.format(port=free_port(), admin=admin, redis=free_port()),
                               files={"secret": "0123456789abcdef" * 4 + "\n"}))
    return scrape(admin)


@pytest.fixture(scope="module")
def exposed():
    """Names of all metrics, each with the values that its labels have."""
    with contextlib.ExitStack() as stack:
        text = start_server(stack) + start_turn(stack) + start_sfu(stack)
    found = {name: {} for name in re.findall(r"^# TYPE (\S+)", text, re.M)}
    for name, labels in re.findall(r"^(sori_\w+)\{(.*)\}", text, re.M):
        known = found.get(name) if name in found else found[PARTS.sub("", name)]
        for key, value in re.findall(r'(\w+)="([^"]*)"', labels):
            known.setdefault(key, set()).add(value)
    return found


def asked(expression):
    """(metric, {label: [values]}) of an expression; "=~" is taken apart at its bars."""
    for name, selector in re.findall(r"\b(sori_[a-z0-9_]*[a-z0-9])(?:\{([^}]*)\})?", expression):
        labels = {key: value.split("|") for key, value in
                  re.findall(r'(\w+)=~?"([^"$]+)"', selector) if key not in ("instance", "job")}
        yield PARTS.sub("", name), labels


def rules():
    with open(os.path.join(PROMETHEUS, "sori.rules.yml"), encoding="utf-8") as f:
        text = f.read()
    # An expression is a line, or an indented block.
    return re.findall(r"^        expr: (?:\|\n((?:          .*\n)+)|(.*)\n)", text, re.M)


def dashboard():
    with open(DASHBOARD, encoding="utf-8") as f:
        board = json.load(f)
    return board, [t["expr"] for p in board["panels"] for t in p.get("targets", [])]


def check(expression, exposed):
    for name, labels in asked(expression):
        assert name in exposed, f"{name} is not exposed: {expression}"
        for key, values in labels.items():
            for value in values:
                assert value in exposed[name].get(key, ()), f'{name} has no {key}="{value}": {expression}'


def test_alerts_ask_for_what_is_there(exposed):
    found = rules()
    assert len(found) >= 20
    for block, line in found:
        check(block or line, exposed)


def test_dashboard_asks_for_what_is_there(exposed):
    board, expressions = dashboard()
    assert len(expressions) >= 40
    for expression in expressions:
        check(expression, exposed)
    ids = [p["id"] for p in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for p in board["panels"]:
        g = p["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert not cells & taken and g["x"] + g["w"] <= 24, p["title"]
        taken |= cells


def test_every_metric_is_named_in_the_operators_book(exposed):
    with open(os.path.join(ROOT, "docs/OPERATIONS.md"), encoding="utf-8") as f:
        text = f.read()
    words = set(re.findall(r"`([a-z_*]+)(?:\{[^`]*\})?`", text))
    named = {w if w.startswith("sori_") else f"sori_sfu{w}" for w in words if w.startswith(("sori_", "_"))}
    stars = tuple(n[:-1] for n in named if n.endswith("*"))
    missing = sorted(n for n in exposed if n not in named and not n.startswith(stars))
    assert not missing, missing


def promtool(*words):
    p = subprocess.run(["promtool", *words], cwd=PROMETHEUS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=60, check=False)
    assert p.returncode == 0, p.stdout.decode()


def test_promtool_takes_rules_and_configuration():
    promtool("check", "rules", "sori.rules.yml")
    promtool("check", "config", "prometheus.yml")


def test_alerts_fire_when_they_should():
    promtool("test", "rules", "sori.rules.test.yml")


def test_promtool_takes_every_expression_of_the_dashboard(tmp_path):
    _, expressions = dashboard()
    rule = {"groups": [{"name": "dashboard", "rules": [
        {"record": f"panel:{i}", "expr": e.replace("$instance", ".*")} for i, e in enumerate(expressions)]}]}
    (tmp_path / "dashboard.yml").write_text(json.dumps(rule))
    promtool("check", "rules", "--lint=none", str(tmp_path / "dashboard.yml"))
