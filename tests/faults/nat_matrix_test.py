"""Calls between people behind NATs of five kinds, each with each, and with no UDP at all: all connect, soon.

The network adds 50 ms of round trip between a host and the servers (so 100 ms between two hosts). A set-up is
counted at the caller, from the call to the first packets of the other's voice; at each kind of NAT it is proven
first that it is of that kind. SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import itertools
import json
import subprocess
import sys

from faultworld import LONG, SEED, figure, say, sized
from impairnet import Net, sysctl
from mediapeople import Services, Talker
from natworld import KINDS, Home
from truth import percentile

LINK = "both delay 25ms"
GOAL_S = 2
ROUNDS = sized(1, 2)

# On a host: who of the servers may answer to where it came from, and is it the same place for another port of theirs?
PROBE = """
import json, socket, sys
hosts, ports = json.loads(sys.argv[1]), json.loads(sys.argv[2])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
s.bind(("0.0.0.0", 0))
def where(port):
    s.sendto(b"where", (hosts[0], port))
    return json.loads(s.recv(100))[1]
first = where(ports[0])
s.sendto(b"others", (hosts[0], ports[0]))
told = set()
try:
    while True:
        told.add(s.recvfrom(100)[0].decode())
except TimeoutError:
    pass
print(json.dumps([first == where(ports[1]), sorted(told)]))
"""
# Beside the servers: tells where a datagram came from; asked, sends from another port and from another address as well.
ORACLE = """
import json, select, socket, sys
hosts, ports = json.loads(sys.argv[1]), json.loads(sys.argv[2])
socks = {}
for h, p in ((hosts[0], ports[0]), (hosts[0], ports[1]), (hosts[1], ports[0])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((h, p))
    socks[(h, p)] = s
print("ready", flush=True)
while True:
    for s in select.select(list(socks.values()), [], [])[0]:
        data, to = s.recvfrom(100)
        if data == b"where":
            s.sendto(json.dumps(to).encode(), to)
        else:
            socks[(hosts[0], ports[1])].sendto(b"port", to)
            socks[(hosts[1], ports[0])].sendto(b"address", to)
"""
# The same outside port for all? Who else may send to it?
IS = {
    "full cone": [True, ["address", "port"]],
    "restricted": [True, ["port"]],
    "port-restricted": [True, []],
    "symmetric": [False, []],
    "symmetric, random ports": [False, []],
}
SECOND_ADDRESS = "10.78.0.1"
PORTS = [3500, 3501]


@contextlib.contextmanager
def world():
    with Net() as net, contextlib.ExitStack() as stack:
        sysctl("ipv4/ip_forward", 1)
        subprocess.run(["ip", "addr", "add", SECOND_ADDRESS + "/32", "dev", "srv0"], check=True)
        yield net, stack


def home(net, stack, kind, number, **how):
    h = Home(net, kind, LINK, seed=SEED * 100 + number, **how)
    stack.callback(h.stop)
    return h


def prove(net, stack, homes):
    """That each is what it is called."""
    addresses = json.dumps([net.address, SECOND_ADDRESS]), json.dumps(PORTS)
    oracle = stack.enter_context(subprocess.Popen([sys.executable, "-c", ORACLE, *addresses], stdout=subprocess.PIPE))
    stack.callback(oracle.kill)
    assert oracle.stdout.readline() == b"ready\n"
    asked = [subprocess.Popen(h.command([sys.executable, "-c", PROBE, *addresses]), stdout=subprocess.PIPE)
             for h in homes]
    for h, p in zip(homes, asked):
        found = json.loads(p.communicate(timeout=10)[0])
        assert found == IS[h.kind], (h.kind, found)


def people(net, stack, services):
    """Two homes of each kind, and one without UDP: {(kind, side): Talker}."""
    wanted = [(kind, side) for kind in KINDS for side in "ab"]
    if not LONG:
        wanted = [("port-restricted", "a"), ("symmetric, random ports", "b"), ("restricted", "b")]
    homes = {key: home(net, stack, key[0], i) for i, key in enumerate(wanted)}
    prove(net, stack, homes.values())
    homes["no UDP", "a"] = home(net, stack, "symmetric", len(wanted), udp=False)
    made = {key: Talker(services, f"p{i}", inside=h.command) for i, (key, h) in enumerate(homes.items())}
    for t in made.values():
        stack.callback(t.close)
    for t in made.values():
        t.ready()
    return made


def pairs():
    if not LONG:
        return [(("port-restricted", "a"), ("symmetric, random ports", "b")), (("no UDP", "a"), ("restricted", "b"))]
    both = [((a, "a"), (b, "b")) for a, b in itertools.product(KINDS, KINDS)]
    return both + [(("no UDP", "a"), (k, "b")) for k in KINDS]


def test_every_pair_connects():
    took, relayed, failed = [], 0, set()
    with world() as (net, stack), Services(net.address, relays=1, transports=("udp", "tcp")) as services:
        there = people(net, stack, services)
        for (caller, callee), _ in itertools.product(pairs(), range(ROUNDS)):
            a, b = there[caller], there[callee]
            try:
                took.append(a("call", to=b.name)["setup_ms"] / 1000)
                b("up")
                path = a("path")
                relayed += "relay" in (path["local"], path["remote"])
                say(f"{caller[0]} -> {callee[0]}: {took[-1]:.2f} s, {path['local']}/{path['remote']} "
                    f"{path.get('protocol') or ''}")
            except AssertionError as e:
                failed.add((caller, callee))
                say(f"{caller[0]} -> {callee[0]}: {e}")
            a("hangup")
            b("hangup")
    figure("nat_connected", len(pairs()) - len(failed) if LONG else None)
    figure("nat_setup_p95_s", percentile(took, 0.95) if LONG and took else None)
    assert not failed
    say(f"{relayed} of {len(took)} over the relay; p50 {percentile(took, 0.5):.2f} s, p95 {percentile(took, 0.95):.2f} s")
    assert percentile(took, 0.95) <= GOAL_S
