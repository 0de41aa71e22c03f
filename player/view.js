/**
 * The page: shows what it is told, and says what the listener wants.
 *
 * Promises
 * - Text goes in as text: a title with a `<` is a title with a `<`.
 * - What changes without the listener's doing is said once in the live region, not on every tick.
 *
 * Does not know: how music is fetched, licensed or counted.
 */

import * as format from './format.js';

/** @typedef {import('./api.js').Track} Track */
/** @typedef {import('./api.js').Quality} Quality */
/** @typedef {import('./api.js').DemoListener} DemoListener */
/** @typedef {'idle' | 'loading' | 'playing' | 'paused'} DeckState */

/**
 * What the listener may want.
 * @typedef {object} Wishes
 * @property {(listener: DemoListener) => void} logIn
 * @property {() => void} logOut
 * @property {(place: number) => void} choose a track by its place in the list
 * @property {() => void} moreTracks
 * @property {() => void} toggle
 * @property {(by: 1 | -1) => void} skip
 * @property {(secs: number) => void} seek
 * @property {(percent: number) => void} volume
 * @property {(quality: Quality) => void} quality
 * @property {() => void} retry
 */

/**
 * The figures of the delivery panel.
 * @typedef {object} Facts
 * @property {string | null} protocol
 * @property {number | null} kbps
 * @property {number} wishedKbps
 * @property {number} bufferedSecs
 * @property {number | null} startMs
 * @property {number} interruptions
 * @property {string | null} cacheStatus
 */

/** Seconds an arrow key moves the music when no control has the focus. */
const NUDGE_SECS = 5;

export class View {
  /** @type {Wishes} */ #wishes;
  #dragging = false;

  #alert = element('alert', HTMLElement);
  #alertText = element('alert-text', HTMLElement);
  #alertLink = element('alert-link', HTMLAnchorElement);
  #alertRetry = element('alert-retry', HTMLButtonElement);
  #deck = element('deck', HTMLElement);
  #toggle = element('toggle', HTMLButtonElement);
  #seek = element('seek', HTMLInputElement);
  #volume = element('volume', HTMLInputElement);
  #quality = element('quality', HTMLSelectElement);
  #tracks = element('tracks', HTMLOListElement);
  #more = element('more', HTMLButtonElement);
  #status = element('status', HTMLElement);
  #position = element('position', HTMLElement);

  /** @param {Wishes} wishes */
  constructor(wishes) {
    this.#wishes = wishes;
    on(element('log-out', HTMLButtonElement), 'click', wishes.logOut);
    on(this.#more, 'click', wishes.moreTracks);
    on(this.#toggle, 'click', wishes.toggle);
    on(element('previous', HTMLButtonElement), 'click', () => wishes.skip(-1));
    on(element('next', HTMLButtonElement), 'click', () => wishes.skip(1));
    on(this.#alertRetry, 'click', wishes.retry);
    on(this.#volume, 'input', () => wishes.volume(this.volumePercent));
    on(this.#quality, 'change', () => wishes.quality(this.quality));
    on(this.#seek, 'input', () => this.#onDrag());
    on(this.#seek, 'change', () => this.#onDrop());
    document.addEventListener('keydown', (event) => this.#onKey(event));
  }

  get quality() {
    return /** @type {Quality} */ (this.#quality.value);
  }

  get volumePercent() {
    return Number(this.#volume.value);
  }

  /** @param {DemoListener[]} listeners */
  showWelcome(listeners) {
    const buttons = listeners.map((listener) => {
      const button = make('button', '', `Listen as ${listener.name}`);
      if (listener.tier !== listener.name) button.append(make('small', '', `${listener.tier} plan`));
      button.type = 'button';
      on(button, 'click', () => this.#wishes.logIn(listener));
      return item(button);
    });
    element('listeners', HTMLElement).replaceChildren(...buttons);
    show({ welcome: true, library: false, delivery: false, deck: false, listener: false });
  }

  /** @param {DemoListener} listener */
  showLibrary(listener) {
    const plan = listener.tier === listener.name ? '' : `${listener.name}, `;
    element('listener-name', HTMLElement).textContent = `${plan}${listener.tier} plan`;
    this.#tracks.replaceChildren();
    show({ welcome: false, library: true, delivery: true, deck: true, listener: true });
    element('library-title', HTMLElement).focus();
  }

  /**
   * @param {Track[]} tracks
   * @param {boolean} more there are further ones
   */
  addTracks(tracks, more) {
    const before = this.#tracks.children.length;
    this.#tracks.append(...tracks.map((track, place) => this.#row(track, before + place)));
    this.#more.hidden = !more;
    element('no-tracks', HTMLElement).hidden = this.#tracks.children.length > 0;
  }

  /**
   * @param {Track} track
   * @param {number} place
   */
  showTrack(track, place) {
    for (const [at, row] of Array.from(this.#tracks.children).entries()) {
      row.firstElementChild?.setAttribute('aria-current', String(at === place));
    }
    element('deck-title', HTMLElement).textContent = track.title;
    element('deck-artist', HTMLElement).textContent = byLine(track);
    document.title = `${track.title} · Antiphon`;
    this.#toggle.disabled = false;
  }

  showNothing() {
    element('deck-title', HTMLElement).textContent = 'Nothing chosen';
    element('deck-artist', HTMLElement).textContent = 'Pick a track';
    document.title = 'Antiphon';
    this.#toggle.disabled = true;
    this.showState('idle');
    this.showTime(0, NaN, 0);
  }

  /** @param {DeckState} state */
  showState(state) {
    this.#deck.dataset.state = state;
    this.#toggle.setAttribute('aria-label', state === 'playing' || state === 'loading' ? 'Pause' : 'Play');
  }

  /**
   * @param {number} position
   * @param {number} duration
   * @param {number} fetched end of what is buffered
   */
  showTime(position, duration, fetched) {
    const known = Number.isFinite(duration) && duration > 0;
    this.#seek.disabled = !known;
    this.#seek.max = String(known ? duration : 1);
    element('duration', HTMLElement).textContent = format.clock(duration);
    this.#seek.style.setProperty('--fetched', percent(fetched, duration));
    if (this.#dragging) return;
    this.#seek.value = String(known ? position : 0);
    this.#showPosition(position, duration);
  }

  /** @param {Facts} facts */
  showFacts(facts) {
    /** @param {string} name @param {string} value */
    const fact = (name, value) => {
      const target = element(`fact-${name}`, HTMLElement);
      if (target.textContent !== value) target.textContent = value;
    };
    const less = facts.kbps !== null && facts.kbps < facts.wishedKbps;
    fact('protocol', format.protocol(facts.protocol));
    fact('bitrate', facts.kbps === null ? '–' : format.bitrate(facts.kbps) + (less ? ` (asked for ${facts.wishedKbps})` : ''));
    fact('buffered', format.bufferedSecs(facts.bufferedSecs));
    fact('start', format.milliseconds(facts.startMs));
    fact('interruptions', String(facts.interruptions));
    fact('cache', format.cacheStatus(facts.cacheStatus));
  }

  /**
   * Said politely to those who listen to the page.
   * @param {string} sentence
   */
  say(sentence) {
    this.#status.textContent = sentence;
  }

  /**
   * @param {string} sentence
   * @param {{link?: {href: string, text: string}, retry?: boolean}} [help]
   */
  warn(sentence, help = {}) {
    this.#alertText.textContent = sentence;
    this.#alertLink.hidden = help.link === undefined;
    if (help.link !== undefined) {
      this.#alertLink.href = help.link.href;
      this.#alertLink.textContent = help.link.text;
    }
    this.#alertRetry.hidden = help.retry !== true;
    this.#alert.hidden = false;
  }

  calm() {
    this.#alert.hidden = true;
  }

  /**
   * @param {Track} track
   * @param {number} place
   */
  #row(track, place) {
    const button = make('button', '', '');
    const what = make('span', '', '');
    what.append(make('span', 'title', track.title), make('span', 'by', byLine(track)));
    button.type = 'button';
    button.append(make('span', 'number', String(place + 1)), what, make('span', 'length', format.clock(track.durationSecs)));
    on(button, 'click', () => this.#wishes.choose(place));
    return item(button);
  }

  /**
   * @param {number} position
   * @param {number} duration
   */
  #showPosition(position, duration) {
    this.#position.textContent = format.clock(position);
    this.#seek.style.setProperty('--played', percent(position, duration));
    this.#seek.setAttribute('aria-valuetext', `${format.spokenClock(position)} of ${format.spokenClock(duration)}`);
  }

  #onDrag() {
    this.#dragging = true;
    this.#showPosition(Number(this.#seek.value), Number(this.#seek.max));
  }

  #onDrop() {
    this.#dragging = false;
    this.#wishes.seek(Number(this.#seek.value));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (this.#toggle.disabled || event.ctrlKey || event.altKey || event.metaKey || target.closest('button, input, select, a')) return;
    if (event.key === ' ') this.#wishes.toggle();
    else if (event.key === 'ArrowRight') this.#wishes.seek(Number(this.#seek.value) + NUDGE_SECS);
    else if (event.key === 'ArrowLeft') this.#wishes.seek(Number(this.#seek.value) - NUDGE_SECS);
    else return;
    event.preventDefault();
  }
}

/** @param {Track} track */
function byLine(track) {
  return [track.artist, track.album].filter((part) => part !== '').join(' · ') || 'Unknown artist';
}

/**
 * @param {number} part
 * @param {number} whole
 */
function percent(part, whole) {
  return Number.isFinite(whole) && whole > 0 ? `${Math.min(100, (100 * part) / whole)}%` : '0%';
}

/** @param {Record<string, boolean>} shown by element id */
function show(shown) {
  for (const [id, visible] of Object.entries(shown)) element(id, HTMLElement).hidden = !visible;
}

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} with id ${id}`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {string} className
 * @param {string} text
 */
function make(name, className, text) {
  const made = document.createElement(name);
  if (className !== '') made.className = className;
  made.textContent = text;
  return made;
}

/** @param {HTMLElement} child */
function item(child) {
  const made = make('li', '', '');
  made.append(child);
  return made;
}

/**
 * @param {HTMLElement} target
 * @param {string} name
 * @param {() => void} act
 */
function on(target, name, act) {
  target.addEventListener(name, () => act());
}
