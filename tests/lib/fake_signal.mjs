/**
 * The server's side of a scripted conversation: a WebSocket class to inject into sori.js, and for
 * each socket that the client opens the hands of a server: read(), say(), end(). No network.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';

/** Makes a WebSocket class and the list of the sockets that were made with it. */
export function fakeWebSocket() {
  const sockets = [];

  class FakeWebSocket {
    constructor(url, protocols) {
      this.url = url;
      this.protocols = protocols;
      this.closed = null;
      this.got = []; // what the client sent and read() has not taken
      sockets.push(this);
    }

    /* the client's side */
    send(text) {
      assert.equal(this.closed, null, 'the client sends on a socket that it closed');
      this.got.push(JSON.parse(text));
    }

    close(code = 1005) {
      this.closed ??= code;
    }

    /* the server's side */
    open() {
      this.onopen?.({});
    }

    say(msg) {
      this.onmessage?.({ data: typeof msg === 'string' ? msg : JSON.stringify(msg) });
    }

    end(code, reason = '') {
      this.closed ??= code;
      this.onclose?.({ code, reason });
    }

    /** The next message of the given type; others before it are thrown away, acks always. */
    read(type) {
      while (this.got.length > 0) {
        const msg = this.got.shift();
        if (msg.type === type) return msg;
      }
      return assert.fail(`the client did not send ${type}`);
    }

    sent(type) {
      return this.got.filter((msg) => msg.type === type);
    }
  }

  return { FakeWebSocket, sockets };
}

/** A Storage of one tab. */
export class FakeStorage {
  #map = new Map();

  getItem(key) {
    return this.#map.get(key) ?? null;
  }

  setItem(key, value) {
    this.#map.set(key, String(value));
  }

  removeItem(key) {
    this.#map.delete(key);
  }
}
