import type { Dashboard } from '../api/types.ts';
import { zoomTo } from '../chart/zoom.ts';
import { group } from '../format/decimal.ts';
import { fixed, share } from '../format/number.ts';
import { dayMonth, hourMinute, weekday } from '../format/time.ts';
import { agentName } from '../store/facts.ts';
import { lookBehind } from '../store/navigation.ts';
import { wholeMinute } from '../store/view.ts';

/** What stood out, as the service found it, in sentences. */
export function Spikes({ data }: { data: Dashboard }) {
  const { timezone, grain } = data.range;
  if (!data.insights.spikes.length) return null;
  return (
    <ul class="spikes" aria-label="Unusual usage">
      {data.insights.spikes.map(spike => {
        const index = data.series.findIndex(bar => bar.start === spike.start);
        const when =
          dayMonth(spike.start, timezone) +
          (grain === 'hour' ? `, ${hourMinute(spike.start, timezone)}` : '');
        const usual = grain === 'hour' ? 'hour' : weekday(spike.start, timezone);
        return (
          <li key={spike.start}>
            <span class="spike-mark" aria-hidden="true">
              ▲
            </span>{' '}
            {when}: {group(spike.credits)} credits, {fixed(spike.times_usual, 1)}× a usual {usual}.
            {spike.agent && ` ${share(spike.agent.share, true)} from ${agentName(spike.agent.id)}.`}{' '}
            {index >= 0 && grain !== 'minute' && (
              <button type="button" class="link" onClick={() => zoomTo(data, index, index)}>
                Zoom
              </button>
            )}{' '}
            {index >= 0 && (
              <button
                type="button"
                class="link"
                aria-haspopup="dialog"
                onClick={() => lookBehind({ kind: 'bar', start: wholeMinute(spike.start) })}
              >
                Details
              </button>
            )}
          </li>
        );
      })}
    </ul>
  );
}
