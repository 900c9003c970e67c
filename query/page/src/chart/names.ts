import { copy } from '../copy/index.ts';
import { agentName } from '../store/facts.ts';
import type { Series } from './series.ts';

export function seriesName(series: Series): string {
  if (series.kind === 'total') return copy.everyAgent;
  if (series.kind === 'other') return copy.other(series.others);
  return agentName(series.id!);
}
