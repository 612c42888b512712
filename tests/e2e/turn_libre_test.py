"""libre's TURN client (the stack of baresip and restund) against sori-turn: every transport, Send and
Data indications, channels, and what must be refreshed over the minutes.
SPDX-License-Identifier: BSD-3-Clause
"""
import concurrent.futures

import pytest

import peerclient
from peerclient import PASSWORD, record
from turnclient import TurnClient

TRANSPORTS = ["udp", "tcp", "tls", "dtls"]


@pytest.fixture(scope="module")
def client():
    return peerclient.build_c("re_client.c", packages=["libre"])


@pytest.fixture(scope="module", params=["epoll", "io_uring"])
def relay(request):
    with peerclient.relay(TRANSPORTS, turn=f"io = {request.param}") as d:
        yield d


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_data_goes_both_ways(client, relay, transport):
    with peerclient.echoing_peer() as peer:
        code, text = peerclient.run(
            [client, transport, str(relay.port), str(peer), transport, PASSWORD])
    assert code == 0, text
    ended = record(relay, transport)
    assert (ended["transport"], ended["why"]) == (transport, "released"), ended
    assert int(ended["up_packets"]) == int(ended["down_packets"]) > 20, ended


MINUTES = 12


@pytest.fixture(scope="module")
def minutes(client):
    """What a relay says of four clients who stay for twelve minutes, longer than allocations (here
    five), permissions (five), nonces and channels (ten) last; and of one who never refreshes."""
    users, fast = [*TRANSPORTS, "idle"], peerclient.fast_clock()
    with peerclient.relay(users, turn="default_lifetime = 300", env=fast) as relay, \
            peerclient.echoing_peer() as peer, TurnClient(relay.port, "idle", PASSWORD) as idle:
        assert idle.allocate() == 0
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            runs = {transport: pool.submit(
                peerclient.run, [client, transport, str(relay.port), str(peer), transport, PASSWORD,
                                 str(MINUTES * 60)], env=fast) for transport in TRANSPORTS}
            concurrent.futures.wait(runs.values())
        records = {user: record(relay, user) for user in users}
        yield {transport: run.result() for transport, run in runs.items()}, records


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_who_refreshes_stays(minutes, transport):
    runs, records = minutes
    code, text = runs[transport]
    assert code == 0, text
    ended = records[transport]
    assert ended["why"] == "released" and int(ended["seconds"]) >= MINUTES * 60, ended


def test_who_does_not_refresh_is_forgotten(minutes):
    ended = minutes[1]["idle"]
    assert ended["why"] == "expired" and 300 <= int(ended["seconds"]) < MINUTES * 60, ended
