import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Answer, type FailureKind, RequestFailed, type Unchanged } from '../api/client.ts';
import type { Dashboard } from '../api/types.ts';
import { dashboard } from '../testing.ts';
import { createUsage, serviceTime } from './usage.ts';

type Reply = Answer<Dashboard> | Unchanged | RequestFailed;

/** Requests that the test answers when and how it likes. */
function service() {
  const calls: {
    path: string;
    etag: string | null;
    signal: AbortSignal;
    reply: (reply: Reply) => Promise<void>;
  }[] = [];
  const get = (path: string, { signal, etag }: { signal: AbortSignal; etag: string | null }) =>
    new Promise<Answer<Dashboard> | Unchanged>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
      calls.push({
        path,
        etag,
        signal,
        reply: async reply => {
          if (reply instanceof RequestFailed) reject(reply);
          else resolve(reply);
          await vi.advanceTimersByTimeAsync(0);
        },
      });
    });
  return { calls, get, last: () => calls.at(-1)! };
}

const good = (credits: string, etag = `"${credits}"`): Answer<Dashboard> => {
  const data = dashboard();
  data.summary.credits = credits;
  return { data, etag, at: Date.parse('2026-11-05T12:00:00Z') };
};
const unchanged: Unchanged = {
  freshness: { counted_through: '2026-11-05T12:00:00Z', lag_seconds: 0.25 },
  at: Date.parse('2026-11-05T12:10:00Z'),
};
const failed = (kind: FailureKind, retryAfter: number | null = null) =>
  new RequestFailed({ kind, status: 0, problem: null, reference: null, retryAfter });

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function setUp() {
  const backend = service();
  const usage = createUsage({ get: backend.get, clock: () => 0 });
  return { usage, ...backend };
}

describe('asking', () => {
  test('shows the answer', async () => {
    const { usage, last } = setUp();
    usage.ask('a');
    expect(usage.loading.value).toEqual({ key: 'a', slow: false });
    await last().reply(good('5'));
    expect(usage.shown.value?.data.summary.credits).toBe('5');
    expect(usage.loading.value).toBeNull();
  });

  test('the last choice wins, whatever order the answers come in', async () => {
    const { usage, calls } = setUp();
    usage.ask('a');
    usage.ask('b');
    expect(calls[0]!.signal.aborted).toBe(true);
    await calls[1]!.reply(good('2'));
    await calls[0]!.reply(good('1'));
    expect(usage.shown.value?.key).toBe('b');
    expect(usage.shown.value?.data.summary.credits).toBe('2');
    expect(usage.failure.value).toBeNull();
  });

  test('keeps the old figures until the new ones are there', async () => {
    const { usage, last } = setUp();
    usage.ask('a');
    await last().reply(good('1'));
    usage.ask('b');
    expect(usage.shown.value?.key).toBe('a');
    expect(usage.loading.value?.key).toBe('b');
  });

  test('says so when it takes long, and can be given up', async () => {
    const { usage, last } = setUp();
    usage.ask('a');
    await vi.advanceTimersByTimeAsync(8_000);
    expect(usage.loading.value).toEqual({ key: 'a', slow: true });
    usage.cancel();
    expect(last().signal.aborted).toBe(true);
    expect(usage.loading.value).toBeNull();
    expect(usage.cancelled.value).toBe(true);
  });
});

describe('going back', () => {
  test('to the shown figures needs no waiting', async () => {
    const { usage, calls, last } = setUp();
    usage.ask('a');
    await last().reply(good('1', '"one"'));
    usage.ask('b');
    usage.ask('a');
    expect(calls[1]!.signal.aborted).toBe(true);
    expect(usage.loading.value).toBeNull();
    expect(usage.shown.value?.key).toBe('a');
    expect(last().etag).toBe('"one"');
    await last().reply(unchanged);
    expect(usage.shown.value?.data.summary.credits).toBe('1');
  });

  test('takes the failure of the other question away', async () => {
    const { usage, last } = setUp();
    usage.ask('a');
    await last().reply(good('1'));
    usage.ask('b');
    await last().reply(failed('server'));
    usage.ask('a');
    expect(usage.failure.value).toBeNull();
  });
});

describe('failing', () => {
  test.each(['unavailable', 'network'] as const)('%s is tried twice more by itself', async kind => {
    const { usage, calls, last } = setUp();
    usage.ask('a');
    for (let tries = 1; tries <= 3; tries++) {
      expect(calls.length).toBe(tries);
      await last().reply(failed(kind));
      await vi.advanceTimersByTimeAsync(2_000);
    }
    expect(calls.length).toBe(3);
    expect(usage.failure.value?.failure.kind).toBe(kind);
    expect(usage.loading.value).toBeNull();
  });

  test('a server error is not hammered', async () => {
    const { usage, calls, last } = setUp();
    usage.ask('a');
    await last().reply(failed('server'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(calls.length).toBe(1);
    expect(usage.failure.value?.failure.kind).toBe('server');
  });

  test('never takes away the last good figures, and trying again recovers', async () => {
    const { usage, last } = setUp();
    usage.ask('a');
    await last().reply(good('1'));
    usage.ask('b');
    await last().reply(failed('server'));
    expect(usage.shown.value?.data.summary.credits).toBe('1');
    usage.retry();
    expect(usage.failure.value).toBeNull();
    await last().reply(good('2'));
    expect(usage.shown.value?.key).toBe('b');
    expect(usage.failure.value).toBeNull();
  });

  test('too many requests counts down and then asks again', async () => {
    const { usage, calls, last } = setUp();
    usage.ask('a');
    await last().reply(failed('too_many', 3));
    expect(usage.failure.value?.retryIn).toBe(3);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(usage.failure.value?.retryIn).toBe(2);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(calls.length).toBe(2);
    await last().reply(good('1'));
    expect(usage.failure.value).toBeNull();
  });

  test('what can be put right is not shown as a failure', async () => {
    const { get, last } = service();
    const usage = createUsage({ get, corrected: failure => failure.kind === 'rejected' });
    usage.ask('a');
    await last().reply(failed('rejected'));
    expect(usage.failure.value).toBeNull();
  });
});

describe('refreshing', () => {
  test('is quiet, and an unchanged answer keeps the figures', async () => {
    const { usage, last } = setUp();
    usage.ask('a');
    await last().reply(good('1', '"one"'));
    const before = usage.shown.value!.data;
    const refreshing = usage.refresh();
    expect(usage.loading.value).toBeNull();
    expect(last().etag).toBe('"one"');
    await last().reply(unchanged);
    await refreshing;
    expect(usage.shown.value!.data).toBe(before);
    expect(usage.shown.value!.freshness).toMatchObject(unchanged.freshness);
  });

  test('gives way to a choice', async () => {
    const { usage, calls } = setUp();
    usage.ask('a');
    await calls[0]!.reply(good('1'));
    void usage.refresh();
    usage.ask('b');
    expect(calls[1]!.signal.aborted).toBe(true);
    await calls[2]!.reply(good('2'));
    expect(usage.shown.value?.key).toBe('b');
  });

  test('counts what it missed, until it works again', async () => {
    const { usage, last } = setUp();
    usage.ask('a');
    await last().reply(good('1'));
    void usage.refresh();
    await last().reply(failed('network'));
    expect(usage.missed.value).toBe(1);
    expect(usage.failure.value).toBeNull();
    void usage.refresh();
    await last().reply(good('2'));
    expect(usage.missed.value).toBe(0);
  });

  test('notices the end of the session', async () => {
    const { usage, last } = setUp();
    usage.ask('a');
    await last().reply(good('1'));
    void usage.refresh();
    await last().reply(failed('unauthorized'));
    expect(usage.failure.value?.failure.kind).toBe('unauthorized');
    expect(usage.shown.value?.data.summary.credits).toBe('1');
  });

  test('a watermark moves the freshness and leaves the figures alone', async () => {
    const { usage, last } = setUp();
    usage.ask('a');
    await last().reply(good('1'));
    const before = usage.shown.value!.data;
    usage.confirm({ counted_through: '2026-11-06T00:00:00Z', lag_seconds: 0.5 });
    expect(usage.shown.value!.freshness.counted_through).toBe('2026-11-06T00:00:00Z');
    expect(usage.shown.value!.data).toBe(before);
  });
});

test('it is as late as the last answer says, and as long as has passed since', async () => {
  const { get, last } = service();
  let now = 0;
  const usage = createUsage({ get, clock: () => now });
  const noon = Date.parse('2026-11-05T12:00:00Z');
  const seconds = () => (serviceTime(usage.shown.value!, now)! - noon) / 1000;
  usage.ask('a');
  await last().reply(good('1'));
  expect(seconds()).toBe(0);
  now += 90_000;
  expect(seconds()).toBe(90);
  usage.confirm({ counted_through: '2026-11-05T12:01:00Z', lag_seconds: 1 });
  now += 10_000;
  expect(seconds()).toBe(100);
  void usage.refresh();
  await last().reply(unchanged);
  now += 1_000;
  expect(seconds()).toBe(601);
});
