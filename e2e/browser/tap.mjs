/**
 * Ears for a page: an AudioWorklet between the `<audio>` element and the speaker that measures what passes.
 *
 * A worklet's module has to come from somewhere. Playwright cannot answer that request, so it is a blob, and the page's
 * content security policy is widened by exactly that on its way in; everything else it forbids stays forbidden.
 *
 * Does not know: what plays, and why.
 */

/** Runs in the audio thread: the loudest block since the last message, some twenty times a second. */
const MODULE = `
registerProcessor('tap', class extends AudioWorkletProcessor {
  loudest = 0; blocks = 0;
  process([input], [output]) {
    for (const [at, channel] of input.entries()) {
      output[at]?.set(channel);
      const power = channel.reduce((sum, sample) => sum + sample * sample, 0) / channel.length;
      this.loudest = Math.max(this.loudest, Math.sqrt(power));
    }
    this.blocks += 1;
    if (this.blocks % 18 === 0) { this.port.postMessage(this.loudest); this.loudest = 0; }
    return true;
  }
});`;

/** RMS of one block of 128 samples that counts as sound: about -50 dBFS. */
export const AUDIBLE_RMS = 0.003;

/** @param {any} page before it is opened */
export async function allowTap(page) {
  const session = await page.context().newCDPSession(page);
  session.on('Fetch.requestPaused', ({ requestId, responseStatusCode, responseHeaders }) => {
    widened(session, requestId, responseStatusCode, responseHeaders).catch((error) => console.error('widen the policy:', error.message));
  });
  await session.send('Fetch.enable', { patterns: [{ resourceType: 'Document', requestStage: 'Response' }] });
}

/** Answers with the page as it came, its policy one word wider. */
async function widened(session, requestId, responseCode, headers) {
  const { body, base64Encoded } = await session.send('Fetch.getResponseBody', { requestId });
  const responseHeaders = headers.map(({ name, value }) =>
    name.toLowerCase() === 'content-security-policy' ? { name, value: withBlobs(value) } : { name, value },
  );
  const answer = { requestId, responseCode, responseHeaders, body: base64Encoded ? body : Buffer.from(body).toString('base64') };
  await session.send('Fetch.fulfillRequest', answer);
}

/** @param {string} policy without `script-src`, `default-src` says what scripts may be (CSP3 §6.8.3) */
function withBlobs(policy) {
  const scripts = /(?:^|;)\s*script-src ([^;]*)/.exec(policy) ?? /(?:^|;)\s*default-src ([^;]*)/.exec(policy);
  const others = policy.split(';').filter((directive) => !directive.trim().startsWith('script-src '));
  return [...others, `script-src ${scripts?.[1] ?? "'self'"} blob:`].join(';');
}

/**
 * @param {any} page
 * @param {string} selector of the media element
 */
export async function attachTap(page, selector) {
  await page.evaluate(
    async ({ selector, module, audible }) => {
      const context = new AudioContext();
      const url = URL.createObjectURL(new Blob([module], { type: 'text/javascript' }));
      await context.audioWorklet.addModule(url);
      await context.resume();
      const ears = { loudest: 0, messages: 0, since: performance.now(), msToSound: null };
      const tap = new AudioWorkletNode(context, 'tap');
      tap.port.onmessage = ({ data }) => {
        ears.messages += 1;
        ears.loudest = Math.max(ears.loudest, data);
        if (data > audible) ears.msToSound ??= performance.now() - ears.since;
      };
      context.createMediaElementSource(document.querySelector(selector)).connect(tap).connect(context.destination);
      window.ears = ears;
    },
    { selector, module: MODULE, audible: AUDIBLE_RMS },
  );
}

/** @param {any} page */
export function deafen(page) {
  return page.evaluate(() => Object.assign(window.ears, { loudest: 0, messages: 0, since: performance.now(), msToSound: null }));
}

/**
 * @param {any} page
 * @returns {Promise<{loudest: number, messages: number, msToSound: number | null}>} since the last `deafen`; no messages means nobody listened
 */
export function heard(page) {
  return page.evaluate(() => ({ ...window.ears }));
}
