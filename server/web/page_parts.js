/**
 * Small parts that both pages, calls and rooms, are built from.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

export const $ = (id) => document.getElementById(id);

/** 75 s is 1:15. */
export const clock = (ms) => {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, '0');
  const h = Math.floor(s / 3600);
  return h > 0 ? `${h}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
};

export function make(tag, fields = {}, ...children) {
  const { data = {}, ...props } = fields;
  const el = Object.assign(document.createElement(tag), props);
  Object.assign(el.dataset, data);
  el.append(...children);
  return el;
}

export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

/** A letter on the name's own colour. */
export function paintAvatar(el, name) {
  let hue = 0;
  for (const c of name) hue = (hue * 31 + c.codePointAt(0)) % 360;
  el.replaceChildren(name ? [...name][0].toUpperCase() : icon('wave'));
  el.style.setProperty('--hue', hue);
  el.classList.toggle('nobody', !name);
  return el;
}

export function load(storage, key, otherwise) {
  try {
    return JSON.parse(storage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function save(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch { /* the list is then of this visit only */ }
}
