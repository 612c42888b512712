"""A relay is killed under calls that it carries: their media goes on over the other relay.

libwebrtc by itself doubts a pair of candidates 2.5 s after the last answer, and waits 1 s more before it takes the
next one. Our library asks the relays sooner (server/web/sori_relay.js), and restarts ICE with the dead one last.
SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import os
import time

from faultworld import SEED, crash, figure, say, sized
from impairnet import Net
from mediapeople import Services, quiet_again, talkers

GOAL_S = 3
PATIENCE_S = 30


def carrier(services, person):
    """The relay that a person's media goes through."""
    path = person("path")
    assert path["local"] == "relay", path
    return next(d for d in services.relays if path["port"] in ports_of(d.pid))


def ports_of(pid):
    """UDP ports of a process, by its sockets' inodes."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    with open(f"/proc/{pid}/net/udp", encoding="ascii") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return {int(r[1].split(":")[1], 16) for r in rows if f"socket:[{r[9]}]" in inodes}


def test_the_other_relay_takes_over():
    worst = []
    with Net() as net, Services(net.address, relays=2) as s:
        phones = net.client("both delay 10ms", seed=SEED)
        for i in range(sized(1, 10)):
            with talkers(s, f"ann{i}", f"bob{i}", relay_only=True, inside=phones.command) as people:
                people[0]("call", to=f"bob{i}")
                people[1]("up")
                quiet_again(people, PATIENCE_S, 0.5)
                victim = carrier(s, people[0])
                crash(victim)
                start = time.monotonic()
                worst.append(max(quiet_again(people, PATIENCE_S, 1.5)))
                say(f"round {i}: silence of {worst[-1]:.2f} s (all well {time.monotonic() - start:.1f} s after the kill)")
                people[0]("hangup")
            victim.start()
    figure("turn_kill_media_back_s", max(worst))
    assert max(worst) <= sized(PATIENCE_S, GOAL_S), worst
