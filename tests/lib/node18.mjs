/**
 * What sori.js finds in browsers and in Node.js 20, and undici (of npm apns2) in Node.js 20, for the
 * Node.js 18 of Debian 12. To be imported first.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { File } from 'node:buffer';
import { webcrypto } from 'node:crypto';

globalThis.crypto ??= webcrypto;
globalThis.File ??= File;
globalThis.CustomEvent ??= class CustomEvent extends Event {
  constructor(type, init = {}) {
    super(type, init);
    this.detail = init.detail ?? null;
  }
};
