/**
 * Two browsers call each other over the demonstration page: every way that a call can go.
 * Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser, talk } from '../lib/browser.mjs';
import { MEDIA_IP, startDaemons } from '../lib/daemons.mjs';

const RING_S = 6;
const DEADLINE = { timeout: 60_000 };

describe('calls in the browser', () => {
  let daemons;
  let browser;

  before(async () => {
    daemons = await startDaemons({ ringTimeoutS: RING_S });
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    await browser?.close();
    await daemons?.stop();
  }, DEADLINE);

  test('a call is heard in both directions, and its quality is shown', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob);
    assert.equal((await alice.path()).type, 'host');
    await alice.at('q-path').filter({ hasText: 'host' }).waitFor();
    await alice.at('q-mos').filter({ hasText: /^4\.\d\d$/ }).waitFor();
    await bob.at('timer').filter({ hasText: /^0:0[1-9]$/ }).waitFor();
    await alice.at('hangup').click();
    await bob.state('none');
    assert.deepEqual(await bob.lastCall(), { reason: 'hangup', missed: 'false' });
    assert.deepEqual(await alice.lastCall(), { reason: 'hangup', missed: 'false' });
  });

  test('video from the start, off and on again', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob, { video: true });
    await Promise.all([alice.seesPicture(), bob.seesPicture()]);
    await alice.at('camera').click();
    await bob.page.locator('#stage[data-video=off]').waitFor();
    await bob.hears();
    await alice.at('camera').click();
    await bob.page.locator('#stage[data-video=on]').waitFor();
    await bob.page.evaluate(() => { window.framesBefore = undefined; });
    await bob.seesPicture();
  });

  test('a video call taken with voice only', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await alice.call(bob, { video: true });
    await bob.rings(alice);
    await bob.accept();
    await bob.seesPicture();
    await Promise.all([alice.hears(), bob.hears()]);
    assert.equal(await alice.page.locator('#stage').getAttribute('data-video'), 'off');
    assert.equal(await bob.page.locator('#local-video').isHidden(), true);
  });

  test('a camera is added to a voice call', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob);
    await bob.at('camera').click();
    await alice.seesPicture();
    await alice.at('camera').click();
    await bob.seesPicture();
    await Promise.all([alice.hears(), bob.hears()]);
  });

  test('both turn the camera on at once', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob);
    await Promise.all([alice.at('camera').click(), bob.at('camera').click()]);
    await Promise.all([alice.seesPicture(), bob.seesPicture()]);
  });

  test('mute: silence arrives, and the other side is told', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob);
    await alice.at('mute').click();
    await bob.at('remote-info').filter({ hasText: 'is muted' }).waitFor();
    await bob.until(() => sori.calls[0].stats.in.level < 0.001);
    await alice.at('mute').click();
    await bob.hears();
  });

  test('hold stops the media both ways, resume starts it', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob);
    await bob.at('hold').click();
    await alice.at('remote-info').filter({ hasText: 'hold' }).waitFor();
    for (const person of [alice, bob]) {
      // Nothing arrives in two whole samples: in the first one packets may have been under way.
      await person.until(() => sori.calls[0].stats.in.kbps === 0);
      await person.until(() => sori.calls[0].stats.mos === null);
    }
    await bob.at('hold').click();
    await Promise.all([alice.hears(), bob.hears()]);
    assert.equal(await alice.at('panel').getAttribute('data-state'), 'active');
  });

  test('reject', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await alice.call(bob);
    await bob.rings(alice);
    await bob.at('reject').click();
    await bob.quiet();
    await alice.says(`${bob.name} declined the call.`);
    assert.deepEqual(await alice.lastCall(), { reason: 'declined', missed: 'false' });
  });

  test('cancel: the other side stops ringing and has missed a call', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await alice.call(bob);
    await bob.rings(alice);
    await alice.at('hangup').click();
    await bob.quiet();
    await bob.says(`Missed call from ${alice.name}.`);
    assert.deepEqual(await bob.lastCall(), { reason: 'cancelled', missed: 'true' });
  });

  test('no answer', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await alice.call(bob);
    await bob.rings(alice);
    await alice.says(`${bob.name} did not answer.`);
    await bob.quiet();
    assert.deepEqual(await alice.lastCall(), { reason: 'timeout', missed: 'false' });
    assert.deepEqual(await bob.lastCall(), { reason: 'timeout', missed: 'true' });
  });

  test('busy', DEADLINE, async (t) => {
    const [alice, bob, carol] = await browser.people(t, 'alice', 'bob', 'carol');

    await talk(alice, bob);
    await carol.sees(bob, 'busy');
    await carol.at(`call-${bob.name}`).click();
    await carol.says(`${bob.name} is busy in another call.`);
    await Promise.all([alice.hears(), bob.hears()]);
  });

  test('nobody there', DEADLINE, async (t) => {
    const [alice] = await browser.people(t, 'alice');

    await alice.sees({ name: 'nobody' }, 'offline');
    await alice.at('call-nobody').click();
    await alice.says("nobody can't be reached");
  });

  test('glare: both call at once and are in one call', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await Promise.all([alice.sees(bob, 'online'), bob.sees(alice, 'online')]);
    // Each invite is sent before the other's arrives: the sockets are held for a moment.
    await Promise.all([alice.page, bob.page].map((page) => page.evaluate(() => {
      const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      const at = Math.ceil(Date.now() / 1000) * 1000 + 1000;
      navigator.mediaDevices.getUserMedia = async (c) => {
        const stream = await real(c);
        await new Promise((done) => { setTimeout(done, at - Date.now()); });
        return stream;
      };
    })));
    await Promise.all([alice.at(`call-${bob.name}`).click(), bob.at(`call-${alice.name}`).click()]);
    await Promise.all([alice.state('active'), bob.state('active')]);
    await Promise.all([alice.hears(), bob.hears()]);
    await Promise.all([alice.quiet(), bob.quiet()]);
    const ids = await Promise.all([alice, bob].map((p) => p.page.evaluate(() => sori.calls.map((c) => c.id))));
    assert.equal(ids[0].length, 1);
    assert.deepEqual(ids[0], ids[1]);
  });

  test('answered on another device: the second one stops ringing', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');
    const tablet = await bob.secondDevice(t);

    await alice.call(bob);
    await Promise.all([bob.rings(alice), tablet.rings(alice)]);
    await bob.accept();
    await tablet.quiet();
    await tablet.says('Answered on another of your devices.');
    assert.deepEqual(await tablet.lastCall(), { reason: 'answered_elsewhere', missed: 'false' });
    await Promise.all([alice.hears(), bob.hears()]);
  });

  test('a duplicated tab is a device of its own', DEADLINE, async (t) => {
    const [alice] = await browser.people(t, 'alice');
    const opened = alice.context.waitForEvent('page');

    // window.open() without noopener copies sessionStorage, as duplicating a tab does.
    await alice.page.evaluate(() => { window.open(location.href); });
    const copy = await opened;
    await copy.locator('[data-testid=conn][data-state=online]').waitFor();
    const ids = await Promise.all([alice.page, copy].map((page) => page.evaluate(() => [sori.userId, sori.deviceId])));
    assert.equal(ids[0][0], ids[1][0]);
    assert.notEqual(ids[0][1], ids[1][1]);
    assert.equal(await alice.at('conn').getAttribute('data-state'), 'online');
  });

  test('a server without an SFU has no rooms, and says so', DEADLINE, async (t) => {
    const [alice] = await browser.people(t, 'alice');

    await alice.at('room-input').fill('team');
    await alice.at('room-join').click();
    await alice.says('No media server is there at the moment.');
    await alice.at('room').waitFor({ state: 'hidden' });
    assert.deepEqual(await alice.page.evaluate(() => sori.rooms.length), 0);
  });

  test('the media stays on its own addresses', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob);
    const addresses = await alice.page.evaluate(async () => {
      const report = await sori.calls[0].getStats();
      return [...report.values()].filter((s) => s.type === 'local-candidate').map((s) => s.address);
    });
    assert.ok(addresses.includes(MEDIA_IP), `candidates are of ${addresses}`);
  });
});
