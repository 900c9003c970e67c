// Days, zones and presets, by a clock that stands still.
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { assertShows, clock, closeBrowser, ledger, stack, workspace } from '../stack.mjs';
import {
  chooseAgent,
  choosePreset,
  combobox,
  eventually,
  figures,
  grouped,
  isFocused,
  pageTest,
  rangeButton,
  settled,
  sum,
  tabTo,
} from '../support.mjs';

after(async () => {
  await stack.restore();
  await closeBrowser();
});

/** A world whose workspace held long before the clock stopped, with events that are counted. */
const stopped = (now, facts, events) => async () => {
  await clock('2022-06-01T00:00:00Z');
  const ws = await workspace({ agents: { agt_a: 'Ada' }, ...facts });
  await clock(now);
  await ws.send(...events);
  await ws.counted();
  return ws.world();
};

/** When a date begins in a zone whose clocks do not change at midnight. */
function begins(date, zone) {
  const offset = at => {
    const parts = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    }).formatToParts(at);
    const [year, month, day, hour, minute, second] = ['year', 'month', 'day', 'hour', 'minute', 'second'].map(
      type => Number(parts.find(part => part.type === type).value),
    );
    return Date.UTC(year, month - 1, day, hour, minute, second) - at;
  };
  const wall = Date.parse(`${date}T00:00:00Z`);
  return new Date(wall - offset(wall - offset(wall)));
}
const dayAfter = (date, days = 1) =>
  new Date(Date.parse(`${date}T00:00:00Z`) + days * 86_400_000).toISOString().slice(0, 10);
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
/** Dates as the page writes them: "1 Nov – 24 Nov 2026". */
function span(from, to) {
  const [[y1, m1, d1], [y2, m2, d2]] = [from, to].map(date => date.split('-').map(Number));
  const last = `${d2} ${months[m2 - 1]} ${y2}`;
  if (from === to) return last;
  return `${d1} ${months[m1 - 1]}${y1 === y2 ? '' : ` ${y1}`} – ${last}`;
}

/** Releases differ in how they shorten September. */
const assertRange = async (page, text) =>
  assert.equal((await rangeButton(page).textContent()).replaceAll('Sept ', 'Sep '), `Date range: ${text}`);
const search = page => new URL(page.url()).search;

/** What was sent in each bar is what it shows. */
async function assertBars(page, ws) {
  const { bars } = await figures(page);
  for (const { start, end, credits, messages } of bars) {
    assert.deepEqual({ credits, messages }, ws.sum({ from: start, to: end }), start);
  }
  return bars;
}

// 7. The billing period is anchored on a 31st, which most of these months do not have.
const presets = [
  'Today',
  'Yesterday',
  'Last 7 days',
  'Last 30 days',
  'Last 90 days',
  'Previous billing period',
  'This billing period',
  'Month to date',
  'Last month',
];
for (const [what, now, days] of [
  [
    '29 February',
    '2024-02-29T10:00:00Z',
    [
      ['2024-02-29', '2024-02-29'],
      ['2024-02-28', '2024-02-28'],
      ['2024-02-23', '2024-02-29'],
      ['2024-01-31', '2024-02-29'],
      ['2023-12-02', '2024-02-29'],
      ['2024-01-31', '2024-02-28'],
      ['2024-02-29', '2024-03-30'],
      ['2024-02-01', '2024-02-29'],
      ['2024-01-01', '2024-01-31'],
    ],
  ],
  [
    // It is still the year before in UTC.
    '1 January',
    '2025-12-31T23:30:00Z',
    [
      ['2026-01-01', '2026-01-01'],
      ['2025-12-31', '2025-12-31'],
      ['2025-12-26', '2026-01-01'],
      ['2025-12-03', '2026-01-01'],
      ['2025-10-04', '2026-01-01'],
      ['2025-11-30', '2025-12-30'],
      ['2025-12-31', '2026-01-30'],
      ['2026-01-01', '2026-01-01'],
      ['2025-12-01', '2025-12-31'],
    ],
  ],
  [
    'the 31st',
    '2026-10-31T12:00:00Z',
    [
      ['2026-10-31', '2026-10-31'],
      ['2026-10-30', '2026-10-30'],
      ['2026-10-25', '2026-10-31'],
      ['2026-10-02', '2026-10-31'],
      ['2026-08-03', '2026-10-31'],
      ['2026-09-30', '2026-10-30'],
      ['2026-10-31', '2026-11-29'],
      ['2026-10-01', '2026-10-31'],
      ['2026-09-01', '2026-09-30'],
    ],
  ],
]) {
  const zone = 'Europe/Copenhagen';
  // Each day's first and last moment, by amounts that no other sum is likely to make up for.
  const events = [];
  const today = days[0][0];
  for (let ago = 0; ago < 130; ago++) {
    const date = dayAfter(today, -ago);
    const last = new Date(begins(dayAfter(date), zone) - 1);
    events.push({ at: begins(date, zone), credits: `${ago * ago + 1}.000001` });
    if (last < new Date(now)) events.push({ at: last, credits: `${ago * 1000 + 7}.5`, messages: 2 });
  }
  pageTest(
    `every preset begins and ends on its days when it is ${what}`,
    stopped(now, { timezone: zone, billing_anchor: '2022-01-31' }, events),
    '',
    {},
    async (page, _, { of: ws }) => {
      for (const [index, name] of presets.entries()) {
        const [first, last] = days[index];
        await choosePreset(page, name);
        await assertShows(page, ws, { from: begins(first, zone), to: begins(dayAfter(last), zone) });
        await assertRange(page, span(first, last));
      }
    },
  );
}

// Three days in one moment: the machine's clock is years later, the browser's zone a day behind.
pageTest(
  'today is the day of the service, in the zone of the workspace',
  stopped('2024-02-29T10:30:00Z', { timezone: 'Pacific/Kiritimati' }, []),
  '?from=2024-02-27&to=2024-02-28',
  { timezoneId: 'America/Los_Angeles' },
  async page => {
    await rangeButton(page).click();
    const day = name => page.locator('calendar-month').getByRole('button', { name, exact: true });
    await page.getByRole('button', { name: 'Next month' }).click();
    await day('1 March').waitFor();
    assert.deepEqual(
      await page.evaluate(() =>
        [...document.querySelectorAll('calendar-month')].flatMap(month =>
          [...month.shadowRoot.querySelectorAll('[part~=today]')].map(found => found.ariaLabel),
        ),
      ),
      ['1 March'],
    );
    assert.equal(await day('1 March').isDisabled(), false);
    assert.equal(await day('2 March').isDisabled(), true);
    await page.keyboard.press('Escape');
    const later = page.getByRole('button', { name: 'Later range' });
    await later.click();
    await assertRange(page, span('2024-02-29', '2024-03-01'));
    assert.equal(await later.getAttribute('aria-disabled'), 'true', 'what comes next has not begun');
  },
);

const june = date => `2026-06-${String(date).padStart(2, '0')}`;
/** Three agents on every day of May and June up to the 20th. */
const spring = Array.from({ length: 51 }, (_, day) =>
  ['agt_a', 'agt_b', 'agt_c'].map((agent, i) => ({
    at: `${dayAfter('2026-05-01', day)}T0${i}:59:59.999Z`,
    agent,
    credits: `${(day + 1) * (i + 2)}.25`,
    messages: i + 1,
  })),
).flat();
const threeAgents = { agents: { agt_a: 'Ada', agt_b: 'Bob', agt_c: 'Cleo' } };
const inSpring = stopped('2026-06-20T12:00:00Z', threeAgents, spring);

pageTest('Back and Forward bring back what was chosen', inSpring, '', {}, async (page, _, { of: ws }) => {
  const views = [
    { search: '', agent: 'All Agents', range: '1 Jun – 30 Jun 2026', of: [june(1), '2026-07-01'] },
    { search: '?range=7d', agent: 'All Agents', range: '14 Jun – 20 Jun 2026', of: [june(14), june(21)] },
    {
      search: '?range=7d&agent=agt_b',
      agent: 'Bob',
      range: '14 Jun – 20 Jun 2026',
      of: [june(14), june(21), 'agt_b'],
    },
    {
      search: '?from=2026-05-10&to=2026-05-12&agent=agt_b',
      agent: 'Bob',
      range: '10 May – 12 May 2026',
      of: ['2026-05-10', '2026-05-13', 'agt_b'],
    },
  ];
  const check = async ({ search: address, agent, range, of: [from, to, id] }) => {
    await assertShows(page, ws, { from: `${from}T00:00:00Z`, to: `${to}T00:00:00Z`, agent: id });
    assert.equal(search(page), address);
    assert.equal(await combobox(page).inputValue(), agent);
    await assertRange(page, range);
  };
  await check(views[0]);
  await choosePreset(page, 'Last 7 days');
  await check(views[1]);
  await chooseAgent(page, 'Bob');
  await check(views[2]);
  await rangeButton(page).click();
  await page.getByLabel('Start date').fill('2026-05-10');
  await page.getByLabel('End date').fill('12 May 2026');
  await page.getByRole('button', { name: 'Apply' }).click();
  await check(views[3]);
  // What costs no request leaves no step behind.
  await page.getByRole('radio', { name: 'Messages' }).check({ force: true });
  await page.getByRole('radio', { name: 'Credits', exact: true }).check({ force: true });
  for (const at of [2, 1, 0]) {
    await page.goBack();
    await check(views[at]);
  }
  for (const at of [1, 2, 3]) {
    await page.goForward();
    await check(views[at]);
  }
});

pageTest(
  'a link brings back every control',
  inSpring,
  '?table=1&sort=-messages&hide=agt_b&compare=prev_dow&grain=week&metric=messages&to=2026-06-14&from=2026-05-18',
  {},
  async (page, _, { of: ws }) => {
    const canonical =
      '?from=2026-05-18&to=2026-06-14&metric=messages&grain=week&compare=prev_dow&hide=agt_b&sort=-messages&table=1';
    assert.equal(search(page), canonical);
    await assertShows(page, ws, { from: '2026-05-18T00:00:00Z', to: '2026-06-15T00:00:00Z' });
    assert.equal((await figures(page)).bars.length, 4);
    assert.equal(await combobox(page).inputValue(), 'All Agents');
    assert.equal(await page.getByLabel('Compare').inputValue(), 'prev_dow');
    assert.equal(await page.getByLabel('Interval').inputValue(), 'week');
    assert.equal(await page.getByRole('radio', { name: 'Messages' }).isChecked(), true);
    assert.equal(await page.getByRole('radio', { name: 'By agent' }).isChecked(), true);
    const legend = page.getByRole('group', { name: 'Shown in the chart' });
    for (const [name, shown] of [
      ['Ada', 'true'],
      ['Bob', 'false'],
      ['Cleo', 'true'],
    ]) {
      assert.equal(await legend.getByRole('button', { name }).getAttribute('aria-pressed'), shown, name);
    }
    await page.getByRole('heading', { name: 'Message usage (1 agent hidden)' }).waitFor();
    assert.equal(
      await page.getByRole('columnheader', { name: 'Messages' }).last().getAttribute('aria-sort'),
      'descending',
    );
    assert.deepEqual(
      (await figures(page)).agents.map(one => one.name),
      ['Cleo', 'Bob', 'Ada'],
    );
    await page.getByRole('table', { name: /^Usage by week/ }).waitFor();
    await rangeButton(page).click();
    assert.equal(await page.getByLabel('Start date').inputValue(), '2026-05-18');
    assert.equal(await page.getByLabel('End date').inputValue(), '2026-06-14');
    await page.keyboard.press('Escape');

    const one = `?from=2026-06-01&to=2026-06-02&agent=agt_c&view=total&behind=agent:agt_c`;
    await page.goto(page.url().replace(/\?.*/, one));
    await settled(page);
    assert.equal(search(page), one);
    await page.getByRole('dialog', { name: 'Cleo' }).waitFor();
    await page.getByRole('button', { name: 'Close' }).click();
    await assertShows(page, ws, {
      from: '2026-06-01T00:00:00Z',
      to: '2026-06-03T00:00:00Z',
      agent: 'agt_c',
    });
    assert.equal(await combobox(page).inputValue(), 'Cleo');
    assert.equal(await page.getByRole('radio', { name: 'Total' }).isChecked(), true);
    assert.equal(await page.getByLabel('Interval').inputValue(), 'auto');
  },
);

const lastWeek = '?range=7d';
const calendarDay = (page, name) =>
  page.getByRole('dialog', { name: 'Date range' }).getByRole('button', { name, exact: true });
const fields = async page => [
  await page.getByLabel('Start date').inputValue(),
  await page.getByLabel('End date').inputValue(),
];

pageTest(
  'dates are chosen in the calendar with the mouse',
  inSpring,
  lastWeek,
  {},
  async (page, { requests }, { of: ws }) => {
    await rangeButton(page).click();
    await calendarDay(page, '16 June').waitFor();
    await page.getByRole('button', { name: 'Previous month' }).click();
    await calendarDay(page, '30 April').waitFor();
    await calendarDay(page, '9 May').click();
    await calendarDay(page, '12 May').click();
    assert.deepEqual(await fields(page), ['2026-05-09', '2026-05-12']);
    // Nothing is asked before it is applied, and Cancel takes it back.
    await page.getByRole('button', { name: 'Cancel' }).click();
    assert.equal(search(page), lastWeek);
    assert.equal(
      requests.some(url => url.includes('2026-05-09')),
      false,
    );
    await rangeButton(page).click();
    assert.deepEqual(await fields(page), [june(14), june(20)]);
    await calendarDay(page, '31 May').click();
    await calendarDay(page, '2 June').click();
    await page.getByRole('button', { name: 'Apply' }).click();
    await assertShows(page, ws, { from: '2026-05-31T00:00:00Z', to: '2026-06-03T00:00:00Z' });
    assert.equal(search(page), '?from=2026-05-31&to=2026-06-02');
    await assertRange(page, '31 May – 2 Jun 2026');
  },
);

/** Presses a key that moves the focus in the calendar, which takes keys once it has drawn itself. */
async function moveTo(page, key, day) {
  const there = () => isFocused(calendarDay(page, day));
  await eventually(async () => {
    if (!(await there())) await page.keyboard.press(key);
    await eventually(async () => assert.ok(await there(), `${key} does not lead to ${day}`), {
      timeoutMs: 1_000,
      everyMs: 20,
    });
  });
}

pageTest(
  'dates are typed, and chosen in the calendar, with the keyboard alone',
  inSpring,
  lastWeek,
  {},
  async (page, _, { of: ws }) => {
    await tabTo(page, rangeButton(page));
    await page.keyboard.press('Enter');
    await tabTo(page, page.getByLabel('Start date'));
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.type('9 May 2026');
    await page.keyboard.press('Tab');
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.type('2026-05-12');
    await page.keyboard.press('Enter');
    await assertShows(page, ws, { from: '2026-05-09T00:00:00Z', to: '2026-05-13T00:00:00Z' });
    assert.equal(search(page), '?from=2026-05-09&to=2026-05-12');

    // Escape leaves everything as it was, and the focus where it came from.
    await page.keyboard.press('Enter');
    await page.getByLabel('Start date').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog', { name: 'Date range' }).waitFor({ state: 'detached' });
    assert.equal(await rangeButton(page).evaluate(button => button === document.activeElement), true);

    await page.keyboard.press('d');
    await tabTo(page, calendarDay(page, '12 April'));
    await moveTo(page, 'PageDown', '12 May');
    await moveTo(page, 'ArrowUp', '5 May');
    await page.keyboard.press('Enter');
    await moveTo(page, 'ArrowRight', '6 May');
    await moveTo(page, 'ArrowRight', '7 May');
    await page.keyboard.press('Enter');
    assert.deepEqual(await fields(page), ['2026-05-05', '2026-05-07']);
    await tabTo(page, page.getByRole('button', { name: 'Apply' }));
    await page.keyboard.press('Enter');
    await assertShows(page, ws, { from: '2026-05-05T00:00:00Z', to: '2026-05-08T00:00:00Z' });
    assert.equal(search(page), '?from=2026-05-05&to=2026-05-07');
  },
);

/** Presses the mouse at one part of the plot's width and releases it at another. */
async function drag(page, from, to) {
  const box = await page.getByRole('slider').boundingBox();
  const x = part => box.x + box.width * part;
  await page.mouse.move(x(from), box.y + 60);
  await page.mouse.down();
  await page.mouse.move(x((from + to) / 2), box.y + 60);
  await page.mouse.move(x(to), box.y + 60);
  await page.mouse.up();
}
async function clickBar(page, index) {
  const box = await page.locator('[data-testid=bar]').nth(index).boundingBox();
  await page.mouse.click(box.x + box.width / 2, box.y + 60);
}

pageTest(
  'dragging zooms to whole bars; Back and Zoom out restore',
  inSpring,
  lastWeek,
  {},
  async (page, _, { of: ws }) => {
    const week = { from: `${june(14)}T00:00:00Z`, to: `${june(21)}T00:00:00Z` };
    const zoomed = { from: `${june(15)}T00:00:00Z`, to: `${june(18)}T00:00:00Z` };
    // From within the second bar to within the fourth, and the other way round.
    for (const [from, to] of [
      [1.7, 3.2],
      [3.6, 1.1],
    ]) {
      await drag(page, from / 7, to / 7);
      await assertShows(page, ws, zoomed);
      assert.equal(search(page), `?start=${zoomed.from}&end=${zoomed.to}`);
      assert.equal((await assertBars(page, ws)).length, 72);
      await page.goBack();
      await assertShows(page, ws, week);
      assert.equal(search(page), lastWeek);
    }
    await page.goForward();
    await assertShows(page, ws, zoomed);
    await page.getByRole('button', { name: 'Zoom out' }).click();
    await assertShows(page, ws, week);
    assert.equal(search(page), lastWeek);
    assert.equal(await page.getByRole('button', { name: 'Zoom out' }).count(), 0);
  },
);

// 2026-03-29 has 23 hours in Copenhagen and 2026-10-25 has 25: each hour of both, and of the days around them.
const hourly = (from, to) =>
  Array.from({ length: (Date.parse(to) - Date.parse(from)) / 3_600_000 }, (_, hour) => ({
    at: new Date(Date.parse(from) + hour * 3_600_000 + 59 * 60_000),
    credits: `${hour + 1}.5`,
  }));
const inCopenhagen = stopped('2026-10-30T12:00:00Z', { timezone: 'Europe/Copenhagen' }, [
  ...hourly('2026-03-28T00:00:00Z', '2026-03-31T00:00:00Z'),
  ...hourly('2026-10-24T00:00:00Z', '2026-10-27T00:00:00Z'),
]);
const rowNames = page => page.locator('.figures tbody th').allTextContents();

pageTest(
  'a day of 23 hours has 23 bars and one of 25 has 25, the repeated hour by name',
  inCopenhagen,
  '?from=2026-03-29&to=2026-03-29&table=1',
  {},
  async (page, _, { of: ws }) => {
    await assertShows(page, ws, { from: '2026-03-28T23:00:00Z', to: '2026-03-29T22:00:00Z' });
    assert.equal((await assertBars(page, ws)).length, 23);
    assert.deepEqual((await rowNames(page)).slice(1, 4), [
      'Sun 29 Mar, 01:00–03:00',
      'Sun 29 Mar, 03:00–04:00',
      'Sun 29 Mar, 04:00–05:00',
    ]);

    await page.goto(page.url().replace(/\?.*/, '?from=2026-10-25&to=2026-10-25&table=1'));
    await settled(page);
    await assertShows(page, ws, { from: '2026-10-24T22:00:00Z', to: '2026-10-25T23:00:00Z' });
    assert.equal((await assertBars(page, ws)).length, 25);
    assert.deepEqual((await rowNames(page)).slice(1, 5), [
      'Sun 25 Oct, 01:00–02:00 CEST',
      'Sun 25 Oct, 02:00 CEST–02:00 CET',
      'Sun 25 Oct, 02:00 CET–03:00',
      'Sun 25 Oct, 03:00–04:00',
    ]);
    // There is room for one name below two bars.
    const labels = await page.locator('.x-axis text').allTextContents();
    assert.deepEqual(labels.slice(0, 3), ['25 Oct', '02:00 CEST', '04:00']);
    const plot = page.getByRole('slider');
    await plot.focus();
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    assert.match(
      await plot.getAttribute('aria-valuetext'),
      /^Sun 25 Oct, 02:00 CEST–02:00 CET: 25\.5 credits/,
    );
  },
);

pageTest(
  'the hours of a bar add up to it, of 25 too',
  inCopenhagen,
  '?from=2026-10-24&to=2026-10-26',
  {},
  async (page, _, { of: ws }) => {
    await page.getByLabel('Interval').selectOption('day');
    await eventually(async () => assert.equal((await figures(page)).bars.length, 3));
    const days = await assertBars(page, ws);
    for (const [index, hours] of [
      [1, 25],
      [2, 24],
    ]) {
      await clickBar(page, index);
      await page.getByRole('group', { name: /Oct 2026$/ }).waitFor();
      await clickBar(page, index);
      const { start, end, credits, messages } = days[index];
      await assertShows(page, ws, { from: start, to: end });
      const inside = await assertBars(page, ws);
      assert.equal(inside.length, hours);
      assert.equal(sum(inside.map(bar => bar.credits)), credits);
      assert.equal(sum(inside.map(bar => bar.messages)), messages);
      await page.goBack();
      await eventually(async () => assert.deepEqual((await figures(page)).bars, days));
    }
  },
);

pageTest(
  'days and hours begin at a quarter past in Kathmandu',
  stopped('2026-06-20T12:00:00Z', { timezone: 'Asia/Kathmandu' }, [
    { at: '2026-06-09T18:14:59.999Z', credits: '1000' },
    { at: '2026-06-09T18:15:00Z', credits: '1' },
    { at: '2026-06-09T19:14:59.999Z', credits: '2' },
    { at: '2026-06-09T19:15:00Z', credits: '4' },
    { at: '2026-06-10T18:14:59.999Z', credits: '8' },
    { at: '2026-06-10T18:15:00Z', credits: '16' },
    { at: '2026-06-11T18:14:59.999Z', credits: '32' },
    { at: '2026-06-11T18:15:00Z', credits: '2000' },
  ]),
  '?from=2026-06-10&to=2026-06-11&table=1',
  {},
  async (page, _, { of: ws }) => {
    const both = { from: '2026-06-09T18:15:00Z', to: '2026-06-11T18:15:00Z' };
    await page.getByText('Times in Asia/Kathmandu', { exact: true }).waitFor();
    await assertShows(page, ws, both);
    const hours = await assertBars(page, ws);
    assert.equal(hours.length, 48);
    assert.deepEqual(
      hours.slice(0, 3).map(bar => bar.credits),
      ['3', '4', '0'],
    );
    assert.deepEqual((await rowNames(page)).slice(0, 2), [
      'Wed 10 Jun, 00:00–01:00',
      'Wed 10 Jun, 01:00–02:00',
    ]);
    await page.getByLabel('Interval').selectOption('day');
    await eventually(async () => assert.equal((await figures(page)).bars.length, 2));
    assert.deepEqual(
      (await assertBars(page, ws)).map(bar => bar.credits),
      ['15', '48'],
    );
    assert.deepEqual(await rowNames(page), ['Wed 10 Jun 2026', 'Thu 11 Jun 2026']);
  },
);

pageTest(
  'the workspace’s zone rules, whatever the browser’s is',
  stopped('2026-06-20T16:00:00Z', { timezone: 'Asia/Tokyo' }, [
    ...hourly('2026-06-18T00:00:00Z', '2026-06-20T16:00:00Z'),
  ]),
  '?range=today&table=1',
  // It is 1:00 on the 21st in Tokyo, and 9:00 on the 20th here.
  { timezoneId: 'America/Los_Angeles' },
  async (page, _, { of: ws }) => {
    await assertShows(page, ws, { from: '2026-06-20T15:00:00Z', to: '2026-06-21T15:00:00Z' });
    await page.getByText('Times in Asia/Tokyo', { exact: true }).waitFor();
    await page.getByText(/^Up to date to 01:00:00/).waitFor();
    await assertRange(page, '21 Jun 2026');
    // What has not begun is not listed.
    assert.deepEqual(await rowNames(page), ['Sun 21 Jun, 00:00–01:00']);
    assert.equal((await page.locator('.x-axis text').allTextContents())[0], '21 Jun');
    await rangeButton(page).click();
    await page.getByLabel('Start date').fill(june(19));
    await page.getByLabel('End date').fill(june(20));
    await page.getByRole('button', { name: 'Apply' }).click();
    await assertShows(page, ws, { from: '2026-06-18T15:00:00Z', to: '2026-06-20T15:00:00Z' });
    assert.equal((await assertBars(page, ws)).length, 48);
  },
);

/** What the ledger counts of [from, to), in instants of any kind. */
const countedIn = (ws, from, to, agent) =>
  ledger(ws, { from: new Date(from).toISOString(), to: new Date(to).toISOString(), agent });
/** How much more it is, as the page writes it. */
function changeOf(now, before) {
  const [a, b] = [now, before].map(value => Number(value));
  if (now === before) return 'No change';
  const percent = Math.round(Math.abs(a / b - 1) * 1000) / 10;
  const [whole, fraction] = percent.toFixed(1).split('.');
  const size = percent < 1000 ? `${whole}.${fraction}` : Math.round(percent).toLocaleString('en-GB');
  return `${a > b ? '+' : '−'}${size}%`;
}
const card = (page, name) => page.getByRole('article').filter({ hasText: name });

const day = 86_400_000;
const twoYears = Array.from({ length: 430 }, (_, ago) => {
  const date = Date.parse('2026-06-20T00:00:00Z') - ago * day;
  return [
    { at: new Date(date + 9 * 3_600_000), agent: 'agt_a', credits: `${10 + (ago % 13)}` },
    {
      at: new Date(date + 15 * 3_600_000),
      agent: ago % 3 ? 'agt_b' : 'agt_a',
      credits: `${2 + (ago % 7)}.5`,
    },
  ];
})
  .flat()
  .filter(event => event.at < new Date('2026-06-20T12:00:00Z'));

const closed = { from: june(1), to: june(11), search: `?from=${june(1)}&to=${june(10)}` };
const open = { from: june(14), to: june(21), search: '?range=7d' };
const period = { from: june(1), to: '2026-07-01', search: '?' };
const passed = 12 * 3_600_000;
pageTest(
  'comparisons are with what the ledger has of the days before, as far as as much has passed',
  stopped('2026-06-20T12:00:00Z', { agents: { agt_a: 'Ada', agt_b: 'Bob' } }, twoYears),
  '',
  {},
  async (page, _, { of: ws }) => {
    for (const [range, compare, from, to, part = 0] of [
      [closed, 'prev', '2026-05-22', june(1)],
      [closed, 'prev_dow', '2026-05-18', '2026-05-28'],
      [closed, 'yoy', '2025-06-01', '2025-06-11'],
      [open, 'prev', june(7), june(13), passed],
      [open, 'yoy', '2025-06-14', '2025-06-20', passed],
      [period, 'prev', '2026-05-01', '2026-05-20', passed],
      [period, 'yoy', '2025-06-01', '2025-06-20', passed],
    ]) {
      const what = `${range.search} ${compare}`;
      await page.goto(`${page.url().replace(/\?.*/, '')}${range.search}&compare=${compare}&table=1`);
      await settled(page);
      await assertShows(page, ws, { from: `${range.from}T00:00:00Z`, to: `${range.to}T00:00:00Z` });
      const until = Date.parse(to) + part;
      const before = await countedIn(ws, from, until);
      const now = await countedIn(ws, range.from, range.to);
      for (const [name, metric] of [
        ['Credits used', 'credits'],
        ['Messages answered', 'messages'],
      ]) {
        const text = (await card(page, name).locator('.delta').innerText()).replace(/\s+/g, ' ');
        assert.ok(text.startsWith(changeOf(now[metric], before[metric])), `${what}: ${text}`);
        assert.ok(
          text.endsWith(`from ${grouped(before[metric])}`),
          `${what}: ${text}, not ${before[metric]}`,
        );
      }
      // Bar by bar, and agent by agent.
      const at = (await page.locator('.figures thead th').allTextContents()).indexOf('Comparison') + 1;
      const compared = await page.locator(`.figures tbody tr > :nth-child(${at})`).allTextContents();
      for (const [index, shown] of compared.entries()) {
        const start = Date.parse(from) + index * day;
        const own = await countedIn(ws, start, Math.min(start + day, until));
        assert.equal(shown, grouped(own.credits), `${what}, bar ${index}`);
      }
      assert.equal(
        await page.locator(`.figures tfoot tr > :nth-child(${at})`).textContent(),
        grouped(before.credits),
      );
      for (const [id, name] of [
        ['agt_a', 'Ada'],
        ['agt_b', 'Bob'],
      ]) {
        const [was, is] = [
          await countedIn(ws, from, until, id),
          await countedIn(ws, range.from, range.to, id),
        ];
        await page
          .getByRole('row', { name })
          .filter({ hasText: changeOf(is.credits, was.credits) })
          .waitFor();
      }
    }
  },
);

pageTest(
  'what had nothing before is new, and what is the same has no change',
  stopped('2026-06-20T12:00:00Z', threeAgents, [
    { at: '2026-06-01T10:00:00Z', agent: 'agt_a', credits: '40' },
    { at: '2026-06-02T10:00:00Z', agent: 'agt_a', credits: '40' },
    { at: '2026-06-02T11:00:00Z', agent: 'agt_b', credits: '30' },
    { at: '2026-06-01T10:00:00Z', agent: 'agt_c', credits: '20' },
    { at: '2026-06-02T10:00:00Z', agent: 'agt_c', credits: '15' },
  ]),
  '?from=2026-06-02&to=2026-06-02&compare=prev',
  {},
  async (page, _, { of: ws }) => {
    const changes = async () =>
      Object.fromEntries(
        await page
          .locator('.leaderboard tbody tr')
          .evaluateAll(rows =>
            rows.map(row => [
              (row.querySelector('bdi') ?? row.querySelector('th')).textContent.trim(),
              [...row.querySelectorAll('.wide .change span')].map(part => part.textContent),
            ]),
          ),
      );
    assert.deepEqual(await changes(), {
      'All agents': ['+41.7%', 'up 41.7 percent'],
      Ada: ['No change', 'no change'],
      Bob: ['New', 'new, nothing before'],
      Cleo: ['−25.0%', 'down 25.0 percent'],
    });
    // Nothing at all before.
    await page.getByRole('button', { name: 'Earlier range' }).click();
    await assertShows(page, ws, { from: '2026-06-01T00:00:00Z', to: '2026-06-02T00:00:00Z' });
    for (const name of ['Credits used', 'Messages answered']) {
      assert.match(await card(page, name).locator('.delta').innerText(), /^New\s.*nothing before$/s);
    }
    assert.deepEqual(await changes(), {
      'All agents': ['New', 'new, nothing before'],
      Ada: ['New', 'new, nothing before'],
      Cleo: ['New', 'new, nothing before'],
    });
  },
);

pageTest(
  'a bar in progress turns solid once its time has passed',
  stopped('2026-06-10T23:20:00Z', {}, [
    { at: '2026-06-10T22:10:00Z', credits: '7' },
    { at: '2026-06-10T23:10:00Z', credits: '5' },
  ]),
  `?from=${june(10)}&to=${june(10)}&table=1`,
  { prepare: page => page.clock.install() },
  async (page, _, { of: ws }) => {
    const last = async () => (await figures(page)).bars.at(-1);
    const ink = kind =>
      page.locator(`.plot path.${kind}`).evaluateAll(all => all.map(path => path.getAttribute('d')).join(''));
    const legend = page.getByRole('group', { name: 'Shown in the chart' });
    const note = () => page.locator('.figures tbody tr').last().innerText();
    // A question that is under way when the clock is moved may be answered as of before: the next one is not.
    const hasBecome = async state => {
      const shown = options => eventually(async () => assert.equal((await last()).state, state), options);
      await page.clock.fastForward(15_000);
      await shown({ timeoutMs: 5_000 }).catch(async () => {
        await page.clock.fastForward(15_000);
        await shown();
      });
    };
    const day = { from: `${june(10)}T00:00:00Z`, to: `${june(11)}T00:00:00Z` };
    await assertShows(page, ws, day);
    assert.deepEqual(
      (await figures(page)).bars.slice(-3).map(bar => bar.state),
      ['final', 'final', 'in_progress'],
    );
    assert.notEqual(await ink('so-far'), '');
    assert.notEqual(await ink('progress'), '');
    const style = await page.locator('.plot').evaluate(plot => ({
      fill: getComputedStyle(plot.querySelector('.so-far')).fillOpacity,
      outline: getComputedStyle(plot.querySelector('.progress')).strokeDasharray,
    }));
    assert.equal(style.fill, '0.55');
    assert.notEqual(style.outline, 'none');
    await legend.getByText('In progress, so far').waitFor();
    assert.match(await note(), /In progress: so far/);

    await clock('2026-06-11T00:05:00Z');
    await hasBecome('settling');
    assert.equal(await ink('so-far'), '');
    assert.equal(await ink('progress'), '');
    assert.notEqual(await ink('settling'), '');
    await legend.getByText('May still rise').waitFor();
    assert.match(await note(), /May still rise/);

    await clock('2026-06-11T00:10:00Z');
    await hasBecome('final');
    assert.equal(await ink('settling'), '');
    assert.equal(await legend.getByText('May still rise').count(), 0);
    await assertShows(page, ws, day);
  },
);
