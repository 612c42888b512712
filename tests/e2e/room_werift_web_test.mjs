/**
 * npm's werift, a WebRTC written anew in TypeScript, in a room: G.711 tones both ways, with its like
 * and with a browser. Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { after, before, describe, test } from 'node:test';

import { openBrowser } from '../lib/browser.mjs';
import { startDaemons } from '../lib/daemons.mjs';
import { NodePerson } from '../lib/node_person.mjs';
import { RoomPerson } from '../lib/room_people.mjs';

const DEADLINE = { timeout: 90_000 };

describe('werift in a room', () => {
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
    for (const hz of tones) people.push(await NodePerson.start(t, 'werift', `werift${hz}-${n}`, hz));
    for (const person of people) await person.join(`werift${n}`);
    return people;
  }

  const pairs = (people) => Promise.all(people.map((p) => p.hears(...people.filter((o) => o !== p))));

  test('sent tones are the received tones, for every pair of three', DEADLINE, async (t) => {
    await pairs(await meet(t, 440, 700, 1000));
  });

  test('a browser hears it', DEADLINE, async (t) => {
    const [a] = await meet(t, 600);
    const tab = await RoomPerson.join(t, browser.raw, `tab${n}`, `werift${n}`, { index: 3 });

    await tab.hears(a);
  });

  test('leave and join again', DEADLINE, async (t) => {
    const [a, b] = await meet(t, 500, 800);

    await pairs([a, b]);
    await b.leave();
    await a.others(0);
  });
});
