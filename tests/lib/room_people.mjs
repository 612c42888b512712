/**
 * People in a room on the demonstration page, each with a tone and a picture of their own: who hears
 * and sees whom is measured, not believed.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import assert from 'node:assert/strict';

import { PAGE_URL } from './daemons.mjs';
import { Person } from './browser.mjs';

const HZ_OFF = 12; // of a bin of the receiver's spectrum
const PATIENCE_MS = 20_000;

/** Runs in the page before everything else: microphone and camera are an oscillator and a canvas. */
function ownDevices({ hz, hue, width, height, fps }) {
  const tone = () => {
    window.toneContext ??= new AudioContext();
    const oscillator = new OscillatorNode(window.toneContext, { frequency: hz });
    const out = window.toneContext.createMediaStreamDestination();
    oscillator.connect(new GainNode(window.toneContext, { gain: 0.4 })).connect(out);
    oscillator.start();
    window.toneContext.resume();
    return out.stream.getAudioTracks()[0];
  };
  const picture = (text) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const g = canvas.getContext('2d');
    let n = 0;
    const draw = () => {
      g.fillStyle = `hsl(${hue} 70% 45%)`;
      g.fillRect(0, 0, width, height);
      g.fillStyle = '#fff';
      g.font = '40px sans-serif';
      g.fillText(`${text} ${n++}`, 30, 60);
      g.fillRect((n * 7) % width, height / 2, 40, 40);
    };
    draw();
    setInterval(draw, 1000 / fps);
    return canvas.captureStream(fps).getVideoTracks()[0];
  };

  navigator.mediaDevices.getUserMedia = async ({ audio, video }) => new MediaStream([
    ...(audio ? [tone()] : []), ...(video ? [picture('camera')] : []),
  ]);
  navigator.mediaDevices.getDisplayMedia = async () => new MediaStream([picture('screen')]);

  /** What comes out of each audio slot: [{user, hz, db}], hz 0 for silence. */
  window.hearing = async (ms = 250) => {
    const room = sori.rooms[0];
    window.ears ??= { context: new AudioContext(), of: new Map() };
    const { context, of } = window.ears;
    await context.resume();
    for (const { stream } of room?.audioSlots ?? []) {
      if (of.has(stream)) continue;
      const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
      context.createMediaStreamSource(stream).connect(analyser);
      of.set(stream, analyser);
    }
    await new Promise((done) => { setTimeout(done, ms); });
    // A slot that came while we listened has no ear yet.
    return (room?.audioSlots ?? []).filter((slot) => slot.track && of.has(slot.stream)).map(({ stream, track }) => {
      const analyser = of.get(stream);
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      const perBin = context.sampleRate / analyser.fftSize;
      let best = Math.round(200 / perBin);
      for (let i = best; i < 3400 / perBin; i++) if (bins[i] > bins[best]) best = i;
      return { user: track.participant.user, hz: bins[best] > -70 ? Math.round(best * perBin) : 0, db: Math.round(bins[best]) };
    });
  };

  /** Colour in the middle of somebody's picture, [r, g, b], or null. */
  window.seeing = (testid) => {
    const video = document.querySelector(`[data-testid="${testid}"] video`);
    if (!video?.videoWidth) return null;
    const canvas = new OffscreenCanvas(16, 9);
    const g = canvas.getContext('2d');
    g.drawImage(video, 0, 0, 16, 9);
    return [...g.getImageData(8, 7, 1, 1).data.slice(0, 3)];
  };
}

let serial = 0;

export class RoomPerson extends Person {
  /** How this person sounds and looks; people of one test differ by their index. */
  static async arrive(browser, name, { index = 0, picture = {}, room = null, viewport, bypassCSP } = {}) {
    const own = { hz: 410 + 230 * index, hue: (index * 73) % 360, width: 640, height: 360, fps: 12, ...picture };
    const context = await browser.newContext({ permissions: ['microphone', 'camera'], viewport, bypassCSP });
    const page = await context.newPage();
    const person = new RoomPerson(context, page, name);

    person.hz = own.hz;
    page.setDefaultTimeout(PATIENCE_MS);
    await page.addInitScript(ownDevices, own);
    await page.goto(room ? `${PAGE_URL}?room=${room}` : PAGE_URL);
    await page.getByTestId('name-input').fill(name);
    await page.getByTestId('name-submit').click();
    if (room) await person.in('active');
    else await person.connection('online');
    return person;
  }

  /** People in a room that no other test uses; `camera`: with their cameras. */
  static async meet(t, browser, names, { camera = false, ...how } = {}) {
    const n = ++serial;
    const room = how.room ?? `room${n}`;
    const people = [];

    t.after(() => Promise.all(people.map((p) => p.leave())));
    for (const [index, name] of names.entries()) {
      const person = await RoomPerson.arrive(browser, `${name}${n}`, { index, room, ...how });
      people.push(person);
      if (camera) await person.camera();
    }
    return people;
  }

  /** Another one comes later. */
  static async join(t, browser, name, room, how) {
    const person = await RoomPerson.arrive(browser, name, { room, ...how });
    t.after(() => person.leave());
    return person;
  }

  /** Waits until the room on the page is in a state. */
  in(state) {
    return this.page.locator(`[data-testid=room][data-state=${state}]`).waitFor();
  }

  out() {
    return this.page.locator('[data-testid=room]').waitFor({ state: 'hidden' });
  }

  async camera(on = true) {
    await this.at('room-camera').click();
    await this.page.locator(`[data-testid=room-camera][aria-pressed=${on}]:enabled`).waitFor();
  }

  /** Waits until exactly these people's tones are heard, each on a slot of its own. */
  async hears(...people) {
    const want = people.map(({ name, hz }) => ({ user: name, hz }));
    try {
      await this.page.waitForFunction(async ([list, off]) => {
        const heard = await window.hearing();
        const tones = heard.filter((h) => h.hz > 0);
        window.lastHeard = heard;
        return tones.length === list.length && list.every((w) => tones.some((h) => h.user === w.user && Math.abs(h.hz - w.hz) <= off));
      }, [want, HZ_OFF], { polling: 200 });
    } catch (error) {
      const [heard, about] = await this.page.evaluate(() => [window.lastHeard, {
        state: sori.rooms[0]?.state, error: String(sori.rooms[0]?.error), slots: sori.rooms[0]?.audioSlots.map((s) => [s.mid, s.track?.id]),
        received: [...sori.rooms[0]?.stats?.received ?? []].filter(([, r]) => r.kind === 'audio').map(([mid, r]) => [mid, r.packets, r.level]),
      }]);
      assert.fail(`${this.name} should hear ${JSON.stringify(want)}, hears ${JSON.stringify(heard)} (${JSON.stringify(about)}): ${error.message}`);
    }
  }

  /** From now on the picture of somebody is decoded; gives its width. */
  async sees(person, { screen = false, width } = {}) {
    const testid = `tile-${person.name}${screen ? '-screen' : ''}`;
    try {
      await this.page.waitForFunction(([id, want]) => {
        const video = document.querySelector(`[data-testid="${id}"][data-video=on] video`);
        if (!video?.videoWidth) return false;
        window.frames ??= {};
        const now = video.getVideoPlaybackQuality().totalVideoFrames;
        // Another stream counts from 0 again, and the element may still have told of the one before.
        if (!(now >= window.frames[id])) window.frames[id] = now;
        return now > window.frames[id] + 5 && (!want || video.videoWidth === want);
      }, [testid, width ?? 0], { polling: 100 });
    } catch (error) {
      const about = await this.page.evaluate((id) => {
        const tile = document.querySelector(`[data-testid="${id}"]`);
        const tracks = [...sori.rooms[0]?.participants.values() ?? []].flatMap((who) => [...who.tracks.values()])
          .map((track) => [track.id, track.kind, track.paused, track.reason, track.muted, Boolean(track.stream)]);
        return [tile && { ...tile.dataset }, tracks, tile?.querySelector('video').videoWidth, String(sori.rooms[0]?.error),
          [...sori.rooms[0]?.stats?.received ?? []].filter(([, r]) => r.kind === 'video').map(([mid, r]) => [mid, r.width, r.frames, r.packets])];
      }, testid);
      const sent = await person.sends();
      assert.fail(`${this.name} should see ${testid} (${width ?? 'any'}): ${JSON.stringify(about)}; sent: ${JSON.stringify(sent)}: ${error.message}`);
    }
    await this.page.evaluate((id) => { delete window.frames[id]; }, testid);
    return this.page.evaluate((id) => document.querySelector(`[data-testid="${id}"] video`).videoWidth, testid);
  }

  /** What this person publishes, for a failed test's message. */
  sends() {
    return this.page.evaluate(async () => {
      const room = sori.rooms[0];
      const streams = [...(await room?.getStats())?.values() ?? []].filter((s) => s.type === 'outbound-rtp' && s.kind === 'video');

      return [room?.state, String(room?.error), room?.localTracks.map((l) => [l.id, l.source, l.muted, l.wanted]),
        streams.map((s) => [s.rid, s.active, s.framesSent, s.bytesSent, s.pliCount, s.qualityLimitationReason])];
    });
  }

  /** No picture of somebody is shown. */
  blind(person) {
    return this.page.locator(`[data-testid=tile-${person.name}][data-video=off]`).waitFor();
  }

  gone(person) {
    return this.at(`tile-${person.name}`).waitFor({ state: 'detached' });
  }

  async layer(person, choice) {
    await this.at(`layer-${person.name}`).selectOption(choice, { force: true });
  }

  /** Sum of what getStats says of all inbound or outbound streams. */
  stat(type, field, kind) {
    return this.page.evaluate(async ([t, f, k]) => {
      const report = await sori.rooms[0].getStats();
      return [...report.values()].filter((s) => s.type === t && (!k || s.kind === k)).reduce((n, s) => n + (s[f] ?? 0), 0);
    }, [type, field, kind]);
  }
}

/** Everybody hears everybody else. */
export const allHear = (people) => Promise.all(people.map((p) => p.hears(...people.filter((o) => o !== p))));

/** Everybody sees everybody else. */
export const allSee = (people) => Promise.all(people.flatMap((p) => people.filter((o) => o !== p).map((o) => p.sees(o))));
