"""Relays that register themselves in a real Redis, and which of them clients of two regions are given.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import signal
import time

import pytest

from nodesworld import LEASE_S, Nodes, allocates, ports_of, until
from soriclient import SECRET
from soridaemon import metric, run_to_exit
from turnclient import TurnClient

POLL_S = 0.5  # of a server; half a second more is for the machine
SLACK_S = 0.5


@pytest.fixture(scope="module")
def cluster():
    with Nodes("eu-a", "us-a") as c:
        c.relays = {name: c.relay(name, region) for name, region in
                    (("eu-1", "eu"), ("eu-2", "eu"), ("us-1", "us"))}
        yield c


def grants(cluster, node, times=1):
    """Ports of the relays that a new client of that node is given, and the credential."""
    async def go():
        ports, credential = set(), None
        c = await cluster.join(node, "ann")
        for _ in range(times):
            r = await c.request("turn.credentials")
            if r["type"] == "error":
                assert r["data"]["code"] == "turn.unavailable", r
                continue
            some, credential = ports_of(r["data"]["iceServers"])
            assert len(some) <= 2
            ports.update(some)
        await c.request("session.close")
        return ports, credential
    return asyncio.run(go())


def wait_granted(cluster, node, names, timeout_s=10):
    """Waits until exactly these are given, and gives how long that took."""
    want = {cluster.relays[n].port for n in names}
    return until(lambda: grants(cluster, node, 4)[0] == want, timeout_s)[1]


def wait_known(cluster, n):
    """Waits until the servers know so many relays."""
    for node in ("eu-a", "us-a"):
        until(lambda: metric(cluster[node].admin, 'sori_registered_nodes{kind="relay"}') == n)


def allocation(port, credential):
    c = TurnClient(port, *credential)
    assert c.allocate() == 0
    return c.sock


def test_each_region_is_given_its_own_relays_first(cluster):
    wait_known(cluster, 3)
    ports, credential = grants(cluster, "eu-a")
    assert ports == {cluster.relays["eu-1"].port, cluster.relays["eu-2"].port}
    assert all(allocates(p, credential) for p in ports)
    # The other region has one only: the second comes from elsewhere.
    us = cluster.relays["us-1"].port
    for _ in range(5):
        ports, credential = grants(cluster, "us-a")
        assert us in ports and len(ports) == 2
    assert allocates(us, credential)
    assert metric(cluster.relays["us-1"].admin, "sori_turn_registered") == 1


def test_one_that_drains_is_left_out_at_once_and_gone_when_it_ends(cluster):
    r = cluster.relay("eu-3")
    cluster.relays["eu-3"] = r
    until(lambda: r.port in grants(cluster, "eu-a", 8)[0])
    ports, credential = grants(cluster, "eu-a", 8)
    with_one = allocation(r.port, credential)  # so that the drain takes a while
    r.signal(signal.SIGUSR1)
    assert wait_granted(cluster, "eu-a", ["eu-1", "eu-2"]) < POLL_S + SLACK_S
    assert " drain=1 " in cluster.registered("relay")["eu-3"]
    with_one.close()
    r.signal(signal.SIGINT)
    assert r.process.wait(10) == 0
    assert "eu-3" not in cluster.registered("relay")


def test_one_that_is_killed_is_left_out_within_its_lease(cluster):
    r = cluster.relay("eu-4")
    cluster.relays["eu-4"] = r
    until(lambda: r.port in grants(cluster, "eu-a", 8)[0])
    r.process.kill()
    assert wait_granted(cluster, "eu-a", ["eu-1", "eu-2"]) < LEASE_S + POLL_S + SLACK_S
    # It comes again under its name.
    r = cluster.relays["eu-4"] = cluster.relay("eu-4")
    until(lambda: r.port in grants(cluster, "eu-a", 8)[0])
    r.process.kill()
    r.process.wait()


def test_a_relay_is_given_to_those_whose_secret_it_knows(cluster):
    wait_known(cluster, 3)
    server, other = cluster["eu-a"], "another secret than the others'"
    r = cluster.relays["eu-5"] = cluster.relay("eu-5", secret=other)
    wait_known(cluster, 4)
    assert metric(server.admin, 'sori_registered_usable{kind="relay"}') == 3
    assert r.port not in grants(cluster, "eu-a", 8)[0]
    # The server gets that secret: nobody else takes its credentials then.
    server.d.add_file("turn", other + "\n")
    server.d.signal(signal.SIGHUP)
    wait_granted(cluster, "eu-a", ["eu-5"])
    assert allocates(r.port, grants(cluster, "eu-a")[1])
    server.d.add_file("turn", SECRET + "\n")
    server.d.signal(signal.SIGHUP)
    wait_granted(cluster, "eu-a", ["eu-1", "eu-2"])
    # The relay learns ours.
    r.add_file("secret", SECRET + "\n")
    r.signal(signal.SIGHUP)
    until(lambda: r.port in grants(cluster, "eu-a", 8)[0])
    r.signal(signal.SIGINT)
    assert r.process.wait(10) == 0


def test_while_redis_is_away_relays_are_given_and_come_back_with_it(cluster):
    wait_known(cluster, 3)
    cluster.redis.stop()
    time.sleep(LEASE_S + POLL_S)
    ports, credential = grants(cluster, "eu-a", 4)
    assert ports == {cluster.relays["eu-1"].port, cluster.relays["eu-2"].port}
    assert metric(cluster.relays["eu-1"].admin, "sori_turn_registered") == 0
    cluster.redis.start()  # empty
    until(lambda: set(cluster.registered("relay")) == {"eu-1", "eu-2", "us-1"}, 5)
    assert grants(cluster, "eu-a", 4)[0] == ports
    until(lambda: metric(cluster.relays["eu-1"].admin, "sori_turn_registered") == 1)


def test_a_second_one_of_the_same_name_takes_it_over(cluster):
    old = cluster.relay("twin")
    until(lambda: "twin" in cluster.registered("relay"))
    cluster.relay("twin")
    old.wait_log("another process has registered as twin")
    epoch = cluster.registered("relay")["twin"].split()[2]
    old.signal(signal.SIGINT)
    assert old.process.wait(10) == 0
    assert cluster.registered("relay")["twin"].split()[2] == epoch  # it took out nothing


def test_what_is_wrong_is_said(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef0123456789abcdef")
    secret.chmod(0o600)
    auth = f"[auth]\nsecret_file = {secret}\n"
    control = f"[control]\nlisten = 0.0.0.0:7000\nsecret_file = {secret}\n"
    at = "[cluster]\nservers = 127.0.0.1\n"
    for daemon, text, says in (
            ("sori-turn", auth + at, "[cluster] node"),
            ("sori-turn", auth + at + "node = a\nurls = http://x", "[cluster] urls = http://x"),
            ("sori-turn", auth + at + "node = a\nregion = a/b", "[cluster] region"),
            ("sori-turn", auth + at + "sentinels = b", "[cluster] servers, sentinels"),
            ("sori-turn", auth + at + "node = a\nlease = 2", "[cluster] lease"),
            ("sori-turn", at + "node = a\n[turn]\nstun_only = no\n[auth]\nusers_file = " + str(secret),
             "[cluster]: [auth] secret_file"),
            ("sori-sfu", at, "[control] listen is needed"),
            ("sori-sfu", control + at, "[cluster] address"),
            ("sori-sfu", control + at + "address = host:1", "[cluster] address"),
            ("sori-sfu", control + at + "address = 10.0.0.1:1\n[sfu]\nnode_id = a b", "[sfu] node_id"),
            ("sori-sfu", control + at + "address = 10.0.0.1:1\n[sfu]\nregion = a/b", "[sfu] region")):
        ini = tmp_path / "x.ini"
        ini.write_text(text + "\n")
        status, said = run_to_exit(daemon, ["--config", str(ini), "--check-config"])
        assert status == 78 and says in said, (text, said)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))
