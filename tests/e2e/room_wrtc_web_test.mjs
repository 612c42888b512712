/**
 * libwebrtc in Node.js (npm's @roamhq/wrtc, an older one than the browser's, without AEAD_AES_128_GCM)
 * in a room: with its like, and with a browser. Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser } from '../lib/browser.mjs';
import { startDaemons } from '../lib/daemons.mjs';
import { NodePerson } from '../lib/node_person.mjs';
import { RoomPerson } from '../lib/room_people.mjs';

const DEADLINE = { timeout: 90_000 };

describe('libwebrtc in Node.js in a room', () => {
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

  async function meet(t, ...tones) {
    const people = [];

    n++;
    for (const hz of tones) people.push(await NodePerson.start(t, 'wrtc', `wrtc${hz}-${n}`, hz));
    for (const person of people) await person.join(`wrtc${n}`);
    return people;
  }

  const pairs = (people) => Promise.all(people.map((p) => p.hears(...people.filter((o) => o !== p))));

  test('sent tones are the received tones, for every pair of three', DEADLINE, async (t) => {
    const people = await meet(t, 440, 700, 1000);

    await pairs(people);
    await people[0].others(2);
  });

  test('mute, unmute, leave, come back', DEADLINE, async (t) => {
    const [a, b] = await meet(t, 500, 800);

    await pairs([a, b]);
    await a.call('mute', true);
    await b.hears();
    await a.call('mute', false);
    await b.hears(a);
    await b.leave();
    await a.others(0);
    await a.hears();
    await b.join(`wrtc${n}`);
    await pairs([a, b]);
  });

  test('ICE restart', DEADLINE, async (t) => {
    const [a, b] = await meet(t, 500, 800);

    await pairs([a, b]);
    await a.call('restartIce');
    await new Promise((later) => { setTimeout(later, 1500); });
    await a.call('state', 'active');
    await pairs([a, b]);
  });

  test('data', DEADLINE, async (t) => {
    const [a, b] = await meet(t, 500, 800);

    await Promise.all([a.call('state', 'active'), b.call('state', 'active')]);
    await pairs([a, b]);
    const got = b.call('got');
    await a.call('send', { text: 'hello' }, { topic: 'chat' });
    assert.deepEqual(await got, { user: a.name, topic: 'chat', payload: { text: 'hello' } });
  });

  test('with a browser: both hear each other', DEADLINE, async (t) => {
    const [a] = await meet(t, 600);
    const tab = await RoomPerson.join(t, browser.raw, `tab${n}`, `wrtc${n}`, { index: 3 });

    await Promise.all([a.hears(tab), tab.hears(a)]);
  });

  test('a client that is killed is gone for the others before long', DEADLINE, async (t) => {
    const [a, b, c] = await meet(t, 500, 700, 900);

    await pairs([a, b, c]);
    c.kill();
    await a.hears(b);
    await pairs([a, b]);
  });

  test('joins and leaves leave nobody behind', DEADLINE, async (t) => {
    const [a, b] = await meet(t, 600, 900);

    for (let i = 0; i < 15; i++) {
      await b.leave();
      await a.others(0);
      await b.join(`wrtc${n}`);
      await b.call('state', 'active');
    }
    await pairs([a, b]);
    assert.deepEqual(await a.others(1), [b.name]);
  });
});
