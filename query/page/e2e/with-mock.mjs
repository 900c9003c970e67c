// Runs the browser tests against the mock, to try the tests themselves: node e2e/with-mock.mjs
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { listen } from '../dev/mock.mjs';

const { server, base } = await listen(0);
const run = spawn(
  process.execPath,
  [
    '--test',
    '--test-concurrency=1',
    ...process.argv.slice(2),
    fileURLToPath(new URL('usage.test.mjs', import.meta.url)),
  ],
  { stdio: 'inherit', env: { ...process.env, E2E_BASE: base, E2E_LINK: `${base}/w/ws_demo/usage` } },
);
run.on('exit', code => {
  server.closeAllConnections();
  server.close();
  process.exitCode = code ?? 1;
});
