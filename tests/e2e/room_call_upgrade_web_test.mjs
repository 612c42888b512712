/**
 * A call between two tabs moves to a room, without a gap, and a third one is rung in.
 * Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser } from '../lib/browser.mjs';
import { startDaemons } from '../lib/daemons.mjs';
import { RoomPerson, allHear } from '../lib/room_people.mjs';

const DEADLINE = { timeout: 90_000 };
const GAP_MS = 150; // the page is busy for some 80 ms when the room appears, and can't look

describe('from a call to a room', () => {
  let daemons;
  let browser;
  let n = 0;

  before(async () => {
    daemons = await startDaemons({ sfu: true });
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    await browser?.close();
    await daemons?.stop();
  }, DEADLINE);

  async function people(t, ...names) {
    const all = [];

    n++;
    t.after(() => Promise.all(all.map((p) => p.leave())));
    for (const [index, name] of names.entries()) all.push(await RoomPerson.arrive(browser.raw, `${name}${n}`, { index }));
    return all;
  }

  async function call(alice, bob) {
    await alice.at('add-input').fill(bob.name);
    await alice.at('add-submit').click();
    await alice.page.locator(`[data-testid=person-${bob.name}][data-presence=online]`).waitFor();
    await alice.at(`call-${bob.name}`).click();
    await bob.rings(alice);
    await bob.accept();
    await Promise.all([alice.state('active'), bob.state('active')]);
  }

  /** From now on: the longest silence of what is played, call or room. */
  const watchSilence = (person) => person.page.evaluate(() => {
    const context = new AudioContext();
    const ears = new Map();
    const block = new Float32Array(1024);
    const watch = { longest: 0, since: 0 };
    window.silence = watch;
    const look = () => {
      // What the page plays: the call's stream until it ends, then the slots.
      for (const el of document.querySelectorAll('audio'))
        if (el.srcObject && !ears.has(el.srcObject)) {
          const analyser = new AnalyserNode(context, { fftSize: 1024 });
          context.createMediaStreamSource(el.srcObject).connect(analyser);
          ears.set(el.srcObject, analyser);
        }
      let loud = false;
      for (const el of document.querySelectorAll('audio')) {
        if (!el.srcObject || el.muted) continue;
        ears.get(el.srcObject).getFloatTimeDomainData(block);
        loud ||= block.some((x) => x > 0.01);
      }
      const now = performance.now();
      if (watch.since) watch.longest = Math.max(watch.longest, now - watch.since);
      if (loud) watch.since = 0;
      else watch.since ||= now;
      setTimeout(look, 15);
    };
    setTimeout(() => { watch.longest = watch.since = 0; }, 500);
    look();
  });

  test('both are in the room, the call ends as moved, no silence between', DEADLINE, async (t) => {
    const [alice, bob] = await people(t, 'alice', 'bob');

    await call(alice, bob);
    await Promise.all([alice, bob].map((p) => p.page.waitForFunction(() => sori.calls[0]?.stats?.in.level > 0.01)));
    await Promise.all([watchSilence(alice), watchSilence(bob)]);
    await new Promise((done) => { setTimeout(done, 700); });
    await alice.at('upgrade').click();
    await Promise.all([alice.in('active'), bob.in('active')]);
    await allHear([alice, bob]);
    for (const person of [alice, bob]) {
      assert.equal(await person.page.evaluate(() => sori.calls.length), 0);
      const longest = await person.page.evaluate(() => window.silence.longest);
      t.diagnostic(`${person.name}: longest silence ${Math.round(longest)} ms`);
      assert.ok(longest <= GAP_MS, `${person.name} heard nothing for ${longest} ms`);
    }
    const ids = await Promise.all([alice, bob].map((p) => p.page.evaluate(() => sori.rooms[0].id)));
    assert.equal(ids[0], ids[1]);
  });

  test('a third one is rung in and takes it', DEADLINE, async (t) => {
    const [alice, bob, carol] = await people(t, 'alice', 'bob', 'carol');

    await call(alice, bob);
    await alice.at('upgrade').click();
    await Promise.all([alice.in('active'), bob.in('active')]);
    await alice.at('room-people').click();
    await alice.at('invite-input').fill(carol.name);
    await alice.at('invite-submit').click();
    await carol.rings(alice);
    assert.match(await carol.at('incoming-kind').textContent(), /invites you into/);
    await carol.accept();
    await carol.in('active');
    await allHear([alice, bob, carol]);
    await alice.at(`invited-${carol.name}`).waitFor({ state: 'detached' });
  });

  test('an invitation that is declined, and one to nobody', DEADLINE, async (t) => {
    const [alice, bob] = await people(t, 'alice', 'bob');

    await alice.at('room-input').fill(`ring${n}`);
    await alice.at('room-join').click();
    await alice.in('active');
    await alice.at('room-people').click();
    await alice.at('invite-input').fill(bob.name);
    await alice.at('invite-submit').click();
    await bob.rings(alice);
    await bob.at('reject').click();
    await alice.at('toast').filter({ hasText: `${bob.name} declined.` }).waitFor();
    await alice.at('invite-input').fill('nobody');
    await alice.at('invite-submit').click();
    await alice.at('toast').filter({ hasText: "nobody can't be reached." }).waitFor();
  });
});
