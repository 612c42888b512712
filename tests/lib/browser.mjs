/**
 * People at the demonstration page, each in an own profile of one headless Chromium.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';

import { chromium } from 'playwright-core';

import { PAGE_URL } from './daemons.mjs';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
];
const PATIENCE_MS = 15_000;
const HEARD_PACKETS = 50; // one second of Opus
const HEARD_ENERGY = 0.01; // the fake microphone's beep gives some 0.2 a second, silence 1e-9

/** `keyHash`: of a key whose certificates are taken, whoever signed them. */
export async function openBrowser({ keyHash } = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: keyHash ? [...FLAGS, `--ignore-certificate-errors-spki-list=${keyHash}`] : FLAGS,
  });
  let serial = 0;

  return {
    /** People with these names and a number that no other test uses: ['alice3', 'bob3']. */
    async people(t, ...names) {
      const n = ++serial;
      const all = [];
      t.after(() => Promise.all(all.map((person) => person.leave())));
      for (const name of names) all.push(await Person.arrive(browser, `${name}${n}`));
      return all;
    },
    raw: browser,
    close: () => browser.close(),
  };
}

export class Person {
  static async arrive(browser, name) {
    const context = await browser.newContext({ permissions: ['microphone', 'camera'] });
    const page = await context.newPage();
    const person = new Person(context, page, name);

    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(PAGE_URL);
    await page.getByTestId('name-input').fill(name);
    await page.getByTestId('name-submit').click();
    await person.connection('online');
    return person;
  }

  constructor(context, page, name) {
    this.context = context;
    this.page = page;
    this.name = name;
    this.complaints = [];
    page.on('pageerror', (error) => this.complaints.push(error.stack));
    page.on('console', (msg) => {
      if (/Content Security Policy|Uncaught/.test(msg.text())) this.complaints.push(msg.text());
    });
  }

  at(testid) {
    return this.page.getByTestId(testid);
  }

  async leave() {
    await this.context.close();
    assert.deepEqual(this.complaints, [], `the page of ${this.name} complains`);
  }

  /** The same user in another profile. */
  async secondDevice(t) {
    const device = await Person.arrive(this.context.browser(), this.name);

    t.after(() => device.leave());
    return device;
  }

  connection(state) {
    return this.page.locator(`[data-testid=conn][data-state=${state}]`).waitFor();
  }

  /** Waits until the call on the stage is in one of these states; `none`: there is no call. */
  state(...states) {
    const any = states.map((s) => `[data-testid=panel][data-state=${s}]`).join(', ');
    return this.page.locator(any).waitFor();
  }

  /** Waits for somebody to be seen so in the list, adding them when they are not in it. */
  async sees(other, presence) {
    if (await this.at(`person-${other.name}`).count() === 0) {
      await this.at('add-input').fill(other.name);
      await this.at('add-submit').click();
    }
    await this.page.locator(`[data-testid=person-${other.name}][data-presence=${presence}]`).waitFor();
  }

  async call(other, { video = false } = {}) {
    await this.sees(other, 'online');
    await this.at(`${video ? 'video' : 'call'}-${other.name}`).click();
  }

  /** Waits for the phone to ring. */
  rings(from) {
    return this.at('incoming-from').filter({ hasText: from.name }).waitFor();
  }

  quiet() {
    return this.at('incoming').waitFor({ state: 'hidden' });
  }

  async accept({ video = false } = {}) {
    await this.at(video ? 'accept-video' : 'accept').click();
  }

  async says(text) {
    await this.at('message').filter({ hasText: text }).waitFor();
  }

  /** The newest entry of the list of calls. */
  async lastCall() {
    const item = this.at('history-item').first();

    await item.waitFor();
    return { reason: await item.getAttribute('data-reason'), missed: await item.getAttribute('data-missed') };
  }

  stats() {
    return this.page.evaluate(() => sori.calls[0]?.stats ?? null);
  }

  /** Runs until what happens in the page is true. */
  until(what, arg) {
    return this.page.waitForFunction(what, arg, { polling: 100 });
  }

  /** From now on packets arrive, and they are not silent. */
  async hears() {
    await this.until(() => sori.calls[0]?.stats);
    const before = (await this.stats()).in;
    await this.until(([packets, energy]) => {
      const now = sori.calls[0]?.stats?.in;
      return now && now.packets >= packets && now.energy >= energy;
    }, [before.packets + HEARD_PACKETS, before.energy + HEARD_ENERGY]);
  }

  /** From now on the picture of the other side moves (decoded frames). */
  async seesPicture() {
    await this.until(() => {
      const video = document.querySelector('#remote-video');
      const frames = video.getVideoPlaybackQuality().totalVideoFrames;
      window.framesBefore ??= frames;
      return video.videoWidth > 0 && frames > window.framesBefore + 5;
    });
  }

  /** Types of the selected candidate pair at both ends, as this side sees them. */
  async path() {
    await this.until(() => sori.calls[0]?.stats?.path);
    return (await this.stats()).path;
  }

  /** What getStats says of this side's candidate of the selected pair. */
  localCandidate() {
    return this.page.evaluate(async () => {
      const stats = [...(await sori.calls[0].getStats()).values()];
      const transport = stats.find((s) => s.type === 'transport');
      const pair = stats.find((s) => s.id === transport.selectedCandidatePairId);
      return stats.find((s) => s.id === pair.localCandidateId);
    });
  }
}

/** Two people in a call that both hear. */
export async function talk(caller, callee, how = {}) {
  await caller.call(callee, how);
  await callee.rings(caller);
  await callee.accept(how);
  await Promise.all([caller.state('active'), callee.state('active')]);
  await Promise.all([caller.hears(), callee.hears()]);
}
