/**
 * The demonstration page: pick a name, see who is there, call, watch how good the call is, and meet in
 * a room (room_page.js).
 *
 * Everything about calling is in sori.js; here is only what a page does with it. The token comes
 * from GET /dev/token, which exists in development mode only; an application asks its own backend.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { $, clock, icon, load, make, paintAvatar, save } from './page_parts.js';
import { QualityPage } from './quality_page.js';
import { RoomPage, roomErrorWords } from './room_page.js';
import { Sori, tabDeviceId } from './sori.js';

const NAMES = ['alice', 'bob', 'carol', 'dave'];
const HISTORY_MAX = 50;
const WOKEN_MS = 3000; // a page that a push has opened rings by then, or its call is over

const page = {
  name: null,
  deviceId: null,
  sori: null,
  call: null, // the one on the stage
  moving: null, // the call that moves to a room
  ringing: null, // the one in the dialog
  room: null, // RoomPage
  asked: null, // room of the link by which the page was opened
  woken: false, // by a push, for one call: nothing else is allowed
  presence: 'online',
  nodes: [], // pages of others
  people: [],
  history: [],
  last: null, // the call that was over last
  tick: 0,
};

/* ---- words ---------------------------------------------------------------------------------- */

const STATE_WORDS = {
  dialing: 'Calling…',
  inviting: 'Looking for their devices…',
  ringing: 'Ringing…',
  incoming: 'Calling you…',
  connecting: 'Connecting…',
  active: 'Connected',
  reconnecting: 'Connection lost, reconnecting…',
};

const TALKING = ['connecting', 'active', 'reconnecting'];

const PRESENCE_WORDS = { online: 'online', away: 'away', busy: 'busy', offline: 'offline',
  unknown: 'not known now' };

/** What to tell when a call is over; `out` for calls that we made. */
function endWords({ peer, direction, end }) {
  const out = direction === 'outgoing';
  const words = {
    hangup: `Call with ${peer} ended.`,
    cancelled: out ? 'Call cancelled.' : `Missed call from ${peer}.`,
    timeout: out ? `${peer} did not answer.` : `Missed call from ${peer}.`,
    unreachable: out ? `${peer} can't be reached: not online anywhere.` : `Missed call from ${peer}.`,
    declined: out ? `${peer} declined the call.` : 'Call declined.',
    busy: out ? `${peer} is busy in another call.` : `${peer} called while you were busy.`,
    answered_elsewhere: 'Answered on another of your devices.',
    declined_elsewhere: 'Declined on another of your devices.',
    busy_elsewhere: 'Another of your devices is in a call.',
    need_permission: `${peer} must allow calls from you first.`,
    forbidden: `You may not call ${peer}.`,
    superseded: `${peer} called again; this call was replaced.`,
    media_failed: 'No way was found for the sound. Try again, perhaps with another network.',
    connection_lost: `The connection to ${peer} was lost.`,
    max_duration: 'The call reached the longest allowed time.',
    admin: 'The call was ended by the operator.',
    server_error: 'The server could not place the call. Try again in a moment.',
    room_migrated: '',
  };
  return words[end.reason] ?? `Call ended (${end.reason}).`;
}

function mediaWords(error) {
  if (error.name === 'NotAllowedError')
    return 'The browser did not give the microphone. Allow it for this page and try again.';
  if (error.name === 'NotFoundError') return 'No microphone or camera was found.';
  if (error.code === 'offline') return 'Not connected to the server. The call was not placed.';
  return `That did not work: ${error.message}`;
}

function say(text, kind = '') {
  const el = $('message');
  el.textContent = text;
  el.className = `note ${kind}`;
  el.hidden = !text;
}

/** Two soft tones while it rings. Stays silent where the browser wants a click first. */
const ringer = {
  timer: 0,
  context: null,
  start() {
    this.stop();
    this.context ??= new AudioContext();
    this.context.resume().catch(() => {});
    const ring = () => {
      if (this.context.state !== 'running') return;
      for (const [hz, at] of [[660, 0], [880, 0.22]]) {
        const tone = new OscillatorNode(this.context, { frequency: hz });
        const gain = new GainNode(this.context, { gain: 0 });
        const t = this.context.currentTime + at;
        gain.gain.setValueAtTime(0, t);
        gain.gain.linearRampToValueAtTime(0.08, t + 0.03);
        gain.gain.linearRampToValueAtTime(0, t + 0.4);
        tone.connect(gain).connect(this.context.destination);
        tone.start(t);
        tone.stop(t + 0.45);
      }
    };
    ring();
    this.timer = setInterval(ring, 2000);
  },
  stop() {
    clearInterval(this.timer);
  },
};

/* ---- who am I ---------------------------------------------------------------------------------- */

function showWelcome() {
  $('welcome-title').textContent = page.asked ? `Join “${page.asked}” as…` : 'Who is in this tab?';
  if (page.asked) $('welcome-lead').textContent = 'Pick a name, or take your own. The others in the room see it.';
  $('name-submit').textContent = page.asked ? 'Join' : 'Go online';
  $('welcome').hidden = false;
  $('desk').hidden = true;
  $('picks').replaceChildren(...NAMES.map((name) => make('button', {
    type: 'button', className: 'pick', data: { testid: `pick-${name}` }, onclick: () => enter(name),
  }, paintAvatar(make('span', { className: 'avatar' }), name), name)));
  $('name-input').focus();
}

/** The link to a second tab, at another node where there is one. */
function showSecond() {
  const other = NAMES.find((n) => n !== page.name);
  const [node] = page.nodes;
  $('second').textContent = `Open a second tab as ${other}${node ? ` at ${new URL(node).host}` : ''}`;
  $('second').href = `${node ?? ''}?name=${other}`;
}

/** In development mode a node may know the pages of others. */
async function showNodes() {
  const reply = await fetch('/dev/pages');
  if (!reply.ok) return;
  page.nodes = (await reply.json()).pages;
  $('nodes').hidden = page.nodes.length === 0;
  $('node-links').replaceChildren(...page.nodes.flatMap((href, i) => [
    i ? ', ' : '', make('a', { href, target: '_blank', rel: 'noopener' }, href)]));
  showSecond();
}

async function getToken({ deviceId }) {
  const query = new URLSearchParams({ user: page.name, device: deviceId });
  const reply = await fetch(`/dev/token?${query}`);
  if (!reply.ok) throw new Error(`the server gives no token here (${reply.status})`);
  return (await reply.json()).token;
}

/** What a push says of itself in ?call=…&k=…: who is called, and with which token to come. */
function readPush(query) {
  try {
    const k = query.get('k');
    const body = k.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const { sub, dev, callId } = JSON.parse(atob(body));
    return callId === query.get('call') ? { name: sub, deviceId: dev, k } : null;
  } catch {
    return null;
  }
}

/** The page takes part in the one call of a push. The token in its address is a secret: it goes. */
function enterWoken({ name, deviceId, k }) {
  let first = k;
  history.replaceState(null, '', location.pathname);
  page.woken = true;
  page.deviceId = deviceId;
  const token = (about) => {
    const mine = first ?? getToken(about); // later: one of our own, for a whole session
    first = null;
    return mine;
  };
  enter(name, token);
  setTimeout(() => {
    if (!page.ringing && !page.call) say('This call is over.');
  }, WOKEN_MS);
}

async function enter(name, token = getToken) {
  page.name = name;
  if (!page.woken) save(sessionStorage, 'sori.page.name', name);
  page.people = [...new Set([...NAMES, ...load(localStorage, 'sori.page.people', [])])];
  page.history = load(localStorage, `sori.page.history.${name}`, []);
  document.title = `${name} · Sori 소리`;
  $('welcome').hidden = true;
  $('desk').hidden = false;
  $('me').textContent = name;
  showSecond();
  say('');
  showPeople();
  showHistory();
  showCall();
  page.deviceId ??= await tabDeviceId();
  const url = new URL('/ws', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const sori = new Sori({ url: url.href, token, deviceId: page.deviceId });
  page.sori = globalThis.sori = sori;
  sori.relayOnly = $('relay-only').checked;
  sori.addEventListener('state', showConnection);
  sori.addEventListener('presence', showPeople);
  sori.addEventListener('incoming', (event) => ring(event.call));
  sori.addEventListener('call', (event) => {
    say('Picking up your call after the reload…');
    show(event.call);
  });
  sori.addEventListener('state', joinAsked);
  if (!page.woken)
    sori.subscribe(others()).catch((error) => say(`Presence: ${error.message}`, 'warn'));
  sori.connect().catch(() => {}); // showConnection() tells
}

function leave() {
  page.room?.leave();
  page.ringing?.reject({ scope: 'device' });
  page.call?.hangup?.();
  page.sori?.close();
  page.name = page.call = page.sori = null;
  page.presence = 'online';
  sessionStorage.removeItem('sori.page.name');
  say('');
  showConnection({ state: 'idle' });
  showWelcome();
}

function showConnection({ state, retryInMs, code, error }) {
  const words = {
    idle: 'Not connected',
    connecting: 'Connecting…',
    online: 'Online',
    waiting: retryInMs > 1500 ? `Offline, again in ${Math.round(retryInMs / 1000)} s` : 'Reconnecting…',
    stopped: code === 4409 ? 'Taken over by another tab' : 'Disconnected',
  };
  const badge = $('conn');
  badge.textContent = words[state];
  badge.dataset.state = state;
  if (state === 'waiting' && error) say(error.message, 'warn offline');
  if (state === 'online' && $('message').classList.contains('offline')) say('');
  if (state === 'stopped' && code !== 1000)
    say('The server ended this session. Reload the page to connect again.', 'warn');
  showPeople();
}

/* ---- people ------------------------------------------------------------------------------------- */

const others = () => page.people.filter((name) => name !== page.name);

function showPeople() {
  const online = page.sori?.state === 'online';
  const focused = document.activeElement?.dataset.testid;
  $('people').replaceChildren(...others().map((name) => {
    const presence = page.sori?.presence.get(name) ?? 'offline';
    const button = (kind, label, video) => make('button', {
      type: 'button',
      className: 'icon',
      title: `${label} ${name}`,
      ariaLabel: `${label} ${name}`,
      disabled: !online || page.call !== null,
      onclick: () => dial(name, video),
      data: { testid: `${video ? 'video' : 'call'}-${name}` },
    }, icon(kind));
    return make('li', { data: { testid: `person-${name}`, presence } },
      paintAvatar(make('span', { className: 'avatar', ariaHidden: 'true' }), name),
      make('span', { className: 'grow' }, make('strong', {}, name),
        make('small', { className: 'presence' }, PRESENCE_WORDS[presence] ?? presence)),
      button('phone', 'Call', false), button('video', 'Video call', true));
  }));
  if (focused) $('people').querySelector(`[data-testid="${focused}"]`)?.focus();
}

function addPerson(name) {
  if (page.people.includes(name)) return;
  page.people.push(name);
  save(localStorage, 'sori.page.people', page.people.filter((n) => !NAMES.includes(n)));
  page.sori.subscribe([name]).catch((error) => say(`Presence: ${error.message}`, 'warn'));
  showPeople();
}

/* ---- calls --------------------------------------------------------------------------------------- */

async function dial(name, video) {
  if (page.call) return;
  say('');
  page.call = { placeholder: true, peer: name, state: 'dialing' }; // until the microphone is there
  showCall();
  showPeople();
  try {
    const call = await page.sori.call(name, { video });
    page.call = null;
    if (call.state === 'ended') ended(call);
    else show(call);
  } catch (error) {
    page.call = null;
    say(mediaWords(error), 'warn');
    showCall();
    showPeople();
  }
}

function ring(call) {
  if (page.room && !call.room) {
    call.reject({ reason: 'busy', scope: 'device' });
    return;
  }
  if (page.ringing) page.ringing.reject({ reason: 'busy', scope: 'device' });
  page.ringing = call;
  paintAvatar($('incoming-avatar'), call.peer);
  $('incoming-from').textContent = call.peerName;
  $('incoming-kind').textContent = call.room ? invitationWords(call.room) : call.video ? 'Video call…' : 'Voice call…';
  $('accept-video').hidden = !call.video;
  $('accept').querySelector('span').textContent = call.room ? 'Join' : call.video ? 'Voice only' : 'Accept';
  if (!$('incoming').open) $('incoming').showModal();
  $('accept').focus();
  ringer.start();
  call.addEventListener('ended', () => {
    if (page.ringing !== call) return; // it was taken; show() follows it
    stopRinging();
    if (call.end.reason !== 'glare') ended(call);
  });
}

function invitationWords({ roomId, participants = [], count = 0 }) {
  const names = participants.map((p) => p.name || p.user).slice(0, 3).join(', ');
  const more = count > 3 ? ` and ${count - 3} more` : '';
  return `invites you into “${roomId}”${names ? `: ${names}${more}` : ''}`;
}

function stopRinging() {
  page.ringing = null;
  ringer.stop();
  $('incoming').close();
}

async function accept(video) {
  const call = page.ringing;
  if (call.room) {
    acceptInvitation(call, video);
    return;
  }
  const taken = () => {
    if (call.state !== 'connecting') return;
    call.removeEventListener('state', taken);
    stopRinging();
    show(call);
  };

  ringer.stop();
  for (const id of ['accept', 'accept-video']) $(id).disabled = true;
  call.addEventListener('state', taken);
  try {
    await call.accept({ video });
  } catch (error) {
    call.removeEventListener('state', taken);
    if (call.state === 'incoming') {
      ringer.start();
      say(mediaWords(error), 'warn');
    }
  }
  for (const id of ['accept', 'accept-video']) $(id).disabled = false;
}

async function acceptInvitation(call, video) {
  stopRinging();
  try {
    await call.accept();
    page.call?.hangup?.();
    page.room?.leave();
    await enterRoom(call.room.roomId, { video });
  } catch (error) {
    say(mediaWords(error), 'warn');
  }
}

/* ---- rooms --------------------------------------------------------------------------------------- */

function newRoomPage(roomId, call = null) {
  const roomPage = new RoomPage({
    sori: page.sori,
    roomId,
    call,
    over: (words) => {
      if (page.room !== roomPage) return;
      page.room = null;
      history.replaceState(null, '', location.pathname);
      say(words, words ? 'warn' : '');
      showBusy();
    },
  });
  return roomPage;
}

async function enterRoom(roomId, options) {
  if (page.room) return;
  const roomPage = newRoomPage(roomId);
  page.room = roomPage;
  say('');
  history.replaceState(null, '', `?room=${encodeURIComponent(roomId)}`);
  try {
    await roomPage.join(options);
  } catch (error) {
    page.room = null;
    history.replaceState(null, '', location.pathname);
    say(roomErrorWords(error), 'warn');
  }
  showBusy();
}

/** The page was opened by a link to a room, or reloaded in one. */
function joinAsked({ state }) {
  if (state !== 'online' || !page.asked) return;
  const roomId = page.asked;
  const before = load(sessionStorage, 'sori.page.room', { muted: false, camera: false });

  page.asked = null;
  enterRoom(roomId, { video: before.camera, muted: before.muted });
}

/** The call on the stage moves to a room: shown when the media is there. */
async function upgrade() {
  const call = page.call;

  if (page.moving === call) return; // both sides asked
  page.moving = call;
  $('upgrade').disabled = true;
  try {
    const room = await call.upgrade();
    const roomPage = newRoomPage(room.id, call);
    const shown = () => {
      page.room = roomPage;
      history.replaceState(null, '', `?room=${encodeURIComponent(room.id)}`);
      roomPage.attach(room);
    };
    roomPage.listen(room);
    if (call.state === 'ended') shown();
    else call.addEventListener('ended', () => { if (call.end.reason === 'room_migrated') shown(); else room.leave(); });
  } catch (error) {
    page.moving = null;
    if (call.state !== 'ended') say(roomErrorWords(error), 'warn');
  }
  showCall();
}

/** Puts a call on the stage and follows it until it ends. */
function show(call) {
  if (page.call && page.call !== call && !page.call.placeholder) page.call.hangup();
  page.call = call;
  quality.clear();
  call.addEventListener('state', showCall);
  call.addEventListener('state', showBusy);
  call.addEventListener('media', showMedia);
  call.addEventListener('info', showCall);
  call.addEventListener('upgrade', upgrade);
  call.addEventListener('stats', showStats);
  call.addEventListener('quality', ({ judged }) => { if (call === page.call) quality.judged(judged); });
  call.addEventListener('ended', () => ended(call));
  clearInterval(page.tick);
  page.tick = setInterval(showTimer, 500);
  showBusy();
  showMedia();
  showCall();
  showPeople();
  if (call.state === 'ended') ended(call);
}

/** Others see in their list that we are talking. */
function showBusy() {
  const presence = page.room || TALKING.includes(page.call?.state) ? 'busy' : 'online';
  if (presence === page.presence || page.woken) return;
  page.presence = presence;
  page.sori?.setPresence(presence).catch(() => {}); // the next change tells it
}

function ended(call) {
  if (page.call === call) {
    page.call = null;
    quality.end();
    clearInterval(page.tick);
  }
  showBusy();
  if (call.room) {
    if (call.end.missed) say(`${call.peerName} wanted you in the room “${call.room.roomId}”.`, 'warn');
    return;
  }
  remember(call);
  showSummary(call);
  say(endWords(call), call.end.missed ? 'warn' : '');
  showMedia();
  showCall();
  showPeople();
}

function showCall() {
  const call = page.call;
  const talking = TALKING.includes(call?.state);
  $('panel').dataset.state = call?.state ?? 'none';
  $('peer').textContent = call ? call.peerName ?? call.peer : 'No call';
  $('status').textContent = call ? statusWords(call) : 'Call somebody from the list.';
  paintAvatar($('avatar'), call?.peer ?? '');
  $('avatar').classList.toggle('pulse', ['dialing', 'inviting', 'ringing'].includes(call?.state));
  $('controls').hidden = !call || call.placeholder === true;
  $('hangup-label').textContent = talking ? 'Hang up' : 'Cancel';
  for (const id of ['hold', 'camera', 'upgrade']) $(id).disabled = !talking;
  press('mute', call?.muted, 'Mute', 'Unmute');
  press('hold', call?.onHold, 'Hold', 'Resume');
  press('camera', call?.cameraOn, 'Camera', 'Camera off');
  $('quality').hidden = !talking;
  const flags = [];
  if (call?.remote?.onHold) flags.push('has put you on hold');
  else if (call?.remote?.audioMuted) flags.push('is muted');
  $('remote-info').textContent = flags.join(', ');
  $('remote-info').hidden = flags.length === 0;
  showTimer();
}

function statusWords(call) {
  if (call.state === 'active' && call.onHold) return 'On hold';
  return STATE_WORDS[call.state];
}

function press(id, on, off, label) {
  $(id).setAttribute('aria-pressed', String(Boolean(on)));
  $(id).querySelector('span').textContent = on ? label : off;
}

function showTimer() {
  const since = page.call?.startedAt;
  $('timer').hidden = !since;
  if (since) $('timer').textContent = clock(Date.now() - since);
}

function showMedia() {
  const call = page.call;
  const attach = (el, stream) => {
    if (el.srcObject !== stream) el.srcObject = stream;
    if (stream) el.play().catch(() => {}); // without a click after a reload some browsers wait
  };
  attach($('remote-audio'), call?.remoteStream ?? null);
  attach($('remote-video'), call?.remoteVideoOn ? call.remoteStream : null);
  attach($('local-video'), call?.cameraOn ? call.localStream : null);
  $('stage').dataset.video = call?.remoteVideoOn ? 'on' : 'off';
  $('local-video').hidden = !call?.cameraOn;
  if (call) showCall();
}

/* ---- quality ---------------------------------------------------------------------------------------- */

const RECORD_TRIES = [0, 300, 1000, 2500]; // ms: the record is written when the disk can
const quality = new QualityPage();

function showStats({ stats, call }) {
  if (call === page.call) quality.show(stats, call.muted);
}

/** How the call was, by the server's record; a server that keeps none has answered the last report. */
async function showSummary(call) {
  const mine = () => page.call === null && page.last === call;

  page.last = call;
  if (!call.startedAt) return;
  for (const ms of RECORD_TRIES) {
    await new Promise((done) => { setTimeout(done, ms); });
    const calls = await page.sori?.history({ limit: 5 }).catch(() => []) ?? [];
    const kept = calls.find((entry) => entry.callId === call.id)?.quality ?? null;
    if (!mine()) return;
    if (kept) {
      quality.summary(call.peerName ?? call.peer, kept);
      return;
    }
  }
  if (call.judged) quality.summary(call.peerName ?? call.peer, call.judged);
}

/* ---- history ------------------------------------------------------------------------------------------ */

function remember(call) {
  page.history.unshift({
    id: call.id,
    peer: call.peer,
    direction: call.direction,
    video: call.video,
    at: Date.now(),
    reason: call.end.reason,
    missed: call.end.missed,
    durationMs: call.end.durationMs,
  });
  page.history.splice(HISTORY_MAX);
  save(localStorage, `sori.page.history.${page.name}`, page.history);
  showHistory();
}

const REASON_WORDS = {
  cancelled: 'cancelled', timeout: 'no answer', unreachable: 'unreachable', declined: 'declined',
  busy: 'busy', answered_elsewhere: 'answered on another device', media_failed: 'failed',
  declined_elsewhere: 'declined on another device', connection_lost: 'connection lost',
};

function showHistory() {
  const missed = page.history.filter((entry) => entry.missed).length;
  $('missed').textContent = `${missed} missed`;
  $('missed').hidden = missed === 0;
  $('clear').hidden = page.history.length === 0;
  $('no-history').hidden = page.history.length > 0;
  $('history').replaceChildren(...page.history.map((entry) => {
    const incoming = entry.direction === 'incoming';
    const what = entry.missed ? 'missed'
      : entry.durationMs > 0 ? clock(entry.durationMs) : REASON_WORDS[entry.reason] ?? entry.reason;
    const at = new Date(entry.at);
    return make('li', {
      className: entry.missed ? 'missed' : '',
      data: { testid: 'history-item', reason: entry.reason, missed: String(entry.missed === true) },
    },
    make('span', {
      className: 'arrow', role: 'img', ariaLabel: incoming ? 'incoming' : 'outgoing',
    }, incoming ? '↙' : '↗'),
    make('span', { className: 'grow' }, make('strong', {}, entry.peer),
      make('small', {}, `${entry.video ? 'video, ' : ''}${what}`)),
    make('time', { dateTime: at.toISOString() },
      at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })));
  }));
}

/* ---- wiring -------------------------------------------------------------------------------------------- */

$('name-form').addEventListener('submit', (event) => {
  event.preventDefault();
  enter($('name-input').value.trim());
});
$('add-form').addEventListener('submit', (event) => {
  event.preventDefault();
  addPerson($('add-input').value.trim());
  $('add-input').value = '';
});
$('room-form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (!page.call) enterRoom($('room-input').value.trim(), { video: $('room-video').checked });
});
$('upgrade').addEventListener('click', upgrade);
$('relay-only').addEventListener('change', () => {
  save(sessionStorage, 'sori.page.relay', $('relay-only').checked);
  if (page.sori) page.sori.relayOnly = $('relay-only').checked;
});
$('change').addEventListener('click', leave);
$('clear').addEventListener('click', () => {
  page.history = [];
  save(localStorage, `sori.page.history.${page.name}`, []);
  showHistory();
});
$('accept').addEventListener('click', () => accept(false));
$('accept-video').addEventListener('click', () => accept(true));
$('reject').addEventListener('click', () => page.ringing?.reject());
$('incoming').addEventListener('cancel', (event) => event.preventDefault()); // Esc is no answer
$('mute').addEventListener('click', () => page.call.setMuted(!page.call.muted));
$('hold').addEventListener('click', () => page.call.setHold(!page.call.onHold));
$('hangup').addEventListener('click', () => page.call.hangup());
$('camera').addEventListener('click', async () => {
  $('camera').disabled = true;
  try {
    await page.call.setCamera(!page.call.cameraOn);
  } catch (error) {
    say(mediaWords(error), 'warn');
  }
  showCall();
});

$('insecure').hidden = isSecureContext;
$('relay-only').checked = load(sessionStorage, 'sori.page.relay', false);
const query = new URLSearchParams(location.search);
page.asked = query.get('room');
if (query.has('name')) history.replaceState(null, '', page.asked ? `?room=${encodeURIComponent(page.asked)}` : location.pathname);
const name = load(sessionStorage, 'sori.page.name', null) ?? query.get('name');
const push = query.has('k') ? readPush(query) : null;
if (!push) showNodes().catch(() => {}); // an address to offer, nothing more
if (push) enterWoken(push);
else if (name) enter(name);
else showWelcome();
