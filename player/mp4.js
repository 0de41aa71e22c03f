/**
 * The few boxes of an object that a player has to read: `sidx` (which bytes are which seconds), the edit list (how much
 * priming precedes the music) and `pssh` (what the licence has to open).
 *
 * Promises
 * - A box that lies about its size or its contents is a `malformed` failure, never an endless loop or a wrong fragment.
 *
 * Does not know: where the bytes come from, keys, samples.
 */

import { Failure } from './failure.js';

/** Twelve hours in fragments of two seconds, with room to spare. */
export const FRAGMENTS_MAX = 32_768;

/**
 * One `moof` + `mdat`: seconds on the listener's clock, bytes in the object (ends inclusive).
 * @typedef {{start: number, end: number, first: number, last: number}} Fragment
 */

/** @typedef {{type: string, start: number, body: number, end: number}} Box offsets into the bytes it was found in */

/**
 * Reads a segment index (ISO/IEC 14496-12 §8.16.3).
 * @param {Uint8Array} bytes begins with the `sidx` box
 * @param {number} at where `bytes` begins in the object
 * @param {number} priming media time at which the music begins, in the index's timescale
 * @returns {Fragment[]} in order, adjoining, at least one
 */
export function parseIndex(bytes, at, priming) {
  const [box] = boxes(bytes, 0, bytes.length);
  if (box?.type !== 'sidx') throw malformed('no sidx where the manifest says');
  const view = viewOf(bytes);
  const wide = versionOf(view, box) > 0;
  const timescale = u32(view, box, 8);
  const earliest = wide ? u64(view, box, 12) : u32(view, box, 12);
  const offset = wide ? u64(view, box, 20) : u32(view, box, 16);
  const table = wide ? 28 : 20;
  const count = u16(view, box, table + 2);
  if (timescale === 0 || count === 0 || count > FRAGMENTS_MAX) throw malformed(`sidx of ${count} fragments, timescale ${timescale}`);

  let first = at + box.end + offset;
  let ticks = earliest - priming;
  const fragments = [];
  for (let entry = 0; entry < count; entry += 1) {
    const reference = u32(view, box, table + 4 + 12 * entry);
    const duration = u32(view, box, table + 8 + 12 * entry);
    const size = reference & 0x7fff_ffff;
    if (reference >>> 31 !== 0 || size === 0 || duration === 0) throw malformed(`sidx entry ${entry}`);
    fragments.push({ start: ticks / timescale, end: (ticks + duration) / timescale, first, last: first + size - 1 });
    first += size;
    ticks += duration;
  }
  return fragments;
}

/**
 * The `media_time` of the edit list: samples before the music begins; 0 without one.
 * @param {Uint8Array} init
 * @returns {number}
 */
export function primingOf(init) {
  const list = find(init, ['moov', 'trak', 'edts', 'elst']);
  if (list === null) return 0;
  const view = viewOf(init);
  if (u32(view, list, 4) === 0) return 0;
  const time = versionOf(view, list) > 0 ? i64(view, list, 16) : i32(view, list, 12);
  return Math.max(0, time);
}

/**
 * Every `pssh` box of an init segment, one after the other: what EME calls `cenc` initialisation data.
 * @param {Uint8Array} init
 * @returns {Uint8Array<ArrayBuffer>} empty for an object in the clear
 */
export function protectionOf(init) {
  const moov = find(init, ['moov']);
  const found = moov === null ? [] : [...boxes(init, moov.body, moov.end)].filter((box) => box.type === 'pssh');
  const whole = new Uint8Array(found.reduce((sum, box) => sum + box.end - box.start, 0));
  let filled = 0;
  for (const box of found) {
    whole.set(init.subarray(box.start, box.end), filled);
    filled += box.end - box.start;
  }
  return whole;
}

/**
 * The fragment that holds a moment; the first or the last one for a moment outside.
 * @param {Fragment[]} fragments
 * @param {number} time seconds
 * @returns {number} its place in `fragments`
 */
export function fragmentAt(fragments, time) {
  let low = 0;
  let high = fragments.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (time < fragments[middle].end) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * @param {Uint8Array} bytes
 * @param {string[]} path
 * @returns {Box | null}
 */
function find(bytes, path) {
  let from = 0;
  let to = bytes.length;
  /** @type {Box | null} */
  let box = null;
  for (const type of path) {
    box = [...boxes(bytes, from, to)].find((child) => child.type === type) ?? null;
    if (box === null) return null;
    from = box.body;
    to = box.end;
  }
  return box;
}

/**
 * @param {Uint8Array} bytes
 * @param {number} from
 * @param {number} to
 * @returns {Generator<Box, void>}
 */
function* boxes(bytes, from, to) {
  const view = viewOf(bytes);
  for (let start = from; start < to; ) {
    if (to - start < BOX_HEADER_BYTES) throw malformed('half a box header');
    const size = view.getUint32(start);
    // Size 0 ("to the end") and 1 (64 bits) are for boxes too large to be here.
    if (size < BOX_HEADER_BYTES || size > to - start) throw malformed(`box of ${size} bytes where ${to - start} remain`);
    const type = String.fromCharCode(...bytes.subarray(start + 4, start + 8));
    yield { type, start, body: start + BOX_HEADER_BYTES, end: start + size };
    start += size;
  }
}

const BOX_HEADER_BYTES = 8;

/** @param {Uint8Array} bytes */
function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * @param {DataView} view
 * @param {Box} box
 */
function versionOf(view, box) {
  return view.getUint8(within(box, 0, 1));
}

/**
 * Readers of numbers at an offset into a box's body.
 * @param {DataView} view
 * @param {Box} box
 * @param {number} offset
 */
function u16(view, box, offset) {
  return view.getUint16(within(box, offset, 2));
}

/** @type {typeof u16} */
function u32(view, box, offset) {
  return view.getUint32(within(box, offset, 4));
}

/** @type {typeof u16} */
function i32(view, box, offset) {
  return view.getInt32(within(box, offset, 4));
}

/** @type {typeof u16} */
function u64(view, box, offset) {
  return exact(view.getBigUint64(within(box, offset, 8)));
}

/** @type {typeof u16} */
function i64(view, box, offset) {
  return exact(view.getBigInt64(within(box, offset, 8)));
}

/**
 * @param {Box} box
 * @param {number} offset
 * @param {number} length
 */
function within(box, offset, length) {
  if (box.body + offset + length > box.end) throw malformed(`${box.type} is cut short`);
  return box.body + offset;
}

/** @param {bigint} value */
function exact(value) {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw malformed('a number no object can reach');
  return number;
}

/** @param {string} what */
function malformed(what) {
  return new Failure('malformed', `read the object's boxes: ${what}`);
}
