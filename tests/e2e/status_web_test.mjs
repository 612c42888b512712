/**
 * The operator's status page, while people talk: what it says of calls, paths, quality and nodes, and when
 * the server goes away. Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser, talk } from '../lib/browser.mjs';
import { startDaemons } from '../lib/daemons.mjs';

const DEADLINE = { timeout: 60_000 };
const STATUS_URL = 'http://127.0.0.1:9640/';

describe('status page', () => {
  let daemons;
  let browser;

  before(async () => {
    daemons = await startDaemons({ sfu: true, serverIni: () => '[admin]\nlisten = 127.0.0.1:9640\n' });
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    await browser?.close();
    await daemons?.stop();
  }, DEADLINE);

  async function open(t) {
    const context = await browser.raw.newContext();
    const page = await context.newPage();
    const complaints = [];

    t.after(() => context.close());
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(message.text());
    });
    page.setDefaultTimeout(20_000);
    await page.goto(STATUS_URL);
    return { page, complaints, says: (id, text) => page.locator(`#${id}`).filter({ hasText: text }).waitFor() };
  }

  test('shows a call, its path and quality, and then that it ended', DEADLINE, async (t) => {
    const [alice, bob] = await browser.people(t, 'alice', 'bob');
    const { page, complaints, says } = await open(t);

    await says('state', /^ready$/);
    await says('nodes', /sfu-1.*up/);
    await says('calls', /^0$/);
    await talk(alice, bob);
    await says('calls', /^1$/);
    await says('calls-more', '0 ringing, 1 answered');
    await says('connections', /^2$/);
    await alice.until(() => sori.calls[0]?.judged?.mos > 0);
    await says('mos', /^[1-4]\.\d\d$/);
    await says('relayed-more', '0 of 1 call whose path is known');
    await says('relayed', '0 %');
    await page.locator('#quality tr', { hasText: 'p2p' }).filter({ hasText: /[1-4]\.\d\d/ }).waitFor();
    if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/status.png`, fullPage: true });
    await alice.at('hangup').click();
    await says('calls', /^0$/);
    await page.locator('#ended tr', { hasText: 'hangup' }).waitFor();
    const text = await page.locator('body').textContent();
    assert.ok(!text.includes(alice.name) && !text.includes(bob.name), 'it names nobody');
    assert.deepEqual(complaints, []);
  });

  test('fits a narrow screen', DEADLINE, async (t) => {
    const { page, says } = await open(t);

    await page.setViewportSize({ width: 360, height: 740 });
    await says('state', /^ready$/);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/status_narrow.png`, fullPage: true });
    assert.ok(wide <= 0, `${wide} px too wide`);
  });

  test('says that a server is gone, and goes on with the next one', DEADLINE, async (t) => {
    const { page, says } = await open(t);

    await says('state', /^ready$/);
    await page.route('**/status.json', (route) => route.abort());
    await says('state', 'no answer: what is shown is old');
    await page.unroute('**/status.json');
    await daemons.restartServer();
    await says('state', /^ready$/);
    await says('about', /up \d+ s/);
  });
});
