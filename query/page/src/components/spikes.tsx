import type { Dashboard } from '../api/types.ts';
import { zoomTo } from '../chart/zoom.ts';
import { copy } from '../copy/index.ts';
import { isolated } from '../format/isolate.ts';
import { share } from '../format/number.ts';
import { dayMonth, hourMinute } from '../format/time.ts';
import { agentName } from '../store/facts.ts';
import { lookBehind } from '../store/navigation.ts';
import { wholeMinute } from '../store/view.ts';
import { Dated, fill } from './bits.tsx';

/** What stood out, as the service found it, in sentences. */
export function Spikes({ data }: { data: Dashboard }) {
  const { timezone, grain } = data.range;
  if (!data.insights.spikes.length) return null;
  return (
    <ul class="spikes" aria-label={copy.unusual}>
      {data.insights.spikes.map(spike => {
        const index = data.series.findIndex(bar => bar.start === spike.start);
        const when =
          dayMonth(spike.start, timezone) +
          (grain === 'hour' ? `, ${hourMinute(spike.start, timezone)}` : '');
        const says = grain === 'hour' ? copy.spike.hour : copy.spike.day;
        return (
          <li key={spike.start}>
            <span class="spike-mark" aria-hidden="true">
              ▲
            </span>{' '}
            {fill(says('{}', spike.credits, spike.times_usual, spike.start, timezone), <Dated>{when}</Dated>)}
            {spike.agent &&
              ` ${copy.spikeFrom(share(spike.agent.share, true), isolated(agentName(spike.agent.id)))}`}{' '}
            {index >= 0 && grain !== 'minute' && (
              <button type="button" class="link" onClick={() => zoomTo(data, index, index)}>
                {copy.zoom}
              </button>
            )}{' '}
            {index >= 0 && (
              <button
                type="button"
                class="link"
                aria-haspopup="dialog"
                onClick={() => lookBehind({ kind: 'bar', start: wholeMinute(spike.start) })}
              >
                {copy.details}
              </button>
            )}
          </li>
        );
      })}
    </ul>
  );
}
