/**
 * Which protocol the media requests really used, as the browser's own timing tells it.
 *
 * Promises
 * - Keeps counts only: the URLs of the entries carry tokens and are not stored.
 *
 * Does not know: what was fetched. Needs `Timing-Allow-Origin` from the edge.
 */

export class ProtocolWatch {
  /** @type {string | null} */ #origin = null;
  /** @type {string | null} */ #latest = null;
  /** @type {Map<string, number>} */ #requests = new Map();

  constructor() {
    const observer = new PerformanceObserver((entries) => {
      for (const entry of entries.getEntries()) this.#saw(/** @type {PerformanceResourceTiming} */ (entry));
    });
    observer.observe({ type: 'resource' });
  }

  /**
   * Counts from zero, requests to this origin only.
   * @param {string} origin
   */
  follow(origin) {
    this.#origin = origin;
    this.#latest = null;
    this.#requests.clear();
  }

  /** ALPN name of the latest media request. */
  get latest() {
    return this.#latest;
  }

  /** @returns {Record<string, number>} media requests by ALPN name */
  get requests() {
    return Object.fromEntries(this.#requests);
  }

  /** @param {PerformanceResourceTiming} entry */
  #saw(entry) {
    if (this.#origin === null || new URL(entry.name).origin !== this.#origin) return;
    // Empty for a request that a seek aborted, and for every one without `Timing-Allow-Origin`.
    if (entry.nextHopProtocol === '') return;
    this.#latest = entry.nextHopProtocol;
    this.#requests.set(entry.nextHopProtocol, (this.#requests.get(entry.nextHopProtocol) ?? 0) + 1);
  }
}
