// Agents: that every figure of them agrees, how they are found and told apart, and which one it was.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import {
  clock,
  closeBrowser,
  creditsOf,
  ledger,
  ledgerBy,
  sql,
  workspace,
  workspaceTest,
} from '../stack.mjs';
import {
  api,
  chooseAgent,
  combobox,
  downloadCsv,
  eventually,
  figures,
  grouped,
  readCsv,
  settled,
  sum,
  tableOf,
  tabTo,
} from '../support.mjs';

const now = '2025-11-24T12:00:00Z';
/** This billing period, and the one before, of workspaces in UTC. */
const period = { from: '2025-11-01T00:00:00Z', to: '2025-12-01T00:00:00Z' };
const lastMonth = { from: '2025-10-01T00:00:00Z', to: '2025-11-01T00:00:00Z' };
const at = (day, hour = 9, month = 11) =>
  `2025-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}T${String(hour).padStart(2, '0')}:15:00Z`;

before(() => clock(now));
after(async () => {
  await clock(null);
  await closeBrowser();
});

/** A workspace of its own that holds the events, all counted. */
async function filled(facts, events) {
  const ws = await workspace(facts);
  await ws.send(...events);
  await ws.counted();
  await ws.known();
  return ws;
}

/** The workspace's facts come beside the figures; this is where they show below them. */
const foot = page => page.locator('main').getByText('Need your balance or next billing date?');

const choices = page => page.getByRole('listbox', { name: 'Agents' }).getByRole('option');

const numbered = (count, name = 'Agent') =>
  Object.fromEntries(
    Array.from({ length: count }, (_, i) => [
      `agt_${String(i + 1).padStart(2, '0')}`,
      `${name} ${String(i + 1).padStart(2, '0')}`,
    ]),
  );

/** Events of so many agents on every day of the period so far, on its edges in Copenhagen and beyond them. */
function edgesAndAll(agents) {
  const events = [];
  Object.keys(agents).forEach((agent, a) => {
    for (let day = 1; day <= 23; day++) {
      if ((a + day) % 3) {
        events.push({
          at: at(day, a % 24),
          agent,
          credits: creditsOf(BigInt(a + 1) * 1_250_001n * BigInt(day)),
        });
      }
    }
    // 1 November begins at 23:00 the evening before.
    events.push({ at: '2025-10-31T22:59:59.999999Z', agent, credits: '1000' });
    events.push({ at: '2025-10-31T23:00:00Z', agent, credits: '0.5', messages: 2 });
    events.push({ at: at(5), agent, credits: '77', channel: 'playground' });
  });
  return events;
}

/** Every place that shows the whole shows what the ledger holds, bar by bar and agent by agent. */
async function everythingAgrees(page, ws, names, agent) {
  const of = { from: '2025-10-31T23:00:00Z', to: '2025-11-30T23:00:00Z', agent };
  const recorded = await ledger(ws, of);
  assert.deepEqual(recorded, ws.sum(of), 'the ledger holds what was sent');
  const byDay = await ledgerBy("toDate(occurred_at, 'Europe/Copenhagen')", ws, of);
  const byAgent = await ledgerBy('agent', ws, of);

  const shown = await figures(page);
  const table = await tableOf(page);
  const csv = readCsv(await downloadCsv(page));
  for (const metric of ['credits', 'messages']) {
    const column = metric === 'credits' ? 'Credits' : 'Messages';
    const whole = {
      headline: shown[metric],
      'sum of the bars': sum(shown.bars.map(bar => bar[metric])),
      'sum of the table': sum(table.rows.map(row => row[column])),
      'footer of the table': table.foot[column],
      'first row of the leaderboard': shown.total[metric],
      'sum of the leaderboard': sum(shown.agents.map(one => one[metric])),
      'sum of the CSV': sum(csv.map(row => row[metric])),
    };
    for (const [where, value] of Object.entries(whole))
      assert.equal(value, recorded[metric], `${where}, ${metric}`);

    const days = Array.from({ length: 30 }, (_, i) => `2025-11-${String(i + 1).padStart(2, '0')}`);
    const expected = days.map(day => byDay.get(day)?.[metric] ?? '0');
    assert.deepEqual(
      shown.bars.map(bar => bar[metric]),
      expected,
      `bar by bar, ${metric}`,
    );
    assert.deepEqual(
      table.rows.map(row => row[column]),
      expected.slice(0, 24),
      `row by row of what has begun, ${metric}`,
    );
    assert.deepEqual(
      days.map(day => {
        const from = Date.parse(`${day}T00:00:00+01:00`);
        return sum(csv.filter(row => Date.parse(row.start) === from).map(row => row[metric]));
      }),
      expected,
      `day by day of the CSV, ${metric}`,
    );
  }
  assert.deepEqual(
    shown.agents.map(({ name, credits, messages }) => ({ name, credits, messages })),
    [...byAgent].map(([id, figure]) => ({ name: names[id], ...figure })),
    'agent by agent, the heaviest first',
  );
  for (const [id, { credits }] of byAgent) {
    assert.equal(
      sum(csv.filter(row => row.agent_id === id).map(row => row.credits)),
      credits,
      `CSV of ${id}`,
    );
  }
  const [{ events }] = await sql(
    `SELECT count() AS events FROM usage_ledger
     WHERE workspace = {ws:String} AND outcome IN ('counted', 'playground') AND ({agent:String} = '' OR agent = {agent:String})
       AND occurred_at >= '2025-10-31 23:00:00' AND occurred_at < '2025-11-30 23:00:00'`,
    { ws: ws.id, agent: agent ?? '' },
  );
  await page.getByRole('link', { name: `${grouped(events)} recorded events`, exact: true }).waitFor();
  return { recorded, byAgent, shown, table };
}

const twelve = numbered(12);
const ofTwelve = () => filled({ timezone: 'Europe/Copenhagen', agents: twelve }, edgesAndAll(twelve));

workspaceTest(
  'headline, bars, table, leaderboard and CSV are what the ledger holds, for All Agents',
  ofTwelve,
  '?table=1',
  {},
  (page, ws) => everythingAgrees(page, ws, twelve),
);

workspaceTest(
  'headline, bars, table, leaderboard and CSV are what the ledger holds, for one agent',
  ofTwelve,
  '?agent=agt_03&table=1',
  {},
  (page, ws) => everythingAgrees(page, ws, twelve, 'agt_03'),
);

const fortyFive = numbered(45);
workspaceTest(
  'with 38 agents in Other they agree as well, and Other is rows 8 and below',
  () => filled({ timezone: 'Europe/Copenhagen', agents: fortyFive }, edgesAndAll(fortyFive)),
  '?table=1',
  {},
  async (page, ws) => {
    const { byAgent, shown, table, recorded } = await everythingAgrees(page, ws, fortyFive);
    const other = 'Other (38 agents)';
    const top = [...byAgent.keys()].slice(0, 7);
    const columns = ['when', 'Credits', 'Messages', ...top.map(id => fortyFive[id]), other];
    assert.deepEqual(table.columns.slice(0, columns.length), columns);
    assert.equal(table.foot[other], sum(shown.agents.slice(7).map(one => one.credits)));
    const topSeven = top.map(id => `'${id}'`).join();
    const others = await ledgerBy(
      `if(agent IN (${topSeven}), '', toString(toDate(occurred_at, 'Europe/Copenhagen')))`,
      ws,
      { from: '2025-10-31T23:00:00Z', to: '2025-11-30T23:00:00Z' },
    );
    others.delete('');
    assert.deepEqual(
      table.rows.map(row => row[other]),
      table.rows.map((_, i) => others.get(`2025-11-${String(i + 1).padStart(2, '0')}`)?.credits ?? '0'),
      'Other, bar by bar',
    );
    // Hidden series leave the total true.
    await page.getByRole('button', { name: other }).click();
    await page.getByRole('heading', { name: '(38 agents hidden)' }).waitFor();
    assert.equal((await figures(page)).credits, recorded.credits);
    assert.equal(new URL(page.url()).search, '?hide=&table=1');
  },
);

workspaceTest(
  'choosing an agent changes every figure and the address, and Back changes them back',
  () =>
    filled({ agents: { agt_a: 'Ada', agt_b: 'Bob' }, members: 3 }, [
      ...[3, 4, 12].map(day => ({ at: at(day), agent: 'agt_a', credits: '10.5', messages: 2 })),
      ...[4, 5].map(day => ({ at: at(day), agent: 'agt_b', credits: '4', conversation_id: 'conv_b' })),
      { at: at(7, 9, 10), agent: 'agt_a', credits: '21' },
      { at: at(8, 9, 10), agent: 'agt_b', credits: '16' },
    ]),
  '?compare=prev&table=1',
  {},
  async (page, ws) => {
    const read = async () => {
      const shown = await figures(page);
      return {
        shown,
        table: (await tableOf(page)).foot,
        csv: sum(readCsv(await downloadCsv(page)).map(row => row.credits)),
        deltas: await page.locator('.delta').allInnerTexts(),
        rate: await page.getByText('credits per message').first().innerText(),
        sentence: await page.locator('.sentence').innerText(),
        legend: await page.locator('.legend button').allInnerTexts(),
        proof: await page.getByRole('link', { name: /recorded events?$/ }).innerText(),
      };
    };
    const all = await read();
    await chooseAgent(page, 'Bob');
    await page.getByText('· this agent').waitFor();
    const one = await read();
    assert.equal(new URL(page.url()).search, '?agent=agt_b&compare=prev&table=1');

    for (const [view, agent] of [
      [all, undefined],
      [one, 'agt_b'],
    ]) {
      const recorded = await ledger(ws, { ...period, agent });
      // An open range is compared with the same elapsed time.
      const earlier = await ledger(ws, { ...lastMonth, to: '2025-10-24T12:00:00Z', agent });
      assert.deepEqual({ credits: view.shown.credits, messages: view.shown.messages }, recorded);
      assert.equal(view.csv, recorded.credits);
      assert.equal(view.table.Credits, recorded.credits);
      assert.equal(view.table.Comparison, earlier.credits);
      assert.equal(view.shown.total.credits, recorded.credits);
      assert.deepEqual(
        view.shown.bars.map(bar => bar.credits),
        await daily(ws, agent),
      );
    }
    assert.deepEqual(
      all.shown.agents.map(row => row.name),
      ['Ada', 'Bob'],
    );
    assert.deepEqual(
      one.shown.agents.map(row => row.name),
      ['Bob'],
    );
    assert.deepEqual([all.shown.chatbots, one.shown.chatbots], ['2 of 10', '1 of 10']);
    // Team members are the workspace's, and are said to be.
    assert.deepEqual([all.shown.members, one.shown.members], ['3 of 5', '3 of 5']);
    assert.equal(await page.getByText('Whole workspace').count(), 1);
    for (const part of ['csv', 'deltas', 'rate', 'sentence', 'legend', 'proof'])
      assert.notDeepEqual(one[part], all[part], part);
    assert.match(one.sentence, /^Bob drove 20% of credits in this range \(8 of 39\.5\)\./);

    await page.goBack();
    await eventually(async () => assert.deepEqual((await figures(page)).agents, all.shown.agents));
    assert.equal(new URL(page.url()).search, '?compare=prev&table=1');
    assert.equal(await combobox(page).inputValue(), 'All Agents');
  },
);

/** The ledger's credits of each day of the period. */
async function daily(ws, agent) {
  const days = await ledgerBy('toDate(occurred_at)', ws, { ...period, agent });
  return Array.from(
    { length: 30 },
    (_, i) => days.get(`2025-11-${String(i + 1).padStart(2, '0')}`)?.credits ?? '0',
  );
}

workspaceTest(
  'Playground messages change no figure, only how many events are recorded',
  () =>
    filled({ agents: { agt_a: 'Ada', agt_b: 'Bob' } }, [
      { at: at(3), credits: '5' },
      { at: at(4), credits: '2' },
    ]),
  '?table=1&compare=prev',
  {},
  async (page, ws) => {
    const everything = async () => {
      await foot(page).waitFor();
      return {
        figures: await figures(page),
        main: (await page.locator('main').innerText()).replace(/Totals match .* events/, ''),
        csv: await downloadCsv(page),
      };
    };
    const before = await everything();
    await ws.send(
      ...[3, 4, 20].map(day => ({ at: at(day), channel: 'playground', credits: '50', messages: 4 })),
      { at: at(9), agent: 'agt_b', channel: 'playground', credits: '9' },
      { at: at(9), agent: 'agt_unheard_of', channel: 'playground', credits: '9' },
    );
    await ws.answered({ from: '2025-11-01', to: '2025-11-30' });
    await page.reload();
    await settled(page);
    await page.getByText('Totals match 7 recorded events').waitFor();
    assert.deepEqual(await everything(), before);
    assert.equal(before.figures.credits, (await ledger(ws, period)).credits);
  },
);

workspaceTest(
  'a range with Playground messages alone is empty, and the hint says how many there were',
  () =>
    filled(
      { agents: { agt_a: 'Ada' } },
      [1, 2, 3, 4].map(day => ({ at: at(day), channel: 'playground', credits: '50', messages: 3 })),
    ),
  '',
  {},
  async (page, ws) => {
    await page.getByRole('heading', { name: 'No usage data for this period' }).waitFor();
    const [{ tests }] = await sql(
      "SELECT toString(sum(messages)) AS tests FROM usage_ledger WHERE workspace = {ws:String} AND outcome = 'playground'",
      { ws: ws.id },
    );
    assert.equal(tests, '12');
    await page.getByText('12 Playground messages in this range were not counted.').waitFor();
    const shown = await figures(page);
    assert.deepEqual([shown.credits, shown.messages], ['0', '0']);
    assert.equal(await page.locator('.sentence').count(), 0);
    assert.equal(await page.getByText('Last usage was on').count(), 0);
    assert.deepEqual(new Set(readCsv(await downloadCsv(page)).map(row => row.credits)), new Set(['0']));
  },
);

const crowd = 10_000;
/** Ten thousand agents that spent 1, 2, 3, … credits; a dozen have names with accents. */
async function crowded() {
  const ws = await workspace({ timezone: 'UTC' });
  const id = n => `agt_${String(n).padStart(5, '0')}`;
  await Promise.all(
    Array.from({ length: 12 }, (_, i) =>
      ws.put(`/agents/${id(100 * (i + 1))}`, { name: `Café Été ${i + 1}` }),
    ),
  );
  await ws.send(
    ...Array.from({ length: crowd }, (_, i) => ({
      at: at(1 + (i % 20)),
      agent: id(i + 1),
      credits: String(i + 1),
    })),
  );
  await ws.counted();
  await ws.known();
  return ws;
}

workspaceTest(
  'of 10,000 agents any is found at once, and few are in the document',
  crowded,
  '',
  {},
  async (page, ws) => {
    const ranking = [...(await ledgerBy('agent', ws, period)).keys()];
    assert.equal(ranking.length, crowd);
    const options = choices(page);
    const inDocument = async () => {
      const count = await options.count();
      assert.ok(count >= 9 && count <= 20, `${count} rows in the document`);
    };
    const status = text => page.locator('.picker').getByRole('status').filter({ hasText: text }).waitFor();

    await combobox(page).click();
    await options.nth(1).waitFor();
    // The heavy spenders are on top before anyone types.
    assert.deepEqual((await options.locator('bdi').allInnerTexts()).slice(0, 4), [
      'All Agents',
      ...ranking.slice(0, 3),
    ]);
    assert.equal(await options.first().getAttribute('aria-setsize'), String(crowd + 1));
    await inDocument();

    // On to where the first page of the service's ends, and beyond.
    for (let press = 0; press < 15; press++) await combobox(page).press('PageDown');
    await eventually(async () => {
      await combobox(page).press('PageDown');
      const active = await combobox(page).getAttribute('aria-activedescendant');
      const position = Number(await page.locator(`#${active}`).getAttribute('aria-posinset'));
      assert.ok(position > 130, `at ${position}`);
      assert.equal(await page.locator(`#${active} bdi`).innerText(), ranking[position - 2]);
    });
    await inDocument();

    await combobox(page).fill('CAFE ete');
    await status('12 agents match');
    await inDocument();
    assert.deepEqual(
      await options.locator('bdi').allInnerTexts(),
      Array.from({ length: 12 }, (_, i) => `Café Été ${12 - i}`),
      'whatever the case and the accents, the heaviest spender first',
    );
    await combobox(page).fill('xyz');
    await status('No agent matches “xyz”.');
    assert.equal(await options.count(), 0);
    await combobox(page).fill('agt_00042');
    await status('1 agent matches');
    await combobox(page).press('Enter');
    await page.waitForURL(/\?agent=agt_00042$/);
    await eventually(async () => assert.equal((await figures(page)).credits, '42'));
  },
);

workspaceTest(
  '10,000 agents add up, and the leaderboard leads to all of them, fifty at a time, by cursor',
  crowded,
  '?table=1',
  {},
  async (page, ws, { requests }) => {
    const ranking = [...(await ledgerBy('agent', ws, period))];
    const shown = await figures(page);
    assert.equal(shown.credits, (await ledger(ws, period)).credits);
    assert.equal(shown.credits, String((crowd * (crowd + 1)) / 2));
    await page.getByText('10,000 agents with usage').waitFor();
    const other = 'Other (9,993 agents)';
    await page.getByRole('button', { name: other }).waitFor();
    assert.equal(
      (await tableOf(page)).foot[other],
      sum(ranking.slice(7).map(([, figure]) => figure.credits)),
    );

    const rows = page.locator('.leaderboard tbody tr:not(.all)');
    const more = page.getByRole('button', { name: 'Show 50 more' });
    for (let expected = 50; expected <= 250; expected += 50) {
      await eventually(async () => assert.equal(await rows.count(), expected), { everyMs: 20 });
      if (expected < 250) await more.click();
    }
    assert.deepEqual(
      (await figures(page)).agents.map(({ name, credits }) => [name.startsWith('Café') ? '' : name, credits]),
      ranking
        .slice(0, 250)
        .map(([id, { credits }]) => [
          Number(credits) % 100 === 0 && Number(credits) <= 1200 ? '' : id,
          credits,
        ]),
    );
    assert.deepEqual(
      await rows.locator('td.rank').allInnerTexts(),
      Array.from({ length: 250 }, (_, i) => String(i + 1)),
    );
    const pages = requests.filter(url => url.includes('/v1/usage/agents?'));
    assert.ok(
      pages.length <= 3 && pages.at(-1).includes('&cursor='),
      `every page but the first is asked for by cursor, and none twice:\n${pages.join('\n')}`,
    );

    // Another order is that of all of them, and not of the hundred that are there.
    await page.getByRole('button', { name: 'Credits', exact: true }).click();
    await eventually(async () => assert.equal((await figures(page)).agents[0].credits, '1'));
    assert.match(page.url(), /sort=credits/);
  },
);

workspaceTest(
  'rows beyond the first hundred are as fresh as those, and never beside ones of another state',
  () => {
    const agents = numbered(130);
    return filled(
      { agents },
      Object.keys(agents).map((agent, i) => ({ at: at(3), agent, credits: String(1000 - i) })),
    );
  },
  '',
  {},
  async (page, ws) => {
    const rows = page.locator('.leaderboard tbody tr:not(.all)');
    for (const count of [50, 100]) {
      await eventually(async () => assert.equal(await rows.count(), count), { everyMs: 20 });
      await page.getByRole('button', { name: /^Show \d+ more$/ }).click();
    }
    await eventually(async () => assert.equal(await rows.count(), 130));
    const before = ws.sum(period).credits;
    await page.evaluate(() => {
      globalThis.__sums = new Set();
      const look = () => {
        const cells = [...document.querySelectorAll('.leaderboard tbody tr:not(.all)')].map(
          row => row.querySelector('td.number').textContent,
        );
        globalThis.__sums.add(
          cells.reduce((all, text) => all + BigInt(text.replaceAll(',', '')), 0n).toString(),
        );
        requestAnimationFrame(look);
      };
      look();
    });
    // From beyond the hundred to the top, so that another one leaves them.
    await ws.send({ at: at(3), agent: 'agt_120', credits: '5000' });
    await eventually(async () => {
      const ranking = [...(await ledgerBy('agent', ws, period))];
      const { agents, credits } = await figures(page);
      assert.equal(credits, ws.sum(period).credits);
      assert.deepEqual(
        agents.map(one => one.credits),
        ranking.map(([, one]) => one.credits),
      );
    });
    const sums = await page.evaluate(() => [...globalThis.__sums]);
    assert.deepEqual(sums, [before, ws.sum(period).credits], 'the rows of every frame add up to one state');
  },
);

workspaceTest(
  'a deleted agent stays: in the figures, marked, and to be chosen',
  async () => {
    const ws = await filled({ agents: { agt_a: 'Ada', agt_old: 'Old Bot', agt_gone: 'Gone' } }, [
      { at: at(3), agent: 'agt_old', credits: '30' },
      { at: at(3), agent: 'agt_a', credits: '10' },
      // Long before what the picker goes by.
      { at: at(3, 9, 2), agent: 'agt_gone', credits: '7' },
    ]);
    await ws.delete('/agents/agt_old');
    await ws.delete('/agents/agt_gone');
    await ws.known();
    return ws;
  },
  '?table=1',
  {},
  async (page, ws) => {
    const shown = await figures(page);
    assert.deepEqual(
      shown.agents.map(({ name, credits }) => [name, credits]),
      [
        ['Old Bot (deleted)', '30'],
        ['Ada', '10'],
      ],
    );
    // The slot is free, the history stays.
    assert.equal(shown.chatbots, '1 of 10');
    await page.locator('.legend').getByRole('button', { name: 'Old Bot (deleted)' }).waitFor();
    assert.ok((await tableOf(page)).columns.includes('Old Bot (deleted)'));
    await page.getByRole('slider').focus();
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    assert.match(
      await page.getByRole('slider').getAttribute('aria-valuetext'),
      /Old Bot \(deleted\) 30, 75\.0%/,
    );
    await page.keyboard.press('Escape');

    await chooseAgent(page, 'Old Bot');
    await page.waitForURL(/agent=agt_old/);
    await eventually(async () => {
      const { credits } = await figures(page);
      assert.equal(credits, (await ledger(ws, { ...period, agent: 'agt_old' })).credits);
    });
    await eventually(async () => assert.equal(await combobox(page).inputValue(), 'Old Bot (deleted)'));
    await page.getByText('· this agent').waitFor();
    assert.equal((await figures(page)).chatbots, '0 of 10');

    await chooseAgent(page, 'Gone');
    await page.waitForURL(/agent=agt_gone/);
    await page
      .getByText('Gone (deleted) has no usage in this period. Other agents used 40 credits.')
      .waitFor();
    await page.getByText('Last usage was on 3 Feb 2025.').waitFor();
  },
);

/** What an answer says, but for what names the request and its moment. */
async function answerTo(page, path, what) {
  const response = await page.context().request.get(path + what);
  const text = (await response.text())
    .replaceAll(/[0-9a-f]{32}/g, 'TRACE')
    .replace(/"freshness":{.*?}/, '')
    .replaceAll(what, 'WHAT');
  return { status: response.status(), headers: Object.keys(response.headers()).sort(), text };
}

workspaceTest(
  'another workspace’s agent is as unknown as one that never was',
  async () => {
    const other = await filled({ agents: { agt_secret: 'Secret Project' } }, [{ at: at(3), credits: '999' }]);
    const ws = await filled({ agents: { agt_a: 'Ada' } }, [{ at: at(3), credits: '10' }]);
    return Object.assign(ws, { other });
  },
  '?agent=agt_secret',
  { ready: page => page.getByRole('alert').waitFor() },
  async (page, ws, { requests }) => {
    const said = async () => {
      await page
        .getByRole('alert')
        .getByRole('heading', { name: 'This agent isn’t in your workspace.' })
        .waitFor();
      await foot(page).waitFor();
      return (await page.locator('main').innerText()).replaceAll(/agt_\w+/g, 'AGENT');
    };
    const ofForeign = await said();
    assert.ok(!(await page.content()).includes('Secret Project'));
    await page.goto(page.url().replace('agt_secret', 'agt_unborn'));
    assert.equal(await said(), ofForeign);

    const origin = new URL(page.url()).origin;
    for (const path of ['dashboard?', 'agents?', 'export.csv?', 'breakdown?by=model&', 'reconcile?']) {
      const question = `${origin}/v1/usage/${path}workspace=${ws.id}&agent=`;
      const foreign = await answerTo(page, question, 'agt_secret');
      assert.doesNotMatch(foreign.text, /999|Secret/);
      assert.deepEqual(foreign, await answerTo(page, question, 'agt_unborn'), path);
    }
    // Nor does the picker know it, nor is the other workspace anyone's but its own.
    const found = await (await api(page, `/v1/agents?workspace=${ws.id}&query=secret`)).json();
    assert.deepEqual(found, { agents: [], next_cursor: null, total: 0 });
    const theirs = await answerTo(page, `${origin}/v1/usage/dashboard?workspace=`, ws.other.id);
    assert.equal(theirs.status, 404);
    assert.deepEqual(theirs, await answerTo(page, `${origin}/v1/usage/dashboard?workspace=`, 'ws_unborn'));

    await page.getByRole('button', { name: 'Show All Agents' }).click();
    await eventually(async () => assert.equal((await figures(page)).credits, '10'));
    assert.ok(requests.every(url => !url.includes(ws.other.id)));
  },
);

/** Rows of the board: what each was, is, and answered. Seven share evenly, so that rounding alone would not add up. */
const board = {
  agt_new: { name: 'émile', was: 0, is: 700, messages: 70 },
  agt_double: { name: 'Zed', was: 350, is: 700, messages: 7 },
  agt_half_more: { name: 'alpha', was: 1400, is: 700, messages: 700 },
  agt_same: { name: 'Beta', was: 700, is: 700, messages: 2 },
  agt_up: { name: 'gamma', was: 500, is: 700, messages: 350 },
  agt_9: { name: 'Agent 9', was: 100, is: 700, messages: 1 },
  agt_10: { name: 'Agent 10', was: 600, is: 700, messages: 1400 },
};

workspaceTest(
  'the leaderboard is sorted by every column, and shares add up to 100.0 %',
  () =>
    filled(
      { agents: Object.fromEntries(Object.entries(board).map(([id, { name }]) => [id, name])) },
      Object.entries(board).flatMap(([agent, { was, is, messages }]) => [
        { at: at(3), agent, credits: is, messages },
        ...(was ? [{ at: at(3, 9, 10), agent, credits: was }] : []),
      ]),
    ),
  '?compare=prev',
  {},
  async (page, ws, { requests }) => {
    const spent = await ledgerBy('agent', ws, period);
    const earlier = await ledgerBy('agent', ws, { ...lastMonth, to: '2025-10-24T12:00:00Z' });
    const of = Object.entries(board).map(([id, { name }]) => ({
      id,
      name,
      credits: Number(spent.get(id).credits),
      messages: Number(spent.get(id).messages),
      previous: Number(earlier.get(id)?.credits ?? 0),
    }));
    const ranking = of.toSorted((a, b) => b.credits - a.credits || b.messages - a.messages);
    const rows = async () => (await figures(page)).agents;
    const shares = (await rows()).map(row => row.share.replace('%', ''));
    assert.equal(sum(shares), '100', shares.join(' + '));
    assert.deepEqual(new Set(shares), new Set(['14.3', '14.2']));

    const collator = new Intl.Collator('en', { sensitivity: 'base', numeric: true });
    const rise = row => (row.previous ? (row.credits - row.previous) / row.previous : Infinity);
    const orders = {
      Agent: (a, b) => collator.compare(a.name, b.name),
      Credits: (a, b) => a.credits - b.credits,
      Share: (a, b) => a.credits - b.credits,
      Messages: (a, b) => a.messages - b.messages,
      'Credits per message': (a, b) => a.credits / a.messages - b.credits / b.messages,
      Change: (a, b) => rise(a) - rise(b),
    };
    const asked = requests.length;
    const seen = new Set();
    for (const [column, order] of Object.entries(orders)) {
      const header = page.getByRole('columnheader', { name: column, exact: true });
      const first = column === 'Agent' ? 'ascending' : 'descending';
      for (const direction of [first, first === 'ascending' ? 'descending' : 'ascending']) {
        await header.getByRole('button').click();
        assert.equal(await header.getAttribute('aria-sort'), direction, column);
        const expected = ranking.toSorted((a, b) => (direction === 'ascending' ? order(a, b) : order(b, a)));
        assert.deepEqual(
          (await rows()).map(row => row.name),
          expected.map(row => row.name),
          `${column}, ${direction}`,
        );
        // A rank is by credits, however the rows are sorted.
        assert.deepEqual(
          await page.locator('.leaderboard tbody tr:not(.all) td.rank').allInnerTexts(),
          expected.map(row => String(ranking.indexOf(row) + 1)),
        );
        assert.equal(await page.locator('th[aria-sort]').count(), 1);
        seen.add(new URL(page.url()).search);
      }
    }
    assert.equal(seen.size, 12, `each order has an address: ${[...seen].join(' ')}`);
    assert.deepEqual(
      requests.slice(asked).filter(url => url.includes('/v1/usage/agents')),
      [],
      'the page knows them all',
    );
    assert.equal((await figures(page)).total.name, 'All agents');
  },
);

workspaceTest(
  'the sentence names the agent that spent most, and the one that rose most',
  () =>
    filled({ agents: { agt_1: 'Support Bot', agt_2: 'Sales Bot', agt_3: 'Aardvark' } }, [
      { at: at(3), agent: 'agt_1', credits: '7701' },
      { at: at(4), agent: 'agt_2', credits: '2520' },
      // First by name, and by messages; neither is what was asked.
      { at: at(5), agent: 'agt_3', credits: '2200', messages: 1_000 },
      { at: at(3, 9, 10), agent: 'agt_1', credits: '7600' },
      { at: at(4, 9, 10), agent: 'agt_2', credits: '900' },
      { at: at(5, 9, 10), agent: 'agt_3', credits: '2100' },
    ]),
  '?compare=prev',
  {},
  async (page, ws) => {
    const sentence = page.locator('.sentence');
    const spent = [...(await ledgerBy('agent', ws, period))];
    const whole = await ledger(ws, period);
    assert.equal(spent[0][0], 'agt_1');
    const percent = Math.round((Number(spent[0][1].credits) / Number(whole.credits)) * 100);
    assert.equal(
      await sentence.innerText(),
      `Support Bot drove ${percent}% of credits in this range (${grouped(spent[0][1].credits)} of ${grouped(whole.credits)}). ` +
        'Biggest rise: Sales Bot, +1,620 (+180%).',
    );
    // Where another one spent most, it is named.
    await page.goto(page.url().replace('compare=prev', 'from=2025-11-04&to=2025-11-06'));
    await settled(page);
    assert.equal(
      await sentence.innerText(),
      'Sales Bot drove 53% of credits in this range (2,520 of 4,720).',
    );
  },
);

const bots = { agt_support: 'Support Bot', agt_sales: 'Sales Bot', agt_intern: 'Intern' };
/** Twelve ordinary weeks, less at weekends, and one day on which Support Bot went viral. */
function ordinaryWeeks() {
  const events = [];
  const end = Date.parse('2025-11-24T00:00:00Z');
  for (let day = Date.parse('2025-09-01T00:00:00Z'), n = 0; day < end; day += 86_400_000, n++) {
    const weekend = [0, 6].includes(new Date(day).getUTCDay());
    const when = new Date(day + 10 * 3_600_000).toISOString();
    events.push({
      at: when,
      agent: 'agt_support',
      credits: weekend ? 300 + (n % 4) * 10 : 1_200 + (n % 5) * 20,
    });
    events.push({ at: when, agent: 'agt_sales', credits: weekend ? 90 : 700 + (n % 3) * 30 });
    events.push({ at: when, agent: 'agt_intern', credits: 40 });
  }
  events.push({ at: at(12, 14), agent: 'agt_support', credits: 6_000 });
  return events;
}
const viral = () => filled({ agents: bots }, ordinaryWeeks());

/** What the sentence of the spike has to be, from the ledger alone. */
async function spikeInWords(ws) {
  const days = await ledgerBy('toDate(occurred_at)', ws);
  const number = date => Number(days.get(date.toISOString().slice(0, 10)).credits);
  const day = new Date('2025-11-12T00:00:00Z');
  const weeks = Array.from({ length: 8 }, (_, i) =>
    number(new Date(day.getTime() - (i + 1) * 7 * 86_400_000)),
  );
  const [low, high] = weeks.toSorted((a, b) => a - b).slice(3, 5);
  const of = { from: '2025-11-12T00:00:00Z', to: '2025-11-13T00:00:00Z' };
  const [top, figure] = [...(await ledgerBy('agent', ws, of))][0];
  const share = ((Number(figure.credits) / number(day)) * 100).toFixed(1);
  const times = (number(day) / ((low + high) / 2)).toFixed(1);
  return {
    text: `12 Nov: ${grouped(number(day))} credits, ${times}× a usual Wednesday. ${share}% from ${bots[top]}.`,
    agent: bots[top],
    id: top,
    credits: figure.credits,
    total: String(number(day)),
    share,
  };
}

workspaceTest('the day that went viral stands out, and no other', viral, '', {}, async (page, ws) => {
  const expected = await spikeInWords(ws);
  const spikes = page.getByRole('list', { name: 'Unusual usage' }).getByRole('listitem');
  assert.equal(await spikes.count(), 1);
  assert.ok((await spikes.innerText()).replaceAll(/\s+/g, ' ').startsWith(`▲ ${expected.text} Zoom`));
  // The ▲ stands over the twelfth bar.
  const marks = page.locator('.plot path.spike');
  assert.equal(await marks.count(), 1);
  const [mark, bar] = [await marks.boundingBox(), await page.getByTestId('bar').nth(11).boundingBox()];
  assert.ok(mark.x >= bar.x && mark.x + mark.width <= bar.x + bar.width, 'the mark is over its bar');

  await spikes.getByRole('button', { name: 'Zoom' }).click();
  await page.waitForURL(/start=2025-11-12T00:00:00Z&end=2025-11-13T00:00:00Z/);
  await eventually(async () => assert.equal((await figures(page)).credits, expected.total));
  // The days around it are as always.
  for (const around of ['from=2025-11-01&to=2025-11-11', 'from=2025-11-13&to=2025-11-23']) {
    await page.goto(`${page.url().split('?')[0]}?${around}`);
    await settled(page);
    assert.equal((await figures(page)).bars.length, 11);
    assert.equal(await spikes.count(), 0, around);
  }
});

workspaceTest(
  'a bar’s tooltip, its value in words and its row in the table say the same, and it is what the ledger holds',
  async () => {
    const agents = numbered(9);
    return filled({ agents }, [
      ...Object.keys(agents).flatMap((agent, a) =>
        [1, 5, 12, 23, 24].map(day => ({
          at: at(day, 8),
          agent,
          credits: `${(a + 2) * day * 100}.25`,
          messages: a + 1,
        })),
      ),
      { at: at(12, 9, 10), agent: 'agt_01', credits: '1000' },
      { at: at(7, 9, 10), agent: 'agt_02', credits: '3' },
    ]);
  },
  '?compare=prev&table=1',
  {},
  async (page, ws) => {
    const names = numbered(9);
    const plot = page.getByRole('slider');
    const tooltip = page.locator('.tooltip');
    const table = await tableOf(page);
    const ranking = [...(await ledgerBy('agent', ws, period)).keys()];
    await plot.focus();
    for (const bar of [0, 4, 6, 11, 22, 23]) {
      const day = `2025-11-${String(bar + 1).padStart(2, '0')}`;
      const span = { from: `${day}T00:00:00Z`, to: new Date(Date.parse(day) + 86_400_000).toISOString() };
      const of = await ledgerBy('agent', ws, span);
      const whole = await ledger(ws, span);
      const parts = ranking.slice(0, 7).map(id => [names[id], of.get(id)?.credits ?? '0']);
      parts.push(['Other (2 agents)', sum(ranking.slice(7).map(id => of.get(id)?.credits ?? '0'))]);
      const used = parts.filter(([, credits]) => credits !== '0');

      const row = table.rows[bar];
      assert.deepEqual([row.Credits, row.Messages], [whole.credits, whole.messages], `row of ${day}`);
      for (const [name, credits] of parts) assert.equal(row[name], credits, `${name} on ${day}`);

      await page.keyboard.press('Home');
      for (let step = 0; step < bar; step++) await page.keyboard.press('ArrowRight');
      const tip = await tooltip.evaluate(box => ({
        title: box.querySelector('.tip-title').firstChild.textContent.trim(),
        zone: box.querySelector('.tip-title .muted').textContent,
        total: box.querySelector('.tip-total .num').textContent,
        note: box.querySelector('.tip-total .tag')?.textContent ?? null,
        parts: [...box.querySelectorAll('li')].map(li => [
          li.querySelector('bdi').textContent,
          ...[...li.querySelectorAll('.num')].map(cell => cell.textContent),
        ]),
        previous: box.querySelector('.tip-previous .num').textContent,
        change: box.querySelector('.change > [aria-hidden]').textContent,
        changeInWords: box.querySelector('.change > .sr').textContent,
      }));
      assert.equal(tip.title, row.when);
      assert.equal(tip.zone, 'UTC');
      assert.equal(tip.total, grouped(row.Credits));
      assert.deepEqual(
        tip.parts.map(([name, credits]) => [name, credits]),
        used.map(([name, credits]) => [name, grouped(credits)]),
      );
      if (used.length) assert.equal(sum(tip.parts.map(([, , share]) => share.replace('%', ''))), '100');
      assert.equal(tip.previous, grouped(row.Comparison));
      assert.equal(tip.change.replace('−', '-').replaceAll(',', ''), row.Change);
      assert.equal(tip.note ?? '', row.Note ?? '');

      const words = [
        `${tip.title}: ${tip.total} ${tip.total === '1' ? 'credit' : 'credits'}`,
        tip.note,
        tip.parts.map(([name, credits, share]) => `${name} ${credits}, ${share}`).join('; '),
        `${tip.previous} before, ${tip.changeInWords}`,
      ];
      assert.equal(await plot.getAttribute('aria-valuetext'), words.filter(Boolean).join('. '));

      // A pointer over the bar is told the same.
      const before = await tooltip.innerText();
      await page.keyboard.press('Escape');
      await tooltip.waitFor({ state: 'detached' });
      const box = await page.getByTestId('bar').nth(bar).boundingBox();
      await page.mouse.move(box.x + box.width / 2, box.y + box.height - 20);
      await tooltip.waitFor();
      assert.equal(await tooltip.innerText(), before);
      await page.mouse.move(5, 5);
      await tooltip.waitFor({ state: 'detached' });
    }
  },
);

workspaceTest(
  'by keyboard alone: which agent was it on 12 November? The chart says',
  viral,
  '',
  {},
  async (page, ws) => {
    const expected = await spikeInWords(ws);
    await tabTo(page, page.getByRole('link', { name: 'Skip to the figures' }));
    await page.keyboard.press('Enter');
    const plot = page.getByRole('slider');
    await tabTo(page, plot);
    await page.keyboard.press('Home');
    for (let day = 1; day < 12; day++) await page.keyboard.press('ArrowRight');
    const words = await plot.getAttribute('aria-valuetext');
    assert.ok(
      words.startsWith(
        `Wed 12 Nov 2025: ${grouped(expected.total)} credits. ${expected.agent} ${grouped(expected.credits)}, ${expected.share}%`,
      ),
      words,
    );
    await page.keyboard.press('Enter');
    await page.getByRole('group', { name: 'Wed 12 Nov 2025' }).waitFor();
    await tabTo(page, page.getByRole('button', { name: `Only ${expected.agent}` }));
    await page.keyboard.press('Enter');
    await page.waitForURL(new RegExp(`agent=${expected.id}`));
    await eventually(async () => {
      const { bars } = await figures(page);
      assert.equal(bars[11].credits, expected.credits);
    });
  },
);

workspaceTest(
  'by keyboard alone, without the chart: sentence, list and leaderboard say which agent it was on 12 November',
  viral,
  '',
  {},
  async (page, ws) => {
    const expected = await spikeInWords(ws);
    await page.evaluate(() => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync('.plot-space, .legend { display: none !important }');
      document.adoptedStyleSheets = [sheet];
    });
    assert.equal(await page.getByRole('slider').count(), 0);
    const sentence = await page.locator('.sentence').innerText();
    assert.ok(sentence.startsWith(`${expected.agent} drove `), sentence);

    const item = page.getByRole('list', { name: 'Unusual usage' }).getByRole('listitem');
    assert.ok((await item.innerText()).replaceAll(/\s+/g, ' ').includes(expected.text));
    await tabTo(page, item.getByRole('button', { name: 'Zoom' }));
    await page.keyboard.press('Enter');
    await page.waitForURL(/start=2025-11-12T00:00:00Z/);
    await eventually(async () => {
      const { agents, credits } = await figures(page);
      assert.equal(credits, expected.total);
      assert.deepEqual([agents[0].name, agents[0].credits], [expected.agent, expected.credits]);
      assert.equal(agents[0].share, `${expected.share}%`);
    });
    await tabTo(
      page,
      page.locator('.leaderboard').getByRole('button', { name: expected.agent, exact: true }),
    );
    await page.keyboard.press('Enter');
    await page.waitForURL(new RegExp(`agent=${expected.id}`));
    await eventually(async () => assert.equal((await figures(page)).credits, expected.credits));
  },
);
