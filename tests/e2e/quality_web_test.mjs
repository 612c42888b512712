/**
 * How a call sounds, between two browsers: what each reports, what the server makes of it, what the page
 * shows of it during the call and afterwards. Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser, talk } from '../lib/browser.mjs';
import { startDaemons } from '../lib/daemons.mjs';
import { tokenFor, wsUrl } from '../lib/node_token.mjs';
import { RawSession } from '../lib/raw_session.mjs';

const DEADLINE = { timeout: 60_000 };

describe('quality in the browser', () => {
  let daemons;
  let browser;

  before(async () => {
    daemons = await startDaemons({
      serverIni: (dir) => `[ledger]\nfile = ${dir}/ledger.db\ntoken_key_file = ${dir}/jwt.secret\n`,
    });
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    await browser?.close();
    await daemons?.stop();
  }, DEADLINE);

  /** What the server has kept of the call, as soon as it has. */
  const kept = (person, id) => person.page.evaluate(async (callId) => {
    for (;;) {
      const call = (await sori.history({ limit: 5 })).find((c) => c.callId === callId);
      if (call?.quality) return call;
      await new Promise((again) => { setTimeout(again, 50); });
    }
  }, id);
  const callId = (person) => person.page.evaluate(() => sori.calls[0].id);
  const judged = (person) => person.until(() => sori.calls[0]?.judged?.mos > 3.5);

  /** Somebody who is not in the call says wild things about it, and is refused each time. */
  async function strangerReports(t, id) {
    const eve = new RawSession(() => {});
    const wild = [{ intervalMs: 10_000 }, { intervalMs: -1 }, { intervalMs: 1e21 }, { intervalMs: 1000, rttMs: 'x'.repeat(900) },
      { intervalMs: 1000, pad: 'x'.repeat(2000) }, { intervalMs: 1000, lost: [] }];

    await eve.open(wsUrl(), await tokenFor('eve', 'x'), 'x');
    t.after(() => eve.close());
    const codes = await Promise.all(wild.map((data) => eve.ask('call.quality', { callId: id, data }).catch(({ code }) => code)));
    assert.deepEqual(codes, ['call.not_found', 'bad_request', 'bad_request', 'bad_request', 'too_large', 'bad_request']);
  }

  test('both ends report; the page has a badge, lines, and afterwards the record', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob);
    const id = await callId(alice);
    await Promise.all([judged(alice), judged(bob)]);
    await alice.at('q-badge').filter({ hasText: /^good, 4\.\d$/ }).waitFor();
    assert.match(await alice.at('spark-rtt').getAttribute('aria-label'), /^Round trip in ms of the last minute, now \d/);
    assert.match(await alice.at('spark-loss').getAttribute('aria-label'), /^Loss in percent of the last minute, now 0\.00/);
    const own = await alice.page.evaluate(() => sori.calls[0].judged);
    assert.equal(own.path, 'p2p');
    assert.equal(own.clamped, 0);
    if (process.env.SHOTS) await alice.page.screenshot({ path: `${process.env.SHOTS}/quality_call.png`, fullPage: true });
    await strangerReports(t, id);
    await Promise.all([alice.hears(), bob.hears()]);
    await alice.at('hangup').click();
    await bob.state('none');
    for (const person of [alice, bob]) {
      const call = await kept(person, id);
      assert.equal(call.path, 'p2p');
      assert.deepEqual([call.quality.leg, call.quality.path, call.quality.codec], ['heard', 'p2p', 'opus']);
      assert.ok(call.quality.samples >= 2, 'the last word came, too'); // one, and the last one
      assert.ok(call.quality.mosMin > 3.5 && call.quality.mosMin <= call.quality.mosAvg);
      await person.at('summary-figures').filter({ hasText: call.quality.mosAvg.toFixed(2) }).waitFor();
      await person.at('summary-words').filter({ hasText: 'direct' }).waitFor();
    }
    if (process.env.SHOTS) await alice.page.screenshot({ path: `${process.env.SHOTS}/quality_summary.png`, fullPage: true });
    await bob.call(alice);
    await alice.rings(bob);
    await bob.at('summary').waitFor({ state: 'hidden' });
  });

  test('a call over the relay is kept as one', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await alice.at('relay-only').check();
    await talk(alice, bob);
    const id = await callId(alice);
    await judged(alice);
    await bob.at('hangup').click();
    await alice.state('none');
    assert.equal((await kept(alice, id)).quality.path, 'turn');
    assert.equal((await kept(bob, id)).path, 'turn'); // the call's, whatever bob's end saw
    await alice.at('summary-words').filter({ hasText: 'over the relay' }).waitFor();
  });

  test('a voice that stops without a word is silence', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob);
    const id = await callId(alice);
    await judged(bob);
    // alice's voice stops without a word about it
    await alice.page.evaluate(async () => {
      const track = sori.calls[0].localStream.getAudioTracks()[0];
      track.stop();
    });
    await bob.page.evaluate(() => new Promise((done) => {
      let empty = 0; // seconds in which nothing came
      sori.calls[0].addEventListener('stats', ({ stats }) => { if (stats.mos === null && ++empty === 5) done(); });
    }));
    await bob.at('hangup').click();
    assert.ok((await kept(bob, id)).quality.silenceMs >= 1000);
  });
});
