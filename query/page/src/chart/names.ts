import { agentName } from '../store/facts.ts';
import type { Series } from './series.ts';

export function seriesName(series: Series): string {
  if (series.kind === 'total') return 'All agents';
  if (series.kind === 'other') return `Other (${series.others} ${series.others === 1 ? 'agent' : 'agents'})`;
  return agentName(series.id!);
}
