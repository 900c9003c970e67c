/** Which marks a chart consists of: one series an agent, in the leaderboard's order, and Other. */

import type { Bar, BarAgent, Dashboard } from '../api/types.ts';
import { sum } from '../format/decimal.ts';
import type { Metric, Stacking } from '../store/view.ts';

/** Colour slots for agents; one more, `otherColour`, is Other's. */
const colourCount = 7;
export const otherColour = 8;

export interface Series {
  /** null is Other, or the total where agents are not told apart. */
  id: string | null;
  kind: 'agent' | 'other' | 'total';
  /** How many agents Other stands for. */
  others: number;
  /** 1 to 8; 1 for the total. */
  colour: number;
  /** One value a bar; null where the bar is unknown. */
  values: (string | null)[];
  total: string;
}

/** The key that the address uses to hide a series. */
export const hideKey = (series: Series) => series.id ?? '';

/** The agents that the chart tells apart, in the leaderboard's order. */
export function topAgents(data: Dashboard): string[] {
  const inBars = new Set<string>();
  for (const bar of data.series) for (const part of bar.agents) if (part.id !== null) inBars.add(part.id);
  const ranked = data.agents.map(agent => agent.id).filter(id => inBars.has(id));
  const known = new Set(ranked);
  return [...ranked, ...[...inBars].filter(id => !known.has(id)).sort()];
}

const partOf = (bar: Bar, id: string | null): BarAgent | undefined => bar.agents.find(part => part.id === id);

/** The value of a bar for a series: a known bar without a part is a known zero. */
function valueIn(bar: Bar, id: string | null, metric: Metric): string | null {
  return bar[metric] === null ? null : (partOf(bar, id)?.[metric] ?? '0');
}

export function buildSeries(
  data: Dashboard,
  metric: Metric,
  stacking: Stacking,
  colours: ReadonlyMap<string, number>,
): Series[] {
  const make = (series: Omit<Series, 'total'>): Series => ({
    ...series,
    total: sum(series.values.filter(value => value !== null)),
  });
  if (stacking === 'total') {
    const values = data.series.map(bar => bar[metric]);
    return [make({ id: null, kind: 'total', others: 0, colour: 1, values })];
  }
  const series = topAgents(data).map(id =>
    make({
      id,
      kind: 'agent',
      others: 0,
      colour: colours.get(id) ?? 1,
      values: data.series.map(bar => valueIn(bar, id, metric)),
    }),
  );
  if (data.series.some(bar => partOf(bar, null))) {
    series.push(
      make({
        id: null,
        kind: 'other',
        others: Math.max(1, data.agents_total - series.length),
        colour: otherColour,
        values: data.series.map(bar => valueIn(bar, null, metric)),
      }),
    );
  }
  return series;
}

/** FNV-1a: the same agent wants the same colour on every machine. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/**
 * A colour belongs to an agent, not to a rank: an agent keeps the one it had, whatever the filters, and a new
 * one takes the slot its id asks for, or the next free one among those on the chart.
 */
export function assignColours(
  before: ReadonlyMap<string, number>,
  data: Dashboard,
): ReadonlyMap<string, number> {
  const onChart = topAgents(data).slice(0, colourCount);
  const taken = new Set<number>();
  const unsettled: string[] = [];
  const next = new Map(before);
  for (const id of onChart) {
    const slot = before.get(id);
    if (slot !== undefined && !taken.has(slot)) taken.add(slot);
    else unsettled.push(id);
  }
  for (const id of unsettled.sort()) {
    let slot = (hash(id) % colourCount) + 1;
    while (taken.has(slot)) slot = (slot % colourCount) + 1;
    taken.add(slot);
    next.set(id, slot);
  }
  const changed = unsettled.length > 0;
  return changed ? next : before;
}
