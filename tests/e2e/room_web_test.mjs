/**
 * Tabs in a room: who hears and sees whom, measured by the tone and the picture that each sends.
 * Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser } from '../lib/browser.mjs';
import { startDaemons } from '../lib/daemons.mjs';
import { RoomPerson, allHear, allSee } from '../lib/room_people.mjs';

const DEADLINE = { timeout: 120_000 };

describe('a room in the browser', () => {
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

  test('two: each hears the other, nobody themselves', DEADLINE, async (t) => {
    await allHear(await meet(t, ['alice', 'bob']));
  });

  test('three with cameras: every pair heard and seen', DEADLINE, async (t) => {
    const people = await meet(t, ['alice', 'bob', 'carol'], { camera: true });

    await allHear(people);
    await allSee(people);
    assert.equal(await people[0].at('people-count').textContent(), '3');
  });

  test('five voices: four heard by each', DEADLINE, async (t) => {
    await allHear(await meet(t, ['alice', 'bob', 'carol', 'dave', 'erin']));
  });

  test('joining costs one round trip: no second offer when others come', DEADLINE, async (t) => {
    const people = await meet(t, ['alice', 'bob', 'carol']);

    await allHear(people);
    const mids = await people[0].page.evaluate(() => sori.rooms[0].audioSlots.length);
    assert.equal(mids, 6);
    assert.equal(await people[0].page.evaluate(async () => {
      const report = await sori.rooms[0].getStats();
      return [...report.values()].filter((s) => s.type === 'transport').length;
    }), 1);
  });

  test('who comes late sees the picture at once', DEADLINE, async (t) => {
    const [alice] = await meet(t, ['alice'], { camera: true, room: 'late' });
    const bob = await RoomPerson.join(t, browser.raw, 'latebob', 'late', { index: 1 });
    const since = Date.now();

    await bob.sees(alice);
    t.diagnostic(`seen after ${Date.now() - since} ms`);
    await bob.hears(alice);
  });

  test('camera off and on again', DEADLINE, async (t) => {
    const [alice, bob] = await meet(t, ['alice', 'bob'], { camera: true });

    await bob.sees(alice);
    await alice.camera(false);
    await bob.blind(alice);
    await bob.hears(alice);
    await alice.camera();
    await bob.sees(alice);
    await alice.sees(bob);
  });

  test('mute: silence, shown to the others; then heard again', DEADLINE, async (t) => {
    const [alice, bob, carol] = await meet(t, ['alice', 'bob', 'carol']);

    await allHear([alice, bob, carol]);
    await alice.at('room-mute').click();
    await bob.page.locator(`[data-testid=tile-${alice.name}][data-muted=true]`).waitFor();
    await bob.hears(carol);
    await carol.hears(bob);
    await alice.hears(bob, carol);
    await alice.at('room-mute').click();
    await bob.page.locator(`[data-testid=tile-${alice.name}][data-muted=false]`).waitFor();
    await allHear([alice, bob, carol]);
  });

  test('who speaks has the ring', DEADLINE, async (t) => {
    const [alice, bob, carol] = await meet(t, ['alice', 'bob', 'carol']);
    const ring = (by, of) => by.page.locator(`[data-testid=tile-${of.name}][data-speaking=true]`).waitFor();

    await bob.at('room-mute').click();
    await carol.at('room-mute').click();
    await Promise.all([ring(bob, alice), ring(carol, alice)]);
    await carol.page.waitForFunction((user) => sori.rooms[0].dominant?.user === user, alice.name);
    await alice.at('room-mute').click();
    await bob.at('room-mute').click();
    await Promise.all([ring(alice, bob), ring(carol, bob)]);
    await carol.page.waitForFunction((user) => sori.rooms[0].dominant?.user === user, bob.name);
  });

  test('quality is told to everybody', DEADLINE, async (t) => {
    const [alice, bob] = await meet(t, ['alice', 'bob']);

    await allHear([alice, bob]);
    await alice.page.waitForFunction((user) => {
      const there = [...sori.rooms[0].participants.values()].find((p) => p.user === user);
      return there?.quality?.score >= 4 && there.quality.mos > 4;
    }, bob.name);
    await alice.page.locator(`[data-testid=tile-${bob.name}] .bars[data-score]`).waitFor();
  });

  test('leave: the tile goes, the others go on', DEADLINE, async (t) => {
    const [alice, bob, carol] = await meet(t, ['alice', 'bob', 'carol']);

    await allHear([alice, bob, carol]);
    await carol.at('room-leave').click();
    await carol.out();
    await Promise.all([alice.gone(carol), bob.gone(carol)]);
    await allHear([alice, bob]);
    assert.equal(await carol.page.evaluate(() => sori.rooms.length), 0);
  });

  test('leave and come back', DEADLINE, async (t) => {
    const [alice, bob] = await meet(t, ['alice', 'bob'], { room: 'again' });

    await bob.at('room-leave').click();
    await bob.out();
    await alice.gone(bob);
    await bob.at('room-input').fill('again');
    await bob.at('room-join').click();
    await bob.in('active');
    await allHear([alice, bob]);
  });

  test('reload: back by itself, heard and seen again', DEADLINE, async (t) => {
    const [alice, bob] = await meet(t, ['alice', 'bob'], { camera: true });

    await allHear([alice, bob]);
    await bob.page.reload();
    await bob.in('active');
    await allHear([alice, bob]);
    await allSee([alice, bob]);
    assert.equal(await alice.at(`tile-${bob.name}`).count(), 1);
    assert.equal(await alice.at('people-count').textContent(), '2');
  });

  test('ICE restart: the sound goes on', DEADLINE, async (t) => {
    const [alice, bob] = await meet(t, ['alice', 'bob']);

    await allHear([alice, bob]);
    const pair = () => alice.page.evaluate(async () => [...(await sori.rooms[0].getStats()).values()]
      .find((s) => s.type === 'transport').iceLocalUsernameFragment);
    const before = await pair();
    await alice.page.evaluate(() => sori.rooms[0].restartIce());
    await alice.page.waitForFunction(async (ufrag) => [...(await sori.rooms[0].getStats()).values()]
      .find((s) => s.type === 'transport').iceLocalUsernameFragment !== ufrag, before);
    await allHear([alice, bob]);
    assert.equal(await alice.page.evaluate(() => sori.rooms[0].state), 'active');
    // Sound without a gap of more than 300 ms around another restart.
    await alice.page.evaluate(() => { setTimeout(() => sori.rooms[0].restartIce(), 800); });
    const gap = await bob.page.evaluate(async () => {
      await window.hearing();
      const [slot] = sori.rooms[0].audioSlots.filter((s) => s.track);
      const analyser = window.ears.of.get(slot.stream);
      const block = new Float32Array(512);
      let silentSince = 0;
      let longest = 0;
      const until = performance.now() + 3000;
      while (performance.now() < until) {
        analyser.getFloatTimeDomainData(block);
        const now = performance.now();
        if (Math.max(...block) > 0.01) silentSince = 0;
        else silentSince ||= now;
        if (silentSince) longest = Math.max(longest, now - silentSince);
        await new Promise((done) => { setTimeout(done, 10); });
      }
      return longest;
    });
    t.diagnostic(`silent for ${Math.round(gap)} ms`);
    assert.ok(gap <= 300, `silent for ${gap} ms`);
  });

  test('the socket breaks: the room goes on', DEADLINE, async (t) => {
    const [alice, bob] = await meet(t, ['alice', 'bob']);

    await allHear([alice, bob]);
    await daemons.restartServer();
    await Promise.all([alice.in('active'), bob.in('active')]);
    await allHear([alice, bob]);
  });

  test('a screen beside a camera', DEADLINE, async (t) => {
    const [alice, bob] = await meet(t, ['alice', 'bob'], { camera: true });

    await alice.at('room-screen').click();
    await bob.sees(alice, { screen: true });
    await bob.sees(alice);
    assert.equal(await bob.at('room').getAttribute('data-layout'), 'speaker');
    await alice.at('room-screen').click();
    await bob.at(`tile-${alice.name}-screen`).waitFor({ state: 'detached' });
    await bob.sees(alice);
  });

  test('who made the room may mute and put out', DEADLINE, async (t) => {
    const [alice, bob, carol] = await meet(t, ['alice', 'bob', 'carol']);

    await allHear([alice, bob, carol]);
    await alice.at('room-people').click();
    await alice.at(`mute-${bob.name}`).click();
    await bob.at('toast').filter({ hasText: `${alice.name} muted you.` }).waitFor();
    await carol.hears(alice);
    await alice.hears(carol);
    await bob.at('room-mute').click();
    await allHear([alice, bob, carol]);
    await alice.at(`kick-${carol.name}`).click();
    await carol.out();
    await carol.says('You were put out of the room.');
    await allHear([alice, bob]);
  });
});
