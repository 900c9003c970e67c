/**
 * Keeps the figures fresh. The page only hears "something may have changed"; where the hint comes from is
 * this file's affair: the service's event stream, and a slow poll beside it, which also takes over where the
 * stream is not to be had.
 */

import type { LiveUpdate } from '../api/types.ts';

export type Unsubscribe = () => void;
/** With the id of the event, by which the service knows what the figures have to hold. */
export type Update = LiveUpdate & { id: string };
/** null is "ask and see". A source does not call again before the call before it has ended. */
export type Hint = (update: Update | null) => Promise<void>;
export type Source = (hint: Hint) => Unsubscribe;

export function poll(everyMs: number): Source {
  return hint => {
    let timer: ReturnType<typeof setTimeout>;
    let stopped = false;
    const next = () => {
      timer = setTimeout(async () => {
        await hint(null);
        if (!stopped) next();
      }, everyMs);
    };
    next();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  };
}

interface Pace {
  /** At most one hint in this time, so that a busy workspace does not keep the page busy. */
  atMostMs: number;
  /** Beside a healthy stream: bars change their state with time alone. */
  slowMs: number;
  /** Without a stream. */
  fastMs: number;
}

export function stream(path: string, { atMostMs, slowMs, fastMs }: Pace): Source {
  return hint => {
    const events = new EventSource(path);
    let stopPolling = poll(slowMs)(hint);
    let waiting: Update | null = null;
    let busy = false;

    const deliver = async () => {
      while (waiting && !busy) {
        const update = waiting;
        waiting = null;
        busy = true;
        await hint(update);
        if (update.changed) await new Promise(done => setTimeout(done, atMostMs));
        busy = false;
      }
    };
    // The first word of a connection says whether anything changed before it: since the last word of the one
    // before, whose id the browser names, or, where there is none, always.
    events.addEventListener('watermark', event => {
      const update = JSON.parse(event.data) as LiveUpdate;
      waiting = { ...update, id: event.lastEventId, changed: update.changed || (waiting?.changed ?? false) };
      void deliver();
    });
    events.addEventListener('error', () => {
      // The browser reconnects by itself unless the service refused.
      if (events.readyState !== EventSource.CLOSED) return;
      stopPolling();
      stopPolling = poll(fastMs)(hint);
    });
    return () => {
      events.close();
      stopPolling();
      waiting = null;
    };
  };
}
