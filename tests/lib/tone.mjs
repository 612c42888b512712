/**
 * Tones: which frequency is in a signal, and how loud.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

/** Sine of hz from sample `at` on, as 16-bit samples. */
export function sine(hz, rate, at, n, level = 0.3) {
  return Int16Array.from({ length: n }, (_, i) => Math.round(level * 32767 * Math.sin((2 * Math.PI * hz * (at + i)) / rate)));
}

/** Power of the tone hz in samples (Goertzel's recurrence). */
function powerAt(samples, rate, hz) {
  const k = 2 * Math.cos((2 * Math.PI * hz) / rate);
  let [s1, s2] = [0, 0];

  for (const sample of samples) [s1, s2] = [sample + k * s1 - s2, s1];
  return s1 * s1 + s2 * s2 - k * s1 * s2;
}

/** Every n samples as one, under a Hann window. */
function prepared(samples, n) {
  const length = Math.floor(samples.length / n);

  return Float64Array.from({ length }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += samples[i * n + j];
    return sum * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / length));
  });
}

/** Frequency of the strongest tone between 200 and 3400 Hz, to 1 Hz; 0 for silence. */
export function strongest(samples, rate) {
  const power = samples.reduce((sum, s) => sum + s * s, 0) / samples.length;
  const n = Math.max(1, Math.floor(rate / 8000));
  const few = prepared(samples, n);
  let best = { hz: 0, p: 0 };
  const look = (from, to, step) => {
    for (let hz = from; hz <= to; hz += step) {
      const p = powerAt(few, rate / n, hz);
      if (p > best.p) best = { hz, p };
    }
  };

  if (power < 1000) return 0; // -60 dBFS
  look(200, 3400, rate / n / few.length);
  look(best.hz - 6, best.hz + 6, 1);
  return best.hz;
}

/** G.711 µ-law (ITU-T G.711, RFC 3551 §4.5.14). */
export function muLawEncode(samples) {
  return Uint8Array.from(samples, (sample) => {
    const sign = sample < 0 ? 0x80 : 0;
    const x = Math.min(Math.abs(sample), 32635) + 132;
    const exponent = 31 - Math.clz32(x) - 7;
    return ~(sign | (exponent << 4) | ((x >> (exponent + 3)) & 0x0f)) & 0xff;
  });
}

export function muLawDecode(bytes) {
  return Int16Array.from(bytes, (byte) => {
    const b = ~byte & 0xff;
    const x = ((((b & 0x0f) << 3) + 132) << ((b >> 4) & 7)) - 132;
    return b & 0x80 ? -x : x;
  });
}
