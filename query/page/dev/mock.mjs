// A stand-in for the query service, to look at the page with: serves the built page and answers its requests
// with made-up figures. The workspace in the address picks the state: /w/ws_demo/usage, /w/ws_partial/usage …
// Faults: ws_fault_500, _503, _504, _401, _403, _404, _429, _cut (dropped connections), _slow (12 s), _hang.
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dashboard, decimal, workspaces } from './data.mjs';

const dist = fileURLToPath(new URL('../dist', import.meta.url));
const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};
export const securityHeaders = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'same-origin',
};

const faults = {
  500: 'Internal error',
  503: 'Unavailable',
  504: 'Query took too long',
  401: 'No access',
  403: 'No access',
  404: 'Not found',
  429: 'Too many requests',
};

function send(response, status, body, headers = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  response.writeHead(status, {
    'Content-Type': status >= 400 ? 'application/problem+json' : 'application/json',
    ...headers,
  });
  response.end(text);
}

const problem = (status, extra = {}) => ({
  type: 'about:blank',
  title: faults[status] ?? 'Bad request',
  status,
  code: `fault_${status}`,
  trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
  ...extra,
});

function frozen(workspace) {
  const now = Math.floor(Date.now() / 1000) * 1000;
  return { now, through: now - (workspace.lagMs ?? 1200) };
}

/** The headline's figures in made-up parts, each half of what is left. */
function breakdown(by, { range, summary, freshness, completeness }) {
  const keys = {
    channel: ['embed', 'slack', 'whatsapp', ''],
    model: ['large', 'small'],
    conversation: Array.from({ length: 50 }, (_, n) => `conv_${1000 + 7 * n}`),
  }[by];
  let [credits, messages] = [BigInt(Math.round(Number(summary.credits) * 1e6)), BigInt(summary.messages)];
  const take = half => {
    const item = { credits: half ? credits / 2n : credits, messages: half ? messages / 2n : messages };
    credits -= item.credits;
    messages -= item.messages;
    const share = Number(summary.credits)
      ? (Number(item.credits) / Number(summary.credits) / 1e4).toFixed(1)
      : '0.0';
    return { credits: decimal(item.credits), messages: String(item.messages), share };
  };
  const items = keys.map((key, n) => ({ key, ...take(by === 'conversation' || n < keys.length - 1) }));
  return {
    range,
    by,
    items,
    rest: { count: by === 'conversation' ? 212 : 0, ...take(false) },
    total: { credits: summary.credits, messages: summary.messages },
    freshness,
    completeness,
  };
}

async function answer(request, response) {
  const url = new URL(request.url, 'http://mock');
  const path = decodeURIComponent(url.pathname);
  if (/^\/w\/[^/]+\/usage$/.test(path)) return file(response, '/index.html', 'no-cache');
  if (path.startsWith('/assets/')) return file(response, path, 'public, max-age=31536000, immutable');
  const id = path.startsWith('/v1/workspaces/')
    ? path.slice('/v1/workspaces/'.length)
    : url.searchParams.get('workspace');
  const fault = /^ws_fault_(.+)$/.exec(id ?? '')?.[1];
  const workspace = workspaces[id] ?? (fault ? workspaces.ws_demo : null);
  if (!workspace) return send(response, 404, problem(404));
  const { now, through } = frozen(workspace);

  if (path.startsWith('/v1/workspaces/')) {
    if (fault === 'cut') return request.socket.destroy();
    return send(response, 200, {
      id,
      name: workspace.name,
      timezone: workspace.zone,
      billing_anchor: null,
      agent_slots: workspace.slots,
      seats: workspace.seats,
      links: workspace.links,
      support_email: workspace.email,
      product_name: workspace.product,
    });
  }
  if (path === '/v1/agents') {
    const fold = text => text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
    const query = fold(url.searchParams.get('query') ?? '');
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const matching = workspace.agents.filter(agent => fold(agent.name).includes(query) || agent.id === query);
    const page = matching.slice(from, from + 50);
    return send(response, 200, {
      agents: page.map(agent => ({
        id: agent.id,
        name: agent.name,
        deleted: Boolean(agent.deleted),
        credits: String(Math.round(agent.rate * 24 * 30)),
      })),
      total: matching.length,
      next_cursor: from + 50 < matching.length ? String(from + 50) : null,
    });
  }
  if (path === '/v1/usage/live') {
    if (fault || id === 'ws_stale') return send(response, 404, problem(404));
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.write('retry: 2000\n\n');
    const tell = () => {
      const { now: at, through: to } = frozen(workspace);
      const update = {
        counted_through: new Date(to).toISOString(),
        lag_seconds: (at - to) / 1000,
        changed: true,
      };
      response.write(`event: watermark\nid: ${to}\ndata: ${JSON.stringify(update)}\n\n`);
    };
    const timer = setInterval(tell, 2_000);
    request.on('close', () => clearInterval(timer));
    return;
  }
  if (!path.startsWith('/v1/usage/')) return send(response, 404, problem(404));

  if (fault === 'cut') return request.socket.destroy();
  if (fault === 'hang') return;
  if (fault === 'slow') await new Promise(done => setTimeout(done, 12_000));
  if (faults[fault]) {
    return send(
      response,
      Number(fault),
      problem(Number(fault)),
      fault === '429' ? { 'Retry-After': '12' } : {},
    );
  }
  for (const [from, to] of [['from', 'to']]) {
    const [a, b] = [url.searchParams.get(from), url.searchParams.get(to)];
    if (a && (a > b || a > '2100')) {
      return send(
        response,
        400,
        problem(400, {
          detail: 'The range is not valid.',
          errors: [{ field: 'from', detail: 'out of range' }],
        }),
      );
    }
  }
  const agent = url.searchParams.get('agent') ?? 'all';
  if (agent !== 'all' && !workspace.agents.some(a => a.id === agent)) {
    return send(response, 404, problem(404, { code: 'agent_not_found' }));
  }
  const result = dashboard({ workspace, params: url.searchParams, now, through });
  if (result.status !== 200) return send(response, result.status, problem(result.status, result.problem));

  if (path === '/v1/usage/dashboard') {
    const text = JSON.stringify(result.body);
    const etag = `"${createHash('sha256').update(text).digest('base64url').slice(0, 16)}"`;
    if (request.headers['if-none-match'] === etag) return send(response, 304, '', { ETag: etag });
    return send(response, 200, text, { ETag: etag, 'Cache-Control': 'private, no-cache' });
  }
  if (path === '/v1/usage/agents') {
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const page = result.sums.slice(from, from + 50).map(sum => ({
      id: sum.agent.id,
      name: sum.agent.name,
      deleted: Boolean(sum.agent.deleted),
      credits: decimal(sum.credits),
      messages: String(sum.messages),
      share: '0.1',
      previous_credits: null,
      previous_messages: null,
      spark: [],
    }));
    return send(response, 200, {
      agents: page,
      agents_total: result.sums.length,
      next_cursor: from + 50 < result.sums.length ? String(from + 50) : null,
    });
  }
  if (path === '/v1/usage/breakdown') {
    return send(response, 200, breakdown(url.searchParams.get('by'), result.body));
  }
  if (path === '/v1/usage/export.csv') {
    const rows = ['start,end,agent_id,agent_name,credits,messages,state'];
    result.body.series.forEach((bar, index) => {
      const used = result.sums.filter(
        sum => sum.mine[index].credits !== 0n || sum.mine[index].messages !== 0n,
      );
      for (const { agent: a, mine } of used) {
        rows.push(
          [
            bar.start,
            bar.end,
            a.id,
            `"${a.name.replaceAll('"', '""')}"`,
            decimal(mine[index].credits),
            mine[index].messages,
            bar.state,
          ].join(','),
        );
      }
      if (!used.length) rows.push([bar.start, bar.end, '', '', 0, 0, bar.state].join(','));
    });
    return send(response, 200, `${rows.join('\n')}\n`, {
      'Content-Type': 'text/csv; charset=utf-8',
      'Content-Disposition': 'attachment; filename="usage.csv"',
    });
  }
  return send(response, 404, problem(404));
}

function file(response, path, cacheControl) {
  const name = join(dist, path);
  if (!name.startsWith(dist) || !existsSync(name)) return send(response, 404, problem(404));
  response.writeHead(200, {
    ...securityHeaders,
    'Content-Type': types[extname(name)] ?? 'application/octet-stream',
    'Cache-Control': cacheControl,
  });
  createReadStream(name).pipe(response);
}

/** Listens on loopback; port 0 takes a free one. */
export function listen(port) {
  if (!existsSync(join(dist, 'index.html'))) throw new Error('no build in dist: run "npm run build"');
  const server = createServer((request, response) => {
    answer(request, response).catch(error => {
      console.error(error);
      if (!response.headersSent) send(response, 500, problem(500));
    });
  });
  return new Promise(resolved => {
    server.listen(port, '127.0.0.1', () =>
      resolved({ server, base: `http://127.0.0.1:${server.address().port}` }),
    );
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { base } = await listen(Number(process.env.PORT ?? 5180));
  for (const id of Object.keys(workspaces)) console.log(`${base}/w/${id}/usage`);
}
