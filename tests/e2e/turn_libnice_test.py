"""Two ICE agents of libnice (GStreamer's) that may only use their relayed candidates, through
sori-turn over UDP and TCP, for a moment and for twelve minutes of a fast clock.

No TLS: libnice 0.1.21 has TLS to relays only in the dialects of Google Talk and Office
Communicator; asked for it in RFC 5245's, it speaks plain TCP.
SPDX-License-Identifier: BSD-3-Clause
"""
import concurrent.futures

import pytest

import peerclient
from peerclient import PASSWORD, record

TRANSPORTS = ["udp", "tcp"]


@pytest.fixture(scope="module")
def agents():
    return peerclient.build_c("nice_agents.c", packages=["nice"])


@pytest.fixture(scope="module")
def relay():
    # No switch opens loopback: the agents meet because each peer is a live allocation of this relay.
    with peerclient.relay(TRANSPORTS, peers="") as d:
        yield d


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_two_relay_only_agents_meet(agents, relay, transport):
    code, text = peerclient.run([agents, transport, "127.0.0.1", str(relay.port), transport, PASSWORD])
    assert code == 0, text
    assert "agent 0: relay relay" in text and "agent 1: relay relay" in text, text
    ended = record(relay, transport)
    assert (ended["transport"], ended["why"]) == (transport, "released"), ended


MINUTES = 12


def test_they_stay_in_touch(agents):
    """Longer than allocations (here five minutes), permissions (five), nonces and channels (ten)."""
    fast = peerclient.fast_clock()
    with peerclient.relay(TRANSPORTS, turn="default_lifetime = 300", peers="", env=fast) as relay, \
            concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = {transport: pool.submit(
            peerclient.run, [agents, transport, "127.0.0.1", str(relay.port), transport, PASSWORD,
                             str(MINUTES * 60)], env=fast) for transport in TRANSPORTS}
        for transport, run in runs.items():
            code, text = run.result()
            assert code == 0, text
            ended = record(relay, transport)
            assert ended["why"] == "released" and int(ended["seconds"]) >= MINUTES * 60, ended
