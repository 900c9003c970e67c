/** Which bars carry a label below them, so that labels neither touch nor fall on odd times. */

import type { Bar, Grain } from '../api/types.ts';
import { axisLabel, timeOfDay } from '../format/time.ts';

export interface AxisLabel {
  index: number;
  text: string;
}

const strides: Record<Grain, number[]> = {
  minute: [1, 2, 5, 10, 15, 30, 60],
  hour: [1, 2, 3, 6, 12, 24, 48, 72],
  day: [1, 2, 3, 4, 5, 7, 10, 14, 28],
  week: [1, 2, 4, 8, 13, 26],
  month: [1, 2, 3, 6, 12],
};

/** `roomFor` is how many labels fit side by side. */
export function axisLabels(bars: Bar[], grain: Grain, zone: string, roomFor: number): AxisLabel[] {
  if (!bars.length) return [];
  const room = Math.max(1, Math.floor(roomFor));
  let chosen: number[] = [];
  for (const stride of strides[grain]) {
    chosen = candidates(bars, grain, zone, stride);
    if (chosen.length <= room) break;
  }
  const skip = Math.ceil(chosen.length / room);
  return chosen
    .filter((_, i) => i % skip === 0)
    .map(index => ({ index, text: axisLabel(bars[index]!.start, grain, zone) }));
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
