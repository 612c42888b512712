/**
 * Time as a variable: timers fire when a test advances the clock, never by themselves.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
export class VirtualClock {
  #now = 1_767_225_600_000;
  #timers = new Map();
  #n = 0;

  now() {
    return this.#now;
  }

  setTimeout(fn, ms = 0) {
    this.#timers.set(++this.#n, { at: this.#now + ms, fn });
    return this.#n;
  }

  clearTimeout(id) {
    this.#timers.delete(id);
  }

  /** Lets all promises that can go on go on. */
  async settle() {
    for (let i = 0; i < 3; i++) await new Promise((done) => { setImmediate(done); });
  }

  /** Moves time on by ms and fires what is due, in order. */
  async advance(ms) {
    const until = this.#now + ms;

    await this.settle();
    for (;;) {
      const due = [...this.#timers].filter(([, t]) => t.at <= until)
        .sort(([a, s], [b, t]) => s.at - t.at || a - b)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].fn();
      await this.settle();
    }
    this.#now = until;
  }

  /** Times (ms from now) at which something is due. */
  get due() {
    return [...this.#timers.values()].map((t) => t.at - this.#now).sort((a, b) => a - b);
  }
}
