/** Where the reader is on the chart: the bar under the pointer or the keyboard, the pinned one, a selection. */

import { signal } from '@preact/signals';

/** The bar that the tooltip speaks of, -1 for none. */
export const active = signal(-1);
/** A pinned tooltip stays and offers what can be done with its bar. */
export const pinned = signal(false);
/** Whole bars from the first to the second, either way round. */
export const selection = signal<readonly [number, number] | null>(null);

/** For what was reached by a button that is about to go. */
export const focusPlot = () => document.querySelector<HTMLElement>('.plot')?.focus();

export function clearChart() {
  active.value = -1;
  pinned.value = false;
  selection.value = null;
}

export function ordered([a, b]: readonly [number, number]): [number, number] {
  return a < b ? [a, b] : [b, a];
}
