/** Signals of the surroundings: the passing second, whether anyone is looking, the width of the window. */

import { type ReadonlySignal, signal } from '@preact/signals';

const tick = signal(performance.now());
/** Milliseconds of a clock that only moves forward, once a second while the tab is visible. */
export const now: ReadonlySignal<number> = tick;

export const visible = signal(!document.hidden);
export const online = signal(navigator.onLine);

/** While a print is made, which shows what the screen keeps folded. */
export const printing = signal(false);

const narrow = matchMedia('(max-width: 639.98px)');
export const phone = signal(narrow.matches);

export function watchSurroundings() {
  setInterval(() => {
    if (!document.hidden) tick.value = performance.now();
  }, 1000);
  document.addEventListener('visibilitychange', () => {
    visible.value = !document.hidden;
    tick.value = performance.now();
  });
  addEventListener('online', () => {
    online.value = true;
  });
  addEventListener('offline', () => {
    online.value = false;
  });
  addEventListener('beforeprint', () => {
    printing.value = true;
  });
  addEventListener('afterprint', () => {
    printing.value = false;
  });
  narrow.addEventListener('change', () => {
    phone.value = narrow.matches;
  });
}
