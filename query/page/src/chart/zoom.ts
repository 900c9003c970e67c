import type { Dashboard } from '../api/types.ts';
import { zoom } from '../store/navigation.ts';
import { wholeMinute } from '../store/view.ts';
import { clearChart, focusPlot } from './state.ts';

/** Bars shorter than a minute cannot be asked for. */
export const canZoomInto = (data: Dashboard) => data.range.grain !== 'minute';

export function zoomTo(data: Dashboard, from: number, to: number) {
  const [first, last] = [data.series[from], data.series[to]];
  if (!first || !last) return;
  focusPlot();
  clearChart();
  zoom({
    range: { kind: 'instants', start: wholeMinute(first.start), end: wholeMinute(last.end) },
    grain: 'auto',
  });
}
