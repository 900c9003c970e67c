// The page in a frame of another site, over https. internal/e2e starts the three sites and says by environment:
//
//   E2E_BASE     the page's own origin
//   E2E_APP      the platform's app (client/examples/embed), which may frame it
//   E2E_OTHER    a site that may not; /?ADDRESS shows that address in a frame
//   E2E_API, E2E_TOKEN   where links are asked for, and a token for that
//   E2E_CREDITS  what the workspace of the user "ada" has used
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { accessible, base, eventually, expected, launch } from '../support.mjs';

const { E2E_APP: app, E2E_OTHER: other, E2E_API: api, E2E_TOKEN: token } = process.env;

let browser;
before(async () => {
  // Names of this machine: what is a site to a browser is not to be had from addresses.
  browser = await launch('--host-resolver-rules=MAP *.test 127.0.0.1');
});
after(async () => {
  await browser?.close();
});

/** Someone who is signed in at the platform. */
async function visit(options) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true, // the sites' certificates are the test's own
    locale: 'en-GB',
    viewport: { width: 1280, height: 900 },
    ...options,
  });
  const page = await context.newPage();
  const said = [];
  page.on('console', message => said.push(message.text()));
  const sessions = [];
  page.on('response', response => {
    if (response.url().startsWith(`${base}/session/`)) sessions.push(response);
  });
  await page.goto(`${app}/`);
  await page.getByRole('button', { name: /^ada/ }).click();
  const frame = page.frameLocator('#usage');
  return { context, page, frame, said, sessions };
}

/** The frame that is looked at; the one that renews the session comes and goes. */
const inside = page => page.frames().find(one => one.parentFrame() === page.mainFrame());

const credits = frame => frame.locator('main[aria-busy=false] [data-testid=credits-used]');
const figure = async frame => (await credits(frame).innerText()).replaceAll(',', '');

test('a platform shows the figures of who is signed in in a frame of its own page', {
  timeout: 60_000,
}, async () => {
  const { context, page, frame } = await visit();
  assert.equal(await figure(frame), expected.credits);
  assert.equal(new URL(page.url()).origin, app);
  assert.equal(inside(page).url(), `${base}/w/ws_browser/usage`, 'no token and no code stays in the address');
  // It is the whole page: it asks and answers as it does on its own.
  await frame.getByRole('button', { name: 'Show data as a table' }).click();
  const total = frame.locator('.figures tfoot td').first();
  assert.equal((await total.innerText()).replaceAll(',', ''), expected.credits);
  await context.close();
});

test('the session’s cookie is what the documentation says', { timeout: 60_000 }, async () => {
  const { context, page, frame, sessions } = await visit();
  await credits(frame).waitFor();
  const [set] = (await sessions[0].headersArray()).filter(({ name }) => name.toLowerCase() === 'set-cookie');
  const [value, ...attributes] = set.value.split('; ');
  assert.match(value, /^__Host-agentmeter_session=./);
  assert.deepEqual(attributes.map(text => text.replace(/=\d+$/, '=N')).sort(), [
    'HttpOnly',
    'Max-Age=N',
    'Partitioned',
    'Path=/',
    'SameSite=None',
    'Secure',
  ]);
  assert.equal(await page.evaluate(() => document.cookie.includes('agentmeter')), false);
  // Partitioned: on a page of its own, outside the platform's, nobody is signed in by it.
  const alone = await context.newPage();
  const response = await alone.goto(`${base}/w/ws_browser/usage`);
  assert.equal(response.status(), 401);
  await context.close();
});

test('no other origin can frame it, not even with a link that signs in', { timeout: 60_000 }, async () => {
  const { context, page, frame, said } = await visit();
  await credits(frame).waitFor();
  // A fresh link, as one that fell into the wrong hands.
  const answer = await fetch(`${api}/v1/sessions`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
  });
  assert.equal(answer.status, 201);
  const { url: link } = await answer.json();
  assert.ok(link.startsWith(`${base}/session/`), link);
  await page.goto(`${other}/?${link}`);
  await eventually(() =>
    assert.ok(
      said.some(text => /frame-ancestors/.test(text) && text.includes(base)),
      said.join('\n'),
    ),
  );
  await eventually(() => assert.match(inside(page).url(), /^chrome-error:/));
  // Nor does the platform make links for frames of others, whose requests its own cookie does not go with.
  await page.goto(`${other}/?${app}/usage/frame`);
  await page.frameLocator('iframe').getByText('Sign in first.').waitFor();
  await context.close();
});

test('a renewal that hangs is given up and tried again, and the frame goes on where it was', {
  timeout: 60_000,
}, async () => {
  const { context, page, frame } = await visit();
  await credits(frame).waitFor();
  const session = '__Host-agentmeter_session';
  const links = `${app}/usage/frame`;
  let asked = 0;
  await context.route(links, () => {
    asked++; // and never answered
  });
  // None that began before is under way any more.
  await eventually(async () => assert.equal(await page.locator('iframe').count(), 1), { everyMs: 20 });
  await context.clearCookies({ name: session });
  await frame.getByRole('combobox', { name: 'Interval' }).selectOption('week');
  const again = frame.getByRole('button', { name: 'Sign in again' });
  await again.waitFor();
  await eventually(() => assert.ok(asked >= 2, `${asked} tries`));
  await context.unroute(links);
  await eventually(async () => {
    const names = (await context.cookies(base)).map(({ name }) => name);
    assert.ok(names.includes(session), `no session in ${names}`);
  });
  await again.click();
  await frame.getByRole('slider', { name: 'Credits by week' }).waitFor();
  assert.equal(await figure(frame), expected.credits);
  await context.close();
});

// The instance runs with --page-time-format 12h, --page-accent #a0006d and --page-accent-dark #ffb3e1.
for (const [colorScheme, accent, onAccent] of [
  ['light', 'rgb(160, 0, 109)', 'rgb(255, 255, 255)'],
  ['dark', 'rgb(255, 179, 225)', 'rgb(0, 0, 0)'],
]) {
  test(`the platform’s colour and time format are the page’s, ${colorScheme}`, {
    timeout: 60_000,
  }, async () => {
    const { context, page, frame } = await visit({ colorScheme });
    await credits(frame).waitFor();
    const coloursOf = locator =>
      locator.evaluate(element => {
        const { color, backgroundColor } = getComputedStyle(element);
        return { color, backgroundColor };
      });
    assert.equal((await coloursOf(frame.getByRole('link', { name: 'See Billing' }))).color, accent);
    assert.deepEqual(await coloursOf(frame.locator('.skip')), { color: onAccent, backgroundColor: accent });
    const clock = /^\d{1,2}:\d\d:\d\d [ap]m$/;
    assert.match((await frame.locator('time').innerText()).replace('\u202f', ' '), clock);
    await accessible(inside(page), 'with the platform’s colour');
    const loaded = await inside(page).evaluate(() =>
      performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname),
    );
    const sheets = loaded.filter(name => name.endsWith('.css'));
    assert.equal(sheets.length, 1, `the colour costs no request: ${sheets}`);
    // Without scripts, too.
    await inside(page).goto(`${base}/w/ws_browser/usage/figures`);
    assert.equal((await coloursOf(frame.getByRole('link', { name: 'See Billing' }))).color, accent);
    assert.match(await frame.locator('.chip').innerText(), / \d{1,2}:\d\d:\d\d [ap]m /);
    await context.close();
  });
}
