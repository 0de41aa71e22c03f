/**
 * Numbers as a listener reads them.
 *
 * Does not know: where the numbers come from, the page.
 */

/**
 * `3:07`, `1:02:03`; `-:--` while unknown.
 * @param {number} secs
 */
export function clock(secs) {
  if (!Number.isFinite(secs) || secs < 0) return '-:--';
  const whole = Math.floor(secs);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (parts[0] === 0) parts.shift();
  return parts.map((part, place) => (place === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
}

/**
 * The same for ears: `3 minutes 7 seconds`.
 * @param {number} secs
 */
export function spokenClock(secs) {
  if (!Number.isFinite(secs) || secs < 0) return 'unknown';
  const whole = Math.floor(secs);
  const parts = [
    counted(Math.floor(whole / 3600), 'hour'),
    counted(Math.floor(whole / 60) % 60, 'minute'),
    counted(whole % 60, 'second'),
  ].filter((part) => part !== '');
  return parts.join(' ') || '0 seconds';
}

/** @param {number} kbps */
export function bitrate(kbps) {
  return `${kbps} kbit/s`;
}

/** @param {number} secs */
export function bufferedSecs(secs) {
  return `${secs.toFixed(1)} s`;
}

/** @param {number | null} ms */
export function milliseconds(ms) {
  return ms === null ? '–' : `${Math.round(ms)} ms`;
}

/**
 * An ALPN name (what `nextHopProtocol` gives) as people say it.
 * @param {string | null} alpn
 */
export function protocol(alpn) {
  const known = /** @type {Record<string, string>} */ ({ h3: 'HTTP/3', h2: 'HTTP/2', 'http/1.1': 'HTTP/1.1' });
  return alpn === null || alpn === '' ? '–' : (known[alpn] ?? alpn);
}

/**
 * `Cache-Status` (RFC 9211) of the cache nearest to the listener, which is named last: `hit (ram)`, `miss`.
 * @param {string | null} header
 */
export function cacheStatus(header) {
  const [, ...parameters] = (header ?? '').split(',').pop()?.split(';').map((part) => part.trim()) ?? [];
  const value = (/** @type {string} */ name) => parameters.find((part) => part.startsWith(`${name}=`))?.slice(name.length + 1);
  const detail = value('detail');
  const outcome = parameters.includes('hit') ? 'hit' : value('fwd');
  if (outcome === undefined) return '–';
  return detail === undefined ? outcome : `${outcome} (${detail})`;
}

/**
 * @param {number} count
 * @param {string} unit
 */
function counted(count, unit) {
  return count === 0 ? '' : `${count} ${unit}${count === 1 ? '' : 's'}`;
}
