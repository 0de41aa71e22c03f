/** Every unit test of the player in one entry, because `node --test FOLDER` means different things to different nodes. */

import { readdir } from 'node:fs/promises';

const names = (await readdir(import.meta.dirname)).filter((name) => name.endsWith('.test.mjs'));
for (const name of names.sort()) await import(`./${name}`);
