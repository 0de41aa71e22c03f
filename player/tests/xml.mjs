/**
 * Just enough XML for the tests: node has no DOMParser, and the page has the browser's own. Elements, attributes and text,
 * in the shape of the DOM that `manifest.js` reads.
 */

class Node {
  /** @param {string} name @param {Record<string, string>} attributes */
  constructor(name, attributes) {
    this.localName = name.split(':').pop();
    this.attributes = attributes;
    /** @type {Node[]} */ this.children = [];
    this.text = '';
  }

  get textContent() {
    return this.text + this.children.map((child) => child.textContent).join('');
  }

  /** @param {string} name */
  getAttribute(name) {
    return this.attributes[name] ?? null;
  }
}

/**
 * @param {string} text
 * @returns {any} a document
 */
export function parseXml(text) {
  const document = new Node('#document', {});
  const open = [document];
  for (const [, closing, name, rest, empty, plain] of text.matchAll(/<(\/?)([\w:]+)((?:\s+[\w:]+="[^"]*")*)\s*(\/?)>|([^<]+)/g)) {
    const parent = open[open.length - 1];
    if (plain !== undefined) parent.text += decoded(plain);
    else if (closing) open.pop();
    else {
      const attributes = Object.fromEntries(Array.from(rest.matchAll(/([\w:]+)="([^"]*)"/g), ([, key, value]) => [key, decoded(value)]));
      const node = new Node(name, attributes);
      parent.children.push(node);
      if (!empty) open.push(node);
    }
  }
  return { documentElement: document.children[0] };
}

/** @param {string} text */
function decoded(text) {
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&');
}
