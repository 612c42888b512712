/**
 * Relay only: the media of two browsers goes through sori-turn. Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser, talk } from '../lib/browser.mjs';
import { TURN_URL, startDaemons } from '../lib/daemons.mjs';

const DEADLINE = { timeout: 60_000 };
const TTL_S = 60; // the shortest: credentials are renewed after three quarters of it

describe('relay in the browser', () => {
  let daemons;
  let browser;

  before(async () => {
    daemons = await startDaemons({ turnTtlS: TTL_S });
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    await browser?.close();
    await daemons?.stop();
  }, DEADLINE);

  const relayed = () => daemons.turnMetric('sori_turn_relayed_bytes_total');

  test('relay only at both ends: relay on both sides, and sori-turn counts it', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');
    const before_ = await relayed();

    await Promise.all([alice.at('relay-only').check(), bob.at('relay-only').check()]);
    await talk(alice, bob);
    for (const person of [alice, bob]) {
      const path = await person.path();
      assert.deepEqual([path.type, path.local, path.remote], ['relay', 'relay', 'relay']);
      await person.at('q-path').filter({ hasText: 'relay' }).waitFor();
    }
    const during = await relayed();
    assert.ok(during > before_ + 5_000, `relayed ${during - before_} bytes`);
    await Promise.all([alice.hears(), bob.hears()]);
    assert.ok(await relayed() > during);
  });

  test('relay only at one end is enough to hide its address', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await alice.at('relay-only').check();
    await talk(alice, bob);
    const path = await alice.path();
    assert.equal(path.local, 'relay');
    const seen = await bob.page.evaluate(async () => {
      const report = await sori.calls[0].getStats();
      return [...report.values()].filter((s) => s.type === 'remote-candidate').map((s) => s.candidateType);
    });
    assert.ok(seen.length > 0 && seen.every((type) => type === 'relay' || type === 'prflx'), String(seen));
  });

  test('credentials are renewed before they end, without a gap in the sound', { timeout: 120_000 }, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');
    const ports = async () => (await alice.localCandidate()).port;

    await Promise.all([alice.at('relay-only').check(), bob.at('relay-only').check()]);
    await talk(alice, bob);
    const first = await ports();
    await alice.page.evaluate(() => {
      window.silent = 0;
      sori.calls[0].addEventListener('stats', (e) => { if (e.stats.in.kbps < 1) window.silent++; });
    });
    const until = Date.now() + TTL_S * 1000;
    while (await ports() === first) {
      assert.ok(Date.now() < until, 'still on the first allocation');
      await new Promise((again) => { setTimeout(again, 250); });
    }
    await Promise.all([alice.hears(), bob.hears()]);
    assert.equal(await alice.page.evaluate(() => window.silent), 0);
    assert.equal((await alice.path()).type, 'relay');
  });

  test('a relayed call outlives the reload of one side', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await Promise.all([alice.at('relay-only').check(), bob.at('relay-only').check()]);
    await talk(alice, bob);
    await bob.page.reload();
    await Promise.all([alice.state('active'), bob.state('active')]);
    await Promise.all([alice.hears(), bob.hears()]);
    assert.equal((await bob.path()).type, 'relay');
  });
});

for (const transport of ['tcp', 'tls']) {
  describe(`relay over ${transport} in the browser`, () => {
    let daemons;
    let browser;

    before(async () => {
      daemons = await startDaemons({ turnUrl: TURN_URL[transport] });
      browser = await openBrowser({ keyHash: daemons.turnKeyHash });
    }, DEADLINE);
    after(async () => {
      await browser?.close();
      await daemons?.stop();
    }, DEADLINE);

    test(`relay only at both ends over ${transport}`, DEADLINE, async (t) => {
      const [alice, bob] = await browser.people(t, 'alice', 'bob');

      await Promise.all([alice.at('relay-only').check(), bob.at('relay-only').check()]);
      await talk(alice, bob, { video: true });
      for (const person of [alice, bob]) {
        const path = await person.path();
        assert.deepEqual([path.type, path.local, path.remote], ['relay', 'relay', 'relay']);
        assert.equal((await person.localCandidate()).relayProtocol, transport);
        await person.seesPicture();
      }
    });
  });
}
