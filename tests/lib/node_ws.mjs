/**
 * The WebSocket of a browser for Node.js 20, which has none: text frames of a client (RFC 6455).
 * For tests against our own server only.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';

export class NodeWebSocket {
  #socket = null;
  #buffer = Buffer.alloc(0);
  #text = [];
  #over = false;

  constructor(url, protocols) {
    const http = request(url.replace(/^ws/, 'http'), {
      headers: {
        connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13',
        'sec-websocket-key': randomBytes(16).toString('base64'), 'sec-websocket-protocol': protocols.join(', '),
      },
    });
    http.on('upgrade', (response, socket, head) => {
      this.#socket = socket;
      socket.setNoDelay(true);
      socket.on('data', (data) => this.#take(data));
      socket.on('close', () => this.#end(1006));
      socket.on('error', () => this.#end(1006));
      this.onopen?.({});
      if (head.length > 0) this.#take(head);
    });
    http.on('response', () => this.#end(1006));
    http.on('error', () => this.#end(1006));
    http.end();
  }

  send(text) {
    this.#frame(1, Buffer.from(text));
  }

  close(code = 1000) {
    if (this.#over) return;
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code === 1005 ? 1000 : code);
    this.#frame(8, payload);
    this.#socket?.end();
  }

  #end(code, reason = '') {
    if (this.#over) return;
    this.#over = true;
    this.#socket?.destroy();
    this.onclose?.({ code, reason });
  }

  #frame(opcode, payload) {
    if (!this.#socket || this.#over) return;
    const n = payload.length;
    const head = n < 126 ? Buffer.from([0x80 | opcode, 0x80 | n])
      : n < 65536 ? Buffer.from([0x80 | opcode, 0xfe, n >> 8, n & 255])
        : Buffer.from([0x80 | opcode, 0xff, 0, 0, 0, 0, n >>> 24, (n >> 16) & 255, (n >> 8) & 255, n & 255]);
    const mask = randomBytes(4);
    const masked = Buffer.from(payload);

    for (let i = 0; i < n; i++) masked[i] ^= mask[i & 3];
    this.#socket.write(Buffer.concat([head, mask, masked]));
  }

  #take(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    for (;;) {
      const b = this.#buffer;
      if (b.length < 2) return;
      let at = 2;
      let n = b[1] & 127;
      if (n === 126) {
        if (b.length < 4) return;
        n = b.readUInt16BE(2);
        at = 4;
      } else if (n === 127) {
        if (b.length < 10) return;
        n = Number(b.readBigUInt64BE(2));
        at = 10;
      }
      if (b.length < at + n) return;
      this.#buffer = b.subarray(at + n);
      this.#got(b[0] & 15, (b[0] & 0x80) !== 0, b.subarray(at, at + n));
    }
  }

  #got(opcode, last, payload) {
    if (opcode === 9) this.#frame(10, payload);
    else if (opcode === 8) this.#end(payload.length >= 2 ? payload.readUInt16BE(0) : 1005, payload.subarray(2).toString());
    else if (opcode === 1 || opcode === 0) {
      this.#text.push(payload);
      if (!last) return;
      const text = Buffer.concat(this.#text).toString();
      this.#text = [];
      this.onmessage?.({ data: text });
    }
  }
}
