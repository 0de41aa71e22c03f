/**
 * What a player needs of a DASH manifest in the on-demand profile: which renditions there are, and where in each object
 * its init segment and its index lie.
 *
 * Promises
 * - Renditions come in ascending bit rate, at least one, each complete; a manifest that cannot give that is `malformed`.
 *
 * Does not know: the network, MSE, licences (those come with the play answer).
 */

import { Failure } from './failure.js';

/** No track has more renditions; a manifest that says otherwise is not ours. */
export const RENDITIONS_MAX = 32;

/** @typedef {import('./ranges.js').ByteRange} ByteRange */

/**
 * @typedef {object} Rendition
 * @property {number} kbps nominal bit rate, the name of its object (`128.mp4`)
 * @property {number} bandwidth peak bits per second
 * @property {string} codecs
 * @property {string} url absolute, with the token
 * @property {ByteRange} init
 * @property {ByteRange} index
 */

/** @typedef {{durationSecs: number, renditions: Rendition[]}} Manifest */

/**
 * @param {Document} document an XML document
 * @param {string} url where it came from: the base of its relative URLs
 * @returns {Manifest}
 */
export function readManifest(document, url) {
  const mpd = document.documentElement;
  if (mpd?.localName !== 'MPD') throw malformed('no MPD');
  const period = only(mpd, 'Period');
  const sets = children(period, 'AdaptationSet');
  const renditions = sets.flatMap((set) =>
    children(set, 'Representation').map((representation) => rendition([mpd, period, set, representation], url)),
  );
  if (renditions.length === 0 || renditions.length > RENDITIONS_MAX) throw malformed(`${renditions.length} renditions`);
  renditions.sort((one, other) => one.bandwidth - other.bandwidth);
  return { durationSecs: parseDuration(mpd.getAttribute('mediaPresentationDuration')), renditions };
}

/**
 * ISO 8601 durations as DASH writes them: hours, minutes, seconds.
 * @param {string | null} text
 * @returns {number} seconds
 */
export function parseDuration(text) {
  const match = /^PT(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,12})?)S)?$/.exec(text ?? '');
  const [hours, minutes, seconds] = (match ?? []).slice(1).map((part) => Number(part ?? 0));
  const total = match === null ? 0 : hours * 3600 + minutes * 60 + seconds;
  if (total <= 0) throw malformed(`duration ${JSON.stringify(text)}`);
  return total;
}

/**
 * @param {string | null} text
 * @returns {ByteRange}
 */
export function parseByteRange(text) {
  const match = /^(\d{1,15})-(\d{1,15})$/.exec(text ?? '');
  const [first, last] = (match ?? []).slice(1).map(Number);
  if (match === null || first > last) throw malformed(`byte range ${JSON.stringify(text)}`);
  return { first, last };
}

/**
 * @param {Element[]} lineage from the MPD down to the Representation: each may move the base URL (ISO/IEC 23009-1 §5.6)
 * @param {string} manifestUrl
 * @returns {Rendition}
 */
function rendition(lineage, manifestUrl) {
  const set = lineage[lineage.length - 2];
  const representation = lineage[lineage.length - 1];
  const segments = only(representation, 'SegmentBase');
  const url = lineage.reduce((base, level) => {
    const relative = children(level, 'BaseURL')[0]?.textContent?.trim();
    return relative ? new URL(relative, base).href : base;
  }, manifestUrl);
  const bandwidth = Number(representation.getAttribute('bandwidth'));
  const codecs = representation.getAttribute('codecs') ?? set.getAttribute('codecs') ?? '';
  if (!(bandwidth > 0) || codecs === '') throw malformed('a Representation without bandwidth or codecs');
  return {
    kbps: nominalKbps(url, bandwidth),
    bandwidth,
    codecs,
    url,
    init: parseByteRange(only(segments, 'Initialization').getAttribute('range')),
    index: parseByteRange(segments.getAttribute('indexRange')),
  };
}

/**
 * The object's name is its nominal bit rate; `bandwidth` is the peak, a little above.
 * @param {string} url
 * @param {number} bandwidth
 */
function nominalKbps(url, bandwidth) {
  const match = /\/[a-z]?(\d{2,4})\.mp4$/.exec(new URL(url).pathname);
  return match === null ? Math.round(bandwidth / 1000) : Number(match[1]);
}

/**
 * @param {Element} parent
 * @param {string} name
 * @returns {Element[]}
 */
function children(parent, name) {
  return Array.from(parent.children).filter((child) => child.localName === name);
}

/**
 * @param {Element} parent
 * @param {string} name
 * @returns {Element}
 */
function only(parent, name) {
  const found = children(parent, name);
  if (found.length !== 1) throw malformed(`${found.length} times ${name} in ${parent.localName}`);
  return found[0];
}

/** @param {string} what */
function malformed(what) {
  return new Failure('malformed', `read the manifest: ${what}`);
}
