/**
 * The one request that answers the whole page, and what became of it.
 *
 * In: which question is asked (`key`), and when to ask again. Out: signals with the last good answer, the
 * request under way, and the failure that stands. A newer question aborts an older one and late answers are
 * dropped, so the last choice wins. A failure never takes away the last good answer.
 */

import { type ReadonlySignal, signal } from '@preact/signals';
import { type Answer, type Failure, RequestFailed, type Unchanged } from '../api/client.ts';
import type { Dashboard, Freshness } from '../api/types.ts';

export interface Shown {
  /** The question that this answers. */
  key: string;
  data: Dashboard;
  /** As the answer said, or as the service said since, while nothing else changed. */
  freshness: Freshness;
  etag: string | null;
  /** When it came, by this machine's clock: only ever shown as "figures from 14:20". */
  receivedAt: Date;
  /** The same by the service's clock, in milliseconds since 1970. */
  at: number | null;
  /** When `freshness` came, in milliseconds of a clock that only moves forward. */
  confirmedAt: number;
}

export interface Loading {
  key: string;
  /** Past the point where a reader wonders. */
  slow: boolean;
}

export interface Standing {
  failure: Failure;
  /** The seconds left until the page tries again by itself, null if it does not. */
  retryIn: number | null;
}

export interface Usage {
  shown: ReadonlySignal<Shown | null>;
  loading: ReadonlySignal<Loading | null>;
  failure: ReadonlySignal<Standing | null>;
  /** Quiet refreshes that failed in a row. */
  missed: ReadonlySignal<number>;
  cancelled: ReadonlySignal<boolean>;
  /** Asks `key`; the answer replaces what is shown. */
  ask: (key: string) => void;
  retry: () => void;
  /**
   * Asks the shown question again without any sign of it; false when something was under way or went wrong.
   * Since is the id of the live stream's event that says so, if one does.
   */
  refresh: (since?: string) => Promise<boolean>;
  /** Nothing changed but how far everything is counted. */
  confirm: (update: Unchanged['freshness']) => void;
  cancel: () => void;
}

export interface Options {
  get: (
    path: string,
    init: { signal: AbortSignal; etag: string | null; since?: string | undefined },
  ) => Promise<Answer<Dashboard> | Unchanged>;
  /** Monotonic milliseconds. */
  clock?: () => number;
  /** Called with a failure that is the question's fault; true when it has been put right. */
  corrected?: (failure: Failure) => boolean;
}

/** The service's clock while this machine's monotonic one shows so many milliseconds; null if it is not known. */
export const serviceTime = ({ at, confirmedAt }: Pick<Shown, 'at' | 'confirmedAt'>, now: number) =>
  at === null ? null : at + now - confirmedAt;

const slowAfter = 8_000;
/** The waits before the two automatic retries. */
const retryDelays = [500, 1_500];
const defaultPause = 10;

export function createUsage({
  get,
  clock = () => performance.now(),
  corrected = () => false,
}: Options): Usage {
  const shown = signal<Shown | null>(null);
  const loading = signal<Loading | null>(null);
  const failure = signal<Standing | null>(null);
  const missed = signal(0);
  const cancelled = signal(false);
  let running: AbortController | null = null;
  let asked = '';

  const path = (key: string) => `/v1/usage/dashboard?${key}`;

  const tag = (key: string) => (shown.value?.key === key ? shown.value.etag : null);

  function accept(key: string, answer: Answer<Dashboard> | Unchanged) {
    if ('data' in answer) {
      const { freshness } = answer.data;
      shown.value = { key, ...answer, freshness, receivedAt: new Date(), confirmedAt: clock() };
    } else if (shown.value) stillHolds(shown.value, answer.freshness, answer.at);
    failure.value = null;
    missed.value = 0;
  }

  function stillHolds(before: Shown, update: Unchanged['freshness'], at = serviceTime(before, clock())) {
    const freshness = { ...before.freshness, ...update };
    shown.value = { ...before, freshness, at, receivedAt: new Date(), confirmedAt: clock() };
  }

  async function run(key: string) {
    running?.abort();
    const controller = new AbortController();
    running = controller;
    const { signal: aborted } = controller;
    loading.value = { key, slow: false };
    failure.value = null;
    cancelled.value = false;
    const slow = setTimeout(() => {
      if (!aborted.aborted) loading.value = { key, slow: true };
    }, slowAfter);
    try {
      for (let tries = 0; ; tries++) {
        try {
          const answer = await get(path(key), { signal: aborted, etag: tag(key) });
          if (aborted.aborted) return;
          accept(key, answer);
          return;
        } catch (error) {
          if (aborted.aborted) return;
          if (!(error instanceof RequestFailed)) throw error;
          const wait = await settle(error.failure, tries, aborted);
          if (!wait || aborted.aborted) return;
        }
      }
    } finally {
      clearTimeout(slow);
      if (running === controller) {
        running = null;
        loading.value = null;
      }
    }
  }

  /** Whether to try again, after the wait that the failure asks for. */
  async function settle(fault: Failure, tries: number, aborted: AbortSignal): Promise<boolean> {
    if (fault.kind === 'too_many') {
      for (let left = fault.retryAfter ?? defaultPause; left > 0; left--) {
        failure.value = { failure: fault, retryIn: left };
        if (!(await pause(1_000, aborted))) return false;
      }
      failure.value = null;
      return true;
    }
    const passing = fault.kind === 'unavailable' || fault.kind === 'network';
    const delay = retryDelays[tries];
    if (passing && delay !== undefined) return pause(delay, aborted);
    if (fault.kind === 'rejected' && corrected(fault)) return false;
    failure.value = { failure: fault, retryIn: null };
    return false;
  }

  function stop() {
    running?.abort();
    running = null;
    loading.value = null;
  }

  return {
    shown,
    loading,
    failure,
    missed,
    cancelled,
    ask(key) {
      if (key === asked && (loading.value || shown.value?.key === key)) return;
      asked = key;
      if (shown.value?.key !== key) void run(key);
      else {
        // Back at the figures that are shown: they only have to be brought up to date.
        stop();
        failure.value = null;
        void this.refresh();
      }
    },
    retry() {
      void run(asked);
    },
    async refresh(since) {
      const key = shown.value?.key;
      if (running || key === undefined || key !== asked) return false;
      const controller = new AbortController();
      running = controller;
      try {
        const answer = await get(path(key), { signal: controller.signal, etag: tag(key), since });
        if (controller.signal.aborted) return false;
        accept(key, answer);
        return true;
      } catch (error) {
        if (controller.signal.aborted) return false;
        if (!(error instanceof RequestFailed)) throw error;
        missed.value++;
        if (error.failure.kind === 'unauthorized') failure.value = { failure: error.failure, retryIn: null };
        return false;
      } finally {
        if (running === controller) running = null;
      }
    },
    confirm({ counted_through, lag_seconds }) {
      const before = shown.value;
      if (!before || running) return;
      stillHolds(before, { counted_through, lag_seconds });
    },
    cancel() {
      if (!loading.value) return;
      stop();
      cancelled.value = true;
    },
  };
}

/** False when it was cut short. */
function pause(milliseconds: number, aborted: AbortSignal): Promise<boolean> {
  return new Promise(resolve => {
    const onAbort = () => {
      clearTimeout(timer);
      resolve(false);
    };
    const timer = setTimeout(() => {
      aborted.removeEventListener('abort', onAbort);
      resolve(true);
    }, milliseconds);
    aborted.addEventListener('abort', onAbort, { once: true });
  });
}
