/**
 * From figures to pixels. Everything here is Number arithmetic on purpose: it decides where ink goes, never
 * what is said. One path a series keeps a chart of 400 bars quick to redraw.
 */

import { scaleBand } from 'd3-scale';
import { stack, stackOffsetDiverging } from 'd3-shape';
import type { Bar } from '../api/types.ts';
import { toNumber } from '../format/decimal.ts';
import type { Metric } from '../store/view.ts';
import type { Series } from './series.ts';
import { ticks } from './ticks.ts';

export interface Size {
  width: number;
  height: number;
}

export interface Band {
  /** The column that a bar owns, from its left neighbour to its right one. */
  left: number;
  right: number;
  /** The bar inside it. */
  x: number;
  width: number;
}

export interface Geometry {
  bands: Band[];
  /** Pixels from the top for a value. */
  y: (value: number) => number;
  ticks: { value: number; y: number }[];
  baseline: number;
  /** One entry a series, in the order given; empty strings for hidden ones. */
  marks: { solid: string; progress: string }[];
  /** Dashed outlines around what is still in progress. */
  progressOutline: string;
  /** A dotted cap above what may still rise. */
  settlingCaps: string;
  /** A tick on the baseline for each known zero. */
  zeros: string;
  /** Full-height bands over what was never recorded. */
  missing: string;
  /** Outlines of the comparison. */
  previous: string;
  /** The top of each bar's ink, for the marker of a spike. */
  tops: number[];
}

/** Air between the parts of a bar, where the part above is thick enough to spare it. */
const gap = 1;
const thinnest = 5;
const radius = 3;
const leastInk = 3;

const round = (n: number) => Math.round(n * 100) / 100;

const rect = (x: number, y: number, width: number, height: number) =>
  `M${round(x)} ${round(y)}h${round(width)}v${round(height)}h${round(-width)}z`;

/** Rounded at the end that points away from the baseline. */
function cap(x: number, y: number, width: number, height: number, up: boolean): string {
  const r = Math.min(radius, width / 3, height);
  if (r < 1) return rect(x, y, width, height);
  const [w, h] = [round(width), round(height)];
  return up
    ? `M${round(x)} ${round(y + height)}v${round(r - h)}a${r} ${r} 0 0 1 ${r} ${-r}h${round(w - 2 * r)}a${r} ${r} 0 0 1 ${r} ${r}v${round(h - r)}z`
    : `M${round(x)} ${round(y)}h${w}v${round(h - r)}a${r} ${r} 0 0 1 ${-r} ${r}h${round(2 * r - w)}a${r} ${r} 0 0 1 ${-r} ${-r}z`;
}

export function layOut(
  bars: Bar[],
  series: Series[],
  hidden: ReadonlySet<Series>,
  metric: Metric,
  { width, height }: Size,
): Geometry {
  const step = width / Math.max(1, bars.length);
  const scale = scaleBand<number>()
    .domain(bars.map((_, index) => index))
    .range([0, width])
    .paddingInner(step > 16 ? 0.28 : step > 5 ? 0.2 : 0.1)
    .paddingOuter(step > 16 ? 0.14 : 0.1);
  const barWidth = Math.min(scale.bandwidth(), 64);
  const inset = (scale.bandwidth() - barWidth) / 2;
  const bands = bars.map((_, index): Band => {
    const left = index * step;
    return { left, right: left + step, x: scale(index)! + inset, width: barWidth };
  });

  // Above and below the baseline: adjustments may take a bar below zero.
  const drawn = series.filter(one => !hidden.has(one));
  const stacks = stack<number, Series>()
    .keys(drawn)
    .value((index, one) => toNumber(one.values[index] ?? null))
    .offset(stackOffsetDiverging)(bars.map((_, index) => index));
  const highs = bars.map((_, index) => Math.max(0, ...stacks.map(layer => layer[index]![1])));
  const lows = bars.map((_, index) => Math.min(0, ...stacks.map(layer => layer[index]![0])));

  const before = bars.map(bar => toNumber(bar.previous?.[metric] ?? null));
  const axis = ticks(Math.min(...lows, ...before), Math.max(...highs, ...before), Math.max(2, height / 56));
  const [low, high] = [axis[0]!, axis.at(-1)!];
  const y = (value: number) => ((high - value) / (high - low)) * height;
  const baseline = y(0);
  // A sliver of usage is still seen: it differs from none.
  const top = (index: number) => (highs[index] ? Math.min(y(highs[index]!), baseline - leastInk) : baseline);
  const bottom = (index: number) => (lows[index] ? Math.max(y(lows[index]!), baseline + leastInk) : baseline);

  const marks = series.map(one => {
    const mark = { solid: '', progress: '' };
    const layer = stacks.find(candidate => candidate.key === one);
    layer?.forEach(([from, to], index) => {
      if (from === to) return;
      const { x, width: w } = bands[index]!;
      const up = to > 0;
      const outermost = up ? to === highs[index] : from === lows[index];
      const y0 = up && outermost ? top(index) : y(to);
      const y1 = !up && outermost ? bottom(index) : y(from);
      const air = outermost || y1 - y0 < thinnest ? 0 : gap;
      const path = outermost ? cap(x, y0, w, y1 - y0, up) : rect(x, up ? y0 + air : y0, w, y1 - y0 - air);
      if (bars[index]!.state === 'in_progress') mark.progress += path;
      else mark.solid += path;
    });
    return mark;
  });

  let progressOutline = '';
  let settlingCaps = '';
  let zeros = '';
  let missing = '';
  let gapFrom = 0;
  let previous = '';
  bars.forEach((bar, index) => {
    const { x, width: w, left, right } = bands[index]!;
    const [y0, y1] = [top(index), bottom(index)];
    const inked = y0 < y1;
    if (bar.state === 'in_progress' && inked) {
      progressOutline += rect(x + 0.5, y0 + 0.5, Math.max(0.5, w - 1), y1 - y0 - 0.5);
    }
    if (bar.state === 'settling') settlingCaps += `M${round(x)} ${round(y0 - 4)}h${round(w)}`;
    if (bar.state === 'missing') {
      // Neighbours are one band, from the first's left edge to the last's right one.
      if (bars[index - 1]?.state !== 'missing') gapFrom = left;
      if (bars[index + 1]?.state !== 'missing') missing += rect(gapFrom, 0, right - gapFrom, height);
    } else if (!inked && bar.state !== 'future') zeros += rect(x, baseline - 2, w, 2);
    const past = before[index]!;
    if (past !== 0) previous += rect(x - 2, Math.min(y(past), baseline), w + 4, Math.abs(baseline - y(past)));
  });

  return {
    bands,
    y,
    ticks: axis.map(value => ({ value, y: y(value) })),
    baseline,
    marks,
    progressOutline,
    settlingCaps,
    zeros,
    missing,
    previous,
    tops: bars.map((_, index) => top(index)),
  };
}

/** The bar below a point, -1 outside. */
export function barAt(x: number, width: number, count: number): number {
  return x < 0 || x >= width || !count ? -1 : Math.min(count - 1, Math.floor((x / width) * count));
}

const isKnown = (n: number): boolean => !Number.isNaN(n);

/** A line through values, for a sparkline without axes; what is missing (null) is a gap in it. */
export function spark(values: (string | null)[], { width, height }: Size): string {
  if (values.length < 2) return '';
  const numbers = thinned(
    values.map(value => (value === null ? Number.NaN : toNumber(value))),
    Math.floor(width / 2),
  );
  const known = numbers.filter(isKnown);
  const high = Math.max(...known, 0);
  const low = Math.min(...known, 0);
  const span = high - low || 1;
  return numbers
    .map((n, i) => {
      if (!isKnown(n)) return '';
      const x = (i / (numbers.length - 1)) * (width - 2) + 1;
      const y = height - 1.5 - ((n - low) / span) * (height - 3);
      return `${isKnown(numbers[i - 1] ?? Number.NaN) ? 'L' : 'M'}${round(x)} ${round(y)}`;
    })
    .join('');
}

/** At most `most` values, each the mean of its neighbours: a line as dense as its pixels is a blot. */
function thinned(values: number[], most: number): number[] {
  const size = Math.ceil(values.length / most);
  if (size <= 1) return values;
  return Array.from({ length: Math.ceil(values.length / size) }, (_, i) => {
    const bucket = values.slice(i * size, (i + 1) * size).filter(isKnown);
    return bucket.reduce((a, b) => a + b, 0) / bucket.length; // of none, NaN: a gap
  });
}
