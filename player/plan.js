/**
 * Which bytes to fetch next: a pure answer to what is buffered and where the listener is.
 *
 * Promises
 * - Nothing beyond the goal is planned, and nothing that is buffered already.
 * - The first fragment after a start or a seek travels alone, because every further byte would delay the sound.
 *
 * Does not know: MSE, the network, time.
 */

import { fragmentAt } from './mp4.js';

/** @typedef {import('./mp4.js').Fragment} Fragment */
/** @typedef {{start: number, end: number}} Stretch buffered seconds */
/** @typedef {{from: number, to: number, first: number, last: number}} Step fragments `from` to `to`, their bytes; ends inclusive */

/** Below this many buffered seconds a fragment travels alone. */
export const HURRY_SECS = 4;
/** Above it, fragments are fetched together, up to about this many seconds. */
export const STRIDE_SECS = 10;
/** Two stretches closer than this are one to a listener: half an AAC frame. */
const SEAM_SECS = 0.012;

/**
 * @param {Fragment[]} fragments
 * @param {Stretch[]} buffered
 * @param {number} position where the listener is, seconds
 * @param {number} goalSecs how far ahead to buffer
 * @param {number} durationSecs where the music ends
 * @returns {Step | 'enough' | 'complete'} `complete`: everything from here to the end is buffered
 */
export function nextStep(fragments, buffered, position, goalSecs, durationSecs) {
  const end = bufferedEnd(buffered, position);
  if (end >= durationSecs - SEAM_SECS) return 'complete';
  if (end - position >= goalSecs) return 'enough';
  const from = fragmentAt(fragments, end + SEAM_SECS);
  const reach = end - position < HURRY_SECS ? 0 : Math.min(end + STRIDE_SECS, position + goalSecs);
  let to = from;
  while (to + 1 < fragments.length && fragments[to + 1].end <= reach && fragments[to + 1].start < durationSecs) to += 1;
  return { from, to, first: fragments[from].first, last: fragments[to].last };
}

/**
 * Where the stretch around `position` ends; `position` itself when it is not buffered.
 * @param {Stretch[]} buffered in order
 * @param {number} position
 * @returns {number}
 */
export function bufferedEnd(buffered, position) {
  let end = position;
  for (const stretch of buffered) {
    if (stretch.start <= end + SEAM_SECS && stretch.end > end) end = stretch.end;
  }
  return end;
}

/**
 * The moment at which another rendition may take over: a fragment's start, far enough ahead to be fetched in time.
 * @param {Fragment[]} fragments
 * @param {number} position
 * @returns {number} seconds
 */
export function switchPoint(fragments, position) {
  const next = fragments.find((fragment) => fragment.start >= position + HURRY_SECS);
  return next === undefined ? Infinity : next.start;
}
