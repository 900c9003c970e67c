// Takes the documentation's pictures: of the demo, as `agentmeter run --demo` shows it. Its events follow from a seed
// and the day, so pictures of the same day differ by their times only. node scripts/screenshots.mjs [the binary]
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const from = path => fileURLToPath(new URL(path, import.meta.url));
const binary = process.argv[2] ?? from('../../../bin/agentmeter');
const folder = from('../../../docs/screenshots/');
const workspace = 'ws_demo';
const patienceMs = 180_000;

/** What each picture shows: in which window, which part of the page, and what is done before. */
const wide = { viewport: { width: 1280, height: 1010 }, deviceScaleFactor: 1.5 };
const pictures = {
  'usage-light': { window: { ...wide, colorScheme: 'light' }, act: pointAtBar },
  'usage-dark': { window: { ...wide, colorScheme: 'dark' }, act: pointAtBar },
  'usage-phone': {
    window: {
      viewport: { width: 390, height: 844 },
      deviceScaleFactor: 2,
      hasTouch: true,
      colorScheme: 'light',
    },
  },
  'usage-details': {
    window: { ...wide, viewport: { width: 1280, height: 800 }, colorScheme: 'light' },
    act: async page => {
      await page.getByRole('button', { name: 'Details of Support Bot' }).click();
      await page.getByRole('dialog').getByRole('table').nth(2).waitFor();
    },
  },
};

/** The first bar that stood out, with all that is said of it. */
async function pointAtBar(page) {
  const box = await page.locator('.plot .spike').first().boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 40);
  await page.locator('.tooltip').waitFor();
}

async function until(what, check) {
  for (const end = Date.now() + patienceMs; ; ) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain ${what}`);
    await new Promise(done => setTimeout(done, 200));
  }
}

const data = mkdtempSync(join(tmpdir(), 'agentmeter-screenshots-'));
const agentmeter = (...args) =>
  execFileSync(binary, [...args, '--data-dir', data], { encoding: 'utf8' }).trim();
const free = ['http', 'kafka', 'clickhouse'].flatMap(name => [`--${name}-listen`, '127.0.0.1:0']);
const run = spawn(binary, ['run', '--data-dir', data, '--demo', ...free], {
  stdio: ['ignore', 'ignore', 'pipe'],
});
const ended = new Promise(done => {
  run.on('exit', done);
});
let log = '';
run.stderr.on('data', chunk => {
  log += chunk;
});
let browser;
try {
  await until('for the demo to be sent', () => {
    if (run.exitCode !== null) throw new Error(log);
    return log.includes('demo history sent');
  });
  const sentAt = Date.now();
  const base = JSON.parse(readFileSync(join(data, 'endpoints.json'), 'utf8')).http;
  const Authorization = `Bearer ${agentmeter('token', '--workspace', workspace, '--scope', 'usage:read')}`;
  await until('for the demo to be counted', async () => {
    const response = await fetch(`${base}/v1/usage/dashboard?workspace=${workspace}`, {
      headers: { Authorization },
    });
    const { freshness } = await response.json();
    return Date.parse(freshness.counted_through) > sentAt;
  });

  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu'],
  });
  mkdirSync(folder, { recursive: true });
  for (const [name, { window, act }] of Object.entries(pictures)) {
    const context = await browser.newContext({ ...window, locale: 'en-GB', reducedMotion: 'reduce' });
    const page = await context.newPage();
    await page.goto(agentmeter('link', '--workspace', workspace));
    await page.goto(`${base}/w/${workspace}/usage?range=30d&compare=prev`);
    await page.locator('main[aria-busy=false] [data-testid=credits-used]').waitFor();
    await act?.(page);
    // Without the room that is kept for a scrollbar.
    const width = await page.evaluate(() => document.documentElement.clientWidth);
    const clip = { x: 0, y: 0, width, height: window.viewport.height };
    await page.screenshot({ path: `${folder}${name}.png`, clip });
    console.log(`docs/screenshots/${name}.png`);
    await context.close();
  }
} finally {
  await browser?.close();
  run.kill('SIGTERM');
  await ended;
  rmSync(data, { recursive: true, force: true });
}
