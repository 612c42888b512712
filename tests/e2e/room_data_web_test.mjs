/**
 * Data channels of a room between tabs: chat, bytes, to one or to all, lossy. Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser } from '../lib/browser.mjs';
import { startDaemons } from '../lib/daemons.mjs';
import { RoomPerson } from '../lib/room_people.mjs';

const DEADLINE = { timeout: 90_000 };

/** Keeps what comes. */
const listen = (person) => person.page.evaluate(() => {
  window.got = [];
  sori.rooms[0].addEventListener('data', (e) => window.got.push({
    user: e.participant?.user, topic: e.topic, lossy: e.lossy,
    payload: e.payload instanceof Uint8Array ? [...e.payload] : e.payload,
  }));
});

const send = (person, payload, how = {}) => person.page.evaluate(([what, o]) => {
  const room = sori.rooms[0];
  const to = o.to?.map((user) => [...room.participants.values()].find((p) => p.user === user));
  room.sendData(Array.isArray(what) ? new Uint8Array(what) : what, { ...o, ...(to && { to }) });
}, [payload, how]);

const got = async (person, n) => {
  await person.page.waitForFunction((count) => window.got.length >= count, n);
  return person.page.evaluate(() => window.got);
};

describe('data in a room', () => {
  let daemons;
  let browser;
  const meet = (t, names, how) => RoomPerson.meet(t, browser.raw, names, how);

  before(async () => {
    daemons = await startDaemons({ sfu: true });
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    await browser?.close();
    await daemons?.stop();
  }, DEADLINE);

  test('chat on the page', DEADLINE, async (t) => {
    const [alice, bob, carol] = await meet(t, ['alice', 'bob', 'carol']);

    await alice.at('room-chat').click();
    await alice.at('chat-input').fill('Shall we? 소리 & <b>no markup</b>');
    await alice.at('chat-send').click();
    for (const person of [bob, carol]) {
      await person.at('room-chat').locator('.pip', { hasText: '1' }).waitFor();
      await person.at('room-chat').click();
      await person.at('chat-line').filter({ hasText: 'Shall we? 소리 & <b>no markup</b>' }).waitFor();
      assert.match(await person.at('chat-line').textContent(), new RegExp(alice.name));
    }
    await bob.at('chat-input').fill('Yes.');
    await bob.at('chat-input').press('Enter');
    await alice.at('chat-line').filter({ hasText: 'Yes.' }).waitFor();
  });

  test('to all and to one, in order, with bytes', DEADLINE, async (t) => {
    const [alice, bob, carol] = await meet(t, ['alice', 'bob', 'carol']);

    await Promise.all([listen(bob), listen(carol)]);
    for (let i = 0; i < 20; i++) await send(alice, { i }, { topic: 'count' });
    await send(alice, 'for bob', { to: [bob.name] });
    await send(alice, Array.from({ length: 4000 }, (_, i) => i & 255));
    await send(alice, [1, 2, 3], { to: [carol.name] });
    const all = await got(bob, 22);
    assert.deepEqual(all.slice(0, 20).map((m) => m.payload.i), Array.from({ length: 20 }, (_, i) => i));
    assert.deepEqual(all[20], { user: alice.name, topic: '', lossy: false, payload: 'for bob' });
    assert.equal(all[21].payload.length, 4000);
    assert.ok(all[21].payload.every((b, i) => b === (i & 255)));
    const hers = await got(carol, 22);
    assert.deepEqual(hers.slice(20).map((m) => m.payload.length), [4000, 3]);
    assert.equal(all.length, 22);
  });

  test('lossy messages', DEADLINE, async (t) => {
    const [alice, bob] = await meet(t, ['alice', 'bob']);

    await listen(bob);
    await alice.page.waitForFunction(() => {
      sori.rooms[0].sendData(1, { lossy: true, topic: 'cursor' });
      return true;
    });
    for (let i = 0; i < 10; i++) {
      await send(alice, { i }, { lossy: true, topic: 'cursor' });
      await new Promise((done) => { setTimeout(done, 30); });
    }
    const all = await got(bob, 8);
    assert.ok(all.every((m) => m.lossy && m.topic === 'cursor' && m.user === alice.name));
  });

  test('who comes later gets what is sent from then on', DEADLINE, async (t) => {
    const [alice] = await meet(t, ['alice'], { room: 'datalate' });

    await send(alice, 'nobody hears this');
    const bob = await RoomPerson.join(t, browser.raw, 'databob', 'datalate', { index: 1 });
    await listen(bob);
    await bob.page.waitForFunction(() => sori.rooms[0].state === 'active');
    await alice.at(`tile-${bob.name}`).waitFor();
    await bob.hears(alice);
    await send(alice, 'hello');
    assert.deepEqual((await got(bob, 1)).map((m) => m.payload), ['hello']);
  });
});
