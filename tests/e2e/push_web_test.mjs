/**
 * A user who is offline is called from the page; the push that Apple's stand-in gets opens the page
 * of the callee, who joins the ringing call with what is in it. Run by run_browser.mjs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Person, openBrowser } from '../lib/browser.mjs';
import { PAGE_URL, startDaemons } from '../lib/daemons.mjs';

const DEADLINE = { timeout: 60_000 };
const TOPIC = 'com.acme.talk';
const TEAM = 'TEAM123456';
const KID = 'KEY1234567';
const TOKEN = 'a1'.repeat(32);

const openssl = (...words) => execFileSync('openssl', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

/** The stand-in, with a key and a certificate of its own. */
async function startApple() {
  const dir = mkdtempSync(join(tmpdir(), 'sori-apple-'));
  const [key, cert, tlsKey] = ['push.p8', 'tls.crt', 'tls.key'].map((name) => join(dir, name));

  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', key);
  chmodSync(key, 0o600);
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', tlsKey,
    '-out', cert, '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '2');
  const settings = { cert, key: tlsKey, unknown: 'active', keys: { [KID]: { team: TEAM, public: openssl('pkey', '-in', key, '-pubout') } } };
  const child = spawn(process.execPath, [fileURLToPath(new URL('../lib/apns_stand_in.mjs', import.meta.url)), JSON.stringify(settings)],
    { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = await once(child.stdout, 'data');
  const { port, admin } = JSON.parse(line);

  return {
    ini: (dir_) => `
[ledger]
file = ${dir_}/ledger.db
token_key_file = ${dir_}/jwt.secret
[apns]
production = localhost:${port}
ca_file = ${cert}
[app ${TOPIC}]
team_id = ${TEAM}
key_id = ${KID}
key_file = ${key}
`,
    /** All pushes so far, when there are n. */
    async pushes(n) {
      for (let i = 0; i < 100; i++) {
        const all = await (await fetch(`http://127.0.0.1:${admin}/last`)).json();
        if (all.length >= n) return all;
        await new Promise((again) => { setTimeout(again, 50); });
      }
      throw new Error('no push came');
    },
    async stop() {
      child.stdin.end();
      await once(child, 'exit');
      rmSync(dir, { recursive: true });
    },
  };
}

/** Registers a phone of the user's, from inside a page, and lets it go to sleep. */
function registerPhone(page, user) {
  return page.evaluate(async ([name, app, token]) => {
    const { token: jwt } = await (await fetch(`/dev/token?user=${name}&device=phone`)).json();
    const ws = new WebSocket(`ws://${location.host}/ws`, 'sori.v1');
    const send = (message) => ws.send(JSON.stringify(message));
    return new Promise((done, failed) => {
      ws.onopen = () => send({ type: 'hello', id: 'h', data: { token: jwt, deviceId: 'phone' } });
      ws.onclose = () => failed(new Error('closed'));
      ws.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === 'welcome') {
          send({ type: 'device.register', id: 'r', data: {
            platform: 'ios', app, environment: 'production', callUi: 'callkit', tokens: [{ type: 'voip', token }],
          } });
        } else if (message.re === 'r') {
          ws.onclose = () => done(message);
          send({ type: 'session.close', id: 'c' });
        }
      };
    });
  }, [user, TOPIC, TOKEN]);
}

describe('a call to somebody who sleeps', () => {
  let apple;
  let daemons;
  let browser;

  before(async () => {
    apple = await startApple();
    daemons = await startDaemons({ serverIni: apple.ini });
    browser = await openBrowser();
  }, DEADLINE);
  after(async () => {
    await browser?.close();
    await daemons?.stop();
    await apple?.stop();
  }, DEADLINE);

  test('the page that the push opens joins the ringing call, and both talk', DEADLINE, async (t) => {
    const [alice] = await browser.people(t, 'alice');
    const bob = `bob${alice.name.slice('alice'.length)}`;
    const registered = await registerPhone(alice.page, bob);

    assert.equal(registered.type, 'device.register');
    await alice.sees({ name: bob }, 'offline');
    await alice.at(`call-${bob}`).click();
    const [push] = await apple.pushes(1);
    assert.equal(push.status, 200);
    assert.equal(push.headers['apns-push-type'], 'voip');
    assert.equal(push.headers['apns-expiration'], '0');
    const body = JSON.parse(push.payload);
    assert.equal(body.from, alice.name);

    const context = await browser.raw.newContext({ permissions: ['microphone', 'camera'] });
    const phone = new Person(context, await context.newPage(), bob);
    t.after(() => phone.leave());
    await phone.page.goto(`${PAGE_URL}?call=${body.call_id}&k=${body.k}`);
    await phone.rings(alice);
    assert.equal(phone.page.url(), PAGE_URL); // the token is gone from the address
    await phone.accept();
    await Promise.all([alice.state('active'), phone.state('active')]);
    await Promise.all([alice.hears(), phone.hears()]);
    await alice.at('hangup').click();
    await phone.state('none');
    assert.equal((await apple.pushes(1)).length, 1);
  });

  test('a page that comes too late says so', DEADLINE, async (t) => {
    const [alice] = await browser.people(t, 'alice');
    const bob = `bob${alice.name.slice('alice'.length)}`;

    await registerPhone(alice.page, bob);
    await alice.sees({ name: bob }, 'offline');
    await alice.at(`call-${bob}`).click();
    const body = JSON.parse((await apple.pushes(2))[1].payload);
    await alice.at('hangup').click();
    await alice.state('none');
    const context = await browser.raw.newContext();
    const phone = new Person(context, await context.newPage(), bob);
    t.after(() => phone.leave());
    await phone.page.goto(`${PAGE_URL}?call=${body.call_id}&k=${body.k}`);
    await phone.says('This call is over.');
  });
});
