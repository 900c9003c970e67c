// The processes behind the page, steered: each can be stopped and started, the clock can be set, and each test
// has a workspace of its own with events that it knows. internal/e2e starts them and says by environment:
//
//   E2E_INGEST, E2E_ENGINE   where the write side and ClickHouse listen
//   E2E_CONTROL              where orders are taken
//   E2E_TOKEN                a token for every workspace, with every scope
import assert from 'node:assert/strict';
import { ask, base, eventually, figures, launch, pageTest, signIn, sum } from './support.mjs';

const { env } = process;
for (const name of ['E2E_INGEST', 'E2E_ENGINE', 'E2E_CONTROL', 'E2E_TOKEN']) {
  if (!env[name]) throw new Error(`${name} is missing; run make e2e, or see e2e/stack.mjs`);
}

let browser;
/** One browser for a file's tests. */
export async function theBrowser() {
  browser ??= await launch();
  return browser;
}
export async function closeBrowser() {
  await browser?.close();
  browser = undefined;
}

async function order(what, to) {
  const response = await fetch(`${env.E2E_CONTROL}/${what}`, {
    method: 'POST',
    body: JSON.stringify({ to }),
  });
  assert.equal(response.status, 204, `${what} ${to}: ${await response.clone().text()}`);
}
/** Orders about a role: broker, engine, ingest, rollup, query. Start returns once it works. */
export const stack = {
  start: role => order('start', role),
  stop: role => order('stop', role),
  kill: role => order('kill', role),
  freeze: role => order('freeze', role),
  thaw: role => order('thaw', role),
  /** Whatever was done: every role runs, by the machine's clock. */
  restore: async () => {
    await order('restore', '');
    stopped = null;
  },
};
/**
 * Stops the clock by which the service answers and by which changes of the directory hold; null lets the
 * machine's run. Tests set it to the past: what is over by it is final then, and the minute tier, kept for 32 days
 * of the machine's clock, is out of their reach.
 */
export const clock = async at => {
  await order('clock', at ?? '');
  stopped = at;
};
let stopped = null;

/** The engine's answer to a statement as rows of objects; numbers beyond 2^53 are strings. */
export async function sql(statement, parameters = {}) {
  const params = new URLSearchParams({ database: 'agentmeter', default_format: 'JSONEachRow' });
  for (const [name, value] of Object.entries(parameters)) params.set(`param_${name}`, value);
  const response = await fetch(`${env.E2E_ENGINE}/?${params}`, { method: 'POST', body: statement });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return text
    .trim()
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line));
}

async function write(method, path, body) {
  const response = await fetch(env.E2E_INGEST + path, {
    method,
    headers: { Authorization: `Bearer ${env.E2E_TOKEN}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text);
}

/** Millionths of a credit, exactly. */
export function micros(credits) {
  const [, sign, whole, fraction = ''] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(credits);
  return BigInt(sign + whole + fraction.padEnd(6, '0'));
}
/** Credits as the page writes them, without grouping. */
export function creditsOf(amount) {
  const size = amount < 0n ? -amount : amount;
  const fraction = String(size % 1_000_000n)
    .padStart(6, '0')
    .replace(/0+$/, '');
  return `${amount < 0n ? '-' : ''}${size / 1_000_000n}${fraction && `.${fraction}`}`;
}

/**
 * What the ledger itself holds of a workspace in [from, to), of one agent or of all, in groups of an expression
 * of its columns: credits and messages by key. The rollups, which the page's figures come from, are not asked.
 */
export async function ledgerBy(expression, ws, { from = '1970-01-02', to = '2105-12-31', agent = '' } = {}) {
  const rows = await sql(
    `SELECT toString(${expression}) AS key, toString(sum(toInt128(credits))) AS spent, toString(sum(messages)) AS answered
     FROM usage_ledger
     WHERE workspace = {ws:String} AND outcome IN ('counted', 'adjustment') AND ({agent:String} = '' OR agent = {agent:String})
       AND occurred_at >= parseDateTime64BestEffort({from:String}, 6, 'UTC')
       AND occurred_at < parseDateTime64BestEffort({to:String}, 6, 'UTC')
     GROUP BY key ORDER BY sum(toInt128(credits)) DESC, sum(messages) DESC, key`,
    { ws: ws.id, from, to, agent },
  );
  return new Map(
    rows.map(({ key, spent, answered }) => [key, { credits: creditsOf(BigInt(spent)), messages: answered }]),
  );
}
/** The same as one sum. */
export const ledger = async (ws, of) =>
  (await ledgerBy("''", ws, of)).get('') ?? { credits: '0', messages: '0' };

/**
 * A test with a page of a workspace of its own, which make makes, fills and awaits once the test begins. The body
 * is given the page, the workspace, what open gave, and the world that opens more pages.
 */
export const workspaceTest = (name, make, search, options, body) =>
  pageTest(
    name,
    async () => (await make()).world(),
    search,
    options,
    (page, opened, world) => body(page, world.of, opened, world),
  );

/** Where each event is; what is old is let go of by usage_minute. */
const rollups = ['usage_quarter', 'usage_hour', 'usage_day', 'usage_workspace_hour'];

let made = 0;
/**
 * A workspace with agents, and what it was sent. Facts are those of PUT /v1/workspaces; agents maps ids to
 * names.
 */
export async function workspace({ agents = {}, members = 0, ...facts } = {}) {
  const id = `ws_${process.pid}_${++made}`;
  const at = `/v1/workspaces/${id}`;
  await write('PUT', at, {
    name: id,
    timezone: 'UTC',
    agent_slots: 10,
    seats: 5,
    links: { billing: 'https://example.com/billing' },
    support_email: 'help@example.com',
    product_name: 'Example',
    ...facts,
  });
  for (const [agent, name] of Object.entries(agents)) await write('PUT', `${at}/agents/${agent}`, { name });
  for (let m = 1; m <= members; m++) await write('PUT', `${at}/members/mem_${m}`, { name: `Member ${m}` });

  let changes = 1 + Object.keys(agents).length + members;
  const directoryHoldsAll = () =>
    eventually(
      async () => {
        const [{ held }] = await sql(
          `SELECT (SELECT count() FROM directory_workspaces WHERE workspace = {ws:String}) +
             (SELECT count() FROM directory_agents WHERE workspace = {ws:String}) +
             (SELECT count() FROM directory_members WHERE workspace = {ws:String}) AS held`,
          { ws: id },
        );
        assert.equal(Number(held), changes, 'changes of the directory');
      },
      { everyMs: 50 },
    );
  await directoryHoldsAll();

  /** Events by id, so that what is sent twice counts once. */
  const sent = new Map();
  const sentIn = (from = '', to = '9') =>
    [...sent.values()].filter(event => {
      const when = new Date(event.occurred_at).toISOString();
      return (
        when >= (from && new Date(from).toISOString()) && (to === '9' || when < new Date(to).toISOString())
      );
    });
  const self = {
    id,
    put: (path, body) => {
      changes++;
      return write('PUT', at + path, body);
    },
    delete: path => {
      changes++;
      return write('DELETE', at + path);
    },
    /**
     * Waits until the directory holds every change, and moves the stopped clock on by a second: changes are dated
     * a microsecond one after the other, and hold from then on.
     */
    async known() {
      await directoryHoldsAll();
      if (stopped) await clock(new Date(Date.parse(stopped) + 1_000).toISOString());
    },
    /** Sends events; at is the instant, the rest has defaults. Answers once Kafka has them. */
    async send(...events) {
      const full = events.map(({ at: when, agent = Object.keys(agents)[0], credits = '1', ...rest }) => ({
        id: `e${sent.size}-${Math.random().toString(36).slice(2)}`,
        workspace_id: id,
        agent_id: agent,
        channel: 'embed',
        occurred_at: when instanceof Date ? when.toISOString() : when,
        credits: String(credits),
        conversation_id: 'conv_1',
        model: 'large',
        ...rest,
      }));
      for (let from = 0; from < full.length; from += 5_000) {
        const batch = full.slice(from, from + 5_000);
        const answer = await write('POST', '/v1/events', batch);
        assert.equal(answer.accepted, batch.length, JSON.stringify(answer).slice(0, 500));
      }
      for (const event of full) sent.set(event.id, event);
      return full;
    },
    /** Sends an event that was sent before once more. */
    async resend(event) {
      assert.ok(sent.has(event.id));
      const answer = await write('POST', '/v1/events', event);
      assert.equal(answer.accepted, 1, JSON.stringify(answer));
    },
    /** Corrects figures by signed credits and messages. */
    async adjust({ at: when, agent = Object.keys(agents)[0], credits, messages = 0 }) {
      const adjustment = {
        id: `a${sent.size}-${Math.random().toString(36).slice(2)}`,
        workspace_id: id,
        agent_id: agent,
        occurred_at: when instanceof Date ? when.toISOString() : when,
        credits: String(credits),
        messages,
        reason: 'corrected by a test',
      };
      await write('POST', '/v1/adjustments', adjustment);
      sent.set(adjustment.id, adjustment);
    },
    /** What was sent to be counted in [from, to), of one agent or of all. */
    sum({ from, to, agent } = {}) {
      let credits = 0n;
      let messages = 0;
      for (const e of sentIn(from, to)) {
        if (e.channel === 'playground' || (agent && e.agent_id !== agent)) continue;
        credits += micros(e.credits);
        messages += e.messages ?? 1;
      }
      return { credits: creditsOf(credits), messages: String(messages) };
    },
    /** Waits until the ledger and its rollups hold everything that was sent. */
    async counted() {
      await eventually(
        async () => {
          const [{ events }] = await sql(
            `SELECT least((SELECT toInt64(count()) FROM usage_ledger WHERE workspace = {ws:String} AND outcome IN ('counted', 'adjustment', 'playground')),
               least(${rollups.map(table => `(SELECT sum(events) FROM ${table} WHERE workspace = {ws:String})`).join(', ')}) +
               (SELECT sum(events) FROM usage_playground WHERE workspace = {ws:String})) AS events`,
            { ws: id },
          );
          assert.equal(Number(events), sent.size);
        },
        { everyMs: 50 },
      );
    },
    /**
     * Waits until the service answers with everything that was sent on the days from one date to another, in UTC.
     * What it knows of the ledger is a moment old, so that its answer may be without what the ledger holds already.
     */
    async answered({ from, to }) {
      const after = new Date(Date.parse(to) + 86_400_000);
      const question = new URLSearchParams({ workspace: id, from, to, tz: 'UTC' });
      await eventually(
        async () => {
          const answer = await (await ask(`/v1/usage/dashboard?${question}`)).json();
          assert.equal(answer.recorded_events, String(sentIn(from, after).length), JSON.stringify(answer));
        },
        { everyMs: 50 },
      );
    },
    /** A world for open and pageTest: this workspace's page, signed in by a one-time link. */
    async world() {
      const response = await fetch(`${base}/v1/sessions`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${env.E2E_TOKEN}`, 'Content-Type': 'application/json' },
        body: JSON.stringify({ workspace_id: id }),
      });
      assert.equal(response.status, 201, await response.clone().text());
      return { ...(await signIn(await theBrowser(), (await response.json()).url)), of: self };
    },
  };
  return self;
}

/** Waits for the figures of the whole page to be those of what was sent in [from, to). */
export const assertShows = (page, ws, { from, to, agent }) =>
  eventually(async () => {
    const shown = await figures(page);
    const sent = ws.sum({ from, to, agent });
    for (const metric of ['credits', 'messages']) {
      assert.equal(shown[metric], sent[metric], metric);
      assert.equal(sum(shown.bars.map(bar => bar[metric])), sent[metric], `bars, ${metric}`);
      if (shown.total) assert.equal(shown.total[metric], sent[metric], `leaderboard, ${metric}`);
    }
    assert.equal(Date.parse(shown.bars[0].start), Date.parse(from), 'where the first bar begins');
    assert.equal(Date.parse(shown.bars.at(-1).end), Date.parse(to), 'where the last bar ends');
    return shown;
  });
