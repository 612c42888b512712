/**
 * The signaling protocol by hand: a session of a client that is not our library.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { NodeWebSocket } from './node_ws.mjs';

export class RawSession {
  #ws;
  #n = 0;
  #asked = new Map();
  #welcomed;
  #over = null;

  /** on(msg): what answers no request. */
  constructor(on) {
    this.on = on;
  }

  async open(url, token, deviceId) {
    this.#ws = new NodeWebSocket(url, ['sori.v1']);
    this.#ws.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    this.#ws.onclose = ({ code, reason }) => {
      this.#over = new Error(`closed ${code} ${reason ?? ''}`);
      for (const { reject } of this.#asked.values()) reject(this.#over);
    };
    const welcomed = new Promise((done) => { this.#welcomed = done; });
    this.#ws.onopen = () => this.#ws.send(JSON.stringify({ type: 'hello', id: 'h', data: { token, deviceId, capabilities: ['rooms'] } }));
    return welcomed;
  }

  ask(type, fields = {}) {
    const id = `q${++this.#n}`;

    if (this.#over) return Promise.reject(this.#over);
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#ws.send(JSON.stringify({ type, id, ...fields }));
    });
  }

  close() {
    this.#ws.close();
  }

  #heard(msg) {
    if (msg.type === 'welcome') return this.#welcomed(msg.data);
    if (msg.seq) this.#ws.send(JSON.stringify({ type: 'ack', ack: msg.seq }));
    const asked = this.#asked.get(msg.re);
    this.#asked.delete(msg.re);
    if (!asked) return this.on(msg);
    if (msg.type === 'error') return asked.reject(Object.assign(new Error(msg.data.message), { code: msg.data.code }));
    return asked.resolve(msg.data);
  }
}
