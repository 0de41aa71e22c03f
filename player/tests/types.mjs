/**
 * The player's JSDoc types hold: TypeScript, strict, over every module. TypeScript comes from `ANTIPHON_NODE_MODULES`; the
 * player itself needs neither it nor a build.
 */

import { spawnSync } from 'node:child_process';
import path from 'node:path';

const modules = process.env.ANTIPHON_NODE_MODULES;
if (!modules) throw new Error('ANTIPHON_NODE_MODULES names no directory of installed packages');
const compiler = path.join(modules, path.basename(modules) === 'node_modules' ? '' : 'node_modules', 'typescript/bin/tsc');
const { status, error } = spawnSync(process.execPath, [compiler, '--project', path.dirname(import.meta.dirname)], { stdio: 'inherit' });
if (error) throw error;
process.exitCode = status ?? 1;
