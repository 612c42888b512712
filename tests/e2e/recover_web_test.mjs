/**
 * Calls outlive what happens to browsers and networks: a reload, a cut, a move, a server restart.
 * Run by run_browser.mjs: it takes the namespace's loopback down.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';

import { openBrowser, talk } from '../lib/browser.mjs';
import { startDaemons } from '../lib/daemons.mjs';

const DEADLINE = { timeout: 60_000 };

const cable = (state) => execFileSync('ip', ['link', 'set', 'lo', state]);

describe('recovery in the browser', () => {
  let daemons;
  let browser;

  before(async () => {
    daemons = await startDaemons();
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    cable('up');
    await browser?.close();
    await daemons?.stop();
  }, DEADLINE);

  for (const who of ['caller', 'callee'])
    test(`the ${who} reloads in mid-call and the call goes on`, DEADLINE, async (t) => {
      const [alice, bob] = await browser.people(t, 'alice', 'bob');
      const [one, other] = who === 'caller' ? [alice, bob] : [bob, alice];

      await talk(alice, bob);
      const before_ = await one.page.evaluate(() => [sori.calls[0].id, sori.deviceId]);
      await one.page.reload();
      await one.state('active');
      await other.state('active');
      await Promise.all([alice.hears(), bob.hears()]);
      assert.deepEqual(await one.page.evaluate(() => [sori.calls[0].id, sori.deviceId]), before_);
      await other.at('hangup').click();
      await one.state('none');
    });

  test('both reload at once and the call goes on', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob);
    await Promise.all([alice.page.reload(), bob.page.reload()]);
    await Promise.all([alice.state('active'), bob.state('active')]);
    await Promise.all([alice.hears(), bob.hears()]);
  });

  test('reload while it rings: it rings again', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await alice.call(bob);
    await bob.rings(alice);
    await bob.page.reload();
    await bob.rings(alice);
    await bob.accept();
    await Promise.all([alice.state('active'), bob.state('active')]);
    await Promise.all([alice.hears(), bob.hears()]);
  });

  test('the caller reloads while it rings: the call goes on', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await alice.call(bob);
    await bob.rings(alice);
    await alice.page.reload();
    await alice.state('ringing');
    await bob.accept();
    await Promise.all([alice.state('active'), bob.state('active')]);
    await Promise.all([alice.hears(), bob.hears()]);
  });

  // The short one is over before anybody gives up; in the long one ICE and both sockets are given up.
  for (const cutS of [5, 15])
    test(`a network drop of ${cutS} s is survived`, DEADLINE, async (t) => {
      const [alice, bob] = await browser.people(t, 'alice', 'bob');

      t.after(() => cable('up'));
      await talk(alice, bob);
      const id = await alice.page.evaluate(() => sori.calls[0].id);
      cable('down');
      await new Promise((done) => { setTimeout(done, cutS * 1000); }); // the cut itself
      assert.equal((await alice.stats()).in.kbps, 0);
      cable('up');
      await Promise.all([alice.connection('online'), bob.connection('online')]);
      await Promise.all([alice.hears(), bob.hears()]);
      await Promise.all([alice.state('active'), bob.state('active')]);
      assert.equal(await alice.page.evaluate(() => sori.calls[0].id), id);
    });

  test('another network: the session resumes and ICE starts anew', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');
    const ufrag = () => bob.page.evaluate(async () => {
      const stats = [...(await sori.calls[0].getStats()).values()];
      const transport = stats.find((s) => s.type === 'transport');
      return transport.iceLocalUsernameFragment;
    });

    await talk(alice, bob);
    const before_ = await ufrag();
    await bob.page.evaluate(() => {
      window.states = [];
      sori.addEventListener('state', (e) => window.states.push([e.state, e.resumed]));
      window.dispatchEvent(new Event('online'));
    });
    await bob.until(() => window.states.some(([state, resumed]) => state === 'online' && resumed));
    const until = Date.now() + 10_000;
    while (await ufrag() === before_) assert.ok(Date.now() < until, 'ICE did not restart');
    await Promise.all([alice.hears(), bob.hears()]);
  });

  test('the server restarts: clients come back, their calls are told to be over', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');

    await talk(alice, bob);
    await daemons.restartServer();
    await Promise.all([alice.connection('online'), bob.connection('online')]);
    await Promise.all([alice.state('none'), bob.state('none')]);
    await talk(bob, alice);
  });
});
