// Made-up usage, the same at every start: what an agent spent in an hour is a function of its name and the hour.

const hourMs = 3_600_000;
/** Nobody used anything before. */
const firstUsage = Date.parse('2025-01-01T00:00:00Z');

function random(text) {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  h ^= h >>> 12;
  h = Math.imul(h, 0x297a2d39);
  h ^= h >>> 15;
  return (h >>> 0) / 2 ** 32;
}

// ---- Calendar: edges from the zone's own clock --------------------------------------------------------------

const parts = new Map();
function wall(at, zone) {
  if (!parts.has(zone)) {
    parts.set(
      zone,
      new Intl.DateTimeFormat('en-GB', {
        timeZone: zone,
        hourCycle: 'h23',
        year: 'numeric',
        month: '2-digit',
        day: '2-digit',
        hour: '2-digit',
        minute: '2-digit',
        second: '2-digit',
      }),
    );
  }
  const p = Object.fromEntries(
    parts
      .get(zone)
      .formatToParts(at)
      .map(x => [x.type, x.value]),
  );
  return {
    date: `${p.year}-${p.month}-${p.day}`,
    seconds: Number(p.hour) * 3600 + Number(p.minute) * 60 + Number(p.second),
  };
}

/** The first instant of a date in a zone. */
export function startOf(date, zone) {
  let at = Date.parse(`${date}T00:00:00Z`) - 15 * hourMs;
  while (wall(at, zone).date < date) at += 900_000;
  return at;
}

const addDays = (date, days) =>
  new Date(Date.parse(`${date}T00:00:00Z`) + days * 86_400_000).toISOString().slice(0, 10);
const addMonths = (date, months) => {
  const [y, m] = date.split('-').map(Number);
  return new Date(Date.UTC(y, m - 1 + months, 1)).toISOString().slice(0, 10);
};
const monthOf = date => `${date.slice(0, 7)}-01`;
const iso = at => new Date(at).toISOString().replace('.000Z', 'Z');

export function resolve(params, zone, now) {
  const today = wall(now, zone).date;
  const dates = (from, to, preset) => ({
    preset,
    from,
    to,
    start: startOf(from, zone),
    end: startOf(addDays(to, 1), zone),
  });
  const preset = params.get('range');
  if (params.has('start')) {
    const [start, end] = [Date.parse(params.get('start')), Date.parse(params.get('end'))];
    return { preset: null, from: wall(start, zone).date, to: wall(end - 1, zone).date, start, end };
  }
  if (params.has('from')) return dates(params.get('from'), params.get('to'), null);
  switch (preset ?? 'period') {
    case 'today':
      return dates(today, today, preset);
    case 'yesterday':
      return dates(addDays(today, -1), addDays(today, -1), preset);
    case '7d':
    case '30d':
    case '90d':
      return dates(addDays(today, 1 - Number.parseInt(preset, 10)), today, preset);
    case 'mtd':
      return dates(monthOf(today), today, preset);
    case 'last_month':
      return dates(addMonths(today, -1), addDays(monthOf(today), -1), preset);
    case 'previous_period':
      return dates(addMonths(today, -1), addDays(monthOf(today), -1), preset);
    default:
      return dates(monthOf(today), addDays(addMonths(today, 1), -1), 'period');
  }
}

export function autoGrain({ start, end }) {
  const hours = (end - start) / hourMs;
  if (hours < 3) return 'minute';
  if (hours <= 75) return 'hour';
  if (hours <= 92 * 24 + 1) return 'day';
  return hours <= 400 * 24 ? 'week' : 'month';
}

export function edges({ start, end }, grain, zone) {
  const list = [start];
  let at = start;
  while (at < end) {
    if (grain === 'minute') at = Math.floor(at / 60_000 + 1) * 60_000;
    else if (grain === 'hour') at = Math.floor(at / hourMs + 1) * hourMs;
    else {
      const { date } = wall(at, zone);
      let next = addDays(date, 1);
      if (grain === 'week') {
        const weekday = (new Date(`${date}T00:00:00Z`).getUTCDay() + 6) % 7;
        next = addDays(date, 7 - weekday);
      } else if (grain === 'month') next = addMonths(date, 1);
      at = startOf(next, zone);
    }
    list.push(Math.min(at, end));
  }
  return list;
}

// ---- Usage ----------------------------------------------------------------------------------------------------

/** Credits and messages of an agent in one hour. */
function hourly(agent, hour) {
  const date = new Date(hour * hourMs);
  const local = (date.getUTCHours() + 1) % 24;
  const weekend = [0, 6].includes(date.getUTCDay());
  const daytime = Math.max(0.06, Math.sin(((local - 6) / 16) * Math.PI));
  const noise = 0.55 + 0.9 * random(`${agent.id}/${hour}`);
  let messages = agent.rate * daytime * noise * (weekend ? (agent.weekend ?? 0.45) : 1);
  if (agent.viral && date.toISOString().startsWith(agent.viral)) messages *= 4.2;
  if (agent.since && hour * hourMs < Date.parse(agent.since)) messages = 0;
  if (hour * hourMs < firstUsage) messages = 0;
  messages = Math.round(messages);
  const credits = agent.micro
    ? BigInt(messages) * BigInt(agent.micro)
    : BigInt(Math.round(messages * agent.price * (0.85 + 0.3 * random(`c${agent.id}/${hour}`)))) * 1_000_000n;
  return { credits, messages: BigInt(messages) * BigInt(agent.huge ?? 1) };
}

function within(agent, start, end, until) {
  let credits = 0n;
  let messages = 0n;
  const stop = Math.min(end, until);
  for (let hour = Math.floor(start / hourMs); hour * hourMs < stop; hour++) {
    const whole = hourly(agent, hour);
    const from = Math.max(start, hour * hourMs);
    const to = Math.min(stop, (hour + 1) * hourMs);
    const part = (to - from) / hourMs;
    if (part >= 1) {
      credits += whole.credits;
      messages += whole.messages;
    } else {
      const take = value =>
        BigInt(Math.floor(Number(value / (agent.micro ? 1n : 1_000_000n)) * part)) *
        (agent.micro ? 1n : 1_000_000n);
      credits += take(whole.credits);
      messages += BigInt(Math.floor(Number(whole.messages) * part));
    }
  }
  return { credits: credits * BigInt(agent.huge ?? 1), messages };
}

export function decimal(micro) {
  const negative = micro < 0n;
  const digits = String(negative ? -micro : micro).padStart(7, '0');
  const fraction = digits.slice(-6).replace(/0+$/, '');
  return `${negative ? '-' : ''}${digits.slice(0, -6)}${fraction ? `.${fraction}` : ''}`;
}

const total = (list, key) => list.reduce((sum, item) => sum + item[key], 0n);

export function dashboard({ workspace, params, now, through }) {
  const { zone } = workspace;
  const range = resolve(params, zone, now);
  const grain =
    params.get('grain') && params.get('grain') !== 'auto' ? params.get('grain') : autoGrain(range);
  const cuts = edges(range, grain, zone);
  if (cuts.length > 401) {
    return {
      status: 400,
      problem: { code: 'too_many_bars', title: 'Too many bars', suggested_grain: autoGrain(range) },
    };
  }
  const only = params.get('agent') ?? 'all';
  const agents = workspace.agents.filter(agent => only === 'all' || agent.id === only);
  const compare = params.get('compare') ?? 'none';
  const back =
    compare === 'none'
      ? 0
      : compare === 'yoy'
        ? 364 * 24 * hourMs
        : compare === 'prev_dow'
          ? Math.ceil((range.end - range.start) / (7 * 24 * hourMs)) * 7 * 24 * hourMs
          : Math.round((range.end - range.start) / (24 * hourMs)) * 24 * hourMs;

  const bars = cuts.slice(1).map((end, index) => {
    const start = cuts[index];
    let state = 'final';
    if (start >= now) state = 'future';
    else if (end > through) state = 'in_progress';
    else if (end > through - 600_000) state = 'settling';
    if (workspace.missing?.(start, end)) state = 'missing';
    const values = agents.map(agent => ({ agent, ...within(agent, start, end, through) }));
    const before = back
      ? agents.map(agent => within(agent, start - back, Math.min(end, now) - back, now))
      : null;
    for (const adjustment of workspace.adjustments ?? []) {
      const value = values.find(v => v.agent.id === adjustment.agent);
      if (value && Date.parse(adjustment.at) >= start && Date.parse(adjustment.at) < end)
        value.credits += adjustment.credits;
    }
    return { start, end, state, values: state === 'missing' ? [] : values, before };
  });

  const sums = agents
    .map(agent => {
      const mine = bars.map(bar => bar.values.find(v => v.agent === agent) ?? { credits: 0n, messages: 0n });
      const index = agents.indexOf(agent);
      return {
        agent,
        mine,
        credits: total(mine, 'credits'),
        messages: total(mine, 'messages'),
        before: back ? bars.map(bar => bar.before[index]) : null,
      };
    })
    .filter(sum => sum.credits !== 0n || sum.messages !== 0n)
    .sort((a, b) =>
      a.credits < b.credits ? 1 : a.credits > b.credits ? -1 : a.agent.id < b.agent.id ? -1 : 1,
    );
  const all = { credits: total(sums, 'credits'), messages: total(sums, 'messages') };
  const top = new Set(sums.slice(0, 7).map(sum => sum.agent));
  const shares = tenths(sums.map(sum => sum.credits));

  const series = bars.map(bar => {
    const known = bar.state !== 'missing';
    const used = bar.values.filter(v => v.credits !== 0n || v.messages !== 0n);
    const named = sums
      .filter(sum => top.has(sum.agent))
      .map(sum => used.find(v => v.agent === sum.agent))
      .filter(Boolean);
    const rest = used.filter(v => !top.has(v.agent));
    return {
      start: iso(bar.start),
      end: iso(bar.end),
      state: bar.state,
      credits: known ? decimal(total(bar.values, 'credits')) : null,
      messages: known ? String(total(bar.values, 'messages')) : null,
      agents: [
        ...named.map(v => ({ id: v.agent.id, credits: decimal(v.credits), messages: String(v.messages) })),
        ...(rest.length
          ? [
              {
                id: null,
                others: rest.length,
                credits: decimal(total(rest, 'credits')),
                messages: String(total(rest, 'messages')),
              },
            ]
          : []),
      ],
      previous: bar.before
        ? {
            start: iso(bar.start - back),
            end: iso(bar.end - back),
            credits: decimal(total(bar.before, 'credits')),
            messages: String(total(bar.before, 'messages')),
          }
        : null,
    };
  });

  const before = bars.flatMap(bar => bar.before ?? []);
  const first = sums[0];
  const events =
    all.messages + BigInt(workspace.adjustments?.length ?? 0) + BigInt(workspace.playground ?? 0);
  const spikes = [];
  for (const agent of agents.filter(a => a.viral && grain === 'day')) {
    const bar = series.find(
      b =>
        b.state === 'final' &&
        Date.parse(b.start) <= Date.parse(`${agent.viral}T12:00Z`) &&
        Date.parse(b.end) > Date.parse(`${agent.viral}T12:00Z`),
    );
    const mine = bar?.agents.find(a => a.id === agent.id);
    if (mine) {
      const percent = (Number(mine.credits) / Number(bar.credits)) * 100;
      spikes.push({
        start: bar.start,
        end: bar.end,
        credits: bar.credits,
        times_usual: '2.9',
        agent: { id: agent.id, share: percent.toFixed(1) },
      });
    }
  }
  return {
    status: 200,
    body: {
      range: { ...range, start: iso(range.start), end: iso(range.end), timezone: zone, grain },
      summary: {
        credits: decimal(all.credits),
        messages: String(all.messages),
        chatbots:
          only === 'all'
            ? { used: workspace.agents.filter(a => !a.deleted).length, available: workspace.slots }
            : { used: agents[0]?.deleted ? 0 : agents.length, available: workspace.slots },
        team_members: { used: workspace.members, available: workspace.seats },
        as_of: iso(Math.min(now, range.end)),
        previous: back
          ? {
              start: iso(range.start - back),
              end: iso(Math.min(range.end, now) - back),
              credits: decimal(total(before, 'credits')),
              messages: String(total(before, 'messages')),
            }
          : null,
      },
      series,
      agents: sums.slice(0, 100).map((sum, index) => ({
        id: sum.agent.id,
        name: sum.agent.name,
        deleted: Boolean(sum.agent.deleted),
        credits: decimal(sum.credits),
        messages: String(sum.messages),
        share: shares[index],
        previous_credits: sum.before ? decimal(total(sum.before, 'credits')) : null,
        previous_messages: sum.before ? String(total(sum.before, 'messages')) : null,
        spark: sum.mine.map(v => decimal(v.credits)),
      })),
      agents_total: sums.length,
      workspace_total:
        only === 'all'
          ? { credits: decimal(all.credits), messages: String(all.messages) }
          : dashboardTotal(workspace, range, through),
      insights: {
        sentence: first
          ? `${first.agent.name} drove ${Number(shares[0]).toFixed(0)}% of credits in this range (${group(first.credits)} of ${group(all.credits)}).`
          : '',
        driver: first
          ? {
              id: first.agent.id,
              name: first.agent.name,
              credits: decimal(first.credits),
              workspace_credits: decimal(all.credits),
              percent: Number(shares[0]).toFixed(0),
            }
          : null,
        rise: null,
        spikes,
      },
      freshness: {
        counted_through: iso(through),
        lag_seconds: (now - through) / 1000,
        snapshot: String(Math.floor(now / 4000)),
      },
      completeness: bars.some(bar => bar.state === 'missing') ? 'partial' : 'complete',
      playground_messages: workspace.playground ?? '0',
      recorded_events: String(events),
      last_usage_at: workspace.lastUsage ?? (sums.length ? iso(Math.min(through, range.end - 1)) : null),
    },
    sums,
  };
}

function dashboardTotal(workspace, range, through) {
  const sums = workspace.agents.map(agent => within(agent, range.start, range.end, through));
  return { credits: decimal(total(sums, 'credits')), messages: String(total(sums, 'messages')) };
}

const group = micro => decimal(micro).replace(/\B(?=(\d{3})+(?!\d))/g, ',');

function tenths(values) {
  const whole = values.reduce((a, b) => a + (b > 0n ? b : 0n), 0n);
  if (whole === 0n) return values.map(() => '0');
  const cut = values.map(v => (v * 1000n) / whole);
  let left = Number(1000n - cut.reduce((a, b) => a + b, 0n));
  const order = values
    .map((v, i) => ({ i, rest: (v * 1000n) % whole }))
    .sort((a, b) => (a.rest < b.rest ? 1 : a.rest > b.rest ? -1 : a.i - b.i));
  for (const { i } of order) if (left-- > 0) cut[i] += 1n;
  return cut.map(t => decimal(t * 100_000n));
}

// ---- Workspaces: one for each state that is worth looking at -----------------------------------------------------

const usual = [
  { id: 'agt_support', name: 'Support Bot', rate: 46, price: 1.7, viral: viralDay() },
  { id: 'agt_sales', name: 'Sales Bot', rate: 18, price: 2.1 },
  { id: 'agt_docs', name: 'Docs Assistant', rate: 14, price: 1.2, weekend: 0.8 },
  { id: 'agt_onboarding', name: 'Onboarding Guide', rate: 9, price: 1.4 },
  { id: 'agt_returns', name: 'Returns & Refunds', rate: 7, price: 1.6, weekend: 1.2 },
  { id: 'agt_it', name: 'IT Helpdesk', rate: 5, price: 1.1, weekend: 0.1 },
  { id: 'agt_hr', name: 'HR Questions', rate: 3, price: 1, weekend: 0.05 },
  { id: 'agt_booking', name: 'Booking', rate: 2, price: 1.3 },
  { id: 'agt_old', name: 'Legacy FAQ', rate: 0.9, price: 1, deleted: true },
];

function viralDay() {
  const date = new Date(Date.now() - 9 * 86_400_000);
  while ([0, 6].includes(date.getUTCDay())) date.setUTCDate(date.getUTCDate() - 1);
  return date.toISOString().slice(0, 10);
}

const many = (count, rate = 20) =>
  Array.from({ length: count }, (_, i) => ({
    id: `agt_${String(i).padStart(5, '0')}`,
    name: `Agent ${i + 1}`,
    rate: (rate * 12) / (i + 6),
    price: 1 + random(`p${i}`),
  }));

const links = {
  billing: 'https://app.example.com/billing',
  credits_explained: 'https://app.example.com/help/credits',
  auto_recharge: 'https://app.example.com/help/auto-recharge',
  plans: 'https://app.example.com/plans',
  agent_analytics: 'https://app.example.com/analytics',
};

const base = {
  name: 'Acme Studio',
  zone: 'Europe/Copenhagen',
  slots: 10,
  seats: 5,
  members: 3,
  agents: usual,
  links,
  email: 'support@a2v2.ai',
  product: 'Acme',
};

export const workspaces = {
  ws_demo: base,
  ws_empty: { ...base, agents: [], lastUsage: null },
  ws_elsewhere: { ...base, agents: [], lastUsage: '2026-10-03T09:12:00Z', playground: '12' },
  ws_idle_agent: { ...base, agents: [...usual, { id: 'agt_idle', name: 'Idle Bot', rate: 0, price: 1 }] },
  ws_partial: { ...base, missing: (start, end) => overlaps(start, end, -5.3, -3.8) },
  ws_stale: { ...base, lagMs: 6.4 * 60_000 },
  ws_big: {
    ...base,
    slots: null,
    seats: null,
    agents: usual.slice(0, 4).map(agent => ({ ...agent, micro: 1_500_001, huge: 1_000_000_007 })),
  },
  ws_fractions: { ...base, agents: usual.map(agent => ({ ...agent, micro: 1_250_000 })) },
  ws_hostile: {
    ...base,
    name: '<script>alert(1)</script> & Søn',
    agents: [
      { id: 'agt_img', name: '<img src=x onerror=alert(1)>', rate: 20, price: 1 },
      { id: 'agt_rtl', name: 'وكيل الدعم العربي', rate: 15, price: 1 },
      { id: 'agt_emoji', name: '🤖🔥 Bot 👩‍👩‍👧‍👦', rate: 12, price: 1 },
      { id: 'agt_long', name: 'A very long name '.repeat(12).trim(), rate: 10, price: 1 },
      { id: 'unregistered/with?odd&id', name: '', rate: 4, price: 1 },
    ],
  },
  ws_many: { ...base, agents: many(45), slots: 50 },
  ws_thousands: { ...base, agents: many(300, 40), slots: null },
  ws_adjusted: {
    ...base,
    agents: usual.slice(0, 3),
    adjustments: [
      {
        agent: 'agt_sales',
        at: new Date(Date.now() - 4 * 86_400_000).toISOString(),
        credits: -3_000_000_000n,
      },
    ],
  },
  ws_full: { ...base, slots: 8, seats: 3 },
  ws_bare: { ...base, links: {}, slots: null, seats: null },
};

function overlaps(start, end, fromDays, toDays) {
  const now = Date.now();
  return start < now + toDays * 86_400_000 && end > now + fromDays * 86_400_000;
}
