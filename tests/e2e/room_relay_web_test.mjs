/**
 * A room for who can only reach the relay: media goes to sori-sfu through sori-turn, over UDP, TCP and TLS. Run by
 * run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { openBrowser } from '../lib/browser.mjs';
import { TURN_URL, startDaemons } from '../lib/daemons.mjs';
import { RoomPerson, allHear } from '../lib/room_people.mjs';

const DEADLINE = { timeout: 90_000 };

for (const transport of ['udp', 'tls']) {
  describe(`a room through the relay over ${transport}`, () => {
    let daemons;
    let browser;

    before(async () => {
      daemons = await startDaemons({ sfu: true, turnUrl: TURN_URL[transport] });
      browser = await openBrowser({ keyHash: daemons.turnKeyHash });
    }, DEADLINE);
    after(async () => {
      await browser?.close();
      await daemons?.stop();
    }, DEADLINE);

    test('both are heard, and every byte of theirs is relayed', DEADLINE, async (t) => {
      const relayed = () => daemons.turnMetric('sori_turn_relayed_bytes_total');
      const people = [];

      t.after(() => Promise.all(people.map((p) => p.leave())));
      for (const [index, name] of ['alice', 'bob'].entries()) {
        const person = await RoomPerson.arrive(browser.raw, name, { index });
        people.push(person);
        await person.page.evaluate(() => { sori.relayOnly = true; });
        await person.page.getByTestId('room-input').fill('relayed');
        await person.page.getByTestId('room-join').click();
        await person.in('active');
      }
      const before_ = await relayed();
      await allHear(people);
      assert.ok(await relayed() > before_ + 5_000);
      for (const { page } of people) {
        const kinds = await page.evaluate(async () => {
          const report = await sori.rooms[0].getStats();
          const pair = [...report.values()].find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded');
          return report.get(pair.localCandidateId).candidateType;
        });
        assert.equal(kinds, 'relay');
      }
    });
  });
}
