// The way into the page, and what is read from it. From outside come:
//
//   E2E_BASE       where the service listens, http://127.0.0.1:8080
//   E2E_LINK       an address that opens the page signed in: a one-time link, used once for the whole run
//   E2E_TOKEN      an access token with usage:read, for reading the same figures beside the page (without it the
//                  page's cookie is used)
//   E2E_WORKSPACE  the workspace, if E2E_LINK does not lead to its page
//   E2E_CREDITS, E2E_MESSAGES   the figures expected for All Agents in this billing period, if they are known
//   E2E_AGENT, E2E_AGENT_CREDITS, E2E_AGENT_MESSAGES   an agent to choose (the top one if not given), and its figures
//   E2E_FAILURES   a folder for what a failure leaves: a picture, the console, a trace for Playwright's viewer
//
// stack.mjs adds what it takes to steer the processes behind the service.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { chromium } from 'playwright-core';

const { env } = process;
if (!env.E2E_BASE) throw new Error('E2E_BASE says where the service is; see e2e/support.mjs');
export const base = env.E2E_BASE.replace(/\/$/, '');
export const expected = {
  credits: env.E2E_CREDITS,
  messages: env.E2E_MESSAGES,
  agent: env.E2E_AGENT,
  agentCredits: env.E2E_AGENT_CREDITS,
  agentMessages: env.E2E_AGENT_MESSAGES,
};

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const launch = (...more) =>
  chromium.launch({
    executablePath: env.E2E_CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...more,
    ],
  });

/** What a one-time link leads to: pages get contexts of their own with its cookie. */
export async function signIn(browser, link) {
  const first = await browser.newContext();
  const page = await first.newPage();
  await page.goto(link);
  const workspace = env.E2E_WORKSPACE ?? /\/w\/([^/]+)\/usage/.exec(page.url())?.[1];
  assert.ok(workspace, `the link led to ${page.url()}, which is no page of a workspace; set E2E_WORKSPACE`);
  const storageState = await first.storageState();
  await first.close();
  return { browser, storageState, workspace: decodeURIComponent(workspace) };
}

/** One browser and one sign-in for all tests of a file. */
export async function start() {
  assert.ok(env.E2E_LINK, 'E2E_LINK says how to sign in; see e2e/support.mjs');
  return await signIn(await launch(), env.E2E_LINK);
}

/** A page that notices what it should not do: break its policy, throw, or ask anyone else. */
export async function open({ browser, storageState, workspace }, search = '', options = {}) {
  const { prepare, ready = settled, name: _, timeout: __, ...contextOptions } = options;
  const context = await browser.newContext({
    storageState,
    viewport: { width: 1280, height: 900 },
    locale: 'en-GB',
    ...contextOptions,
  });
  if (env.E2E_FAILURES) await context.tracing.start({ snapshots: true, screenshots: false });
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: base });
  const page = await context.newPage();
  const faults = [];
  const requests = [];
  const said = [];
  page.on('console', message => said.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', error => faults.push(`threw: ${error}`));
  page.on('request', request => {
    requests.push(request.url());
    if (!request.url().startsWith(`${base}/`)) faults.push(`asked ${request.url()}`);
  });
  await page.addInitScript(() => {
    globalThis.__violations = [];
    document.addEventListener('securitypolicyviolation', event =>
      globalThis.__violations.push(`${event.violatedDirective}: ${event.blockedURI || event.sample}`),
    );
  });
  const opened = {
    page,
    faults,
    requests,
    /** Leaves what helps to understand a failure. */
    async failed(name) {
      if (!env.E2E_FAILURES) return;
      mkdirSync(env.E2E_FAILURES, { recursive: true });
      const file = join(env.E2E_FAILURES, name.replace(/\W+/g, '-').slice(0, 80));
      writeFileSync(`${file}.txt`, [page.url(), ...faults, ...said, ...requests, ''].join('\n'));
      await page.screenshot({ path: `${file}.png`, fullPage: true }).catch(() => {});
      await context.tracing.stop({ path: `${file}.zip` });
      await context.close();
    },
    async close() {
      faults.push(
        ...(await page.evaluate(() => globalThis.__violations ?? [])).map(text => `policy: ${text}`),
      );
      await context.close();
      assert.deepEqual(faults, [], 'the page broke its policy, threw, or asked someone else');
    },
  };
  try {
    await prepare?.(page);
    await page.goto(`${base}/w/${encodeURIComponent(workspace)}/usage${search}`);
    await ready(page);
  } catch (error) {
    await opened.failed(options.name ?? 'while opening');
    throw error;
  }
  return opened;
}

/** A test with a page of its own, which must come out clean. World says whose page, once the test begins. */
export function pageTest(name, world, search, options, body) {
  test(name, { timeout: options.timeout ?? 120_000 }, async () => {
    const of = await world();
    const opened = await open(of, typeof search === 'function' ? search() : search, { ...options, name });
    try {
      await body(opened.page, opened, of);
    } catch (error) {
      await opened.failed(name);
      throw error;
    }
    await opened.close();
  });
}

/** The service itself, asked beside the browser. */
export const ask = path => fetch(base + path, { headers: { Authorization: `Bearer ${env.E2E_TOKEN}` } });

/** The page's document as it comes. */
export const pageDocument = workspace => ask(`/w/${workspace}/usage`);

/** The figures of the address are there. */
export const settled = page => page.locator('main[aria-busy=false] [data-testid=credits-used]').waitFor();

/** The one request that answers the whole page, for tests that stand in the service's way. */
export const dashboardRoute = '**/v1/usage/dashboard?**';

/** What the service says when it refuses or fails. */
export const problem = (status, headers = {}) => ({
  status,
  headers,
  contentType: 'application/problem+json',
  body: JSON.stringify({
    type: 'about:blank',
    title: 'Fault',
    status,
    detail: '',
    code: 'fault',
    errors: [],
    trace_id: 'e2e0000000000000000000000000cafe',
  }),
});

/** Everything that must agree, read in one go so that a refresh cannot come between. */
export const figures = page =>
  page.evaluate(() => {
    const text = element => element?.textContent?.trim() ?? null;
    const plain = value => value?.replaceAll(',', '').replace('−', '-') ?? null;
    const bars = [...document.querySelectorAll('[data-testid=bar]')].map(bar => ({
      start: bar.dataset.start,
      end: bar.dataset.end,
      state: bar.dataset.state,
      credits: bar.dataset.credits ?? null,
      messages: bar.dataset.messages ?? null,
    }));
    const foot = [...document.querySelectorAll('.figures tfoot td')].map(cell => plain(text(cell)));
    const column = index =>
      [...document.querySelectorAll(`.figures tbody td:nth-child(${index})`)].map(cell => plain(text(cell)));
    const rows = [...document.querySelectorAll('.leaderboard tbody tr')].map(row => ({
      name: text(row.querySelector('th bdi') ?? row.querySelector('th')),
      credits: plain(text(row.querySelectorAll('td.number')[0])),
      messages: plain(text(row.querySelectorAll('td.number')[1])),
      share: text(row.querySelector('td.share')),
    }));
    const card = id => plain(text(document.querySelector(`[data-testid=${id}]`)));
    return {
      credits: card('credits-used'),
      messages: card('messages-answered'),
      chatbots: card('chatbots-used'),
      members: card('team-members-used'),
      bars,
      table: {
        credits: foot[0] ?? null,
        messages: foot[1] ?? null,
        creditRows: column(2),
        messageRows: column(3),
      },
      total: rows[0] ?? null,
      agents: rows.slice(1),
    };
  });

export const isFocused = locator =>
  locator.evaluate(element => element.getRootNode().activeElement === element, null, { timeout: 5_000 });

/** Moves on by Tab until the element has the focus. */
export async function tabTo(page, locator) {
  for (let tabs = 0; !((await locator.count()) && (await isFocused(locator))); tabs++) {
    assert.ok(tabs < 80, `Tab does not lead to ${locator}`);
    await page.keyboard.press('Tab');
  }
}

export const combobox = page => page.getByRole('combobox', { name: 'Select Agent' });
/** Chooses an agent as people do, by typing and taking the first match, and waits for its figures. */
export async function chooseAgent(page, name) {
  const agentOf = url => new URL(url).searchParams.get('agent') ?? 'all';
  const before = agentOf(page.url());
  const answer = page.waitForResponse(
    response =>
      new URL(response.url()).pathname === '/v1/usage/dashboard' && agentOf(response.url()) !== before,
  );
  await combobox(page).fill(name);
  await page.getByRole('option', { name }).first().click();
  await answer;
  await settled(page);
}

export const rangeButton = page => page.getByRole('button', { name: /^Date range/ });
export const choosePreset = async (page, name) => {
  await rangeButton(page).click();
  await page.getByRole('button', { name, exact: true }).click();
};

/**
 * The table of the chart's figures: its rows and its footer by what the columns are called, numbers without
 * grouping, and "when" for the first column.
 */
export const tableOf = page =>
  page.evaluate(() => {
    const plain = cell =>
      cell.textContent
        .trim()
        .replace(/(?<=\d),(?=\d)/g, '')
        .replace('−', '-');
    const table = document.querySelector('.figures');
    const names = [...table.querySelectorAll('thead th')].map(cell => cell.textContent.trim());
    names[0] = 'when';
    const read = row => Object.fromEntries([...row.cells].map((cell, i) => [names[i], plain(cell)]));
    return {
      columns: names,
      rows: [...table.querySelectorAll('tbody tr')].map(read),
      foot: read(table.querySelector('tfoot tr')),
    };
  });

/** What the page's own Download CSV gives: the text of the file. */
export async function downloadCsv(page) {
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('link', { name: 'Download CSV' }).click(),
  ]);
  return await readFile(await download.path(), 'utf8');
}

/** Nothing sticks out sideways. */
export async function fitsSideways(page, what) {
  const [content, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= width, `sideways scroll, ${what}: ${content} px in ${width}`);
}

/** "12421.5" as people read it: "12,421.5". */
export const grouped = value => {
  const [whole, fraction] = String(value).split('.');
  return whole.replace(/\B(?=(\d{3})+$)/g, ',') + (fraction ? `.${fraction}` : '');
};

/** Exact sum of decimal strings. */
export function sum(values) {
  const known = values.filter(value => value !== null && value !== '—');
  const scale = Math.max(0, ...known.map(value => value.split('.')[1]?.length ?? 0));
  const total = known.reduce((all, value) => {
    const [whole, fraction = ''] = value.replace('-', '').split('.');
    const units = BigInt(whole + fraction.padEnd(scale, '0'));
    return all + (value.startsWith('-') ? -units : units);
  }, 0n);
  const digits = String(total < 0n ? -total : total).padStart(scale + 1, '0');
  const fraction = scale ? digits.slice(-scale).replace(/0+$/, '') : '';
  return `${total < 0n ? '-' : ''}${digits.slice(0, digits.length - scale)}${fraction && `.${fraction}`}`;
}

/** The service itself, asked beside the page. */
export async function api(page, path) {
  const headers = env.E2E_TOKEN ? { Authorization: `Bearer ${env.E2E_TOKEN}` } : {};
  const response = await page.context().request.get(base + path, { headers });
  assert.equal(response.status(), 200, `${path}: ${await response.text()}`);
  return response;
}

/** Rows of a CSV document as objects. */
export function readCsv(text) {
  const rows = [];
  let row = [];
  let cell = '';
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted && c === '"' && text[i + 1] === '"') {
      cell += '"';
      i++;
    } else if (c === '"') quoted = !quoted;
    else if (!quoted && (c === ',' || c === '\n')) {
      row.push(cell.replace(/\r$/, ''));
      cell = '';
      if (c === '\n') {
        rows.push(row);
        row = [];
      }
    } else cell += c;
  }
  if (cell || row.length) rows.push([...row, cell]);
  const [head, ...rest] = rows;
  return rest.map(values => Object.fromEntries(head.map((name, i) => [name, values[i]])));
}

/** Tries until it holds: live figures move between one look and the next. */
export async function eventually(check, { timeoutMs = 30_000, everyMs = 250 } = {}) {
  const until = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > until) throw error;
      await new Promise(done => setTimeout(done, everyMs));
    }
  }
}

/** No violation of WCAG 2.2 A and AA, or of axe's best practices; or of some rules only. */
export async function accessible(page, what, ...rules) {
  // Run through the debugger, which the page's policy does not bind.
  await page.evaluate(`globalThis.axe ?? (() => {${axeSource}})(); undefined`);
  const { violations } = await page.evaluate(
    only =>
      globalThis.axe.run(document, {
        resultTypes: ['violations'],
        preload: false,
        ...(only.length && { runOnly: only }),
      }),
    rules,
  );
  const words = violations.map(
    v => `${v.id}: ${v.help} (${v.nodes.map(n => `${n.target} ${n.failureSummary}`).join('; ')})`,
  );
  assert.equal(words.length, 0, `${what}: ${words.join('\n')}`);
}
