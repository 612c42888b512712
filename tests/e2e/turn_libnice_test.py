"""Two ICE agents of libnice (GStreamer's) that may only use their relayed candidates, through
sori-turn over UDP and TCP.

No TLS: libnice 0.1.21 has TLS to relays only in the dialects of Google Talk and Office
Communicator; asked for it in RFC 5245's, it speaks plain TCP.
SPDX-License-Identifier: BSD-3-Clause
"""
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
