/**
 * What was really heard, reported every half minute and at the end of a session.
 *
 * Promises
 * - Seconds count when they were played, not when they were skipped over.
 * - A report that cannot be delivered never disturbs the music; the next one carries the sum anyway.
 *
 * Does not know: what counts as a play (the control plane decides that).
 */

/** Seconds heard between two reports. */
export const REPORT_SECS = 30;
/** `timeupdate` comes four times a second; a longer step is a jump, or a page that slept. */
const STEP_LONGEST_SECS = 2;

/** Adds up the seconds between two positions of playback. */
export class HeardSecs {
  #sum = 0;
  /** @type {number | null} */ #last = null;

  /** @param {number} position where playback has got to by playing */
  played(position) {
    const step = this.#last === null ? 0 : position - this.#last;
    if (step > 0 && step <= STEP_LONGEST_SECS) this.#sum += step;
    this.#last = position;
  }

  /** The next position is not reached by playing. */
  jumped() {
    this.#last = null;
  }

  get total() {
    return this.#sum;
  }
}

/** @typedef {{positionSecs: number, playedSecs: number, bufferingEvents: number, qualitySwitches: number}} Progress */

/** Watches one session of an `<audio>` element. */
export class ProgressReporter {
  /** @type {HTMLAudioElement} */ #audio;
  /** @type {(progress: Progress) => Promise<void>} */ #send;
  #heard = new HeardSecs();
  #ending = new AbortController();
  #reportedSecs = 0;
  #started = false;
  #bufferingEvents = 0;
  #qualitySwitches = 0;

  /**
   * @param {HTMLAudioElement} audio
   * @param {(progress: Progress) => Promise<void>} send
   */
  constructor(audio, send) {
    this.#audio = audio;
    this.#send = send;
    const signal = this.#ending.signal;
    audio.addEventListener('timeupdate', () => this.#onTime(), { signal });
    audio.addEventListener('seeking', () => this.#heard.jumped(), { signal });
    audio.addEventListener('seeked', () => this.#onTime(), { signal });
    audio.addEventListener('playing', () => this.#onPlaying(), { signal });
    audio.addEventListener('waiting', () => this.#onWaiting(), { signal });
    audio.addEventListener('ended', () => this.end(), { signal });
    addEventListener('pagehide', () => this.#report(), { signal });
  }

  get bufferingEvents() {
    return this.#bufferingEvents;
  }

  qualitySwitched() {
    this.#qualitySwitches += 1;
  }

  /** The last report of the session. */
  end() {
    if (this.#ending.signal.aborted) return;
    this.#onTime();
    this.#ending.abort();
    this.#report();
  }

  #onPlaying() {
    this.#started = true;
    this.#onTime();
  }

  #onTime() {
    if (this.#audio.seeking) return;
    this.#heard.played(this.#audio.currentTime);
    if (this.#heard.total - this.#reportedSecs >= REPORT_SECS) this.#report();
  }

  #onWaiting() {
    // The wait for the first sound and the wait after a seek are not underruns.
    if (this.#started && !this.#audio.seeking) this.#bufferingEvents += 1;
  }

  #report() {
    const playedSecs = this.#heard.total;
    if (playedSecs === this.#reportedSecs) return;
    this.#reportedSecs = playedSecs;
    const progress = {
      positionSecs: milliseconds(this.#audio.currentTime),
      playedSecs: milliseconds(playedSecs),
      bufferingEvents: this.#bufferingEvents,
      qualitySwitches: this.#qualitySwitches,
    };
    this.#send(progress).catch((error) => console.warn('progress report lost:', error.message));
  }
}

/**
 * Seconds to three places: never rounded up to a second that was not heard.
 * @param {number} secs
 */
function milliseconds(secs) {
  return Math.floor(secs * 1000) / 1000;
}
