"""Of two SFUs that the configuration names one is killed under a room of libwebrtc clients: the people stay in it, and
hear one another over the other.
SPDX-License-Identifier: BSD-3-Clause
"""
from faultworld import SEED, crash, figure, say, sized
from impairnet import Net
from mediapeople import Services, quiet_again, talkers

GOAL_S = 2
PATIENCE_S = 40
ROOM = "[room]\njoins_per_10s = 0\n"


def test_the_room_moves_to_the_other_sfu():
    worst = []
    with Net() as net, Services(net.address, sfus=2, sfu_server=ROOM) as s:
        phones = net.client("both delay 10ms", seed=SEED)
        for i in range(sized(1, 10)):
            at = len(s.server.d.lines)
            with talkers(s, *(f"p{i}{k}" for k in range(3)), inside=phones.command) as people:
                for p in people:
                    p.ask("join", room=f"r{i}")
                for p in people:
                    p.answer()
                quiet_again(people, PATIENCE_S, 0.5)
                on = s.server.d.wait_log(rf"r{i} is on n\d", since=at)
                victim = s.sfus[int(on[-1])]
                crash(victim)
                silence = quiet_again(people, PATIENCE_S, 1.5)
                say(f"round {i}: silence of {', '.join(f'{x:.2f}' for x in silence)} s")
                assert all(p("gap")["state"] == "active" for p in people)
                worst.append(max(silence))
                for p in people:
                    p("leave")
            victim.start()
            s.server.d.wait_log(rf"n{on[-1]}\b.*(connected|ready|up)", since=at)
    figure("sfu_kill_media_back_s", max(worst))
    assert max(worst) <= GOAL_S, worst
