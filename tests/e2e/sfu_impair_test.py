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


@pytest.mark.parametrize("script,most", [
    ("both delay 40ms loss 5%", 0.02), ("both delay 40ms loss 10% burst 3", 0.06),
    ("both delay 40ms jitter 30ms", 0.02), ("both delay 20ms jitter 100ms reorder on", 0.10)])
def test_a_listener_behind_a_bad_network_hears(script, most):
    with Scene() as s:
        s.client("wrtc", "call", "both delay 10ms", audio="send")
        ear = s.client("wrtc", "call", script, seed=3, slots=1)
        time.sleep(5)
        hidden, _, pkts = heard_for(ear, 10)
        assert pkts > 350 and hidden < most, (hidden, pkts)


def test_a_talker_behind_a_bad_network_is_heard():
    with Scene() as s:
        s.client("wrtc", "call", f"{RTT_80} loss 10%", seed=4, audio="send")
        ear = s.client("wrtc", "call", "both delay 10ms", slots=1)
        time.sleep(5)
        hidden, _, pkts = heard_for(ear, 10)
        assert pkts > 350 and hidden < 0.05, (hidden, pkts)


def test_a_bad_receiver_does_not_hurt_a_good_one():
    with Scene() as s:
        s.client("wrtc", "call", "both delay 10ms", audio="send")
        good = s.client("wrtc", "call", "both delay 10ms", slots=1)
        s.client("wrtc", "call", "both delay 40ms loss 30%\ndown rate 100kbit queue 500ms", slots=1)
        time.sleep(5)
        hidden, lost, _ = heard_for(good, 8)
        assert lost == 0 and hidden < 0.01, (hidden, lost)


def test_udp_blocked_media_goes_over_tcp():
    with Scene() as s:
        s.client("wrtc", "call", "both delay 10ms", audio="send")
        ear = s.client("wrtc", "call", "both delay 20ms block udp", slots=1)
        time.sleep(4)
        hidden, _, pkts = heard_for(ear, 6)
        assert pkts > 200 and hidden < 0.05
        assert ear.path.stats()["down"]["out_pkts"] > 200


def test_narrow_link_keeps_the_voice():
    with Scene() as s:
        s.film("show", 1, ("l", "m", "h"))
        s.client("wrtc", "show", "both delay 10ms", audio="send")
        eye = s.client("chromium", "show", f"{RTT_80}\ndown rate 300kbit queue 300ms", slots=1, video=1)
        time.sleep(10)
        hidden, lost, _ = heard_for(eye, 10)
        assert lost < 0.02 and hidden < 0.05, (hidden, lost)
        assert eye("gaps")["frames"] > 20


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
            time.sleep(20)
            _, lost, pkts = heard_for(good, 5)
            assert lost == 0 and pkts > 230
            assert s.sfu.server.rss_bytes() - before < 4 << 20
        finally:
            os.kill(frozen.process.pid, signal.SIGCONT)
        time.sleep(5)
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
