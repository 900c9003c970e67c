import type { Dashboard } from '../api/types.ts';
import { copy } from '../copy/index.ts';
import { isZero } from '../format/decimal.ts';
import { isolated } from '../format/isolate.ts';
import { civilDate, dayMonthYear } from '../format/time.ts';
import { agentName } from '../store/facts.ts';
import { go } from '../store/navigation.ts';
import { shownView } from '../store/page.ts';
import type { Emptiness } from '../store/screen.ts';
import { Dated, fill } from './bits.tsx';

/** In place of the chart when there is nothing to draw: why that may be, and where to look instead. */
export function Empty({ data, kind }: { data: Dashboard; kind: NonNullable<Emptiness> }) {
  const { agent, range } = shownView.value;
  const { timezone } = data.range;
  const last = data.last_usage_at;
  const widest = range.kind === 'preset' && range.preset === '90d';
  return (
    <div class="empty" role="status">
      <svg width="72" height="48" viewBox="0 0 72 48" aria-hidden="true">
        <path d="M2 46h68" />
        <path class="ghost" d="M10 46V30h8v16M24 46V18h8v28M38 46V34h8v12M52 46V8h8v38" />
      </svg>
      {kind === 'agent' && agent !== null ? (
        <>
          <h3>{copy.emptyTitle}</h3>
          <p>{copy.agentUnused(isolated(agentName(agent)), data.workspace_total.credits)}</p>
          <p>
            <button type="button" class="button" onClick={() => go({ agent: null })}>
              {copy.showAll}
            </button>
          </p>
        </>
      ) : (
        <>
          <h3>{copy.emptyTitle}</h3>
          <p>{copy.emptyText}</p>
          <p>{copy.emptyConfirm}</p>
          {!widest && (
            <p>
              <button
                type="button"
                class="button"
                onClick={() => go({ range: { kind: 'preset', preset: '90d' }, grain: 'auto' })}
              >
                {copy.emptyWiden}
              </button>
            </p>
          )}
        </>
      )}
      {last && (
        <p>
          {fill(copy.lastUsage, <Dated>{dayMonthYear(last, timezone)}</Dated>)}{' '}
          <button
            type="button"
            class="link"
            onClick={() => {
              const day = civilDate(last, timezone);
              go({ range: { kind: 'dates', from: day, to: day }, grain: 'auto' });
            }}
          >
            {copy.goThere}
          </button>
        </p>
      )}
      {!isZero(data.playground_messages) && <p class="muted">{copy.playground(data.playground_messages)}</p>}
    </div>
  );
}
