"""libwebrtc as npm's @roamhq/wrtc has it: two peer connections that may use only relayed candidates,
over UDP and TCP.

No TLS: it trusts only the certificate authorities that are compiled in. Chromium, of the same source,
is asked over TLS in relay_web_test.mjs.
SPDX-License-Identifier: BSD-3-Clause
"""
import os

import pytest

import peerclient
from peerclient import PASSWORD, SOURCES

TRANSPORTS = ["udp", "tcp"]


@pytest.fixture(scope="module")
def relay():
    with peerclient.media_address() as host, peerclient.relay(TRANSPORTS, host=host, peers="") as d:
        d.host = host
        yield d


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_two_relay_only_connections_meet(relay, transport):
    code, text = peerclient.run([
        "node", os.path.join(SOURCES, "wrtc_peers.mjs"),
        f"turn:{relay.host}:{relay.port}?transport={transport}", transport, PASSWORD])
    assert code == 0 and text.count(f"pair: relay relay {transport}\n") == 2, text
    # Some candidates were made and not used; the one that was relayed all the messages.
    relay.wait_log(rf"ended: user={transport} .* transport={transport} .* up_bytes=\d{{7,}} ")
