/** Which bars carry a label below them, so that labels neither touch nor fall on odd times. */

import type { Bar, Grain } from '../api/types.ts';
import { axisLabel, timeOfDay } from '../format/time.ts';

export interface AxisLabel {
  index: number;
  text: string;
  /** The middle of the text: the bar's, but for what would stick out at an end. */
  x: number;
}

/** Where labels may stand, and how wide a text is there. */
export interface Room {
  width: number;
  /** The middle of a bar. */
  middle: (index: number) => number;
  widthOf: (text: string) => number;
}

/** Between two labels, so that they read as two; and between the middles of two, so that they read at a glance. */
const gap = 10;
const pitch = 60;

const strides: Record<Grain, number[]> = {
  minute: [1, 2, 5, 10, 15, 30, 60],
  hour: [1, 2, 3, 6, 12, 24, 48, 72],
  day: [1, 2, 3, 4, 5, 7, 10, 14, 28],
  week: [1, 2, 4, 8, 13, 26],
  month: [1, 2, 3, 6, 12],
};

export function axisLabels(bars: Bar[], grain: Grain, zone: string, room: Room): AxisLabel[] {
  const at = (index: number): AxisLabel => {
    const text = axisLabel(bars[index]!.start, grain, zone);
    const half = room.widthOf(text) / 2;
    return { index, text, x: Math.max(half, Math.min(room.width - half, room.middle(index))) };
  };
  /** null where they touch. Where the clock goes back, the same hour again gives way to the first one. */
  const placed = (indices: number[], stride = 1): AxisLabel[] | null => {
    if (indices.length > Math.max(1, room.width / pitch)) return null;
    const labels: AxisLabel[] = [];
    let end = -gap;
    for (const index of indices) {
      const label = at(index);
      const half = room.widthOf(label.text) / 2;
      if (label.x - half < end + gap) {
        if (index - labels.at(-1)!.index < stride) continue;
        return null;
      }
      end = label.x + half;
      labels.push(label);
    }
    return labels;
  };
  let chosen: number[] = [];
  for (const stride of strides[grain]) {
    chosen = candidates(bars, grain, zone, stride);
    const labels = placed(chosen, stride);
    if (labels) return labels;
  }
  for (let skip = 2; skip <= chosen.length; skip++) {
    const labels = placed(chosen.filter((_, i) => i % skip === 0));
    if (labels) return labels;
  }
  return chosen.slice(0, 1).map(at);
}

/** By the clock on the wall for hours and minutes, so that labels read 00:00, 06:00, 12:00. */
function candidates(bars: Bar[], grain: Grain, zone: string, stride: number): number[] {
  const all = bars.map((_, index) => index);
  if (grain !== 'hour' && grain !== 'minute') return all.filter(index => index % stride === 0);
  const daysApart = grain === 'hour' ? Math.max(1, stride / 24) : 1;
  let midnights = -1;
  return all.filter(index => {
    const [hour, minute] = timeOfDay(bars[index]!.start, zone);
    if (grain === 'minute') return minute % stride === 0;
    if (minute >= 30 && bars.length > 1 && index === 0) return false; // a clipped first bar
    if (stride < 24) return hour % stride === 0;
    if (hour !== 0) return false;
    midnights++;
    return midnights % daysApart === 0;
  });
}
