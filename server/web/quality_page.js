/**
 * The page's view of how a call sounds: figures of this second, a badge of what the server makes of it,
 * lines of the last minute, and what is left of a call that is over.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { $, make } from './page_parts.js';

const SECONDS = 60;
const RTT_TOP_MS = 200; // the plots' tops, at least
const LOSS_TOP_PCT = 5;
const PATH_WORDS = { p2p: 'direct', turn: 'over the relay', sfu: 'over the media server', unknown: '' };
const WORST_WORDS = { loss: 'lost packets', delay: 'delay', codec: 'a low bit rate' };

export const moodOf = (mos) => (mos >= 4 ? 'good' : mos >= 3.1 ? 'fair' : 'poor');

const number = (x, digits, unit) => (x === null || x === undefined ? '–' : `${x.toFixed(digits)} ${unit}`);

/** A line of the last minute, the newest at the right; a gap where there is no value. */
function drawLine(canvas, values, { low = 0, top, marks, label }) {
  const ratio = devicePixelRatio || 1;
  const w = canvas.clientWidth;
  const h = canvas.clientHeight;
  const css = getComputedStyle(canvas);
  const g = canvas.getContext('2d');
  const high = Math.max(top, ...values.map((v) => v ?? 0));
  const x = (i) => w - 3 - (values.length - 1 - i) * ((w - 6) / (SECONDS - 1));
  const y = (v) => h - 4 - ((v - low) / (high - low)) * (h - 8);

  canvas.width = w * ratio;
  canvas.height = h * ratio;
  g.scale(ratio, ratio);
  g.strokeStyle = css.getPropertyValue('--line');
  g.setLineDash([2, 4]);
  for (const mark of marks) {
    g.beginPath();
    g.moveTo(0, y(mark));
    g.lineTo(w, y(mark));
    g.stroke();
  }
  g.setLineDash([]);
  g.strokeStyle = g.fillStyle = css.getPropertyValue('--accent');
  g.lineWidth = 2;
  g.lineJoin = 'round';
  g.beginPath();
  values.forEach((v, i) => {
    if (v === null) return;
    if (i === 0 || values[i - 1] === null) g.moveTo(x(i), y(v));
    else g.lineTo(x(i), y(v));
  });
  g.stroke();
  const last = values.at(-1);
  if (last !== null) {
    g.beginPath();
    g.arc(x(values.length - 1), y(last), 3, 0, 2 * Math.PI);
    g.fill();
  }
  canvas.setAttribute('aria-label', last === null ? `${label} of the last minute`
    : `${label} of the last minute, now ${last.toFixed(2)}`);
}

export class QualityPage {
  #lines = { mos: [], rtt: [], loss: [] };

  /** A call begins. */
  clear() {
    this.#lines = { mos: [], rtt: [], loss: [] };
    $('q-badge').hidden = true;
    $('summary').hidden = true;
  }

  /** A second of a call. */
  show(stats, muted) {
    $('q-path').textContent = stats.path?.type ?? '–';
    $('q-path').dataset.type = stats.path?.type ?? '';
    $('q-path-more').textContent = stats.path
      ? `${stats.path.local} ↔ ${stats.path.remote}, ${stats.path.protocol}` : '';
    $('q-rtt').textContent = number(stats.rttMs, stats.rttMs < 10 ? 1 : 0, 'ms');
    $('q-loss').textContent = number(stats.lossPct, 1, '%');
    $('q-loss-total').textContent = stats.lossTotalPct === null ? '' : `${stats.lossTotalPct.toFixed(2)} % in all`;
    $('q-jitter').textContent = number(stats.jitterMs, 1, 'ms');
    $('q-rate').textContent = `${Math.round(stats.in.kbps)} / ${Math.round(stats.out.kbps)}`;
    const word = stats.mos === null ? '' : moodOf(stats.mos);
    $('q-mos').textContent = stats.mos === null ? '–' : stats.mos.toFixed(2);
    $('q-word').textContent = word;
    $('q-word').dataset.word = word;
    $('level-in').value = Math.sqrt(stats.in.level ?? 0);
    $('level-out').value = muted ? 0 : Math.sqrt(stats.out.level ?? 0);
    for (const [line, value] of [['mos', stats.mos], ['rtt', stats.rttMs], ['loss', stats.lossPct]]) {
      this.#lines[line].push(value ?? null);
      this.#lines[line].splice(0, this.#lines[line].length - SECONDS);
    }
    drawLine($('spark'), this.#lines.mos, { low: 1, top: 4.5, marks: [2, 3, 4], label: 'MOS' });
    drawLine($('spark-rtt'), this.#lines.rtt, { top: RTT_TOP_MS, marks: [100, 200], label: 'Round trip in ms' });
    drawLine($('spark-loss'), this.#lines.loss, { top: LOSS_TOP_PCT, marks: [2.5, 5], label: 'Loss in percent' });
  }

  /** What the server makes of the last ten seconds. */
  judged({ mos }) {
    const badge = $('q-badge');
    const mood = mos === undefined ? 'silent' : moodOf(mos);

    badge.hidden = false;
    badge.dataset.word = mood;
    badge.textContent = mos === undefined ? 'nothing is heard' : `${mood}, ${mos.toFixed(1)}`;
    badge.title = mos === undefined ? 'Nothing arrived in the last seconds'
      : `MOS of the last seconds as the server estimates it: ${mos.toFixed(2)}`;
  }

  /** The call is over. */
  end() {
    $('q-badge').hidden = true;
  }

  /** What is kept of a call that is over: the record's own words. */
  summary(peer, quality) {
    const figures = quality.samples > 0 ? [
      ['Mean', quality.mosAvg.toFixed(2), moodOf(quality.mosAvg)],
      ['p10', quality.mosP10.toFixed(2), moodOf(quality.mosP10)],
      ['Lowest', quality.mosMin.toFixed(2), moodOf(quality.mosMin)],
      ['Loss', `${(quality.lossPermille / 10).toFixed(1)} %`],
      ['Round trip', `${quality.rttMs} ms`],
    ] : [];
    const words = [PATH_WORDS[quality.path],
      quality.samples > 0 && quality.mosMin < 3.5 && quality.worst ? `at its worst because of ${WORST_WORDS[quality.worst]}` : '',
      quality.silenceMs >= 1000 ? `${Math.round(quality.silenceMs / 1000)} s of silence` : ''];

    $('summary-title').textContent = `How the call with ${peer} sounded`;
    $('summary-figures').replaceChildren(...figures.map(([name, value, mood = '']) => make('div', {},
      make('dt', {}, name), make('dd', { className: 'word', data: { word: mood } }, value))));
    $('summary-words').textContent = words.filter(Boolean).join(', ');
    $('summary').hidden = false;
  }
}
