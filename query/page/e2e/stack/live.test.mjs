// What time does to the page, and what the processes behind it do: by the machine's clock.
import assert from 'node:assert/strict';
import { after, afterEach } from 'node:test';
import { assertShows, clock, closeBrowser, micros, sql, stack, workspace } from '../stack.mjs';
import { ask, base, dashboardRoute, eventually, figures, pageTest, settled, sum } from '../support.mjs';

afterEach(() => stack.restore());
after(closeBrowser);

const day = 86_400_000;
const date = at => new Date(at).toISOString().slice(0, 10);
/** Whole days in UTC up to tomorrow: given as dates and open for another day, so that midnight changes nothing. */
const today = Date.parse(date(Date.now()));
const week = { from: date(today - 6 * day), to: date(today + 2 * day) };
const theWeek = `?from=${week.from}&to=${date(today + day)}`;
/** Ten o'clock, so many days ago. */
const ago = days => new Date(today - days * day + 10 * 3_600_000);

/** A world whose workspace has had these events counted. */
const counting =
  (
    events = [
      { at: ago(2), credits: '20.5' },
      { at: ago(4), credits: '10' },
    ],
    facts = {},
  ) =>
  async () => {
    const ws = await workspace({ agents: { agt_a: 'Ada', agt_b: 'Bob' }, ...facts });
    await ws.send(...events);
    await ws.counted();
    return ws.world();
  };

/** Notes each different view that a reader could see: the headline and the bars of every frame. */
const watch = page =>
  page.evaluate(() => {
    globalThis.__views = [];
    const look = () => {
      const headline = document.querySelector('[data-testid=credits-used]').textContent.replaceAll(',', '');
      const bars = [...document.querySelectorAll('[data-testid=bar]')].map(bar => bar.dataset.credits);
      const view = JSON.stringify({ headline, bars });
      if (globalThis.__views.at(-1) !== view) globalThis.__views.push(view);
      requestAnimationFrame(look);
    };
    look();
  });
/**
 * The bars without what comes with time alone: how final those are that have not ended, or did a moment ago. From
 * midnight, and ten minutes later, it is another one.
 */
const lasting = bars =>
  bars.map(({ state, ...bar }) => (Date.parse(bar.end) < today ? { ...bar, state } : bar));
const views = async page => (await page.evaluate(() => globalThis.__views)).map(view => JSON.parse(view));

const chip = page => page.locator('.chip');
const notice = (page, text) => page.locator('.notice').filter({ hasText: text });
const asked = (requests, what) => requests.filter(url => url.includes(what)).length;

pageTest(
  'an event that is sent appears without a reload',
  counting(),
  theWeek,
  {},
  async (page, _, { of: ws }) => {
    await assertShows(page, ws, week);
    await page.evaluate(() => {
      globalThis.__sameDocument = true;
    });
    // What asks without having heard of anything, as the slow poll does, is not answered: figures can come only
    // by what the event stream says.
    const heard = [];
    await page.route(dashboardRoute, async route => {
      const event = route.request().headers()['last-event-id'];
      if (!event) return route.abort();
      const response = await route.fetch();
      heard.push(response.status());
      await route.fulfill({ response });
    });
    await ws.send({ at: new Date(), credits: '7.25' });
    await assertShows(page, ws, week);
    assert.ok(heard.includes(200), `asked upon a word of the stream: ${heard}`);
    assert.equal(await page.evaluate(() => globalThis.__sameDocument), true);
  },
);

pageTest(
  'a late event and a correction change their closed bar and the total together',
  counting(),
  theWeek,
  {},
  async (page, _, { of: ws }) => {
    const before = await assertShows(page, ws, week);
    const late = 6 - 4;
    assert.equal(before.bars[late].state, 'final');
    await watch(page);
    await ws.send({ at: ago(4), agent: 'agt_b', credits: '5.5', messages: 3 });
    const risen = await assertShows(page, ws, week);
    assert.equal(risen.bars[late].credits, '15.5');
    assert.equal(risen.bars[late].state, 'final');
    await ws.adjust({ at: ago(4), agent: 'agt_a', credits: '-9.75', messages: -1 });
    const fallen = await assertShows(page, ws, week);
    assert.equal(fallen.bars[late].credits, '5.75');
    assert.ok(micros(fallen.credits) < micros(risen.credits));
    assert.deepEqual(
      lasting(fallen.bars.toSpliced(late, 1)),
      lasting(before.bars.toSpliced(late, 1)),
      'no other bar moved',
    );
    const seen = await views(page);
    for (const { headline, bars } of seen)
      assert.equal(sum(bars), headline, 'the bars and the total, in one frame');
    assert.deepEqual(
      seen.map(view => view.bars[late]),
      ['10', '15.5', '5.75'],
    );
  },
);

pageTest(
  'an event that is sent twice is counted once',
  counting(),
  theWeek,
  {},
  async (page, _, { of: ws }) => {
    const [event] = await ws.send({ at: ago(1), credits: '3.5' });
    const before = await assertShows(page, ws, week);
    await page.getByText('Totals match 3 recorded events').waitFor();
    await watch(page);
    await ws.resend(event);
    await eventually(async () => {
      const rows = await sql(
        `SELECT outcome, count() AS n FROM usage_ledger WHERE workspace = {ws:String} AND event_id = {id:String}
         GROUP BY outcome ORDER BY outcome`,
        { ws: ws.id, id: event.id },
      );
      assert.deepEqual(
        rows.map(row => [row.outcome, String(row.n)]),
        [
          ['counted', '1'],
          ['duplicate', '1'],
        ],
      );
    });
    // The page has heard of a later moment, and shows the same.
    const seenIn = Date.now();
    await eventually(async () =>
      assert.ok(Date.parse(await chip(page).locator('time').getAttribute('datetime')) > seenIn),
    );
    const still = await figures(page);
    assert.deepEqual({ ...still, bars: lasting(still.bars) }, { ...before, bars: lasting(before.bars) });
    assert.equal((await views(page)).length, 1, 'nothing else was ever shown');
    await page.getByText('Totals match 3 recorded events').waitFor();
  },
);

pageTest(
  'a stream that dropped comes back with what happened meanwhile',
  counting(),
  theWeek,
  {},
  async (page, { requests }, { of: ws }) => {
    await assertShows(page, ws, week);
    const before = asked(requests, '/v1/usage/live');
    await stack.kill('query');
    await ws.send({ at: new Date(), credits: '4' });
    await ws.counted();
    await stack.start('query');
    await assertShows(page, ws, week);
    await eventually(() => assert.ok(asked(requests, '/v1/usage/live') > before));
    await ws.send({ at: new Date(), credits: '8' });
    await assertShows(page, ws, week);
  },
);

const liveStreams = async () =>
  Number(/^agentmeter_query_live_streams (\d+)$/m.exec(await (await fetch(`${base}/metrics`)).text())[1]);

pageTest(
  'a hidden tab asks nothing, and catches up when it is seen again',
  counting(),
  theWeek,
  { prepare: page => page.clock.install() },
  async (page, { requests }, { of: ws }) => {
    const turn = hidden =>
      page.evaluate(to => {
        Object.defineProperty(document, 'hidden', { configurable: true, get: () => to });
        document.dispatchEvent(new Event('visibilitychange'));
      }, hidden);
    const before = await assertShows(page, ws, week);
    await eventually(async () => assert.equal(await liveStreams(), 1));
    await turn(true);
    await eventually(async () => assert.equal(await liveStreams(), 0));
    const until = requests.length;
    await ws.send({ at: new Date(), credits: '4' });
    await ws.counted();
    await page.clock.fastForward(10 * 60_000);
    assert.deepEqual(requests.slice(until), []);
    assert.deepEqual(lasting((await figures(page)).bars), lasting(before.bars));
    await turn(false);
    await assertShows(page, ws, week);
    await eventually(async () => assert.equal(await liveStreams(), 1));
  },
);

pageTest(
  'the page says how far behind the data is while rollup is stopped, and takes it back',
  counting(),
  theWeek,
  { prepare: page => page.clock.install() },
  async (page, _, { of: ws }) => {
    const before = await assertShows(page, ws, week);
    await chip(page)
      .getByText(/^Up to date to \d\d:\d\d:\d\d · \d+ s ago$/)
      .waitFor();
    await stack.stop('rollup');
    await ws.send({ at: new Date(), credits: '4' });
    await clock(new Date(Date.now() + 6 * 60_000).toISOString());
    await page.clock.fastForward(15_000);
    await chip(page).getByText('Data is 6 minutes behind').waitFor();
    assert.match(await chip(page).getAttribute('class'), /late/);
    await notice(
      page,
      'Data is 6 minutes behind. New usage will appear when processing catches up.',
    ).waitFor();
    // What is not counted is not shown, and said to be lacking.
    await notice(
      page,
      /^Some usage for .*\d\d:\d\d.*\d\d:\d\d hasn’t been counted yet\. Totals are at least what’s shown\.$/,
    ).waitFor();
    await page.getByRole('article').first().getByText('At least').waitFor();
    assert.equal((await figures(page)).credits, before.credits);

    await clock(null);
    await stack.start('rollup');
    await assertShows(page, ws, week);
    await chip(page)
      .getByText(/^Up to date to/)
      .waitFor();
    await eventually(async () => {
      await page.clock.fastForward(15_000);
      assert.equal(await page.locator('.notice').count(), 0);
      assert.equal(await page.getByText('At least').count(), 0);
    });
  },
);

/** Says of every partition what its consumer says once it has halted. */
const halt = from =>
  sql(
    `INSERT INTO rollup_progress
     SELECT stream, partition, any(partitions), max(position), max(log_end), max(counted_through),
       'halted by a test', {from:DateTime64(3, 'UTC')}, now64(3)
     FROM rollup_progress GROUP BY stream, partition`,
    { from },
  );

pageTest(
  'what was not counted is hatched, named and never zero, and the total is at least what is shown',
  async () => {
    await clock('2022-06-01T00:00:00Z');
    const ws = await workspace({ timezone: 'Europe/Copenhagen', agents: { agt_a: 'Ada' } });
    await clock('2026-11-12T04:00:00Z');
    await ws.send({ at: '2026-11-12T00:30:00Z', credits: '5' });
    await ws.counted();
    await stack.stop('rollup');
    await halt('2026-11-12 02:00:00');
    await ws.send({ at: '2026-11-12T02:30:00Z', credits: '7' });
    return ws.world();
  },
  '?from=2026-11-12&to=2026-11-12&table=1',
  { prepare: page => page.clock.install() },
  async (page, _, { of: ws }) => {
    await notice(
      page,
      'Some usage for 12 Nov, 03:00–05:00 hasn’t been counted yet. Totals are at least what’s shown.',
    ).waitFor();
    for (const name of ['Credits used', 'Messages answered']) {
      const figure = page.getByRole('article').filter({ hasText: name }).locator('.figure');
      assert.match(await figure.innerText(), name === 'Credits used' ? /^At least 5$/ : /^At least 1$/);
    }
    const { bars, credits } = await figures(page);
    assert.equal(credits, '5');
    assert.deepEqual(
      bars.slice(0, 6).map(bar => [bar.state === 'missing', bar.credits]),
      [
        [false, '0'],
        [false, '5'],
        [false, '0'],
        [true, null],
        [true, null],
        [false, '0'],
      ],
    );
    const box = kind => page.locator(`.plot path.${kind}`).evaluate(path => path.getBBox().height);
    assert.equal(await box('zero'), 2, 'a known zero is a tick');
    assert.equal(await box('missing'), 260, 'what is missing is as high as the plot');
    assert.match(
      await page.locator('.plot path.missing').evaluate(path => getComputedStyle(path).fill),
      /#hatch/,
    );
    const rows = (await page.locator('.figures tbody tr').allInnerTexts()).map(text => text.split(/\t+/));
    assert.deepEqual(rows[2].slice(0, 3), ['Thu 12 Nov, 02:00–03:00', '0', '0']);
    assert.deepEqual(rows[3].slice(0, 3), ['Thu 12 Nov, 03:00–04:00', '—', '—']);
    assert.equal(rows[3].at(-1), 'No data recorded');
    await page.getByRole('rowheader', { name: 'Total, at least' }).waitFor();
    await page.getByRole('group', { name: 'Shown in the chart' }).getByText('No data recorded').waitFor();
    const plot = page.getByRole('slider');
    await plot.focus();
    await page.keyboard.press('Home');
    assert.match(await plot.getAttribute('aria-valuetext'), /: 0 credits/);
    for (let i = 0; i < 3; i++) await page.keyboard.press('ArrowRight');
    assert.match(await plot.getAttribute('aria-valuetext'), /: No data recorded$/);

    await stack.start('rollup');
    await eventually(async () => {
      await page.clock.fastForward(15_000);
      assert.equal((await figures(page)).credits, '12');
    });
    await assertShows(page, ws, { from: '2026-11-11T23:00:00Z', to: '2026-11-12T23:00:00Z' });
    // That all is counted is known a moment after it is.
    await eventually(async () => {
      await page.clock.fastForward(15_000);
      assert.equal(await page.getByText('At least').count(), 0);
      assert.equal(await page.locator('.notice').count(), 0);
    });
  },
);

/**
 * Ends ClickHouse, and waits until the service cannot answer about the workspace any more: what it has just read of
 * it, such as whom it names for help, it uses again for a moment, and what nothing was used in it need not read.
 */
async function loseClickHouse(ws) {
  await stack.kill('engine');
  await eventually(async () => {
    assert.equal((await ask(`/v1/workspaces/${ws.id}`)).status, 503);
  });
}
const failed = page => page.getByRole('alert').filter({ hasText: 'Usage couldn’t load for this range' });

pageTest(
  'without ClickHouse the page says what to do, and trying again recovers',
  async () => {
    const world = await counting()();
    await loseClickHouse(world.of);
    return world;
  },
  theWeek,
  { ready: page => failed(page).waitFor() },
  async (page, { requests }, { of: ws }) => {
    const text = (await failed(page).innerText()).replace(/\s+/g, ' ');
    assert.ok(
      text.includes(
        'A temporary hiccup can stop a range from loading. Re-apply the date range or reload the page to retry. ' +
          'If it persists, contact support@a2v2.ai.',
      ),
      text,
    );
    assert.match(text, /Reference: [0-9a-f]{32}\b/);
    assert.equal(asked(requests, '/v1/usage/dashboard'), 3, 'it was tried twice more before it was said');
    const answer = page.waitForResponse(/\/v1\/usage\/dashboard/);
    await page.getByRole('button', { name: 'Try again' }).click();
    assert.equal((await answer).status(), 503);
    await failed(page).waitFor();
    await stack.start('engine');
    await page.getByRole('button', { name: 'Try again' }).click();
    await settled(page);
    await assertShows(page, ws, week);
    assert.equal(await page.getByRole('alert').count(), 0);
  },
);

pageTest(
  'another range that ClickHouse is not there for leaves the figures, stamped, and is shown later',
  counting([
    { at: ago(2), credits: '20.5' },
    { at: ago(10), credits: '10' },
  ]),
  theWeek,
  {},
  async (page, _, { of: ws }) => {
    const before = await assertShows(page, ws, week);
    await loseClickHouse(ws);
    // As many days before, which midnight changes nothing of.
    await page.getByRole('button', { name: 'Earlier range' }).click();
    await failed(page).waitFor();
    assert.match(
      (await failed(page).innerText()).replace(/\s+/g, ' '),
      /Showing figures from \d\d:\d\d\. They are for All Agents, \d+ \w+( \d{4})? – \d+ \w+ \d{4}\./,
    );
    assert.deepEqual(
      (await figures(page)).bars.map(bar => bar.credits),
      before.bars.map(bar => bar.credits),
    );
    assert.equal((await figures(page)).credits, before.credits);
    await stack.start('engine');
    await page.getByRole('button', { name: 'Try again' }).click();
    await assertShows(page, ws, { from: date(today - 14 * day), to: week.from });
    assert.equal(await page.getByRole('alert').count(), 0);
  },
);

pageTest(
  'figures outlive ClickHouse, stamped, and go on by themselves when it is back',
  counting(),
  theWeek,
  { prepare: page => page.clock.install() },
  async (page, _, { of: ws }) => {
    const before = await assertShows(page, ws, week);
    await stack.kill('engine');
    await eventually(async () => {
      await page.clock.fastForward(4_000);
      assert.equal(
        await notice(page, /^The connection is unsteady\. Showing figures from \d\d:\d\d\.$/).count(),
        1,
      );
    });
    assert.equal((await figures(page)).credits, before.credits);
    // One that is refused counts until it is.
    await eventually(async () => assert.equal(await liveStreams(), 0));
    await stack.start('engine');
    await ws.send({ at: new Date(), credits: '6' });
    await assertShows(page, ws, week);
    await eventually(async () => assert.equal(await notice(page, 'The connection is unsteady').count(), 0));
    await eventually(async () => {
      await page.clock.fastForward(4_000);
      assert.equal(await liveStreams(), 1);
    });
  },
);
