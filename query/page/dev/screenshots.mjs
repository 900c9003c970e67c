// Takes pictures of the page in its states: node dev/screenshots.mjs [name…]. They go to dev/shots.
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { listen } from './mock.mjs';

const folder = fileURLToPath(new URL('shots/', import.meta.url));
mkdirSync(folder, { recursive: true });
const widths = { wide: 1280, tablet: 768, phone: 375 };

/** name: [workspace and query, what to do before the picture] */
const scenes = {
  demo: ['ws_demo/usage'],
  compare: ['ws_demo/usage?range=30d&compare=prev'],
  agent: ['ws_demo/usage?agent=agt_sales'],
  messages: ['ws_demo/usage?range=7d&metric=messages&view=total'],
  today: ['ws_demo/usage?range=today'],
  hours: ['ws_demo/usage?range=7d&grain=hour'],
  year: ['ws_demo/usage?from=2025-12-01&to=2026-11-24&grain=day'],
  table: ['ws_demo/usage?range=7d&table=1'],
  partial: ['ws_partial/usage?range=30d'],
  stale: ['ws_stale/usage?range=7d'],
  empty: ['ws_elsewhere/usage'],
  idle: ['ws_idle_agent/usage?agent=agt_idle'],
  big: ['ws_big/usage?compare=prev'],
  fractions: ['ws_fractions/usage?range=7d'],
  hostile: ['ws_hostile/usage?range=7d'],
  many: ['ws_many/usage?range=30d'],
  adjusted: ['ws_adjusted/usage?range=7d'],
  bare: ['ws_bare/usage?range=7d'],
  badlink: ['ws_demo/usage?from=2026-13-01&to=xyz'],
  error: ['ws_fault_500/usage', page => page.waitForSelector('.panel')],
  unauthorized: ['ws_fault_401/usage', page => page.waitForSelector('.panel')],
  ratelimit: ['ws_fault_429/usage', page => page.waitForSelector('.panel')],
  unknownagent: ['ws_demo/usage?agent=nope', page => page.waitForSelector('.panel')],
  skeleton: ['ws_fault_hang/usage', page => page.waitForTimeout(600)],
  tooltip: ['ws_demo/usage?range=30d&compare=prev', hoverBar],
  pinned: [
    'ws_demo/usage?range=30d',
    async page => {
      const box = await page.locator('.plot').boundingBox();
      await page.mouse.click(box.x + box.width * 0.66, box.y + 100);
    },
  ],
  keyboard: [
    'ws_demo/usage?range=30d',
    async page => {
      await page.locator('.plot').focus();
      for (let i = 0; i < 4; i++) await page.keyboard.press('Shift+ArrowLeft');
    },
  ],
  picker: [
    'ws_many/usage',
    page => openFilters(page, () => page.getByRole('combobox', { name: 'Select Agent' }).click()),
  ],
  search: [
    'ws_demo/usage',
    page =>
      openFilters(page, async () => {
        await page.getByRole('combobox', { name: 'Select Agent' }).fill('bo');
        await page.waitForTimeout(500);
      }),
  ],
  dates: [
    'ws_demo/usage?from=2026-10-28&to=2026-11-12',
    page =>
      openFilters(page, async () => {
        await page.getByRole('button', { name: /^Date range/ }).click();
        await page.waitForSelector('calendar-month');
        await page.waitForTimeout(300);
      }),
  ],
  sheet: ['ws_demo/usage', page => openFilters(page, async () => {})],
  help: ['ws_demo/usage', page => page.keyboard.press('?')],
};

async function hoverBar(page) {
  const box = await page.locator('.plot').boundingBox();
  await page.mouse.move(box.x + box.width * 0.62, box.y + 100);
}

async function openFilters(page, then) {
  const button = page.getByRole('button', { name: /^Filters/ });
  if (await button.isVisible()) await button.click();
  await then();
}

const wanted = process.argv.slice(2);
const pick = option =>
  wanted
    .find(arg => arg.startsWith(`--${option}=`))
    ?.split('=')[1]
    ?.split(',');
const names = wanted.filter(arg => !arg.startsWith('--'));
const { server, base } = await listen(0);
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
try {
  for (const [name, [path, act]] of Object.entries(scenes)) {
    if (names.length && !names.includes(name)) continue;
    for (const width of pick('width') ?? ['wide']) {
      for (const colorScheme of pick('scheme') ?? ['light']) {
        const page = await browser.newPage({ viewport: { width: widths[width], height: 900 }, colorScheme });
        page.on('console', message => message.type() === 'error' && console.log(name, message.text()));
        page.on('pageerror', error => console.log(name, String(error)));
        await page.goto(`${base}/w/${path}`);
        if (act?.length !== undefined && /panel|600/.test(String(act))) await act(page);
        else {
          await page.waitForSelector('main[aria-busy=false] .card');
          await act?.(page);
        }
        await page.waitForTimeout(250);
        const file = `${folder}${name}-${width}-${colorScheme}.png`;
        await page.screenshot({
          path: file,
          fullPage: !['sheet', 'help', 'dates', 'picker', 'search'].includes(name),
        });
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        console.log(file.replace(folder, ''), overflow > 0 ? `SIDEWAYS SCROLL ${overflow}` : '');
        await page.close();
      }
    }
  }
} finally {
  await browser.close();
  server.close();
}
