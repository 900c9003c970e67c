/**
 * Requests to the query service: same origin, by cookie, relative addresses. One function sorts what can go
 * wrong into the few kinds that the page has words for.
 */

import type { Freshness, Problem } from './types.ts';

export type FailureKind =
  | 'network'
  | 'offline'
  | 'unavailable'
  | 'server'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'too_many'
  | 'rejected';

export interface Failure {
  kind: FailureKind;
  status: number;
  problem: Problem | null;
  /** To quote to support. */
  reference: string | null;
  /** Seconds the service asked to wait. */
  retryAfter: number | null;
}

export class RequestFailed extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(`${failure.kind} (${failure.status})`);
    this.failure = failure;
  }
}

export interface Answer<T> {
  data: T;
  etag: string | null;
  /** When, by the service's clock, in milliseconds since 1970. */
  at: number | null;
}

/** How long one try may take before it counts as lost; the "Still loading…" notice comes long before. */
const patience = 60_000;

/** What the caller already holds is current; everything is counted as far as this says. */
export interface Unchanged {
  freshness: Pick<Freshness, 'counted_through' | 'lag_seconds'>;
  at: number | null;
}

/** Asks for what the caller does not hold. */
export async function get<T>(path: string, { signal }: { signal?: AbortSignal } = {}): Promise<Answer<T>> {
  return readAnswer(await send(path, signal), signal);
}

/** Asks again for what the caller holds with that tag, if it has any. */
export async function revalidate<T>(
  path: string,
  { signal, etag, since }: { signal: AbortSignal; etag: string | null; since?: string | undefined },
): Promise<Answer<T> | Unchanged> {
  const holds: Record<string, string> = {};
  if (etag) holds['If-None-Match'] = etag;
  if (since) holds['Last-Event-ID'] = since;
  const response = await send(path, signal, holds);
  if (response.status !== 304) return readAnswer(response, signal);
  const through = response.headers.get('Counted-Through');
  const at = sentAt(response);
  const lag = through && at !== null ? Math.max(0, at - Date.parse(through)) / 1000 : null;
  return { freshness: { counted_through: through, lag_seconds: lag }, at };
}

/** By the service's clock, not this machine's. */
function sentAt(response: Response): number | null {
  const at = Date.parse(response.headers.get('Date') ?? '');
  return Number.isNaN(at) ? null : at;
}

/** The answer of a request that did not fail. */
async function send(path: string, signal?: AbortSignal, holds?: Record<string, string>): Promise<Response> {
  const limit = AbortSignal.timeout(patience);
  const headers = { Accept: 'application/json, application/problem+json', ...holds };
  let response: Response;
  try {
    response = await fetch(path, {
      headers,
      // The page keeps the last answer and its tag itself; the browser's cache would turn a 304 into a 200.
      cache: 'no-store',
      credentials: 'same-origin',
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    throw signal?.aborted ? error : lost();
  }
  if (response.ok || response.status === 304) return response;
  throw new RequestFailed(await readFailure(response));
}

async function readAnswer<T>(response: Response, signal: AbortSignal | undefined): Promise<Answer<T>> {
  try {
    const data = (await response.json()) as T;
    return { data, etag: response.headers.get('ETag'), at: sentAt(response) };
  } catch (error) {
    throw signal?.aborted ? error : lost();
  }
}

/** No answer, or not all of one. */
function lost(): RequestFailed {
  return new RequestFailed({
    kind: navigator.onLine ? 'network' : 'offline',
    status: 0,
    problem: null,
    reference: null,
    retryAfter: null,
  });
}

async function readFailure(response: Response): Promise<Failure> {
  let problem: Problem | null = null;
  try {
    if (response.headers.get('Content-Type')?.includes('json')) problem = (await response.json()) as Problem;
  } catch {
    // A cut-off body: the status says enough.
  }
  return {
    kind: kindOf(response.status),
    status: response.status,
    problem,
    reference: problem?.trace_id ?? response.headers.get('Trace-Id'),
    retryAfter: readRetryAfter(response.headers.get('Retry-After')),
  };
}

export function kindOf(status: number): FailureKind {
  if (status === 401) return 'unauthorized';
  if (status === 403) return 'forbidden';
  if (status === 404) return 'not_found';
  if (status === 429) return 'too_many';
  if (status === 503) return 'unavailable';
  return status >= 500 ? 'server' : 'rejected';
}

/** Seconds, or an HTTP date. */
export function readRetryAfter(header: string | null, now = Date.now()): number | null {
  if (!header) return null;
  if (/^\d+$/.test(header)) return Number(header);
  const at = Date.parse(header);
  return Number.isNaN(at) ? null : Math.max(0, Math.ceil((at - now) / 1000));
}
