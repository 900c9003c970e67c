// How the page looks and behaves in each of its states: for assistive technology, in both themes, at every width,
// without colours or motion, on paper, and while it waits.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { clock, closeBrowser, workspace } from '../stack.mjs';
import {
  accessible,
  pageTest as anyPageTest,
  base,
  combobox,
  dashboardRoute,
  figures,
  pageDocument,
  problem,
  settled,
} from '../support.mjs';

const agents = Object.fromEntries(
  [
    'Support Bot',
    'Sales Bot',
    'Docs Assistant',
    'Onboarding Guide',
    'Returns & Refunds',
    'IT Helpdesk',
    'HR Questions',
    'Booking',
    'Night Shift',
  ].map((name, i) => [`agt_${i + 1}`, name]),
);
let ws;
let signedIn;
const world = async () => {
  signedIn ??= await ws.world();
  return signedIn;
};

before(async () => {
  await clock('2026-01-01T00:00:00Z');
  ws = await workspace({
    name: 'Example Inc.',
    timezone: 'Europe/Copenhagen',
    agents: { ...agents, agt_idle: 'Idle Bot' },
    members: 3,
    links: { billing: 'https://example.com/billing', plans: 'https://example.com/plans' },
  });
  await clock('2026-03-18T12:30:00Z');
  const noon = Date.parse('2026-03-18T11:00:00Z');
  const events = [];
  for (let day = 0; day < 45; day++) {
    Object.keys(agents).forEach((agent, i) => {
      events.push({
        agent,
        at: new Date(noon - day * 86_400_000),
        credits: `${900 - 90 * i + 40 * (day % 7)}.5`,
      });
    });
  }
  const test = { channel: 'playground', at: '2026-01-06T12:00:00Z' };
  await ws.send(...events, test, test, test);
  await ws.counted();
});
after(async () => {
  await clock(null);
  await closeBrowser();
});

const pageTest = (name, search, options, body) => anyPageTest(name, world, search, options, body);

/** Answers with what the service says, changed. */
const changed = change => async route => {
  const response = await route.fetch({ headers: { ...route.request().headers(), 'if-none-match': '' } });
  const body = await response.json();
  change(body);
  await route.fulfill({ response, json: body });
};
const never = () => {};
const alerted = page => page.getByRole('alert').waitFor();

/** On a phone the filters are in a sheet. */
async function openFilters(page) {
  const button = page.getByRole('button', { name: /^Filters/ });
  if (await button.isVisible()) await button.click();
}
const clickRow = (page, name) => page.getByRole('button', { name, exact: true }).last().click();
const openDates = async page => {
  await openFilters(page);
  await page.getByRole('button', { name: /^Date range/ }).click();
  await page.getByRole('button', { name: 'Next month' }).waitFor();
};

/**
 * The states of the page. Search: where it is seen. Answer: what stands in the service's way, for states that a
 * running service cannot be brought to in a moment. Act: what leads to it. Says: the words by which it is known.
 */
const states = {
  'first load': { answer: never, ready: null, says: 'Loading usage…' },
  figures: { search: '?range=30d&compare=prev&table=1', says: 'Support Bot drove' },
  'one agent': { search: '?range=30d&agent=agt_2', says: '· this agent' },
  'a bar that is pinned': {
    search: '?range=30d&compare=prev',
    act: async page => {
      const plot = page.getByRole('slider');
      await plot.focus();
      await plot.press('Enter');
    },
    says: 'See hours',
  },
  refetch: {
    act: async page => {
      await page.route(dashboardRoute, never);
      await clickRow(page, 'Sales Bot');
      await page.locator('main[aria-busy=true] .cards').waitFor();
    },
    says: 'Support Bot drove',
  },
  empty: {
    search: '?from=2026-01-05&to=2026-01-07',
    says: '3 Playground messages in this range were not counted.',
  },
  error: {
    answer: route => route.fulfill(problem(500)),
    ready: alerted,
    says: 'Usage couldn’t load for this range',
  },
  'error after good figures': {
    act: async page => {
      await page.route(dashboardRoute, route => route.fulfill(problem(500)));
      await clickRow(page, 'Sales Bot');
      await alerted(page);
    },
    says: 'Showing figures from',
  },
  partial: {
    answer: changed(body => {
      body.completeness = 'partial';
      for (const at of [4, 5])
        Object.assign(body.series[at], { state: 'missing', credits: null, messages: null, agents: [] });
    }),
    says: 'hasn’t been counted yet. Totals are at least what’s shown.',
  },
  stale: {
    answer: changed(body => {
      body.freshness.lag_seconds = 360;
    }),
    says: 'New usage will appear when processing catches up.',
  },
  offline: {
    act: page => page.context().setOffline(true),
    says: 'You’re offline.',
    leave: page => page.context().setOffline(false),
  },
  'session ended': {
    answer: route => route.fulfill(problem(401)),
    ready: alerted,
    says: 'Your session has ended.',
  },
  'agent of nobody': {
    search: '?agent=agt_nobody',
    answer: route => route.fulfill(problem(404)),
    ready: alerted,
    says: 'This agent isn’t in your workspace.',
  },
  'too many requests': {
    answer: route => route.fulfill(problem(429, { 'Retry-After': '60' })),
    ready: alerted,
    says: /Too many requests. Retrying in \d+ s./,
  },
  'one agent without usage': {
    search: '?agent=agt_idle',
    says: 'Idle Bot has no usage in this period. Other agents used',
  },
  'a link that cannot be read': {
    search: '?from=2026-13-01&to=xyz',
    says: 'We couldn’t read the dates in this link',
  },
  'agents to choose from': {
    act: async page => {
      await openFilters(page);
      await combobox(page).click();
      await page.getByRole('option', { name: 'Sales Bot' }).waitFor();
    },
    says: 'Night Shift',
  },
  dates: { act: openDates, says: 'Both dates included' },
  shortcuts: {
    act: page => page.getByRole('button', { name: 'Keyboard shortcuts' }).click(),
    says: 'Use single letters as shortcuts',
  },
  details: {
    search: '?range=30d&behind=range',
    act: page => page.getByRole('dialog').getByRole('table').nth(2).waitFor(),
    says: 'Conversations that spent most',
  },
};

/** Brings the page into states, and says what is wrong with any of them as look finds it. */
async function inStates(page, names, look) {
  const wrong = [];
  for (const name of names) {
    const { search = '', answer, ready = settled, act, says, leave } = states[name];
    if (answer) await page.route(dashboardRoute, answer);
    await page.goto(`${base}/w/${ws.id}/usage${search}`);
    try {
      await ready?.(page);
      await act?.(page);
      await page.getByText(says).locator('visible=true').first().waitFor();
      await look(name);
    } catch (error) {
      wrong.push(`${name}: ${error.message}`);
    }
    await leave?.(page);
    await page.unrouteAll({ behavior: 'ignoreErrors' });
  }
  assert.equal(wrong.length, 0, wrong.join('\n'));
}

/** Nothing is wider than the window, and no agent's name is cut off for want of room. */
const staysInWidth = async page => {
  const cut = await page.evaluate(() =>
    [...document.querySelectorAll('.leaderboard tbody .agent')]
      .filter(cell =>
        [cell, ...cell.querySelectorAll('*')].some(
          one => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0,
        ),
      )
      .map(cell => cell.textContent),
  );
  assert.deepEqual(cut, [], 'names that are cut off');
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${content} px of content in ${window} px`);
};

for (const width of [1280, 768, 375]) {
  pageTest(
    `nothing stands in anyone’s way in any state, light and dark, ${width} px`,
    '',
    { viewport: { width, height: 900 }, timeout: 240_000 },
    async page => {
      await inStates(page, Object.keys(states), async () => {
        await staysInWidth(page);
        // What there is does not depend on the theme, only its colours do.
        await page.emulateMedia({ colorScheme: 'dark' });
        await accessible(page, 'dark', 'color-contrast');
        await page.emulateMedia({ colorScheme: 'light' });
        await accessible(page, 'light');
      });
    },
  );
}

/** Pictures as rows of lightness, 0 to 1, decoded by the browser. */
const lightness = (page, pictures) =>
  page.evaluate(
    encoded =>
      Promise.all(
        encoded.map(async text => {
          const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
          const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
          const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
          context.drawImage(bitmap, 0, 0);
          const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
          return Array.from({ length: bitmap.height }, (_, y) =>
            Array.from({ length: bitmap.width }, (_, x) => {
              const at = 4 * (y * bitmap.width + x);
              return (data[at] + data[at + 1] + data[at + 2]) / 765;
            }),
          );
        }),
      ),
    pictures.map(picture => picture.toString('base64')),
  );

/** How much two patterns differ at least, however one is moved over the other: 0 to 1. */
function difference(a, b) {
  const n = a.length;
  let least = 1;
  for (let dy = 0; dy < n; dy++) {
    for (let dx = 0; dx < n; dx++) {
      let sum = 0;
      for (let y = 0; y < n; y++)
        for (let x = 0; x < n; x++) sum += Math.abs(a[y][x] - b[(y + dy) % n][(x + dx) % n]);
      least = Math.min(least, sum / (n * n));
    }
  }
  return least;
}

pageTest(
  'without colours each agent has a pattern of its own, on the chart as in the legend',
  '?range=7d',
  { forcedColors: 'active', deviceScaleFactor: 2 },
  async page => {
    const marks = await page.evaluate(() => {
      const fill = element => getComputedStyle(element).fill;
      return {
        chart: [...document.querySelectorAll('.plot g[class^=s] > path:first-child')].map(fill),
        legend: [...document.querySelectorAll('.legend .swatch rect')].map(fill),
        patterns: [...document.querySelectorAll('pattern')].map(pattern => `url("#${pattern.id}")`),
      };
    });
    assert.equal(new Set(marks.legend).size, 8);
    assert.deepEqual(marks.chart, marks.legend);
    for (const fill of marks.legend) assert.ok(marks.patterns.includes(fill), fill);

    // One tile of 8 px from the middle of each swatch, which is 10 px wide.
    const pictures = [];
    for (const swatch of await page.locator('.legend .swatch').all()) {
      const box = await swatch.boundingBox();
      pictures.push(
        await page.screenshot({
          clip: { x: Math.round(box.x) + 1, y: Math.round(box.y) + 1, width: 8, height: 8 },
        }),
      );
    }
    const tiles = await lightness(page, pictures);
    tiles.forEach((tile, i) => {
      for (let j = 0; j < i; j++) {
        const by = difference(tile, tiles[j]);
        assert.ok(by > 0.06, `patterns ${j + 1} and ${i + 1} differ by ${by.toFixed(3)}`);
      }
    });
  },
);

const chosenOf = async (page, locators) =>
  lightness(page, await Promise.all(locators.map(locator => locator.screenshot())));
const ink = picture => picture.flat().reduce((sum, value) => sum + value, 0) / picture.flat().length;

pageTest(
  'without colours one still sees what is chosen',
  '?range=30d',
  { forcedColors: 'active' },
  async page => {
    const inverted = async (chosen, other, what) => {
      const [a, b] = await chosenOf(page, [chosen, other]);
      assert.ok(Math.abs(ink(a) - ink(b)) > 0.3, `${what}: ${ink(a).toFixed(2)} and ${ink(b).toFixed(2)}`);
    };
    const [credits, messages] = [
      page.locator('.segmented label').nth(0),
      page.locator('.segmented label').nth(1),
    ];
    await inverted(credits, messages, 'credits rather than messages');
    await page.getByRole('button', { name: /^Date range/ }).click();
    const preset = name => page.getByRole('dialog').getByRole('button', { name });
    await inverted(preset('Last 30 days'), preset('Last 7 days'), 'the range');
    await page.keyboard.press('Escape');
    await combobox(page).click();
    const option = name => page.getByRole('option', { name });
    await option('Sales Bot').hover();
    await inverted(option('Sales Bot'), option('Docs Assistant'), 'the agent under the pointer');
  },
);

const animations = page =>
  page.evaluate(() => document.getAnimations().map(one => one.animationName ?? one.transitionProperty));

pageTest('who wants no motion sees none', '', { reducedMotion: 'reduce' }, async page => {
  const none = async () => assert.deepEqual(await animations(page), []);
  await inStates(page, ['first load', 'refetch', 'a bar that is pinned', 'dates', 'details'], none);
  // There is one to be seen.
  await page.emulateMedia({ reducedMotion: 'no-preference' });
  await inStates(page, ['refetch'], async () => assert.deepEqual(await animations(page), ['slide']));
});

/**
 * Brings each control into view and says which cannot be reached, or are less than 44 px around their middle, give or take
 * what pixels are rounded to.
 * Links within a sentence are as high as its lines.
 */
const hardToTouch = page =>
  page.evaluate(() => {
    const layers = 'dialog[open], .tooltip.pinned, .picker-pop:not([hidden])';
    const top = [...document.querySelectorAll(layers)].at(-1) ?? document;
    const controls = 'a[href], button, input, select, summary, [tabindex="0"], [role=option]';
    const complaints = [];
    const months = [...top.querySelectorAll('calendar-range, calendar-month')];
    const inside = months.flatMap(one => [...one.shadowRoot.querySelectorAll('button:not([tabindex="-1"])')]);
    for (const element of [...top.querySelectorAll(controls), ...inside]) {
      if (!element.checkVisibility({ visibilityProperty: true }) || element.closest('.sr, .skip')) continue;
      element.scrollIntoView({ block: 'center', inline: 'center' });
      const target = element.type === 'checkbox' ? element.closest('label') : element;
      const box = target.getBoundingClientRect();
      const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
      const own = (dx, dy) => {
        const hit = element.getRootNode().elementFromPoint(x + dx, y + dy);
        const inSlot = hit?.closest('[slot]')?.assignedSlot;
        return target.contains(inSlot ?? hit) || target.closest('label')?.contains(hit);
      };
      const name = `${element.tagName} ${element.ariaLabel ?? element.textContent.trim() ?? ''}`.slice(0, 60);
      const sentence = element.matches('a, .link') && /inline$/.test(getComputedStyle(element).display);
      if (box.left < -0.5 || box.right > innerWidth + 0.5)
        complaints.push(`${name}: ${box.left} to ${box.right}`);
      else if (!own(0, 0)) complaints.push(`${name}: something is in front of it`);
      else if (!sentence && !(own(0, -20.5) && own(0, 20.5) && own(-20.5, 0) && own(20.5, 0)))
        complaints.push(`${name}: ${Math.round(box.width)} × ${Math.round(box.height)} px`);
    }
    return complaints;
  });

const small = [
  ['320 px', { viewport: { width: 320, height: 640 }, hasTouch: true }],
  ['400 % of 1280 px', { viewport: { width: 320, height: 256 }, deviceScaleFactor: 4 }],
];
for (const [what, options] of small) {
  pageTest(
    `everything is there and can be touched: ${what}`,
    '',
    { ...options, timeout: 240_000 },
    async page => {
      await inStates(page, Object.keys(states), async () => {
        await staysInWidth(page);
        assert.deepEqual(await hardToTouch(page), []);
      });
      await page.goto(`${base}/w/${ws.id}/usage`);
      await settled(page);
      await openFilters(page);
      assert.deepEqual(await hardToTouch(page), [], 'filters');
    },
  );
}

pageTest(
  'on paper the filters are a sentence, and the figures a table',
  '?range=30d&agent=agt_2&compare=prev',
  {
    prepare: page =>
      // Before the page's own, which folds the table again.
      page.addInitScript(() =>
        addEventListener('afterprint', () => {
          globalThis.__printed = {
            rows: document.querySelectorAll('.figures tbody tr').length,
            total: document.querySelector('.figures tfoot td')?.textContent,
          };
        }),
      ),
  },
  async page => {
    const { credits } = await figures(page);
    await page.pdf();
    const printed = await page.evaluate(() => globalThis.__printed);
    assert.equal(printed.rows, 30);
    assert.equal(printed.total.replaceAll(',', ''), credits);
    assert.equal(await page.getByRole('table', { name: /^Usage by/ }).count(), 0, 'folded again');

    await page.emulateMedia({ media: 'print' });
    await page.evaluate(() => dispatchEvent(new Event('beforeprint')));
    const rows = page.locator('.figures tbody tr');
    await rows.first().waitFor();
    assert.equal(await rows.count(), 30);
    await page
      .getByText(/^Sales Bot, 17 Feb – 18 Mar 2026, compared with previous period, credits by day$/)
      .waitFor();
    await page.getByText(/^Up to date to \d\d:\d\d:\d\d/).waitFor();
    for (const shown of [
      page.getByRole('search'),
      page.getByRole('radio'),
      page.getByRole('link', { name: 'Skip to' }),
    ])
      for (const one of await shown.all()) assert.equal(await one.isVisible(), false);
    const fills = await page
      .locator('.plot g[class^=s] > path:first-child')
      .evaluateAll(paths => paths.map(path => getComputedStyle(path).fill));
    assert.ok(fills.length > 0 && fills.every(fill => fill.startsWith('url("#p')), fills.join());
    const table = page.locator('.scroll');
    const clipped = await table.evaluate(
      box => box.scrollHeight > box.clientHeight || box.scrollWidth > box.clientWidth,
    );
    assert.equal(clipped, false, 'what is clipped cannot be scrolled to on paper');
  },
);

// What changed in how the page looks, beside pictures that are kept: a report. Machines draw letters otherwise, so
// a difference fails nothing; it is told, and a picture of it is left with those of failures. E2E_GOLDENS=write
// keeps what is there now.
const goldens = new URL('goldens/', import.meta.url);
const pictured = ['figures', 'empty', 'error', 'details'];
/** Of so many pixels at least something has changed that is no edge of a letter. */
const worthALook = 0.005;

/** Part of the pixels that differ, and a picture of where. */
const differenceOf = (page, kept, taken) =>
  page.evaluate(
    async pictures => {
      const [a, b] = await Promise.all(
        pictures.map(async text => {
          const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
          return await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
        }),
      );
      const [width, height] = [Math.max(a.width, b.width), Math.max(a.height, b.height)];
      const pixels = picture => {
        const context = new OffscreenCanvas(width, height).getContext('2d');
        context.drawImage(picture, 0, 0);
        return context.getImageData(0, 0, width, height);
      };
      const [before, after] = [pixels(a), pixels(b)];
      let differ = 0;
      for (let at = 0; at < after.data.length; at += 4) {
        const far = [0, 1, 2].some(c => Math.abs(before.data[at + c] - after.data[at + c]) > 48);
        if (far) differ++;
        // Red where it differs, on a faint picture of what is there now.
        for (const c of [0, 1, 2]) {
          after.data[at + c] = far ? (c ? 0 : 255) : 255 - (255 - after.data[at + c]) / 4;
        }
        after.data[at + 3] = 255;
      }
      const canvas = new OffscreenCanvas(width, height);
      canvas.getContext('2d').putImageData(after, 0, 0);
      const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer());
      const text = Array.from(bytes, byte => String.fromCharCode(byte)).join('');
      return { part: differ / (width * height), picture: btoa(text) };
    },
    [kept, taken].map(picture => picture.toString('base64')),
  );

for (const colorScheme of ['light', 'dark']) {
  for (const [width, deviceScaleFactor] of [
    [1280, 0.5],
    [375, 1],
  ]) {
    const options = { colorScheme, deviceScaleFactor, viewport: { width, height: 900 } };
    pageTest(
      `the page beside its pictures, a report: ${colorScheme}, ${width} px`,
      '',
      options,
      async page => {
        await inStates(page, pictured, async state => {
          const name = `${state}-${colorScheme}-${width}`;
          const file = new URL(`${name}.png`, goldens);
          // The header's facts come beside the figures, and the clock goes on.
          await page.getByText('Example Inc.').waitFor();
          await page.locator('.chip').evaluateAll(chips => {
            for (const chip of chips) chip.style.setProperty('visibility', 'hidden');
          });
          const taken = await page.screenshot({ animations: 'disabled' });
          if (process.env.E2E_GOLDENS === 'write') {
            mkdirSync(goldens, { recursive: true });
            return writeFileSync(file, taken);
          }
          const { part, picture } = await differenceOf(page, readFileSync(file), taken);
          if (part < worthALook) return;
          console.log(`${name}: ${(100 * part).toFixed(1)}% of its pixels differ from ${file.pathname}`);
          if (!process.env.E2E_FAILURES) return;
          mkdirSync(process.env.E2E_FAILURES, { recursive: true });
          writeFileSync(join(process.env.E2E_FAILURES, `look-${name}.png`), taken);
          writeFileSync(
            join(process.env.E2E_FAILURES, `look-${name}-differs.png`),
            Buffer.from(picture, 'base64'),
          );
        });
      },
    );
  }
}

/** Where the parts of the page stand; how long the legend and the leaderboard are depends on the agents. */
const sections = page =>
  page.evaluate(() =>
    Object.fromEntries(
      ['.head', '.filters', '.cards', '.sentence', '.plot-space', '.legend'].map(name => {
        const { top, height } = document.querySelector(name).getBoundingClientRect();
        return [name, name === '.legend' ? { top } : { top, height }];
      }),
    ),
  );

/**
 * From here on time passes as the test says. The clock begins an hour ago: it can be stopped only at what is still to
 * come, however long it takes until it is told.
 */
async function stopTime(page) {
  const now = Date.now();
  await page.clock.install({ time: now - 3_600_000 });
  await page.clock.pauseAt(now);
}

for (const width of [1280, 375]) {
  pageTest(
    `a slow answer is waited for in its final size, ${width} px`,
    '',
    {
      viewport: { width, height: 900 },
      ready: page => page.locator('.bone').first().waitFor(),
      prepare: async page => {
        await stopTime(page);
        await page.addInitScript(() => {
          globalThis.__shift = 0;
          new PerformanceObserver(list => {
            for (const entry of list.getEntries())
              if (!entry.hadRecentInput) globalThis.__shift += entry.value;
          }).observe({ type: 'layout-shift', buffered: true });
        });
        await page.route(dashboardRoute, route => {
          page.held = route;
        });
      },
    },
    async page => {
      const loading = page.getByText('Loading usage…');
      const still = page.getByText('Still loading…');
      const cancel = page.getByRole('button', { name: 'Cancel' });
      await page.getByText('Example Inc.').waitFor(); // the header's facts come beside the figures
      await page.clock.runFor(299);
      assert.equal(await loading.count(), 0, 'what is quick says nothing');
      await page.clock.runFor(100);
      await loading.waitFor();
      await page.clock.runFor(7_600 - 100);
      assert.equal(await still.count(), 0);
      await page.clock.runFor(101);
      await still.waitFor();
      await cancel.waitFor();
      const before = await sections(page);
      await page.held.continue();
      await settled(page);
      await page.clock.runFor(100);
      assert.deepEqual(await sections(page), before);
      assert.equal(await cancel.count(), 0);
      await page.clock.resume();
      const shift = await page.evaluate(
        () => new Promise(done => requestAnimationFrame(() => done(globalThis.__shift))),
      );
      assert.ok(shift <= 0.02, `layout shift ${shift}`);
    },
  );
}

pageTest('after eight seconds one can give up and keep what one had', '?range=7d', {}, async page => {
  const before = await figures(page);
  await page.route(dashboardRoute, never);
  await stopTime(page);
  await page.getByRole('button', { name: 'Earlier range' }).click();
  await page.clock.runFor(8_001);
  await page.getByText('Still loading…').waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.clock.runFor(100);
  await page.getByText('Loading was cancelled.').waitFor();
  assert.deepEqual(await figures(page), before);
  assert.equal(new URL(page.url()).search, '?range=7d');
  await page.unroute(dashboardRoute);
  await page.getByRole('button', { name: 'Try again' }).click();
  await settled(page);
  assert.notEqual(new URL(page.url()).search, '?range=7d', 'it is what was given up that is tried again');
});

test('the policy is strict', async () => {
  const response = await pageDocument(ws.id);
  assert.equal(response.status, 200);
  const policy = response.headers.get('content-security-policy') ?? '';
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|data:|\*|http/);
  assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
});

// That nothing breaks the policy, and that nobody else is asked, is looked at when a page is closed.
pageTest('the policy holds in every corner of the page', '?range=30d', {}, async page => {
  await page.getByRole('slider').hover();
  await page.getByRole('radio', { name: 'Total' }).check({ force: true });
  await page.getByRole('radio', { name: 'By agent' }).check({ force: true });
  await page.getByRole('button', { name: 'Copy link' }).click();
  await page.getByRole('status').getByText('Link copied').waitFor();
  const csv = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download CSV' }).click();
  await (await csv).cancel();
  await page.getByRole('button', { name: 'Show data as a table' }).click();
  await combobox(page).fill('bot');
  await page.getByRole('option').nth(1).waitFor();
  await page.keyboard.press('Escape');
  await openDates(page);
  await page.getByRole('button', { name: 'Previous month' }).click();
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Details of Sales Bot' }).click();
  await page.getByRole('dialog').getByRole('table').nth(2).waitFor();
  await page.keyboard.press('Escape');
  await page.pdf();
});
