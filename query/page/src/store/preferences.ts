/** What one reader prefers on one machine. Storage may be refused, in an embedded page above all. */

import { signal } from '@preact/signals';

const name = 'agentmeter.usage.shortcuts';

function read(): boolean {
  try {
    return localStorage.getItem(name) !== 'off';
  } catch {
    return true;
  }
}

/** Whether single letters are shortcuts; some people's tools type them by themselves. */
export const shortcuts = signal(read());

export function setShortcuts(on: boolean) {
  shortcuts.value = on;
  try {
    localStorage.setItem(name, on ? 'on' : 'off');
  } catch {
    // It holds until the page is left.
  }
}
