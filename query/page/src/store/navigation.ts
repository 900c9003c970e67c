/** The view that the page shows, kept in step with the address bar in both directions. */

import { signal } from '@preact/signals';
import type { Grain } from '../api/types.ts';
import { type Behind, readView, type Unread, type View, writeView } from './view.ts';

export type Remark = Unread | { grain: Grain };

interface HistoryState {
  /** The address before the zoom. */
  zoomedFrom?: string;
  /** The drawer was opened from the page before, to which Back leads. */
  opened?: true;
}

const first = readView(location.search);

export const view = signal<View>(first.view);
/** What could not be read in the link, until the reader makes a choice of their own. */
export const remark = signal<Remark>(first.unread);
export const zoomedFrom = signal<string | null>(readState().zoomedFrom ?? null);

function readState(): HistoryState {
  return (history.state as HistoryState | null) ?? {};
}

function write(next: View, push: boolean, state: HistoryState) {
  const address = location.pathname + writeView(next) + location.hash;
  if (push) history.pushState(state, '', address);
  else history.replaceState(state, '', address);
  view.value = next;
  zoomedFrom.value = state.zoomedFrom ?? null;
}

const asksAnew = (change: Partial<View>) => 'range' in change || 'agent' in change;

export function go(change: Partial<View>) {
  const next = { ...view.value, ...change, behind: null };
  const push = asksAnew(change) && writeView(next) !== writeView(view.value);
  // A new range is a new start; another agent, or a chart setting, keeps the zoom.
  const { zoomedFrom } = readState();
  write(next, push, 'range' in change || zoomedFrom === undefined ? {} : { zoomedFrom });
  remark.value = null;
}

export function zoom(change: Partial<View>) {
  const from = zoomedFrom.value ?? writeView(view.value);
  write({ ...view.value, ...change, behind: null }, true, { zoomedFrom: from });
  remark.value = null;
}

export function zoomOut() {
  const { view: back } = readView(zoomedFrom.value ?? '');
  write({ ...view.value, range: back.range, grain: back.grain, behind: null }, true, {});
}

/** Opens the drawer. */
export function lookBehind(behind: Behind) {
  write({ ...view.value, behind }, true, { ...readState(), opened: true });
}

/** Closes the drawer; Back then does not open it again. */
export function stopLooking() {
  const { opened, ...state } = readState();
  if (opened) history.back();
  else write({ ...view.value, behind: null }, false, state);
}

/** Puts right what a link or the service refused, without a history entry, and says so. */
export function correct(change: Partial<View>, why: Remark) {
  write({ ...view.value, ...change }, false, {});
  remark.value = why;
}

/** Follows Back and Forward, and drops unread values from the address. Returns how to stop. */
export function followHistory(): () => void {
  const onPopState = () => {
    const read = readView(location.search);
    view.value = read.view;
    remark.value = read.unread;
    zoomedFrom.value = readState().zoomedFrom ?? null;
  };
  write(view.value, false, readState());
  addEventListener('popstate', onPopState);
  return () => removeEventListener('popstate', onPopState);
}
