// The page in a real browser against the service that E2E_BASE names. See support.mjs for what it takes.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import {
  pageTest as anyPageTest,
  api,
  chooseAgent,
  combobox,
  dashboardRoute,
  eventually,
  expected,
  figures,
  isFocused,
  open,
  problem,
  readCsv,
  settled,
  start,
  sum,
} from './support.mjs';

let world;
before(async () => {
  world = await start();
});
after(async () => {
  await world?.browser.close();
});

const pageTest = (name, search, options, body) => anyPageTest(name, () => world, search, options, body);

const errorCopy = {
  title: 'Usage couldn’t load for this range',
  text: 'A temporary hiccup can stop a range from loading. Re-apply the date range or reload the page to retry. If it persists, contact ',
};
const longAgo = '?from=2001-01-01&to=2001-01-07';
function assertReconciles(all) {
  for (const metric of ['credits', 'messages']) {
    assert.equal(sum(all.bars.map(bar => bar[metric])), all[metric], `sum of bars, ${metric}`);
    assert.equal(all.table[metric], all[metric], `footer of the table, ${metric}`);
    const rows = metric === 'credits' ? all.table.creditRows : all.table.messageRows;
    if (all.bars.length <= 100) assert.equal(sum(rows), all[metric], `rows of the table, ${metric}`);
    assert.equal(all.total[metric], all[metric], `first row of the leaderboard, ${metric}`);
  }
}

async function assertMatchesService(page, agent) {
  await eventually(async () => {
    const params = `workspace=${encodeURIComponent(world.workspace)}&range=period&agent=${encodeURIComponent(agent ?? 'all')}`;
    const before = await (await api(page, `/v1/usage/dashboard?${params}`)).json();
    const rows = readCsv(await (await api(page, `/v1/usage/export.csv?${params}`)).text());
    const shown = await figures(page);
    for (const metric of ['credits', 'messages']) {
      assert.equal(shown[metric], before.summary[metric], `headline and service, ${metric}`);
      assert.equal(sum(rows.map(row => row[metric])), shown[metric], `CSV and headline, ${metric}`);
      if (before.agents_total <= before.agents.length) {
        assert.equal(
          sum(before.agents.map(one => one[metric])),
          shown[metric],
          `leaderboard and headline, ${metric}`,
        );
      }
    }
    assert.deepEqual(
      shown.agents.slice(0, 20).map(row => row.credits),
      before.agents.slice(0, 20).map(row => row.credits),
      'rows of the leaderboard',
    );
  });
}

pageTest('headline, bars, table, leaderboard, CSV and service agree', '?table=1', {}, async page => {
  assertReconciles(await figures(page));
  await assertMatchesService(page, null);
  const shown = await figures(page);
  if (expected.credits) assert.equal(shown.credits, expected.credits);
  if (expected.messages) assert.equal(shown.messages, expected.messages);
});

pageTest('the default is All Agents and this billing period', '', {}, async page => {
  assert.equal(new URL(page.url()).search, '');
  assert.equal(await combobox(page).inputValue(), 'All Agents');
  await page.getByRole('heading', { name: 'Credits used this period' }).waitFor();
  await page.getByRole('heading', { name: 'Usage', level: 1 }).waitFor();
  await page.getByRole('button', { name: /^Date range/ }).click();
  assert.equal(
    await page.getByRole('button', { name: 'This billing period' }).getAttribute('aria-pressed'),
    'true',
  );
});

pageTest('the toggle makes no request and shows the other lens', '', {}, async (page, { requests }) => {
  const before = await figures(page);
  // Nothing answers from here on, and yet both lenses are there.
  await page.route('**/v1/**', route => route.abort());
  const sent = requests.length;
  await page.getByRole('radio', { name: 'Messages' }).check({ force: true });
  const slider = page.getByRole('slider', { name: /^Messages by/ });
  await slider.waitFor();
  // The page refreshes its figures by itself now and then: the same question, which a toggle must not change.
  const asked = requests
    .slice(sent)
    .filter(url => url.includes('/v1/') && !/\/v1\/usage\/(live|dashboard)/.test(url));
  assert.deepEqual(asked, []);
  const questions = new Set(requests.filter(url => url.includes('/v1/usage/dashboard')));
  assert.equal(questions.size, 1, [...questions].join('\n'));
  assert.match(page.url(), /\?metric=messages$/);
  assert.equal((await figures(page)).messages, before.messages);
  await page.getByRole('radio', { name: 'Credits', exact: true }).check({ force: true });
  assert.equal(new URL(page.url()).search, '');
});

pageTest('the agent filter changes every figure and the address', '?table=1', {}, async page => {
  const all = await figures(page);
  assert.ok(all.agents.length > 1, 'this test needs a workspace with two agents with usage');
  const service = await (
    await api(page, `/v1/usage/dashboard?workspace=${encodeURIComponent(world.workspace)}`)
  ).json();
  const chosen = service.agents.find(one => one.id === expected.agent) ?? service.agents[0];
  await chooseAgent(page, chosen.name);
  await page.getByText('· this agent').waitFor();
  await settled(page);
  assert.equal(new URL(page.url()).searchParams.get('agent'), chosen.id);
  const one = await figures(page);
  assertReconciles(one);
  await assertMatchesService(page, chosen.id);
  assert.notEqual(one.credits, all.credits);
  assert.notEqual(one.messages, all.messages);
  assert.equal(one.agents.length, 1);
  await page.getByText('Whole workspace').waitFor();
  if (expected.agentCredits) assert.equal(one.credits, expected.agentCredits);
  if (expected.agentMessages) assert.equal(one.messages, expected.agentMessages);

  await page.goBack();
  await eventually(async () => assert.equal(await combobox(page).inputValue(), 'All Agents'));
  await eventually(async () => assert.equal((await figures(page)).agents.length, all.agents.length));
});

pageTest('an empty range says why, shows zeros and offers a wider one', longAgo, {}, async page => {
  await page.getByRole('heading', { name: 'No usage data for this period' }).waitFor();
  const text = await page.locator('main').innerText();
  assert.ok(
    text.includes(
      'Usage appears once your live, embedded agents have answered messages in this range. ' +
        'Testing in the Playground doesn’t draw credits, so it won’t show here.',
    ),
  );
  assert.ok(text.includes('Confirm the agent is public and embedded.'));
  const shown = await figures(page);
  assert.equal(shown.credits, '0');
  assert.equal(shown.messages, '0');
  await page.getByRole('button', { name: 'Widen to last 90 days' }).click();
  await page.waitForURL(/\?range=90d$/);
  await settled(page);
});

for (const [what, fault] of [
  ['a 500', route => route.fulfill(problem(500))],
  ['a 504', route => route.fulfill(problem(504))],
  ['a lost network', route => route.abort('connectionfailed')],
]) {
  const options = {
    prepare: page => page.route(dashboardRoute, fault),
    ready: page => page.getByRole('alert').waitFor(),
  };
  pageTest(`${what} is explained, and trying again recovers`, '', options, async page => {
    const alert = page.getByRole('alert');
    await alert.getByRole('heading', { name: errorCopy.title }).waitFor();
    const text = await alert.innerText();
    assert.ok(text.replaceAll('\n', ' ').includes(errorCopy.text), text);
    assert.match(text, /contact \S+@\S+\.\S+\./);
    if (what !== 'a lost network')
      assert.ok(text.includes('Reference: e2e0000000000000000000000000cafe'), text);
    await page.unroute(dashboardRoute);
    await page.getByRole('button', { name: 'Try again' }).click();
    await settled(page);
    assert.equal(await alert.count(), 0);
  });
}

pageTest('an error after good figures keeps them, stamped', '', {}, async (page, { requests }) => {
  const before = await figures(page);
  await page.route(dashboardRoute, route => route.fulfill(problem(500)));
  await page.clock.install();
  await page.getByRole('button', { name: 'Earlier range' }).click();
  const alert = page.getByRole('alert');
  await alert.waitFor();
  assert.match(await alert.innerText(), /Showing figures from \d\d:\d\d\./);
  await page.clock.runFor('05:00');
  const asked = requests.filter(url => url.includes('range=previous_period')).length;
  assert.equal(asked, 1, 'a server that is in trouble must not be hammered');
  assert.equal((await figures(page)).credits.length > 0, true);
  assert.equal((await figures(page)).agents.length, before.agents.length);
  await page.unroute(dashboardRoute);
  await page.getByRole('button', { name: 'Try again' }).click();
  await eventually(async () => assert.equal(await page.getByRole('alert').count(), 0));
  await page.waitForURL(/range=previous_period/);
});

pageTest('of two choices the last one wins, whatever order the answers come in', '', {}, async page => {
  let held;
  await page.route(dashboardRoute, async route => {
    if (route.request().url().includes('range=yesterday')) held = route;
    else await route.continue();
  });
  const choose = async name => {
    await page.getByRole('button', { name: /^Date range/ }).click();
    await page.getByRole('button', { name, exact: true }).click();
  };
  await choose('Yesterday');
  await eventually(() => assert.ok(held));
  // What nobody waits for any more is taken back, so that no answer to it can come.
  const takenBack = page.waitForEvent('requestfailed', request => request.url().includes('range=yesterday'));
  await choose('Last 7 days');
  assert.equal((await takenBack).failure().errorText, 'net::ERR_ABORTED');
  await eventually(async () => assert.equal((await figures(page)).bars.length, 7));
  assert.equal((await figures(page)).bars.length, 7);
  assert.match(page.url(), /range=7d$/);
});

pageTest('custom dates are typed, and an end before the start is refused', '', {}, async page => {
  await page.getByRole('button', { name: /^Date range/ }).click();
  await page.getByLabel('Start date').fill('2026-11-10');
  await page.getByLabel('End date').fill('2026-11-03');
  await page.getByRole('button', { name: 'Apply' }).click();
  await page.getByText('End date is before start date.').waitFor();
  await page.getByLabel('End date').fill('2026-11-12');
  await page.getByLabel('End date').press('Enter');
  await page.waitForURL(/\?from=2026-11-10&to=2026-11-12$/);
  await eventually(async () =>
    assert.match(await page.getByRole('button', { name: /^Date range/ }).innerText(), /10 Nov – 12 Nov 2026/),
  );
});

pageTest('a link that cannot be read falls back and says so', '?from=2026-13-01&to=xyz', {}, async page => {
  await page
    .getByText('We couldn’t read the dates in this link, so we’re showing this billing period.')
    .waitFor();
  assert.equal(new URL(page.url()).search, '');
});

pageTest('the chart is read and used with the keyboard alone', '?range=7d', {}, async page => {
  const plot = page.getByRole('slider');
  await plot.focus();
  await page.keyboard.press('Home');
  assert.equal(await plot.getAttribute('aria-valuenow'), '1');
  await page.keyboard.press('End');
  assert.equal(await plot.getAttribute('aria-valuenow'), '7');
  await page.keyboard.press('ArrowLeft');
  const words = await plot.getAttribute('aria-valuetext');
  assert.match(words, /^\w{3} \d+ \w+ \d{4}: [\d,.−]+ credits?/);
  // From wherever the slider says that one is.
  await page.keyboard.press('Escape');
  assert.equal(await plot.getAttribute('aria-valuenow'), '7');
  await page.keyboard.press('ArrowLeft');
  assert.equal(await plot.getAttribute('aria-valuetext'), words);
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  await page.waitForURL(/start=.*&end=/);
  await settled(page);
  // What leads elsewhere goes, and leaves the keyboard at the chart.
  const zoomOut = page.getByRole('button', { name: 'Zoom out' });
  await zoomOut.press('Enter');
  await page.waitForURL(/\?range=7d$/);
  await zoomOut.waitFor({ state: 'detached' });
  assert.ok(await isFocused(plot), 'after Zoom out');
  await settled(page); // before that the bars are hours still
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'See hours' }).press('Enter');
  await zoomOut.waitFor();
  assert.ok(await isFocused(plot), 'after See hours');
});

pageTest('a bar’s tooltip does not lie over its bar', '?range=30d', {}, async page => {
  const bars = page.getByTestId('bar');
  const tooltip = page.locator('.tooltip');
  for (let bar = (await bars.count()) - 1; bar >= 0; bar -= 3) {
    const of = await bars.nth(bar).boundingBox();
    // From below, where no tooltip lies in the way.
    await page.mouse.move(of.x + of.width / 2, of.y + of.height + 40);
    await page.mouse.move(of.x + of.width / 2, of.y + of.height - 4);
    const tip = await tooltip.boundingBox();
    assert.ok(tip.x >= of.x + of.width || tip.x + tip.width <= of.x, `bar ${bar + 1}`);
  }
});

pageTest('dragging over the plot zooms to whole bars and Back restores', '?range=7d', {}, async page => {
  const box = await page.getByRole('slider').boundingBox();
  const at = part => box.x + box.width * part;
  await page.mouse.move(at(0.2), box.y + 80);
  await page.mouse.down();
  await page.mouse.move(at(0.35), box.y + 80, { steps: 5 });
  await page.mouse.move(at(0.5), box.y + 80, { steps: 5 });
  await page.mouse.up();
  await page.waitForURL(/start=.*&end=/);
  await page.goBack();
  await page.waitForURL(/\?range=7d$/);
  await eventually(async () => assert.equal((await figures(page)).bars.length, 7));
});

pageTest(
  'a session that ended says so and keeps the address',
  '?range=30d',
  {
    prepare: page => page.route(dashboardRoute, route => route.fulfill(problem(401))),
    ready: page => page.getByRole('alert').waitFor(),
  },
  async page => {
    await page.getByText('Your session has ended.').waitFor();
    await page.getByRole('button', { name: 'Sign in again' }).waitFor();
    assert.match(page.url(), /\?range=30d$/);
  },
);

const drawer = page => page.getByRole('dialog', { name: /./ });

/** What the drawer lists under a heading, and its total if it has one. */
const partOf = (page, heading) =>
  drawer(page)
    .getByRole('region', { name: heading })
    .evaluate(section => {
      const plain = cell => cell?.textContent.trim().replaceAll(',', '').split(' ')[0] ?? null;
      const rows = [...section.querySelectorAll('tbody tr')].map(row => ({
        name: row.querySelector('th').textContent.trim(),
        credits: plain(row.querySelectorAll('td')[0]),
        share: plain(row.querySelector('.share')),
        messages: plain(row.querySelectorAll('td')[2]),
      }));
      const foot = section.querySelectorAll('tfoot td');
      return { rows, total: foot.length ? { credits: plain(foot[0]), messages: plain(foot[2]) } : null };
    });

pageTest('an agent’s details add up to its row; Escape goes back to where one was', '', {}, async page => {
  const details = page.getByRole('button', { name: /^Details of/ }).nth(1);
  const [name] = /(?<=Details of ).*/.exec(await details.getAttribute('aria-label'));
  await details.click();
  await drawer(page).getByRole('heading', { name, exact: true }).waitFor();
  assert.match(new URL(page.url()).search, /behind=agent:/);
  await eventually(async () => {
    const row = (await figures(page)).agents.find(one => one.name === name);
    const channels = await partOf(page, 'By channel');
    assert.deepEqual(channels.total, { credits: row.credits, messages: row.messages });
    for (const part of [channels, await partOf(page, 'By model')]) {
      assert.equal(sum(part.rows.map(one => one.credits)), row.credits);
      assert.equal(sum(part.rows.map(one => one.messages)), row.messages);
      assert.equal(sum(part.rows.map(one => one.share.replace('%', ''))), '100');
    }
  });
  // Each part is asked for by itself.
  const conversations = await eventually(async () => {
    const { rows } = await partOf(page, 'Conversations that spent most');
    assert.ok(rows.length > 1 && rows.length <= 11, `${rows.length} conversations`);
    return rows;
  });
  const spent = conversations.filter(one => !one.name.startsWith('Other')).map(one => Number(one.credits));
  assert.deepEqual(
    spent,
    spent.toSorted((a, b) => b - a),
    'the heaviest conversation comes first',
  );
  await page.keyboard.press('Escape');
  await drawer(page).waitFor({ state: 'detached' });
  assert.equal(new URL(page.url()).search, '');
  assert.equal(await details.evaluate(button => button === document.activeElement), true, 'focus came back');
});

pageTest('a bar’s details add up to the bar, by keyboard alone; the link opens them', '', {}, async page => {
  const plot = page.getByRole('slider');
  await plot.focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('Enter');
  const inside = page.getByRole('group').getByRole('button', { name: 'Details' });
  await inside.focus();
  await page.keyboard.press('Enter');
  await drawer(page).waitFor();
  const check = async shown => {
    const { bars } = await figures(shown);
    const { total } = await partOf(shown, 'By channel');
    assert.deepEqual(total, { credits: bars[0].credits, messages: bars[0].messages });
  };
  await eventually(() => check(page));
  const link = new URL(page.url()).search;
  assert.match(link, /^\?behind=bar:\d{4}-/);
  const second = await open(world, link);
  await eventually(() => check(second.page));
  // Nothing was opened from this page, so closing stays on it.
  await second.page.getByRole('button', { name: 'Close' }).click();
  await drawer(second.page).waitFor({ state: 'detached' });
  assert.equal(new URL(second.page.url()).search, '');
  await second.close();
  await page.goBack();
  await drawer(page).waitFor({ state: 'detached' });
});

pageTest(
  'details that could not load say so and can be asked for again',
  '?behind=range',
  { prepare: page => page.route('**/v1/usage/breakdown?**by=model', route => route.fulfill(problem(500))) },
  async page => {
    const models = drawer(page).getByRole('region', { name: 'By model' });
    await models.getByRole('alert').waitFor();
    await drawer(page).getByRole('region', { name: 'By channel' }).getByRole('table').waitFor();
    await page.unroute('**/v1/usage/breakdown?**by=model');
    await models.getByRole('button', { name: 'Try again' }).click();
    await models.getByRole('table').waitFor();
    const total = (await figures(page)).credits;
    assert.equal(sum((await partOf(page, 'By model')).rows.map(one => one.credits)), total);
  },
);

pageTest(
  'without JavaScript there are the figures as tables, and a form',
  '',
  { javaScriptEnabled: false, ready: page => page.getByRole('table', { name: /^Usage by/ }).waitFor() },
  async page => {
    assert.match(page.url(), /\/usage\/figures$/);
    const cells = row => row.locator('td').allTextContents();
    const total = (await cells(page.locator('table.figures tfoot tr')))[0].replaceAll(',', '');
    if (expected.credits) assert.equal(total, expected.credits);
    const rows = await page.locator('table.figures tbody td:nth-child(2)').allTextContents();
    assert.equal(sum(rows.map(text => text.replaceAll(',', ''))), total);
    await page.getByLabel('Agent').selectOption({ index: 1 });
    await page.getByRole('button', { name: 'Show' }).click();
    await page.waitForURL(/agent=/);
    await page.getByRole('rowheader', { name: 'Total' }).first().waitFor();
    const one = (await cells(page.locator('table.figures tfoot tr')))[0].replaceAll(',', '');
    assert.ok(Number(one) > 0 && Number(one) < Number(total), `${one} of ${total}`);
    await page.getByRole('link', { name: /recorded events$/ }).click();
    await page.getByText('Yes.').waitFor();
  },
);

pageTest(
  'without JavaScript the range of the address is kept',
  '?range=7d&metric=messages',
  { javaScriptEnabled: false, ready: page => page.getByRole('table', { name: /^Usage by/ }).waitFor() },
  async page => {
    assert.match(page.url(), /\/usage\/figures\?/);
    assert.equal(new URL(page.url()).searchParams.get('range'), '7d');
    assert.equal(await page.getByLabel('Range').inputValue(), '7d');
    const answer = await api(page, `/v1/usage/dashboard?workspace=${world.workspace}&range=7d`);
    const { series } = await answer.json();
    assert.equal(await page.locator('table.figures tbody tr').count(), series.length);
  },
);

pageTest('the proof is a page that people can read', '', {}, async page => {
  await page.getByRole('link', { name: /recorded events$/ }).click();
  await page.getByText('Yes.').waitFor();
  const recorded = page.getByRole('row', { name: /^Recorded events/ }).locator('td');
  if (expected.credits)
    assert.equal((await recorded.nth(0).textContent()).replaceAll(',', ''), expected.credits);
});
