/** Puts the stores together: the address asks, the service answers, the clock keeps it fresh. */

import { batch, computed, effect, signal, untracked } from '@preact/signals';
import { type Failure, revalidate } from '../api/client.ts';
import type { Dashboard } from '../api/types.ts';
import { assignColours } from '../chart/series.ts';
import { online, visible, watchSurroundings } from './clock.ts';
import { learnNames, loadWorkspace, lookUpName } from './facts.ts';
import { stream } from './live.ts';
import { correct, followHistory, go, view } from './navigation.ts';
import { blamesDates, isOpen } from './screen.ts';
import { createUsage, serviceTime } from './usage.ts';
import { defaultView, usageParams, type View } from './view.ts';

/** /w/{workspace}/usage */
export const workspaceId = decodeURIComponent(location.pathname.split('/')[2] ?? '');

export const usage = createUsage({ get: (path, init) => revalidate<Dashboard>(path, init), corrected });

/** The figures themselves: unlike `usage.shown` they change only when a figure does. */
export const figures = computed(() => usage.shown.value?.data ?? null);
export const question = computed(() => usageParams(workspaceId, view.value));
/** What the chosen range came to; null while the answer to it is not there. */
export const resolvedRange = computed(() =>
  usage.shown.value?.key === question.value ? (figures.value?.range ?? null) : null,
);
/** What time it is: for the service, whose ranges and days these are, and not by this machine's clock. */
export function serviceNow(): number {
  const shown = usage.shown.value;
  return (shown && serviceTime(shown, performance.now())) ?? Date.now();
}
/** The view that the shown figures belong to: differs from `view` while loading and after a failure. */
export const shownView = signal<View>(view.peek());
/** Agent id → colour slot, kept for as long as the page is open. */
export const colours = signal<ReadonlyMap<string, number>>(new Map());

function corrected(failure: Failure): boolean {
  const suggested = failure.problem?.suggested_grain;
  if (suggested && view.peek().grain !== suggested) {
    correct({ grain: suggested }, { grain: suggested });
    return true;
  }
  const { range } = view.peek();
  if (blamesDates(failure) && !(range.kind === 'preset' && range.preset === 'period')) {
    correct({ range: defaultView.range, grain: 'auto' }, 'dates');
    return true;
  }
  return false;
}

let givenUp: Pick<View, 'range' | 'agent' | 'grain' | 'compare'> | null = null;

/** Asks once more what was given up. */
export function askAgain() {
  if (givenUp) go(givenUp);
  else usage.retry();
}

/** Gives up on the question under way and returns to the one that was answered. */
export function cancelLoading() {
  usage.cancel();
  givenUp = null;
  if (!usage.shown.peek()) return;
  const asked = view.peek();
  givenUp = { range: asked.range, agent: asked.agent, grain: asked.grain, compare: asked.compare };
  const { range, agent, grain, compare } = shownView.peek();
  correct({ range, agent, grain, compare }, null);
}

const pace = { atMostMs: 1_000, slowMs: 15_000, fastMs: 4_000, reopenMs: 10_000 };

export function start() {
  watchSurroundings();
  followHistory();
  void loadWorkspace(workspaceId);

  effect(() => {
    const key = question.value;
    // What becomes of a question must not ask it again.
    untracked(() => usage.ask(key));
  });

  effect(() => {
    const data = figures.value;
    if (!data) return;
    untracked(() =>
      batch(() => {
        learnNames(data.agents);
        if (usage.shown.value?.key === question.value) shownView.value = view.value;
        colours.value = assignColours(colours.value, data);
        const { agent } = view.value;
        if (agent !== null) void lookUpName(workspaceId, agent);
      }),
    );
  });

  const open = computed(() => {
    const shown = usage.shown.value;
    return shown !== null && shown.key === question.value && isOpen(shown.data);
  });
  const ended = computed(() => usage.failure.value?.failure.kind === 'unauthorized');
  const live = computed(() => open.value && visible.value && online.value && !ended.value);
  const source = stream(`/v1/usage/live?workspace=${encodeURIComponent(workspaceId)}`, pace);
  effect(() => {
    if (!live.value) return;
    // A change that could not be fetched is still owed when the next word says that nothing changed since.
    let owed = false;
    return source(async update => {
      if (update && !update.changed && !owed) usage.confirm(update);
      else owed = !(await usage.refresh(update?.id));
    });
  });
  // Whoever comes back, to the tab or to the network, wants to see what is true now.
  let away = false;
  effect(() => {
    const here = visible.value && online.value;
    if (here && away) {
      untracked(() => (usage.failure.value?.retryIn === null ? usage.retry() : void usage.refresh()));
    }
    away = !here;
  });
}
