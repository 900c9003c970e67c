// Awkward data and awkward moments: names that attack, numbers that are too large for a Number, nothing at all,
// answers that come too late, sessions that end, and a page that stays open all day.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { clock, closeBrowser, ledger, ledgerBy, workspace, workspaceTest } from '../stack.mjs';
import {
  combobox,
  downloadCsv,
  eventually,
  figures,
  fitsSideways,
  grouped,
  readCsv,
  settled,
  sum,
  tableOf,
} from '../support.mjs';

const now = '2025-11-24T12:00:00Z';
const period = { from: '2025-11-01T00:00:00Z', to: '2025-12-01T00:00:00Z' };
const at = (day, month = 11) =>
  `2025-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}T09:15:00Z`;

before(() => clock(now));
after(async () => {
  await clock(null);
  await closeBrowser();
});

/** A workspace of its own whose agents are named, with the events, all counted. */
async function filled(names, events) {
  const ws = await workspace();
  for (const [id, name] of Object.entries(names)) await ws.put(`/agents/${encodeURIComponent(id)}`, { name });
  const [agent] = Object.keys(names);
  await ws.send(...events.map(event => ({ agent, ...event })));
  await ws.counted();
  await ws.known();
  return ws;
}

const formulas = {
  '=agt()': '=HYPERLINK("http://evil.example","Click, please")',
  '+agt': '+1+1',
  '-agt': '-2+3',
  '@agt': '@SUM(A1:A9)',
  agt_quoted: 'He said "no", twice',
  agt_plain: 'Plain; really',
  agt_fullwidth: '＝1+1',
};

workspaceTest(
  'a downloaded CSV quotes what must be quoted, and no name in it is a formula',
  () =>
    filled(
      formulas,
      Object.keys(formulas).map((agent, i) => ({ at: at(3), agent, credits: `${i + 1}.5` })),
    ),
  '',
  {},
  async (page, ws) => {
    const text = await downloadCsv(page);
    const lines = text.split('\n');
    assert.equal(lines[0], 'start,end,agent_id,agent_name,credits,messages,state');
    assert.ok(
      text.includes(`'=agt(),"'=HYPERLINK(""http://evil.example"",""Click, please"")",1.5,1,final\n`),
      text.slice(0, 2_000),
    );
    assert.ok(text.includes(',agt_quoted,"He said ""no"", twice",5.5,1,final\n'));
    const rows = readCsv(text).filter(row => row.agent_id);
    for (const row of rows)
      for (const cell of Object.values(row))
        assert.doesNotMatch(cell, /^[=+\-@＝＋－＠\t\r]/, 'a spreadsheet would run it');
    // Without the guard's apostrophe they are what they were, and worth what the ledger says.
    const recorded = await ledgerBy('agent', ws, period);
    assert.deepEqual(
      rows.map(row => [row.agent_id, row.agent_name, row.credits].map(cell => cell.replace(/^'/, ''))),
      [...recorded].map(([id, { credits }]) => [id, formulas[id], credits]),
    );
  },
);

const hostile = {
  agt_script: '<img src=x onerror="globalThis.__ran=1">',
  agt_entity: '"><script>globalThis.__ran=2</script>&lt;b&gt;',
  agt_rtl: 'בוט תמיכה 12',
  agt_override: 'Bot \u202Eexe.tac',
  agt_emoji: '👩‍👩‍👧‍👦 Familie 🇩🇰',
  agt_long: `${'Wwwwwwwww'.repeat(22)}!!`,
  agt_marks: `Z${'\u0351\u0352\u0353\u0346'.repeat(30)}algo`,
};
assert.equal(hostile.agt_long.length, 200);

for (const width of [1280, 375]) {
  workspaceTest(
    `names that attack are shown as they are written and run nothing, ${width} px`,
    () =>
      filled(hostile, [
        ...Object.keys(hostile).map((agent, i) => ({ at: at(3), agent, credits: 100 - i })),
        ...Object.keys(hostile).map((agent, i) => ({ at: at(3, 10), agent, credits: 90 - i * 10 })),
      ]),
    '?compare=prev&table=1',
    { viewport: { width, height: 900 } },
    async (page, ws) => {
      const names = Object.values(hostile);
      const harmless = async where => {
        assert.equal(await page.evaluate(() => globalThis.__ran), undefined, where);
        assert.equal(await page.locator('img, script:not([src]), body b').count(), 0, where);
        await fitsSideways(page, where);
      };
      const ranking = [...(await ledgerBy('agent', ws, period)).keys()];
      assert.deepEqual(
        (await figures(page)).agents.map(row => row.name),
        ranking.map(id => hostile[id]),
      );
      assert.deepEqual((await tableOf(page)).columns.slice(3, 10), names);
      assert.deepEqual(await page.locator('.legend button bdi').allTextContents(), names);
      await harmless('figures');

      await page.getByRole('slider').focus();
      await page.keyboard.press('Home');
      await page.keyboard.press('ArrowRight');
      await page.keyboard.press('ArrowRight');
      await page.keyboard.press('Enter');
      assert.deepEqual(await page.locator('.tooltip li bdi').allTextContents(), names);
      for (const name of names)
        assert.ok((await page.getByRole('slider').getAttribute('aria-valuetext')).includes(`${name} `), name);
      await harmless('tooltip');
      await page.keyboard.press('Escape');

      await page.goto(`${page.url()}&behind=agent:agt_long`);
      await page.getByRole('dialog').getByRole('table').first().waitFor();
      assert.equal(await page.locator('#drawer-title').textContent(), hostile.agt_long);
      await harmless('details');
      await page.keyboard.press('Escape');

      if (width < 640) await page.getByRole('button', { name: /^Filters/ }).click();
      await combobox(page).click();
      const choices = page.getByRole('listbox', { name: 'Agents' }).getByRole('option');
      await choices.nth(names.length).waitFor();
      assert.deepEqual(
        await page
          .getByRole('listbox', { name: 'Agents' })
          .getByRole('option')
          .locator('bdi')
          .allTextContents(),
        ['All Agents', ...names],
      );
      await harmless('picker');
      await page
        .getByRole('listbox', { name: 'Agents' })
        .getByRole('option')
        .filter({ hasText: 'Www' })
        .click();
      await page.waitForURL(/agent=agt_long/);
      if (width < 640) await page.getByRole('button', { name: 'Done' }).click();
      await page.getByText('· this agent').waitFor();
      await harmless('one agent');

      await page.goto(page.url().replace(/usage\?.*/, 'usage/figures'));
      await page.getByRole('table').first().waitFor();
      assert.ok((await page.locator('body').innerText()).includes(hostile.agt_script));
      await harmless('figures without JavaScript');
    },
  );
}

workspaceTest(
  'a name that runs from right to left turns nothing round but itself',
  () =>
    filled({ agt_rtl: 'בוט 12', agt_override: 'Bot \u202Eexe' }, [
      { at: at(3), agent: 'agt_rtl', credits: 900 },
      { at: at(4), agent: 'agt_override', credits: 100 },
      { at: at(3, 10), agent: 'agt_rtl', credits: 100 },
    ]),
  '?compare=prev',
  {},
  async page => {
    /** The words of an element from left to right, as they are seen on its first line. */
    const seen = (selector, words) =>
      page.evaluate(
        ([selector, words]) => {
          const element = document.querySelector(selector);
          const text = element.textContent;
          const walk = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
          const nodes = [];
          while (walk.nextNode()) nodes.push(walk.currentNode);
          const place = index => {
            for (const node of nodes) {
              if (index < node.length) return [node, index];
              index -= node.length;
            }
          };
          const left = word => {
            const from = text.indexOf(word);
            const range = document.createRange();
            range.setStart(...place(from));
            range.setEnd(place(from)[0], place(from)[1] + 1);
            return range.getBoundingClientRect().left;
          };
          return words.toSorted((a, b) => left(a) - left(b));
        },
        [selector, words],
      );
    assert.equal(
      (await page.locator('.sentence').textContent()).replace(/[\u2068\u2069]/g, ''), // what sets names apart
      'בוט 12 drove 90% of credits in this range (900 of 1,000). Biggest rise: בוט 12, +800 (+800%).',
    );
    const inOrder = ['drove', '90%', 'range', '(900', '1,000)', 'Biggest', 'rise'];
    assert.deepEqual(await seen('.sentence', inOrder), inOrder);
    const rise = ['Biggest', 'rise', '+800', '(+800%'];
    assert.deepEqual(await seen('.sentence', rise), rise);

    // One whose last character turns round whatever follows, until the paragraph ends.
    await page.goto(`${page.url().split('?')[0]}?from=2025-11-04&to=2025-11-04`);
    await page.locator('.sentence').filter({ hasText: 'Bot' }).waitFor();
    const after = ['drove', '100%', 'range', '(100'];
    assert.deepEqual(await seen('.sentence', after), after);
  },
);

/** Beyond 2^53, which is 9,007,199,254,740,992, and 10^15 exactly. */
const most = 9_200_000_000_000n;
function enormous() {
  const split = (agent, credits, day) => {
    const whole = credits / most;
    return [
      ...Array.from({ length: Number(whole) }, () => ({
        at: at(day),
        agent,
        credits: String(most),
        messages: 1_000_000_000,
      })),
      { at: at(day), agent, credits: String(credits % most) },
    ];
  };
  return [
    ...split('agt_odd', 9_007_199_254_740_993n, 3),
    { at: at(3), agent: 'agt_odd', credits: '0.000001' },
    ...split('agt_tera', 1_000_000_000_000_000n, 4),
    { at: at(5), agent: 'agt_small', credits: '0.000001' },
  ];
}

for (const width of [1280, 768, 375]) {
  workspaceTest(
    `credits past 2^53 and of 10^15 are exact to the millionth, everywhere, ${width} px`,
    () => filled({ agt_odd: 'Odd', agt_tera: 'Tera', agt_small: 'Small' }, enormous()),
    '?table=1',
    { viewport: { width, height: 900 } },
    async (page, ws) => {
      const whole = '10007199254740993.000002';
      const odd = '9007199254740993.000001';
      const tera = '1000000000000000';
      assert.equal((await ledger(ws, period)).credits, whole);
      assert.equal(ws.sum(period).credits, whole);

      const shown = await figures(page);
      assert.equal(shown.credits, whole);
      assert.equal(await page.getByTestId('credits-used').innerText(), '10,007,199,254,740,993.000002');
      assert.equal(shown.messages, (await ledger(ws, period)).messages);
      assert.deepEqual(
        shown.bars.slice(1, 6).map(bar => bar.credits),
        ['0', odd, tera, '0.000001', '0'],
      );
      assert.deepEqual(
        shown.agents.map(row => [row.name, row.credits, row.share]),
        [
          ['Odd', odd, '90.0%'],
          ['Tera', tera, '10.0%'],
          ['Small', '0.000001', '<0.1%'],
        ],
      );
      assert.equal(shown.total.credits, whole);
      const table = await tableOf(page);
      assert.deepEqual(
        table.rows.slice(2, 4).map(row => row.Credits),
        [odd, tera],
      );
      assert.deepEqual([table.foot.Credits, table.foot.Odd, table.foot.Tera], [whole, odd, tera]);
      assert.equal(sum(readCsv(await download(page, width)).map(row => row.credits)), whole);
      assert.ok(
        (await page.locator('.sentence').innerText()).includes(
          '(9,007,199,254,740,993.000001 of 10,007,199,254,740,993.000002)',
        ),
      );

      await page.getByRole('slider').focus();
      await page.keyboard.press('Home');
      await page.keyboard.press('ArrowRight');
      await page.keyboard.press('ArrowRight');
      assert.equal(await page.locator('.tip-total .num').innerText(), grouped(odd));
      await page.keyboard.press('ArrowRight');
      assert.match(
        await page.getByRole('slider').getAttribute('aria-valuetext'),
        /^Tue 4 Nov 2025: 1,000,000,000,000,000 credits\. Tera 1,000,000,000,000,000, 100\.0%/,
      );
      await fitsSideways(page, 'enormous figures');
      const [card, figure] = await page.evaluate(() =>
        ['.stat', '[data-testid=credits-used]'].map(
          what => document.querySelector(what).getBoundingClientRect().right,
        ),
      );
      assert.ok(figure <= card, 'the figure stays on its card');
    },
  );
}

/** On a phone the link is in the sheet. */
async function download(page, width) {
  if (width >= 640) return await downloadCsv(page);
  await page.getByRole('button', { name: /^Filters/ }).click();
  const text = await downloadCsv(page);
  await page.getByRole('button', { name: 'Done' }).click();
  return text;
}

workspaceTest(
  'whoever comes back to a closed range is told by a 304 that it still holds',
  () =>
    filled({ agt_a: 'Ada' }, [
      { at: at(3), credits: '12.5' },
      { at: at(4), credits: '3' },
    ]),
  '?from=2025-11-01&to=2025-11-10&table=1',
  {},
  async (page, ws) => {
    const before = await figures(page);
    const { credits } = await ledger(ws, { from: period.from, to: '2025-11-11T00:00:00Z' });
    assert.equal(before.credits, credits);
    await page.context().setOffline(true);
    await page.getByText('You’re offline. Showing figures from').waitFor();
    const again = page.waitForResponse(response => response.url().includes('/v1/usage/dashboard'));
    await page.context().setOffline(false);
    const response = await again;
    assert.match((await response.request().allHeaders())['if-none-match'] ?? '', /^"[^"]+"$/);
    assert.equal(response.status(), 304);
    await eventually(async () => assert.equal(await page.getByText('You’re offline.').count(), 0));
    assert.deepEqual(await figures(page), before);

    // And where something has been counted in between it is an answer of its own.
    await page.context().setOffline(true);
    await page.getByText('You’re offline.').waitFor();
    await ws.send({ at: at(5), agent: 'agt_a', credits: '0.25' });
    await ws.answered({ from: '2025-11-01', to: '2025-11-10' });
    const changed = page.waitForResponse(
      response => response.url().includes('/v1/usage/dashboard') && response.status() === 200,
    );
    await page.context().setOffline(false);
    await changed;
    await eventually(async () => assert.equal((await figures(page)).credits, '15.75'));
  },
);

workspaceTest(
  'a session that is over says so, keeps the address and the figures, and a new one shows the address',
  () =>
    filled({ agt_a: 'Ada' }, [
      { at: at(3), credits: '12.5' },
      { at: at(20, 10), credits: '8' },
    ]),
  '?range=mtd&table=1',
  {},
  async (page, ws, _opened, world) => {
    const before = await figures(page);
    assert.equal(before.credits, (await ledger(ws, period)).credits);
    await page.context().clearCookies();
    // Of the range before: a figure of this one may still be on its way.
    const refused = page.waitForResponse(response =>
      /\/v1\/usage\/dashboard\?.*from=2025-10-/.test(response.url()),
    );
    await page.getByRole('button', { name: 'Earlier range' }).click();
    assert.equal((await refused).status(), 401);
    const alert = page.getByRole('alert');
    await alert.getByText('Your session has ended.').waitFor();
    const address = page.url();
    assert.match(address, /from=2025-10-\d+&to=2025-10-31&table=1$/);
    assert.deepEqual((await figures(page)).bars, before.bars, 'what was known stays');

    // Whoever reloads without a session is told the same, at the same address.
    await page.getByRole('button', { name: 'Sign in again' }).click();
    await page.getByText('Your session has ended.').waitFor();
    assert.equal(page.url(), address);

    await page.context().addCookies(world.storageState.cookies);
    await page.reload();
    await settled(page);
    assert.equal(page.url(), address);
    assert.equal((await figures(page)).credits, '8');
  },
);

workspaceTest(
  'a cookie that the service takes no more is no session either',
  () => filled({ agt_a: 'Ada' }, [{ at: at(3), credits: '12.5' }]),
  '?range=mtd',
  {},
  async (page, _ws, _opened, world) => {
    // As after a change of the key: the browser still has one, and it says nothing any more.
    const [cookie] = world.storageState.cookies;
    await page.context().addCookies([{ ...cookie, value: `${cookie.value.slice(0, -6)}AAAAAA` }]);
    await page.getByRole('button', { name: 'Earlier range' }).click();
    await page.getByRole('alert').getByText('Your session has ended.').waitFor();
    assert.match(page.url(), /from=2025-10-/);
  },
);

workspaceTest(
  '200 changes of the range leave nothing behind',
  () =>
    filled(
      { agt_a: 'Ada', agt_b: 'Bob', agt_c: 'Cyd' },
      Array.from({ length: 90 }, (_, i) => ({
        at: new Date(Date.parse(now) - i * 86_400_000).toISOString(),
        agent: ['agt_a', 'agt_b', 'agt_c'][i % 3],
        credits: i + 1,
      })),
    ),
  '?range=7d&table=1',
  { timeout: 240_000 },
  async (page, ws) => {
    const debug = await page.context().newCDPSession(page);
    await debug.send('HeapProfiler.enable');
    const measure = async () => {
      // Twice: what the first one finalises is let go of by the second.
      for (let i = 0; i < 2; i++) await debug.send('HeapProfiler.collectGarbage');
      const { usedSize } = await debug.send('Runtime.getHeapUsage');
      const { nodes, jsEventListeners } = await debug.send('Memory.getDOMCounters');
      return { heap: usedSize, nodes, listeners: jsEventListeners };
    };
    // All in the page, so that nothing but the page itself works.
    const batch = async () => {
      await page.evaluate(async () => {
        const dates = document.querySelector('.dates .control-value');
        const frame = () => new Promise(requestAnimationFrame);
        for (let change = 0; change < 40; change++) {
          const before = dates.textContent;
          document.querySelector(`[aria-label="${change < 20 ? 'Earlier' : 'Later'} range"]`).click();
          do await frame();
          while (document.querySelector('main').ariaBusy === 'true' || dates.textContent === before);
        }
      });
      return await measure();
    };
    const first = await batch();
    for (let later = 2; later <= 5; later++) {
      const { heap, nodes, listeners } = await batch();
      const said = JSON.stringify({ later, first, heap, nodes, listeners });
      // A tenth is what the browser's own records of requests and of history may take; one answer held for each
      // change would be more.
      assert.ok(heap <= first.heap * 1.1, said);
      assert.ok(nodes <= first.nodes + 20, said);
      assert.ok(listeners <= first.listeners + 2, said);
    }
    assert.equal((await figures(page)).credits, (await ledger(ws, { from: '2025-11-18T00:00:00Z' })).credits);
  },
);

workspaceTest(
  'a workspace without events has zeros, and words for it',
  () => filled({ agt_a: 'Ada' }, []),
  '?compare=prev',
  {},
  async page => {
    await page.getByRole('heading', { name: 'No usage data for this period' }).waitFor();
    await page
      .getByText(
        'Usage appears once your live, embedded agents have answered messages in this range. ' +
          'Testing in the Playground doesn’t draw credits, so it won’t show here.',
      )
      .waitFor();
    await page.getByText('Confirm the agent is public and embedded.').waitFor();
    const shown = await figures(page);
    assert.deepEqual(
      [shown.credits, shown.messages, shown.chatbots, shown.members],
      ['0', '0', '1 of 10', '0 of 5'],
    );
    assert.equal(await page.getByText('Last usage was on').count(), 0);
    assert.equal(await page.getByText('Playground messages').count(), 0);
    await page.getByRole('button', { name: 'Widen to last 90 days' }).click();
    await page.waitForURL(/\?range=90d&compare=prev$/);
    await page.getByRole('button', { name: 'Widen to last 90 days' }).waitFor({ state: 'detached' });
    assert.equal((await figures(page)).credits, '0');
  },
);

workspaceTest(
  'an empty range says when the last usage was, and leads there',
  () =>
    filled({ agt_a: 'Ada' }, [
      { at: at(3, 10), credits: '7.5' },
      { at: at(2, 10), credits: '100' },
      { at: at(20), channel: 'playground', credits: '9' },
    ]),
  '',
  {},
  async (page, ws) => {
    await page.getByText('Last usage was on 3 Oct 2025.').waitFor();
    await page.getByText('1 Playground message in this range was not counted.').waitFor();
    await page.getByRole('button', { name: 'Go there' }).click();
    await page.waitForURL(/\?from=2025-10-03&to=2025-10-03$/);
    await eventually(async () => {
      const { credits } = await figures(page);
      assert.equal(credits, '7.5');
      assert.equal(credits, (await ledger(ws, { from: '2025-10-03', to: '2025-10-04' })).credits);
    });
    assert.equal(await page.getByRole('heading', { name: 'No usage data for this period' }).count(), 0);
  },
);

workspaceTest(
  'an agent without usage says that others have some, and leads to all of them',
  () =>
    filled({ agt_a: 'Ada', agt_idle: 'Sales Bot' }, [
      { at: at(3), agent: 'agt_a', credits: '12421' },
      { at: at(3, 10), agent: 'agt_idle', credits: '5' },
    ]),
  '?agent=agt_idle',
  {},
  async (page, ws) => {
    await page
      .getByText('Sales Bot has no usage in this period. Other agents used 12,421 credits.', { exact: true })
      .waitFor();
    await page.getByText('Last usage was on 3 Oct 2025.').waitFor();
    const shown = await figures(page);
    assert.deepEqual([shown.credits, shown.messages, shown.chatbots], ['0', '0', '1 of 10']);
    assert.equal(await page.getByText('Usage appears once').count(), 0);
    await page.getByRole('button', { name: 'Show All Agents' }).click();
    await eventually(async () =>
      assert.equal((await figures(page)).credits, (await ledger(ws, period)).credits),
    );
    assert.equal(new URL(page.url()).search, '');
  },
);

workspaceTest(
  'of three choices the last one wins, also when its answer comes first and the others arrive in full',
  () =>
    filled(
      { agt_a: 'Ada', agt_b: 'Bob' },
      Array.from({ length: 24 }, (_, i) => ({
        at: at(i + 1),
        agent: i % 2 ? 'agt_a' : 'agt_b',
        credits: i + 1,
      })),
    ),
  '',
  {
    // Nothing takes an answer back here that is on its way: it arrives, and must be dropped by the page.
    prepare: page =>
      page.addInitScript(() => {
        const ask = globalThis.fetch;
        globalThis.__read = [];
        globalThis.fetch = async (path, init) => {
          const response = await ask(path, { ...init, signal: undefined });
          const read = response.json.bind(response);
          response.json = async () => {
            const answer = await read();
            // Once whoever asked has had it.
            setTimeout(() => globalThis.__read.push(path));
            return answer;
          };
          return response;
        };
      }),
  },
  async (page, ws) => {
    const held = new Map();
    await page.route('**/v1/usage/dashboard?**', route => {
      const range = new URL(route.request().url()).searchParams.get('range');
      held.set(range, route);
    });
    const choose = async (name, range) => {
      await page.getByRole('button', { name: /^Date range/ }).click();
      await page.getByRole('button', { name, exact: true }).click();
      await eventually(() => assert.ok(held.has(range)), { everyMs: 10 });
    };
    await choose('Yesterday', 'yesterday');
    await choose('Last 30 days', '30d');
    await choose('Last 7 days', '7d');
    const arrive = async range => {
      await held.get(range).continue();
      await page.waitForFunction(
        range => globalThis.__read.some(path => path.includes(`range=${range}&`)),
        range,
      );
    };
    await arrive('7d');
    await eventually(async () => assert.equal((await figures(page)).bars.length, 7), { everyMs: 20 });
    await arrive('yesterday');
    await arrive('30d');
    const shown = await figures(page);
    assert.equal(shown.bars.length, 7);
    assert.equal(shown.credits, (await ledger(ws, { from: '2025-11-18T00:00:00Z' })).credits);
    assert.match(page.url(), /range=7d$/);
    assert.match(await page.getByRole('button', { name: /^Date range/ }).innerText(), /18 Nov – 24 Nov 2025/);
    assert.equal(await page.locator('main').getAttribute('aria-busy'), 'false');
  },
);
