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
        try {
          await hint(null);
        } finally {
          if (!stopped) next();
        }
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
  /** After this a stream that was refused is tried again. */
  reopenMs: number;
}

export function stream(path: string, { atMostMs, slowMs, fastMs, reopenMs }: Pace): Source {
  return hint => {
    let events: EventSource;
    let stopPolling: Unsubscribe = () => {};
    let reopening: ReturnType<typeof setTimeout>;
    let waiting: Update | null = null;
    let busy = false;

    const pollEvery = (everyMs: number) => {
      stopPolling();
      stopPolling = poll(everyMs)(hint);
    };
    const deliver = async () => {
      while (waiting && !busy) {
        const update = waiting;
        waiting = null;
        busy = true;
        try {
          await hint(update);
          if (update.changed) await new Promise(done => setTimeout(done, atMostMs));
        } finally {
          busy = false;
        }
      }
    };
    const open = () => {
      events = new EventSource(path);
      events.addEventListener('open', () => pollEvery(slowMs));
      // The first word of a connection says whether anything changed before it: since the last word of the one
      // before, whose id the browser names, or, where there is none, always.
      events.addEventListener('watermark', event => {
        const update = JSON.parse(event.data) as LiveUpdate;
        waiting = {
          ...update,
          id: event.lastEventId,
          changed: update.changed || (waiting?.changed ?? false),
        };
        void deliver();
      });
      events.addEventListener('error', () => {
        // The browser reconnects by itself unless the service refused, as it does while it cannot answer.
        if (events.readyState !== EventSource.CLOSED) return;
        pollEvery(fastMs);
        reopening = setTimeout(open, reopenMs);
      });
    };
    pollEvery(slowMs);
    open();
    return () => {
      clearTimeout(reopening);
      events.close();
      stopPolling();
      waiting = null;
    };
  };
}
