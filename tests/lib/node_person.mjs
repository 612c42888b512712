/**
 * Somebody in a room who is no browser: a client in a process of its own (tests/clients/room_person.mjs),
 * driven from here.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const CLIENT = fileURLToPath(new URL('../clients/room_person.mjs', import.meta.url));
const CALL_MS = 30_000;

export class NodePerson {
  #child;
  #asked = new Map();
  #n = 0;

  /** kind: `wrtc`, `werift` or `pair`. Gone when the test is. */
  static async start(t, kind, name, hz) {
    const person = new NodePerson();

    person.name = name;
    person.hz = hz;
    person.#child = fork(CLIENT, [kind, name, String(hz)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    t.after(() => person.#child.kill('SIGKILL'));
    await new Promise((ready, failed) => {
      person.#child.once('message', ready);
      person.#child.once('exit', (code, signal) => failed(new Error(`${kind} client ended with ${signal ?? code}`)));
    });
    person.#child.on('exit', (code, signal) => {
      for (const { reject } of person.#asked.values()) reject(new Error(`${name} ended with ${signal ?? code}`));
    });
    person.#child.on('message', ({ id, result, error, code }) => {
      const { resolve, reject } = person.#asked.get(id);
      person.#asked.delete(id);
      if (error === undefined) resolve(result);
      else reject(Object.assign(new Error(error), { code }));
    });
    return person;
  }

  call(method, ...args) {
    const id = ++this.#n;
    const plain = args.map((a) => (a instanceof Object && a.hz ? { name: a.name, hz: a.hz } : a));

    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${this.name}: no answer to ${method}`)), CALL_MS);
      const done = (settle) => (value) => {
        clearTimeout(late);
        settle(value);
      };
      this.#asked.set(id, { resolve: done(resolve), reject: done(reject) });
      this.#child.send({ id, method, args: plain });
    });
  }

  join(roomId, options) {
    return this.call('join', roomId, options);
  }

  /** Waits until exactly these people's tones are heard. */
  hears(...people) {
    return this.call('hears', ...people);
  }

  leave() {
    return this.call('leave');
  }

  /** Waits until so many others are there. */
  async others(n) {
    const until = Date.now() + 10_000;
    let here;

    do {
      here = await this.call('others');
      if (here.length === n) return here;
      await new Promise((again) => { setTimeout(again, 50); });
    } while (Date.now() < until);
    throw new Error(`${this.name} sees ${here}, not ${n} others`);
  }

  kill() {
    this.#child.kill('SIGKILL');
  }
}
