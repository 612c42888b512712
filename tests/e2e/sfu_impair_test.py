"""sori-sfu through bad networks: loss, bursts, jitter, narrow links, UDP blocked, another address, a frozen
receiver. The clients are real (libwebrtc) or the load engine. SPDX-License-Identifier: BSD-3-Clause"""
import os
import signal
import time

import pytest

from sfuscene import Scene

RTT_80 = "both delay 40ms"


def heard_for(client, seconds):
    """Shares of concealed samples and lost packets, and packets, in these seconds."""
    before = client.heard()
    time.sleep(seconds)
    samples, hidden, pkts, lost = (b - a for a, b in zip(before, client.heard()))
    assert samples > 0.8 * 48000 * seconds, f"only {samples} samples"
    return hidden / samples, lost / max(pkts + lost, 1), pkts


CLEAN = "both delay 40ms"
# Network of a listener, and the most that it may have to make up beyond one on a clean network in the same call.
BAD = {
    "both delay 40ms loss 5%": 0.03, "both delay 40ms loss 10% burst 3": 0.06, "both delay 40ms loss 20%": 0.08,
    "both delay 40ms jitter 30ms": 0.05, "both delay 20ms jitter 200ms reorder on": 0.20,
    "both delay 20ms block udp": 0.05,
}
HOPELESS = "both delay 40ms loss 30%\ndown rate 100kbit queue 500ms"


@pytest.fixture(scope="module")
def one_call():
    """A talker and all these listeners in one room: {script: (share made up, share lost, packets, sent to it)}."""
    with Scene() as s:
        s.client("wrtc", "call", "both delay 10ms", audio="send")
        ears = {script: s.client("wrtc", "call", script, seed=3, slots=1) for script in (CLEAN, *BAD, HOPELESS)}
        time.sleep(5)
        before = {script: ear.heard() for script, ear in ears.items()}
        time.sleep(8)
        found = {}
        for script, ear in ears.items():
            samples, hidden, pkts, lost = (b - a for a, b in zip(before[script], ear.heard()))
            found[script] = (hidden / max(samples, 1), lost / max(pkts + lost, 1), pkts, ear.path.stats()["down"]["out_pkts"])
        return found


@pytest.mark.parametrize("script", BAD)
def test_a_listener_behind_a_bad_network_hears(one_call, script):
    hidden, _, pkts, passed = one_call[script]
    assert pkts > 280 and passed > 280, one_call[script]
    assert hidden < BAD[script] + one_call[CLEAN][0], one_call


def test_bad_receivers_do_not_hurt_a_good_one(one_call):
    _, lost, pkts, _ = one_call[CLEAN]
    assert lost == 0 and pkts > 350, one_call


def test_a_talker_behind_a_bad_network_is_heard():
    with Scene() as s:
        s.client("wrtc", "call", f"{RTT_80} loss 10%", seed=4, audio="send")
        ear = s.client("wrtc", "call", "both delay 10ms", slots=1)
        time.sleep(4)
        hidden, _, pkts = heard_for(ear, 8)
        assert pkts > 280 and hidden < 0.08, (hidden, pkts)


def test_a_link_that_narrows_keeps_the_voice_and_one_that_widens_the_picture():
    with Scene() as s:
        s.film("show", 1, ("l", "m", "h"))
        s.client("wrtc", "show", "both delay 10ms", audio="send")
        eye = s.client("chromium", "show", f"{RTT_80}\ndown rate 300kbit queue 300ms", slots=1, video=1)
        time.sleep(5)
        hidden, lost, _ = heard_for(eye, 6)
        assert lost < 0.02 and hidden < 0.10, (hidden, lost)
        eye.path.set("down rate 5mbit queue 300ms")
        eye("gaps")
        deadline = time.monotonic() + 25
        frames = 0
        while frames < 75 and time.monotonic() < deadline:
            time.sleep(1)
            frames += eye("gaps")["frames"]
        assert frames >= 75, frames


def test_wifi_to_lte_with_ice_restart():
    with Scene() as s:
        s.talker("call", 1)
        ear = s.client("chromium", "call", "both delay 10ms", slots=1)
        lte = ear.place.add_path("both delay 40ms")
        time.sleep(3)
        ear.place.switch(lte)
        ear.restart()
        time.sleep(3)
        _, _, pkts = heard_for(ear, 4)
        assert pkts > 150 and lte.stats()["down"]["out_pkts"] > 200


def test_a_frozen_receiver_disturbs_nobody():
    with Scene() as s:
        s.film("show", 1)
        s.talker("show", 2)
        s.client("wrtc", "show", "", slots=1)
        frozen = s.client("wrtc", "show", "both delay 10ms", slots=1, video=1)
        good = s.client("wrtc", "show", "both delay 10ms", slots=1)
        time.sleep(3)
        before = s.sfu.server.rss_bytes()
        os.kill(frozen.process.pid, signal.SIGSTOP)
        try:
            time.sleep(10)
            _, lost, pkts = heard_for(good, 4)
            assert lost == 0 and pkts > 150
            assert s.sfu.server.rss_bytes() - before < 4 << 20
        finally:
            os.kill(frozen.process.pid, signal.SIGCONT)
        time.sleep(3)
        _, _, pkts = heard_for(frozen, 4)
        assert pkts > 150


def test_address_of_a_listener_moves_by_an_authenticated_check():
    with Scene() as s:
        s.talker("call", 1)
        from sfuscene import AUDIO
        s.sfu.join("call", 2, [(AUDIO, 0, "recvonly", None)])
        s.engine.wait_up([2])
        time.sleep(1)
        s.engine("open", 2)
        s.engine("mark")
        s.engine("move", 2)
        time.sleep(1)
        got = s.engine("stat", 2)
        assert got["pkts"] > 40 and got["forged"] == 0
        assert max(x["gap_us"] for x in got["streams"]) < 150000
