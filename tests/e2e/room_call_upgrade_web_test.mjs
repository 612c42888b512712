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
const GAP_MS = 150;

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
    for (const [index, name] of names.entries()) all.push(await RoomPerson.arrive(browser.raw, `${name}${n}`, { index, bypassCSP: true }));
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

  /**
   * From now on: the longest silence of what is played, call or room. Counted by the audio thread, sample
   * by sample: the page's own thread may be busy when it matters.
   */
  const watchSilence = (person) => person.page.evaluate(async () => {
    const context = new AudioContext();
    const processor = `registerProcessor('silence', class extends AudioWorkletProcessor {
      run = 0;
      longest = 0;
      constructor() {
        super();
        this.port.onmessage = ({ data }) => {
          if (data === 'begin') this.longest = this.run = 0;
          else this.port.postMessage(Math.max(this.longest, this.run) / sampleRate * 1000);
        };
      }
      process([input]) {
        const loud = input.some((channel) => channel.some((x) => Math.abs(x) > 0.01));
        this.longest = Math.max(this.longest, this.run);
        this.run = loud ? 0 : this.run + 128;
        return true;
      }
    })`;
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([processor], { type: 'text/javascript' })));
    const ear = new AudioWorkletNode(context, 'silence');
    ear.connect(context.destination); // it gives nothing
    const heard = new Map(); // audio element -> its source, the stream of that, how loud it is
    const hear = (el) => {
      if (el.tagName !== 'AUDIO') return;
      let of = heard.get(el);
      if (of?.stream !== el.srcObject) {
        of?.source.disconnect();
        heard.delete(el);
        of = null;
      }
      if (!of && el.srcObject) {
        of = { stream: el.srcObject, source: context.createMediaStreamSource(el.srcObject), volume: new GainNode(context) };
        of.source.connect(of.volume).connect(ear);
        heard.set(el, of);
      }
      if (of) of.volume.gain.value = el.muted ? 0 : 1;
    };
    for (const name of ['srcObject', 'muted']) { // at once, not with the next event
      const was = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, name);
      Object.defineProperty(HTMLMediaElement.prototype, name, { ...was, set(value) { was.set.call(this, value); hear(this); } });
    }
    document.querySelectorAll('audio').forEach(hear);
    window.longestSilence = () => new Promise((done) => {
      ear.port.onmessage = ({ data }) => done(data);
      ear.port.postMessage('tell');
    });
    await new Promise((done) => { setTimeout(done, 500); });
    ear.port.postMessage('begin');
  });

  test('both are in the room, the call ends as moved, no silence between', DEADLINE, async (t) => {
    const [alice, bob] = await people(t, 'alice', 'bob');

    await call(alice, bob);
    await Promise.all([alice, bob].map((p) => p.page.waitForFunction(() => sori.calls[0]?.stats?.in.level > 0.01)));
    await Promise.all([watchSilence(alice), watchSilence(bob)]);
    await alice.at('upgrade').click();
    await Promise.all([alice.in('active'), bob.in('active')]);
    await allHear([alice, bob]);
    for (const person of [alice, bob]) {
      assert.equal(await person.page.evaluate(() => sori.calls.length), 0);
      const longest = await person.page.evaluate(() => window.longestSilence());
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
