"""Certificates and keys change under load: whoever is there notices nothing, whoever comes gets the new one,
and what is broken changes nothing.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import json
import random
import signal
import ssl

import signal_wire
from faultworld import SEED, elsewhere, run, say, sized, unharmed
from soriclient import SECRET, token
from soridaemon import make_cert

ROUNDS = sized(10, 100)
NEWCOMER_S = 10


def reload_and_wait(d, word):
    at = len(d.lines)
    d.signal(signal.SIGHUP)
    return d.wait_log(word, since=at)


async def newcomers(url, count, until, news):
    """Connects again and again, as clients that arrive; counts those who could not."""
    failed = 0
    while not until.is_set():
        try:
            wire = await signal_wire.connect(url, lambda m: None, lambda code: None, 5)
            wire.abort()
            count.append(1)
            news()
        except ConnectionError:
            failed += 1
        await asyncio.sleep(0.01)
    return failed


def test_a_hundred_new_certificates_cost_nobody_a_handshake():
    async def test(server, crowd):
        until, came, seen = asyncio.Event(), [], set()
        arriving = asyncio.ensure_future(newcomers(server.wss, came, until, crowd.news))
        pairs = []
        for _ in range(3):
            await elsewhere(make_cert, server.d.folder)
            pairs.append([open(f"{server.d.folder}/{n}.pem", encoding="ascii").read() for n in ("cert", "key")])
        for i in range(ROUNDS):
            for name, text in zip(("cert", "key"), pairs[i % 3]):
                server.d.add_file(name + ".pem", text)
            await elsewhere(reload_and_wait, server.d, "read again")
            seen.add(await elsewhere(ssl.get_server_certificate, ("127.0.0.1", server.tls)))
            enough = len(came) + 2  # one of them has come by this certificate
            await crowd.until(lambda n=enough: len(came) >= n, NEWCOMER_S, "newcomers")
        until.set()
        assert await arriving == 0
        assert len(seen) == 3
        say(f"{ROUNDS} certificates, {len(came)} newcomers, none refused")
    v = run(test, people=sized(20, 200), calls=sized(5, 50), setups_per_s=sized(5, 20))
    unharmed(v)
    assert v["outages"] == 0


BROKEN = (("secret", "short"), ("daemon.ini", "nonsense\n"), ("daemon.ini", "[limits]\nmessages_per_s = many\n"),
          ("key.pem", "no key"))


def test_new_secrets_let_new_ones_in_and_keep_who_is_there():
    """Every other time something is broken: refused, with the file's name, and what was in force stays so."""
    async def test(server, crowd):
        draw, secret = random.Random(SEED), SECRET
        good = {name: open(f"{server.d.folder}/{name}", encoding="ascii").read() for name, _ in BROKEN}
        for i in range(ROUNDS):
            if i % 2:
                name, text = BROKEN[i // 2 % len(BROKEN)]
                server.d.add_file(name, good[name] + text if name == "daemon.ini" else text)
                line = await elsewhere(reload_and_wait, server.d, "stay in force")
                assert name in line or "secret_file" in line, line
                server.d.add_file(name, good[name])
            else:
                secret = good["secret"] = f"{draw.getrandbits(256):064x}"
                server.d.add_file("secret", secret)
                await elsewhere(reload_and_wait, server.d, "read again")
            assert await comes_in(server, secret)
        assert not await comes_in(server, SECRET)
        server.d.add_file("secret", SECRET)
        await elsewhere(reload_and_wait, server.d, "read again")
    v = run(test, people=sized(20, 200), calls=sized(5, 50))
    unharmed(v)
    assert v["outages"] == 0


async def comes_in(server, secret):
    """Whether a token of this secret is taken."""
    answer = asyncio.get_running_loop().create_future()

    def told(m):
        if not answer.done():
            answer.set_result(m["type"] == "welcome")

    wire = await signal_wire.connect(server.wss, told, lambda code: told({"type": "closed"}))
    wire.send(json.dumps({"type": "hello", "id": "h", "data": {"token": token("new", secret=secret), "deviceId": "d"}}))
    try:
        return await asyncio.wait_for(answer, 5)
    finally:
        wire.abort()
