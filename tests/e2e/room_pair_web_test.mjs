/**
 * `pair` mode: clients with two RTCPeerConnections each (lib/pair_client.mjs), beside a browser in
 * `single` mode. Run by run_browser.mjs.
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

describe('pair mode', () => {
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
    for (const hz of tones) people.push(await NodePerson.start(t, 'pair', `pair${hz}-${n}`, hz));
    for (const person of people) await person.join(`pair${n}`);
    return people;
  }

  const pairs = (people) => Promise.all(people.map((p) => p.hears(...people.filter((o) => o !== p))));

  test('every pair heard, and a browser beside them', DEADLINE, async (t) => {
    const people = await meet(t, 440, 700);

    await pairs(people);
    const tab = await RoomPerson.join(t, browser.raw, `tab${n}`, `pair${n}`, { index: 3 });
    await pairs([...people, tab]);
    assert.ok(await people[0].call('negotiated') >= 1);
    await people[1].leave();
    await Promise.all([people[0].hears(tab), tab.hears(people[0])]);
  });
});
