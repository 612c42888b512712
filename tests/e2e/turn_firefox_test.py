"""Firefox, whose ICE and TURN are its own: two peer connections that may use only relayed candidates,
over UDP, TCP and TLS, with data and a picture.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import json
import os
import re
import subprocess
import tempfile
import threading

import pytest
import websockets

import peerclient
from peerclient import PASSWORD, SOURCES, record
from soridaemon import make_signed_cert

TRANSPORTS = ["udp", "tcp", "tls"]
NAME = "turn.sori.test"  # Firefox speaks TLS only to relays that have one
PREFERENCES = """
user_pref("network.dns.forceResolve", "@HOST@");
user_pref("network.manage-offline-status", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
"""
with open(os.path.join(SOURCES, "relay_pair.js"), encoding="utf-8") as script:
    SCRIPT = re.sub(r"(?s)\A/\*.*?\*/", "", script.read())
START_S, CALL_S = 60, 60


class Firefox:
    """A headless Firefox with a new profile, spoken to in WebDriver BiDi."""

    def __init__(self, profile, host):
        with open(os.path.join(profile, "user.js"), "w", encoding="ascii") as f:
            f.write(PREFERENCES.replace("@HOST@", host))
        self.process = subprocess.Popen(
            ["firefox-esr", "--headless", "--no-remote", "--profile", profile,
             "--remote-debugging-port", "0"], env=dict(os.environ, HOME=profile),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        late = threading.Timer(START_S, self.process.kill)
        late.start()
        self.address = None
        for line in self.process.stderr:
            found = re.search(rb"WebDriver BiDi listening on (ws://\S+)", line)
            if found:
                self.address = found.group(1).decode() + "/session"
                break
        late.cancel()
        assert self.address, "Firefox did not start"
        self.reader = threading.Thread(target=self.process.stderr.read)
        self.reader.start()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()

    def call(self, function, *texts):
        """What the function gives when it is called with these texts in a new page."""
        return asyncio.run(asyncio.wait_for(self._call(function, texts), CALL_S))

    async def _call(self, function, texts):
        async with websockets.connect(self.address, max_size=None) as s:
            async def command(method, **params):
                await s.send(json.dumps({"id": 1, "method": method, "params": params}))
                while True:
                    answer = json.loads(await s.recv())
                    if answer.get("id") == 1:
                        assert answer["type"] == "success", answer
                        return answer["result"]

            await command("session.new", capabilities={})
            page = (await command("browsingContext.create", type="tab"))["context"]
            done = await command(
                "script.callFunction", functionDeclaration=function, awaitPromise=True,
                target={"context": page}, arguments=[{"type": "string", "value": t} for t in texts])
            await command("session.end")
            assert done["type"] == "success", done["exceptionDetails"]["text"]
            return done["result"]


def value(remote):
    """A value of BiDi as Python has it."""
    if remote["type"] == "object":
        return {name: value(v) for name, v in remote["value"]}
    if remote["type"] == "array":
        return [value(v) for v in remote["value"]]
    return remote["value"]


@pytest.fixture(scope="module")
def relay():
    with peerclient.media_address() as host:
        d = peerclient.relay(TRANSPORTS, host=host, peers="")
        d.host, d.authority = host, make_signed_cert(d.folder, NAME)
        with d:
            yield d


@pytest.fixture(scope="module")
def firefox(relay):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for words in (["-N", "--empty-password"],
                      ["-A", "-n", "sori test", "-t", "C,,", "-i", relay.authority]):
            subprocess.run(["certutil", *words, "-d", f"sql:{profile}"], check=True)
        f = Firefox(profile, relay.host)
        yield f
        f.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_two_relay_only_connections_meet(firefox, relay, transport):
    scheme, proto = ("turns", "tcp") if transport == "tls" else ("turn", transport)
    url = f"{scheme}:{NAME}:{relay.port}?transport={proto}"
    result = value(firefox.call(SCRIPT, url, transport, PASSWORD))
    assert result["echoes"] == 50 and result["frames"] >= 10, result
    assert result["pairs"] == [f"relay relay {transport}"] * 2, result
    assert record(relay, transport)["transport"] == transport
