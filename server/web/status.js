/* The operator's status page: asks /status.json once a second and shows it.
 *
 * Sums since the start of the server come in; what is shown of the last minute is the difference of
 * two answers. A server that has restarted (its time goes back) begins a new history.
 * SPDX-License-Identifier: BSD-3-Clause */
const PERIOD_MS = 1000;
const HISTORY = 300; /* answers kept: five minutes */
const MINUTE = 60;
const GOOD_MOS = 3.5;
const STALE_MS = 5000;

const history = [];
let heardAt = 0;

const $ = (id) => document.getElementById(id);

function say(id, text, kind) {
  const at = $(id);
  at.textContent = text;
  if (kind !== undefined) at.className = at.className.replace(/ ?\b(good|bad|warn)\b/g, '') + (kind ? ` ${kind}` : '');
}

function count(n, one, many) {
  return `${n} ${n === 1 ? one : many}`;
}

function time(seconds) {
  const d = Math.floor(seconds / 86400), h = Math.floor(seconds / 3600) % 24, m = Math.floor(seconds / 60) % 60;
  return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min` : `${seconds} s`;
}

/* The answer of a minute ago, or the oldest there is. */
function before() {
  return history[Math.max(0, history.length - 1 - MINUTE)];
}

/* Judged reports and their mean MOS between two answers, of one path or all. */
function quality(from, to, paths) {
  let judged = 0, sum = 0;
  for (const p of paths) {
    judged += to.quality[p].judged - (from ? from.quality[p].judged : 0);
    sum += to.quality[p].mos_milli_sum - (from ? from.quality[p].mos_milli_sum : 0);
  }
  return { judged, mos: judged ? sum / judged / 1000 : null };
}

function mosText(mos) {
  return mos === null ? '–' : mos.toFixed(2);
}

function mosKind(mos) {
  return mos === null ? '' : mos < GOOD_MOS ? 'bad' : 'good';
}

function row(cells) {
  const tr = document.createElement('tr');
  for (const [text, kind] of cells) {
    const td = document.createElement('td');
    td.textContent = text;
    if (kind) td.className = kind;
    tr.append(td);
  }
  return tr;
}

function fill(id, rows) {
  $(id).tBodies[0].replaceChildren(...rows);
}

/* A line over the history; least and most are the values at its lower and upper edge. */
function draw(id, values, least, most) {
  const svg = $(id), ns = 'http://www.w3.org/2000/svg';
  const line = document.createElementNS(ns, 'polyline');
  const points = values.map((v, i) => (v === null ? null
    : `${300 - values.length + 1 + i},${38 - 36 * Math.min(1, Math.max(0, (v - least) / (most - least)))}`));
  line.setAttribute('points', points.filter((p) => p !== null).join(' '));
  svg.replaceChildren(line);
}

function showState(s) {
  if (s.draining) say('state', 'stopping: sends clients elsewhere', 'warn');
  else if (!s.ready) say('state', 'not ready', 'bad');
  else if (s.degraded) say('state', `ready, degraded: ${s.degraded}`, 'warn');
  else say('state', 'ready', 'good');
  say('node', s.node);
  say('about', `${s.version}, up ${time(s.seconds)}${s.region ? `, region ${s.region}` : ''}, log level ${s.log_level}`);
}

function showTiles(s, old) {
  const paths = Object.keys(s.quality), path = s.calls.path;
  const known = Object.entries(path).reduce((n, [p, v]) => n + (p === 'unknown' ? 0 : v), 0);
  const rings = s.calls.inviting + s.calls.ringing, minute = quality(old, s, paths);
  say('calls', s.calls.live);
  say('calls-more', `${rings} ringing, ${s.calls.live - rings} answered`);
  say('relayed', known ? `${Math.round(path.turn / known * 100)} %` : '–');
  say('relayed-more', known ? `${path.turn} of ${count(known, 'call', 'calls')} whose path is known` : 'no call has told its path');
  say('mos', mosText(minute.mos), mosKind(minute.mos));
  say('mos-more', `${count(minute.judged, 'report', 'reports')} judged`);
  say('connections', s.connections);
  say('connections-more', `${count(s.sessions, 'session', 'sessions')}, ${count(s.devices, 'device', 'devices')} to push`);
  say('rooms', s.rooms);
  say('rooms-more', count(s.participants, 'participant', 'participants'));
  draw('calls-line', history.map((h) => h.calls.live), 0, Math.max(1, ...history.map((h) => h.calls.live)));
  draw('mos-line', history.map((h, i) => quality(history[Math.max(0, i - MINUTE)], h, paths).mos), 1, 4.6);
}

function showTables(s, old) {
  $('nodes').hidden = s.nodes.length === 0;
  $('no-nodes').hidden = s.nodes.length > 0;
  fill('nodes', s.nodes.map((n) => row([[n.node], [n.region || '–'],
    n.up ? (n.draining ? ['draining', 'warn'] : ['up', 'good']) : ['not connected', 'bad'],
    [`${(n.load / 10).toFixed(0)} %`, n.load > 800 ? 'n bad' : 'n'], [n.rooms, 'n'], [n.participants, 'n']])));
  fill('quality', Object.keys(s.quality).map((p) => {
    const now = quality(old, s, [p]), all = quality(null, s, [p]);
    return row([[p], [s.calls.path[p] ?? '–', 'n'], [now.judged, 'n'],
      [mosText(now.mos), `n ${mosKind(now.mos)}`], [mosText(all.mos), `n ${mosKind(all.mos)}`]]);
  }));
  const bad = Object.entries(s.bad).map(([what, n]) => `${what} ${n - (old ? old.bad[what] : 0)}`);
  say('bad', `Beyond what is good, last minute: ${bad.join(', ')}; heard nothing for ${
    ((s.silence_ms - (old ? old.silence_ms : 0)) / 1000).toFixed(1)} s in all.`);
  fill('ended', Object.entries(s.ended).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1])
    .map(([why, n]) => row([[why], [n - (old ? old.ended[why] : 0), 'n'], [n, 'n']])));
}

function show(s) {
  if (history.length && s.seconds < history[history.length - 1].seconds) history.length = 0;
  history.push(s);
  if (history.length > HISTORY) history.shift();
  const old = history.length > 1 ? before() : s;
  showState(s);
  showTiles(s, old);
  showTables(s, old);
}

async function ask() {
  try {
    const answer = await fetch('status.json', { cache: 'no-store', signal: AbortSignal.timeout(STALE_MS) });
    if (answer.ok) {
      show(await answer.json());
      heardAt = performance.now();
    }
  } catch {
    /* said below when it lasts */
  }
  if (heardAt && performance.now() - heardAt > STALE_MS) say('state', 'no answer: what is shown is old', 'bad');
  setTimeout(ask, PERIOD_MS);
}

ask();
