import { copy } from '../copy.ts';
import { duration, hourMinuteSecond } from '../format/time.ts';
import { now } from '../store/clock.ts';
import { agentName, workspaceFacts } from '../store/facts.ts';
import { view } from '../store/navigation.ts';
import { figures, usage } from '../store/page.ts';
import { behindAfterSeconds, lagSeconds, reachesPast } from '../store/screen.ts';
import { comparisonNames } from '../store/view.ts';
import { Bone } from './bits.tsx';
import { chosenRange } from './filters.tsx';

export function Header() {
  const zone = figures.value?.range.timezone ?? workspaceFacts.value?.timezone;
  return (
    <header class="head">
      <div>
        <p class="eyebrow">{workspaceFacts.value?.name ?? ' '}</p>
        <h1>Usage</h1>
        <p class="muted">{copy.readOnly}</p>
        <p class="print-only">{chosenInWords()}</p>
      </div>
      <div class="head-side">
        <Freshness />
        <p class="muted small">{zone ? `Times in ${zone}` : ' '}</p>
      </div>
    </header>
  );
}

/** The filters as a sentence, for paper. */
function chosenInWords(): string {
  const { agent, compare, metric } = view.value;
  return [
    agent === null ? 'All Agents' : agentName(agent),
    chosenRange(),
    compare !== 'none' && `compared with ${comparisonNames[compare].toLowerCase()}`,
    figures.value && `${metric} by ${figures.value.range.grain}`,
  ]
    .filter(Boolean)
    .join(', ');
}

/** Up to when everything is counted: by colour and by word. */
function Freshness() {
  const shown = usage.shown.value;
  if (!shown)
    return usage.failure.value ? null : (
      <p class="chip">
        <Bone kind="chip-text" />
      </p>
    );
  const { data, freshness } = shown;
  const { counted_through: through } = freshness;
  const lag = lagSeconds(freshness, now.value - shown.confirmedAt);
  if (through === null || lag === null) {
    return (
      <p class="chip late">
        <i aria-hidden="true" />
        Not known how far the data reaches
      </p>
    );
  }
  const time = hourMinuteSecond(through, data.range.timezone);
  if (!reachesPast(data)) {
    // A closed range no longer changes, so how long ago it was asked says nothing about it.
    return (
      <p class="chip">
        <i aria-hidden="true" />
        <span>
          Up to date to <time dateTime={through}>{time}</time>
        </span>
      </p>
    );
  }
  const late = lag > behindAfterSeconds;
  return (
    <p class={late ? 'chip late' : 'chip'}>
      <i aria-hidden="true" />
      <span>
        {late ? (
          `Data is ${duration(lag)} behind`
        ) : (
          <>
            Up to date to <time dateTime={through}>{time}</time> · {duration(lag)} ago
          </>
        )}
      </span>
    </p>
  );
}
