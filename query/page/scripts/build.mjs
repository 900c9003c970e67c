// Builds beside dist and swaps it in at the end, so that whoever embeds dist meanwhile finds a whole build.
import { execFileSync } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const [dist, next, old] = ['dist', '.dist-next', '.dist-old'].map(name => join(root, name));
const run = (command, ...args) => execFileSync(command, args, { cwd: root, stdio: 'inherit' });

run(join(root, 'node_modules/.bin/vite'), 'build', '--outDir', next, '--logLevel', 'warn');
run(process.execPath, join(root, 'scripts/compress.mjs'), next);
rmSync(old, { recursive: true, force: true });
if (existsSync(dist)) renameSync(dist, old);
renameSync(next, dist);
rmSync(old, { recursive: true, force: true });
