/**
 * What the page is asked to show, and its form in the address bar. The address holds every choice, defaults
 * left out and in one order, so that a link shows its reader what its sender saw. Never a token.
 */

import type { CivilDate, Comparison, Grain, Instant, Preset } from '../api/types.ts';
import { isCivilDate } from '../format/civil.ts';

export type RangeChoice =
  | { kind: 'preset'; preset: Preset }
  | { kind: 'dates'; from: CivilDate; to: CivilDate }
  | { kind: 'instants'; start: Instant; end: Instant };

export type Metric = 'credits' | 'messages';
export type Stacking = 'agents' | 'total';
export type SortKey = 'name' | 'credits' | 'share' | 'messages' | 'rate' | 'change';
export interface Sort {
  key: SortKey;
  descending: boolean;
}

/** What the drawer shows the parts of: the whole range, one of its bars, or one of its agents. */
export type Behind = { kind: 'range' } | { kind: 'bar'; start: Instant } | { kind: 'agent'; id: string };

export interface View {
  range: RangeChoice;
  /** null is All Agents. */
  agent: string | null;
  metric: Metric;
  grain: Grain | 'auto';
  compare: Comparison;
  stacking: Stacking;
  /** Agents hidden in the chart; '' stands for Other. */
  hidden: string[];
  sort: Sort;
  table: boolean;
  /** null while the drawer is closed. */
  behind: Behind | null;
}

export const presets: Preset[] = [
  'today',
  'yesterday',
  '7d',
  '30d',
  '90d',
  'period',
  'previous_period',
  'mtd',
  'last_month',
];
export const grains: Grain[] = ['minute', 'hour', 'day', 'week', 'month'];
export const comparisons: Comparison[] = ['none', 'prev', 'prev_dow', 'yoy'];
const sortKeys: SortKey[] = ['name', 'credits', 'share', 'messages', 'rate', 'change'];

export const defaultSort: Sort = { key: 'credits', descending: true };

export const defaultView: View = {
  range: { kind: 'preset', preset: 'period' },
  agent: null,
  metric: 'credits',
  grain: 'auto',
  compare: 'none',
  stacking: 'agents',
  hidden: [],
  sort: defaultSort,
  table: false,
  behind: null,
};

/** What the page could not read in a link; it says so instead of guessing silently. */
export type Unread = 'dates' | 'other' | null;

const instant = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/;
const isInstant = (text: string) => instant.test(text) && !Number.isNaN(Date.parse(text));

/** The service takes whole minutes in UTC; two spellings of one instant become one link. */
export const wholeMinute = (at: Instant): Instant =>
  new Date(Math.floor(Date.parse(at) / 60_000) * 60_000).toISOString().replace(':00.000Z', ':00Z');

function readRange(params: URLSearchParams): RangeChoice | null {
  const [preset, from, to] = [params.get('range'), params.get('from'), params.get('to')];
  const [start, end] = [params.get('start'), params.get('end')];
  const given = [preset !== null, from !== null || to !== null, start !== null || end !== null];
  if (given.filter(Boolean).length > 1) return null;
  if (preset !== null) {
    return presets.includes(preset as Preset) ? { kind: 'preset', preset: preset as Preset } : null;
  }
  if (from !== null || to !== null) {
    return from && to && isCivilDate(from) && isCivilDate(to) && from <= to
      ? { kind: 'dates', from, to }
      : null;
  }
  if (start !== null || end !== null) {
    return start && end && isInstant(start) && isInstant(end) && Date.parse(start) < Date.parse(end)
      ? { kind: 'instants', start: wholeMinute(start), end: wholeMinute(end) }
      : null;
  }
  return defaultView.range;
}

/** undefined where it says nothing that can be read. */
function readBehind(text: string | null): Behind | null | undefined {
  if (text === null) return null;
  const [, kind, what] = /^(range|bar|agent)(?::(.+))?$/s.exec(text) ?? [];
  if (kind === 'range' && what === undefined) return { kind };
  if (kind === 'bar' && what !== undefined && isInstant(what)) return { kind, start: wholeMinute(what) };
  if (kind === 'agent' && what !== undefined) return { kind, id: what };
  return undefined;
}

const writeBehind = (behind: Behind) =>
  behind.kind === 'bar'
    ? `bar:${behind.start}`
    : behind.kind === 'agent'
      ? `agent:${behind.id}`
      : behind.kind;

export function readView(search: string): { view: View; unread: Unread } {
  const params = new URLSearchParams(search);
  let unread: Unread = null;

  /** A value of the list, the default when absent, the default and a remark when unknown. */
  const pick = <T extends string>(name: string, allowed: readonly T[], fallback: T): T => {
    const value = params.get(name);
    if (value === null) return fallback;
    if ((allowed as readonly string[]).includes(value)) return value as T;
    unread = 'other';
    return fallback;
  };

  const metric = pick('metric', ['credits', 'messages'], defaultView.metric);
  const grain = pick('grain', ['auto', ...grains], defaultView.grain);
  const compare = pick('compare', comparisons, defaultView.compare);
  const stacking = pick('view', ['agents', 'total'], defaultView.stacking);
  const table = pick('table', ['0', '1'], '0') === '1';

  const agent = params.get('agent');
  const sortText = params.get('sort');
  let sort = defaultSort;
  if (sortText !== null) {
    const descending = sortText.startsWith('-');
    const key = sortText.replace(/^-/, '') as SortKey;
    if (sortKeys.includes(key)) sort = { key, descending };
    else unread = 'other';
  }

  const behind = readBehind(params.get('behind'));
  if (behind === undefined) unread = 'other';

  const range = readRange(params);
  if (!range) unread = 'dates';
  return {
    view: {
      range: range ?? defaultView.range,
      agent: agent && agent !== 'all' ? agent : null,
      metric,
      grain,
      compare,
      stacking,
      hidden: [...new Set(params.getAll('hide'))],
      sort,
      table,
      behind: behind ?? null,
    },
    unread,
  };
}

/** "" for the default view, else "?…". */
export function writeView(view: View): string {
  const params = new URLSearchParams();
  const { range } = view;
  if (range.kind === 'preset') {
    if (range.preset !== 'period') params.set('range', range.preset);
  } else if (range.kind === 'dates') {
    params.set('from', range.from);
    params.set('to', range.to);
  } else {
    params.set('start', range.start);
    params.set('end', range.end);
  }
  if (view.agent !== null) params.set('agent', view.agent);
  if (view.metric !== defaultView.metric) params.set('metric', view.metric);
  if (view.grain !== defaultView.grain) params.set('grain', view.grain);
  if (view.compare !== defaultView.compare) params.set('compare', view.compare);
  if (view.stacking !== defaultView.stacking) params.set('view', view.stacking);
  for (const id of view.hidden) params.append('hide', id);
  if (view.sort.key !== defaultSort.key || view.sort.descending !== defaultSort.descending) {
    params.set('sort', (view.sort.descending ? '-' : '') + view.sort.key);
  }
  if (view.table) params.set('table', '1');
  if (view.behind) params.set('behind', writeBehind(view.behind));
  const text = params.toString().replaceAll('%3A', ':');
  return text && `?${text}`;
}

/** What the service needs to know; the rest of a view is the page's own affair and costs no request. */
export function usageParams(workspace: string, view: View): string {
  const params = rangeParams(workspace, view.range, view.agent);
  params.set('grain', view.grain);
  params.set('compare', view.compare);
  return params.toString();
}

/** A range and an agent, as every question of the service takes them. */
export function rangeParams(workspace: string, range: RangeChoice, agent: string | null): URLSearchParams {
  const params = new URLSearchParams({ workspace });
  if (range.kind === 'preset') params.set('range', range.preset);
  else if (range.kind === 'dates') {
    params.set('from', range.from);
    params.set('to', range.to);
  } else {
    params.set('start', range.start);
    params.set('end', range.end);
  }
  params.set('agent', agent ?? 'all');
  return params;
}
