/**
 * A room on the demonstration page: tiles, who speaks, who is there, chat, sharing, layers.
 *
 * Everything about rooms is in sori_room.js; here is only what a page does with it. app.js opens a
 * RoomPage and hears when it is over.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { $, icon, make, paintAvatar, save } from './page_parts.js';

const GRID_MAX = 9; // more tiles than these are shown as one speaker and a strip
const GAP = 10;
const RATIOS = { wide: [16 / 9, 4 / 3], narrow: [16 / 9, 4 / 3, 1, 3 / 4, 0.6] };
const SETTLE_MS = 250; // before layers follow the size of tiles
const LOW_PX = 200; // a picture shown smaller than that needs the lowest layer only
const MEDIUM_PX = 420;
const CHAT_MAX = 500;
const MAIN_HOLD_MS = 2_000; // how long the speaker stays in front at least

const STATE_WORDS = {
  joining: 'Joining…',
  connecting: 'Connecting…',
  active: 'Connected',
  reconnecting: 'Reconnecting…',
  closed: 'Left',
};

const CLOSED_WORDS = {
  kicked: 'You were put out of the room.',
  banned: 'You were put out of the room and may not come back.',
  closed: 'The room was closed.',
  replaced: 'You joined the room from another tab.',
  expired: 'The connection was gone for too long.',
  media_failed: 'No way was found for the sound. Try again, perhaps with another network.',
  sfu_unavailable: 'No media server is there at the moment.',
  connection_lost: 'The connection to the server was lost.',
  'room.forbidden': 'You may not enter this room.',
};

const ERROR_WORDS = {
  'room.forbidden': 'You may not enter this room.',
  'room.full': 'The room is full.',
  'room.too_many': 'You are in too many rooms.',
  'sfu.unavailable': 'No media server is there at the moment. Try again in a while.',
  unsupported_type: 'This server has no rooms.',
  offline: 'Not connected to the server.',
};

/** What to tell when joining failed. */
export function roomErrorWords(error) {
  if (error.name === 'NotAllowedError')
    return 'The browser did not give the microphone. Allow it for this page and try again.';
  if (error.name === 'NotFoundError') return 'No microphone or camera was found.';
  return ERROR_WORDS[error.code] ?? `That did not work: ${error.message}`;
}

const QUALITY_WORDS = ['', 'bad', 'poor', 'fair', 'good', 'very good'];

/** Four bars: how many are lit is the score, in words for who does not see them. */
function qualityBars(quality) {
  const score = Math.round(quality?.score ?? 0);
  const words = QUALITY_WORDS[score] ?? '';
  const mos = quality?.mos ? ` (MOS ${quality.mos.toFixed(1)})` : '';
  const title = score > 0 ? `Connection: ${words}${mos}` : 'Connection: not measured yet';
  const el = make('span', { className: 'bars', role: 'img', ariaLabel: title, title, data: { score: String(score) } });

  for (let i = 1; i <= 4; i++) el.append(make('i', { className: score > i ? 'lit' : '' }));
  return el;
}

/** The largest tiles of one of the ratios by which n of them fill a box. */
export function bestGrid(n, width, height, ratios = [16 / 9], gap = GAP) {
  let best = { columns: 1, width: 0, height: 0 };

  for (const ratio of ratios)
    for (let columns = 1; columns <= Math.max(1, n); columns++) {
      const rows = Math.ceil(n / columns);
      const w = Math.floor(Math.min((width - gap * (columns - 1)) / columns,
        ((height - gap * (rows - 1)) / rows) * ratio));
      const h = Math.floor(w / ratio);
      if (w * h > best.width * best.height) best = { columns, width: w, height: h };
    }
  return best;
}

/* ---- one tile ------------------------------------------------------------------------------- */

/** A participant's picture, or their screen. Kept over redraws, so that a video never restarts. */
class Tile {
  constructor(page, key) {
    this.page = page;
    this.key = key;
    this.choice = 'auto';
    this.asked = '';
    this.video = make('video', { autoplay: true, playsInline: true, muted: true });
    this.avatar = make('span', { className: 'avatar big', ariaHidden: 'true' });
    this.mic = make('span', { className: 'tile-mic', title: 'Muted' }, icon('mic-off'));
    this.label = make('span', { className: 'tile-label' });
    this.note = make('span', { className: 'tile-note' });
    this.bars = make('span');
    this.select = make('select', { className: 'tile-layer', title: 'Quality of this picture' },
      ...[['auto', 'Auto'], ['high', 'High'], ['medium', 'Medium'], ['low', 'Low'], ['off', 'Off']]
        .map(([value, text]) => make('option', { value, textContent: text })));
    this.select.addEventListener('change', () => {
      this.choice = this.select.value;
      this.ask();
      this.page.draw();
    });
    this.size = make('span', { className: 'tile-size' });
    this.el = make('li', { className: 'tile' }, this.video, this.avatar, this.note, this.size, this.select,
      make('div', { className: 'tile-name' }, this.mic, this.label, this.bars));
    this.el.addEventListener('dblclick', () => this.page.pin(this.key));
  }

  /** who: Participant; track: RemoteTrack or LocalTrack of the picture, or null. */
  draw({ who, track, mine, screen }) {
    const name = mine ? `${who.name || who.user} (you)` : who.name || who.user;
    const microphone = mine ? this.page.room.localTrack('microphone') : who.track('microphone');
    const on = Boolean(track?.stream) && !track.paused && this.choice !== 'off' && !track.muted;
    const words = !mine && track && track.paused && this.choice !== 'off'
      ? { bandwidth: 'Paused: slow network', source: 'Paused by the sender' }[track.reason] ?? ''
      : '';

    this.track = track;
    this.mine = mine;
    Object.assign(this.el.dataset, {
      testid: `tile-${who.user}${screen ? '-screen' : ''}`,
      video: on ? 'on' : 'off',
      speaking: String(!screen && who.speaking && !(microphone?.muted ?? true)),
      muted: String(!screen && (microphone?.muted ?? true)),
      mine: String(Boolean(mine)),
      screen: String(Boolean(screen)),
      state: who.state || 'connected',
      layer: String(track?.layer ?? ''),
      choice: this.choice,
    });
    this.el.setAttribute('aria-label', screen ? `Screen of ${name}` : name);
    this.label.textContent = screen ? `${name}: screen` : name;
    this.mic.hidden = this.el.dataset.muted !== 'true';
    this.note.textContent = who.state === 'reconnecting' ? 'Reconnecting…' : words;
    this.note.hidden = !this.note.textContent;
    if (this.painted !== who.user) paintAvatar(this.avatar, who.name || who.user);
    this.painted = who.user;
    const bars = screen ? make('span') : qualityBars(who.quality);
    this.bars.replaceWith(bars);
    this.bars = bars;
    this.select.hidden = mine || !track;
    this.select.dataset.testid = `layer-${who.user}${screen ? '-screen' : ''}`;
    this.select.setAttribute('aria-label', `Quality of the picture of ${name}`);
    const stream = on ? track.stream : null;
    if (this.video.srcObject !== stream) {
      this.video.srcObject = stream;
      if (stream) this.video.play().catch(() => {});
    }
    this.showSize();
  }

  showSize() {
    const { videoWidth: w, videoHeight: h } = this.video;
    this.size.textContent = this.el.dataset.video === 'on' && w > 0 && !this.mine ? `${Math.min(w, h)}p` : '';
  }

  /** Asks for what the viewer chose, or, on auto, for no more than the tile can show. */
  ask() {
    if (this.mine || !this.track?.setLayer) return;
    const pixels = this.el.clientHeight * (devicePixelRatio || 1);
    const fits = pixels <= LOW_PX ? 'low' : pixels <= MEDIUM_PX ? 'medium' : 'auto';
    const layer = this.choice === 'auto' ? fits : this.choice;
    const priority = this.el.classList.contains('main') ? 200 : 100;
    const wish = `${this.track.id} ${layer} ${priority}`;

    if (pixels === 0 || this.asked === wish) return;
    this.asked = wish;
    this.track.setLayer(layer, { priority });
  }
}

/* ---- the room -------------------------------------------------------------------------------- */

export class RoomPage {
  #timers = new Map();
  #tiles = new Map(); // key -> Tile
  #audio = new Map(); // mid -> <audio>
  #pinned = null;
  #layout = 'auto';
  #main = null;
  #mainSince = 0;
  #unread = 0;
  #busy = new Set(); // buttons whose step is still under way
  #off = new AbortController();

  /** over(words): called once when the room is no more. */
  constructor({ sori, roomId, over, call }) {
    this.sori = sori;
    this.roomId = roomId;
    this.over = over;
    this.call = call; // the call that moves here; its sound is still on
    this.room = null;
  }

  /** Joins and shows. options: as of Sori.joinRoom(). Throws what joinRoom() throws. */
  async join(options) {
    this.#show();
    try {
      this.attach(await this.sori.joinRoom(this.roomId, options));
    } catch (error) {
      this.#hide();
      throw error;
    }
  }

  /** Shows a room that we are in. */
  attach(room) {
    const on = (type, fn) => room.addEventListener(type, fn, { signal: this.#off.signal });

    this.room = room;
    this.#show();
    for (const type of ['state', 'participant', 'track', 'media', 'quality', 'layers', 'invite', 'speakers'])
      on(type, () => this.draw());
    on('participant', (e) => this.#tell(e));
    on('track', (e) => this.#trackTold(e));
    on('invite', (e) => this.#inviteTold(e));
    on('data', (e) => this.#dataCame(e));
    on('stats', (e) => this.#drawStats(e.stats));
    on('closed', (e) => this.#closed(e.reason));
    if (room.state === 'closed') this.#closed(room.end.reason);
    this.draw();
  }

  /** Plays a room, muted while the call that moves there lasts, so that its sound can begin at once. */
  listen(room) {
    this.room = room;
    room.addEventListener('media', () => this.#drawAudio(), { signal: this.#off.signal });
    room.addEventListener('closed', () => this.#dropAudio(), { signal: this.#off.signal });
    this.#drawAudio();
  }

  leave() {
    this.room?.leave();
    if (!this.room) this.#hide();
  }

  /** Puts a tile in front, or back. */
  pin(key) {
    this.#pinned = this.#pinned === key ? null : key;
    if (this.#pinned) this.#layout = 'speaker';
    this.draw();
  }

  /* -- in and out -- */

  #show() {
    if (!$('room').hidden) return;
    const click = (id, fn) => $(id).addEventListener('click', fn, { signal: this.#off.signal });
    const submit = (id, fn) => $(id).addEventListener('submit', (event) => {
      event.preventDefault();
      fn();
    }, { signal: this.#off.signal });

    document.body.classList.add('in-room');
    $('room').hidden = false;
    $('room-name').textContent = this.roomId;
    $('chat-log').replaceChildren();
    this.#side('none');
    click('room-mute', () => this.#toggleMicrophone());
    click('room-camera', () => this.#toggle('room-camera', () => this.room.setCamera(!this.room.localTrack('camera'))));
    click('room-screen', () => this.#toggle('room-screen', () => this.room.setScreen(!this.room.localTrack('screen'))));
    click('room-layout', () => {
      this.#pinned = null;
      this.#layout = $('room').dataset.layout === 'grid' ? 'speaker' : 'grid';
      this.draw();
    });
    click('room-people', () => this.#side('people'));
    click('room-chat', () => this.#side('chat'));
    click('side-close', () => this.#side('none'));
    click('tab-people', () => this.#side('people', true));
    click('tab-chat', () => this.#side('chat', true));
    for (const [from, to] of [['people', 'chat'], ['chat', 'people']])
      $(`tab-${from}`).addEventListener('keydown', (event) => {
        if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
        this.#side(to, true);
        $(`tab-${to}`).focus();
      }, { signal: this.#off.signal });
    click('room-leave', () => this.leave());
    click('room-link', () => this.#copyLink());
    click('empty-link', () => this.#copyLink());
    click('room-unblock', () => this.#play());
    submit('chat-form', () => this.#sendChat());
    submit('invite-form', () => this.#invite());
    $('room').addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !$('side').hidden) this.#side('none');
    }, { signal: this.#off.signal });
    this.resizes = new ResizeObserver(() => this.#place());
    this.resizes.observe($('room-stage'));
    this.draw();
  }

  #hide() {
    this.#off.abort();
    this.resizes?.disconnect();
    for (const id of this.#timers.values()) clearTimeout(id);
    this.#dropAudio();
    for (const tile of this.#tiles.values()) {
      tile.video.srcObject = null;
      tile.el.remove();
    }
    this.#tiles.clear();
    document.body.classList.remove('in-room');
    $('room').hidden = true;
    $('room').dataset.state = 'none';
  }

  #closed(reason) {
    this.#hide();
    this.over(reason === 'left' ? '' : CLOSED_WORDS[reason] ?? `The room is over (${reason}).`);
  }

  #later(name, ms, fn) {
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(fn, ms));
  }

  /* -- drawing -- */

  /** Everything; many events come together, so once a frame. */
  draw() {
    if (this.#timers.has('frame')) return;
    this.#timers.set('frame', setTimeout(() => {
      this.#timers.delete('frame');
      if ($('room').hidden) return;
      this.#drawBar();
      this.#drawTiles();
      this.#drawAudio();
      this.#drawPeople();
    }, 16));
  }

  #drawBar() {
    const room = this.room;
    const state = room?.state ?? 'joining';
    const alone = state !== 'joining' && (room?.participants.size ?? 0) === 0;

    $('room').dataset.state = state;
    $('room-status').textContent = this.call && this.call.state !== 'ended' ? 'Moving your call here…' : STATE_WORDS[state];
    $('room-status').dataset.state = { active: 'online', closed: 'stopped' }[state] ?? 'connecting';
    $('room-veil').hidden = state === 'active' || (state === 'connecting' && room.participants.size === 0);
    $('room-veil-text').textContent = STATE_WORDS[state];
    $('room-empty').hidden = !alone;
    const count = (room?.participants.size ?? 0) + 1;
    $('people-count').textContent = String(count);
    $('room-people').setAttribute('aria-label', `People, ${count} here`);
    const microphone = room?.localTrack('microphone');
    press('room-mute', room?.muted ?? true, microphone ? 'Unmute' : 'Microphone', 'Mute', 'mic-off', 'mic');
    press('room-camera', room?.localTrack('camera'), 'Stop', 'Camera', 'video', 'video-off');
    press('room-screen', room?.localTrack('screen'), 'Stop', 'Share', 'screen', 'screen');
    const publish = room?.permissions.publish ?? true;
    const may = (source) => publish === true || (Array.isArray(publish) && publish.includes(source));
    $('room-mute').disabled = !room || !may('microphone') || this.#busy.has('room-mute');
    $('room-camera').disabled = !room || !may('camera') || this.#busy.has('room-camera');
    $('room-screen').hidden = !navigator.mediaDevices?.getDisplayMedia;
    $('room-screen').disabled = !room || !may('screen') || this.#busy.has('room-screen');
  }

  /** What there is to show: everybody's picture, and screens. Ourselves last. */
  #wanted() {
    const room = this.room;
    const list = [];

    if (!room) return list;
    for (const who of room.participants.values()) {
      for (const track of who.tracks.values())
        if (track.kind === 'video' && track.source === 'screen')
          list.push({ key: `s${track.id}`, who, track, screen: true });
      const camera = [...who.tracks.values()].find((t) => t.kind === 'video' && t.source !== 'screen') ?? null;
      list.push({ key: `p${who.id}`, who, track: camera });
    }
    if (room.me) list.push({ key: 'me', who: room.me, track: room.localTrack('camera'), mine: true });
    return list;
  }

  #drawTiles() {
    const wanted = this.#wanted();
    const keys = new Set(wanted.map((w) => w.key));

    for (const [key, tile] of this.#tiles) {
      if (keys.has(key)) continue;
      tile.video.srcObject = null;
      tile.el.remove();
      this.#tiles.delete(key);
    }
    if (this.#pinned && !keys.has(this.#pinned)) this.#pinned = null;
    for (const w of wanted) {
      if (!this.#tiles.has(w.key)) {
        const tile = new Tile(this, w.key);
        this.#tiles.set(w.key, tile);
        $('tiles').append(tile.el);
      }
      this.#tiles.get(w.key).draw(w);
    }
    this.#chooseMain(wanted);
    this.#place();
  }

  /** Who is in front: the pinned one, a screen, who speaks, who is there. */
  #chooseMain(wanted) {
    const speaker = this.room?.dominant;
    const shown = wanted.find((w) => w.key === this.#main);
    const by = (test) => wanted.find(test)?.key;
    const screen = by((w) => w.screen);
    let main = this.#pinned ?? screen
      ?? (speaker && speaker !== this.room.me ? by((w) => w.who === speaker && !w.screen) : undefined);

    if (!main) main = shown && !shown.mine ? shown.key : by((w) => !w.mine) ?? 'me';
    if (main === this.#main) return;
    const soon = MAIN_HOLD_MS - (Date.now() - this.#mainSince);
    if (shown && soon > 0 && main !== this.#pinned && main !== screen) {
      this.#later('main', soon, () => this.draw());
      return;
    }
    this.#main = main;
    this.#mainSince = Date.now();
  }

  /** Sizes and order of the tiles. */
  #place() {
    const n = this.#tiles.size;
    const stage = $('room-stage');
    const hasScreen = [...this.#tiles.values()].some((tile) => tile.el.dataset.screen === 'true');
    const layout = this.#layout !== 'auto' ? this.#layout : hasScreen || n > GRID_MAX ? 'speaker' : 'grid';
    const style = $('tiles').style;

    if (n === 0) return;
    $('room').dataset.layout = n === 1 ? 'grid' : layout;
    $('room-layout').querySelector('span').textContent = layout === 'grid' ? 'Speaker' : 'Grid';
    $('room-layout').hidden = n < 2;
    const ratios = RATIOS[stage.clientWidth < stage.clientHeight ? 'narrow' : 'wide'];
    const grid = bestGrid(n, stage.clientWidth - 2 * GAP, stage.clientHeight - 2 * GAP, ratios);
    style.setProperty('--tile-width', `${grid.width}px`);
    style.setProperty('--tile-height', `${grid.height}px`);
    for (const [key, tile] of this.#tiles) tile.el.classList.toggle('main', layout === 'speaker' && key === this.#main && n > 1);
    this.#later('layers', SETTLE_MS, () => {
      for (const tile of this.#tiles.values()) {
        tile.ask();
        tile.showSize();
      }
    });
  }

  #dropAudio() {
    for (const audio of this.#audio.values()) audio.remove();
    this.#audio.clear();
  }

  #drawAudio() {
    const slots = this.room?.audioSlots ?? [];
    const mids = new Set(slots.map((slot) => slot.mid));

    for (const [mid, audio] of this.#audio)
      if (!mids.has(mid)) {
        audio.remove();
        this.#audio.delete(mid);
      }
    for (const { mid, stream } of slots) {
      if (!this.#audio.has(mid)) {
        const audio = make('audio', { autoplay: true, data: { mid } });
        $('room-audio').append(audio);
        this.#audio.set(mid, audio);
      }
      const audio = this.#audio.get(mid);
      audio.muted = Boolean(this.call && this.call.state !== 'ended'); // else everybody is heard twice
      if (audio.srcObject === stream) continue;
      audio.srcObject = stream;
      audio.play().catch((error) => { if (error.name === 'NotAllowedError') $('room-unblock').hidden = false; });
    }
  }

  /** A browser that wants a click before it plays sound has got it. */
  #play() {
    $('room-unblock').hidden = true;
    for (const audio of this.#audio.values()) audio.play().catch(() => {});
  }

  #drawStats(stats) {
    const n = (x, unit) => (x === null || x === undefined ? '–' : `${Math.round(x)} ${unit}`);
    const rate = (kbps) => (kbps >= 1000 ? `${(kbps / 1000).toFixed(1)} Mbit/s` : `${Math.round(kbps)} kbit/s`);

    $('room-stats').textContent = `${n(stats.rttMs, 'ms')} · ↓ ${rate(stats.in.kbps)} · ↑ ${rate(stats.out.kbps)}`
      + `${stats.path ? ` · ${stats.path.protocol} ${stats.path.local}` : ''}`;
    for (const tile of this.#tiles.values()) tile.showSize();
  }

  /* -- people -- */

  #drawPeople() {
    const room = this.room;
    const focused = document.activeElement?.dataset?.testid;

    if (!room?.me || $('side').dataset.tab !== 'people') return;
    const everybody = [room.me, ...room.participants.values()];
    $('room-list').replaceChildren(...everybody.map((who) => {
      const mine = who === room.me;
      const microphone = mine ? room.localTrack('microphone') : who.track('microphone');
      const name = who.name || who.user;
      const role = { admin: 'admin', viewer: 'listens' }[who.role] ?? '';
      const state = who.state === 'reconnecting' ? 'reconnecting' : who.state === 'connecting' ? 'connecting' : '';
      const button = (kind, label, testid, onclick) => make('button', {
        type: 'button', className: 'icon small', title: `${label} ${name}`, ariaLabel: `${label} ${name}`,
        onclick: () => onclick().catch((error) => this.#system(error.message)), data: { testid: `${testid}-${who.user}` },
      }, icon(kind));
      const admin = room.permissions.admin && !mine;
      return make('li', { data: { testid: `member-${who.user}`, speaking: String(who.speaking), state: who.state } },
        paintAvatar(make('span', { className: 'avatar', ariaHidden: 'true' }), name),
        make('span', { className: 'grow' }, make('strong', {}, mine ? `${name} (you)` : name),
          make('small', {}, [role, state].filter(Boolean).join(', '))),
        make('span', { className: 'mic-state', role: 'img', ariaLabel: microphone && !microphone.muted ? 'microphone on' : 'muted' },
          icon(microphone && !microphone.muted ? 'mic' : 'mic-off')),
        qualityBars(who.quality),
        ...(admin && microphone && !microphone.muted ? [button('mic-off', 'Mute', 'mute', () => room.muteTrack(microphone))] : []),
        ...(admin ? [button('remove', 'Put out', 'kick', () => room.kick(who))] : []));
    }), ...[...room.invites.values()].map((invite) => make('li', { className: 'invited', data: { testid: `invited-${invite.user}` } },
      paintAvatar(make('span', { className: 'avatar pulse', ariaHidden: 'true' }), invite.user),
      make('span', { className: 'grow' }, make('strong', {}, invite.user),
        make('small', {}, invite.state === 'ringing' ? 'ringing…' : invite.state === 'accepted' ? 'coming…' : 'looking for their devices…')),
      make('button', {
        type: 'button', className: 'link', onclick: () => room.cancelInvite(invite).catch(() => {}),
      }, 'cancel'))));
    if (focused) $('room-list').querySelector(`[data-testid="${focused}"]`)?.focus();
  }

  async #invite() {
    const user = $('invite-input').value.trim();

    $('invite-input').value = '';
    try {
      const failed = await this.room.invite([user]);
      const words = {
        'callee.unreachable': `${user} can't be reached.`, 'call.busy': `${user} is busy.`,
        'room.exists': `${user} is here already.`, forbidden: `${user} may not come in.`,
      };
      for (const { code } of failed) this.#toast(words[code] ?? `${user}: ${code}`);
    } catch (error) {
      this.#toast(error.message);
    }
  }

  #inviteTold({ user, state, reason }) {
    const words = { declined: 'declined', timeout: 'did not answer', busy: 'is busy', unreachable: "can't be reached" };
    if (state === 'ended' && reason !== 'cancelled') this.#toast(`${user} ${words[reason] ?? 'did not come'}.`);
  }

  async #copyLink() {
    const url = new URL(location.pathname, location.href);

    url.searchParams.set('room', this.roomId);
    try {
      await navigator.clipboard.writeText(url.href);
      this.#toast('Link copied.');
    } catch {
      this.#toast(url.href);
    }
  }

  #tell({ event, participant, reason }) {
    const name = participant.name || participant.user;

    if (event === 'joined') this.#system(`${name} is here.`);
    if (event !== 'left') return;
    this.#system({ kicked: `${name} was put out.`, banned: `${name} was put out.` }[reason] ?? `${name} left.`);
  }

  #trackTold({ event, participant, track, by }) {
    if (participant !== this.room.me) return;
    if (by && event === 'muted') this.#toast(`${by.name} muted you.`);
    if (event === 'unpublished' && track.source === 'screen') this.#toast('You stopped sharing.');
    save(sessionStorage, 'sori.page.room', { muted: this.room.muted, camera: Boolean(this.room.localTrack('camera')) });
  }

  #toast(text) {
    $('toast').textContent = text;
    $('toast').hidden = false;
    this.#later('toast', 4000, () => { $('toast').hidden = true; });
  }

  /* -- our own -- */

  async #toggle(id, step) {
    this.#busy.add(id);
    $(id).disabled = true;
    try {
      await step();
    } catch (error) {
      if (error.name !== 'NotAllowedError' || id !== 'room-screen') this.#toast(roomErrorWords(error));
    }
    this.#busy.delete(id);
    $(id).disabled = false;
    if (this.room) save(sessionStorage, 'sori.page.room', {
      muted: this.room.muted, camera: Boolean(this.room.localTrack('camera')),
    });
    this.draw();
  }

  #toggleMicrophone() {
    if (this.room.localTrack('microphone')) this.room.setMuted(!this.room.muted);
    else this.#toggle('room-mute', () => this.room.setMicrophone(true));
    this.draw();
  }

  /* -- chat -- */

  #side(tab, keep = false) {
    const open = tab !== 'none' && (keep || $('side').hidden || $('side').dataset.tab !== tab);

    $('side').hidden = !open;
    $('side').dataset.tab = open ? tab : 'none';
    $('room').classList.toggle('with-side', open);
    for (const name of ['people', 'chat']) {
      const here = open && tab === name;
      $(`panel-${name}`).hidden = !here;
      $(`tab-${name}`).setAttribute('aria-selected', String(here));
      $(`tab-${name}`).tabIndex = here ? 0 : -1;
      $(`room-${name}`).setAttribute('aria-expanded', String(here));
    }
    if (open && tab === 'chat') {
      this.#unread = 0;
      if (!keep) $('chat-input').focus();
      $('chat-log').scrollTop = $('chat-log').scrollHeight;
    }
    $('chat-count').hidden = this.#unread === 0;
    $('chat-count').textContent = String(this.#unread);
    this.draw();
  }

  #sendChat() {
    const text = $('chat-input').value.trim();

    if (!text) return;
    try {
      this.room.sendData({ text }, { topic: 'chat' });
    } catch (error) {
      this.#toast(error.message);
      return;
    }
    $('chat-input').value = '';
    this.#line(this.room.me, text, true);
  }

  #dataCame({ participant, topic, payload }) {
    if (topic !== 'chat' || typeof payload?.text !== 'string' || !participant) return;
    this.#line(participant, payload.text.slice(0, 4000), false);
    if ($('side').dataset.tab === 'chat') return;
    this.#unread++;
    $('chat-count').hidden = false;
    $('chat-count').textContent = String(this.#unread);
  }

  #line(who, text, mine) {
    const name = who.name || who.user;
    this.#log(make('li', { className: mine ? 'mine' : '', data: { testid: 'chat-line' } },
      make('small', {}, `${mine ? 'You' : name}, ${new Date().toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })}`),
      make('p', { textContent: text })));
  }

  #system(text) {
    this.#log(make('li', { className: 'system', textContent: text }));
  }

  #log(line) {
    const log = $('chat-log');
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 30;

    log.append(line);
    while (log.children.length > CHAT_MAX) log.firstChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }
}

function press(id, on, onWords, offWords, onIcon, offIcon) {
  $(id).setAttribute('aria-pressed', String(Boolean(on)));
  $(id).querySelector('span').textContent = on ? onWords : offWords;
  $(id).querySelector('use').setAttribute('href', `#i-${on ? onIcon : offIcon}`);
}
