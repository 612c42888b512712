"""pion, in Go, against sori-turn: its TURN client, and two ICE agents that may only use their relayed
candidates, over every transport.
SPDX-License-Identifier: BSD-3-Clause
"""
import pytest

import peerclient
from peerclient import PASSWORD, record

TRANSPORTS = ["udp", "tcp", "tls", "dtls"]


@pytest.fixture(scope="module")
def client():
    return peerclient.build_go("pion_client.go")


@pytest.fixture(scope="module")
def relay():
    with peerclient.relay(f"{kind}-{t}" for kind in ("turn", "ice") for t in TRANSPORTS) as d:
        yield d


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_data_goes_both_ways(client, relay, transport):
    user = f"turn-{transport}"
    with peerclient.echoing_peer() as peer:
        code, text = peerclient.run([client, "turn", transport, "127.0.0.1", str(relay.port),
                                     str(peer), user, PASSWORD])
    assert code == 0, text
    ended = record(relay, user)
    assert (ended["transport"], ended["why"]) == (transport, "released"), ended
    assert ended["up_packets"] == ended["down_packets"] == "200", ended


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_two_relay_only_agents_meet(client, relay, transport):
    user = f"ice-{transport}"
    code, text = peerclient.run([client, "ice", transport, "127.0.0.1", str(relay.port), user,
                                 PASSWORD])
    assert code == 0 and "pair: relay relay" in text, text
    ended = record(relay, user)
    assert ended["transport"] == transport and int(ended["up_packets"]) >= 200, ended
