// Rebuilds the page beside the committed build and compares: exit 0 only if they are the same.
// Compressed files are compared by what they hold, since compressors differ between versions and machines.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';

const root = new URL('..', import.meta.url).pathname;
const fresh = mkdtempSync(join(tmpdir(), 'usage-page-'));

function files(folder) {
  return new Map(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => {
        const path = join(entry.parentPath, entry.name);
        const bytes = readFileSync(path);
        const plain = path.endsWith('.gz')
          ? gunzipSync(bytes)
          : path.endsWith('.br')
            ? brotliDecompressSync(bytes)
            : bytes;
        return [path.slice(folder.length + 1), plain];
      }),
  );
}

try {
  const run = (command, ...args) =>
    execFileSync(command, args, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  run(join(root, 'node_modules/.bin/vite'), 'build', '--outDir', fresh, '--logLevel', 'error');
  run(process.execPath, join(root, 'scripts/compress.mjs'), fresh);
  const [built, committed] = [files(fresh), files(join(root, 'dist'))];
  const names = [...new Set([...built.keys(), ...committed.keys()])].sort();
  const differing = names.filter(name => !built.get(name)?.equals(committed.get(name) ?? Buffer.alloc(0)));
  for (const name of differing) {
    const what = !committed.has(name) ? 'is missing' : !built.has(name) ? 'is left over' : 'differs';
    console.error(`dist/${name} ${what}`);
  }
  const api = join(fresh, 'openapi.ts');
  run(join(root, 'node_modules/.bin/openapi-typescript'), '../../schemas/openapi.yaml', '--output', api);
  if (!readFileSync(api).equals(readFileSync(join(root, 'src/api/openapi.ts')))) {
    console.error(
      'src/api/openapi.ts is not what schemas/openapi.yaml makes: run "npm run generate:api" in query/page.',
    );
    process.exitCode = 1;
  }
  if (differing.length) {
    console.error('The committed build is not what the sources make: run "npm run build" in query/page.');
    process.exitCode = 1;
  } else console.log(`dist is fresh: ${names.length} files`);
} finally {
  rmSync(fresh, { recursive: true, force: true });
}
