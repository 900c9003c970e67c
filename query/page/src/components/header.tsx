import { copy } from '../copy/index.ts';
import { isolated } from '../format/isolate.ts';
import { foreignTo } from '../format/locale.ts';
import { hourMinuteSecond } from '../format/time.ts';
import { now } from '../store/clock.ts';
import { whose, workspaceFacts } from '../store/facts.ts';
import { view } from '../store/navigation.ts';
import { figures, usage } from '../store/page.ts';
import { behindAfterSeconds, lagSeconds, reachesPast } from '../store/screen.ts';
import { Bone, fill } from './bits.tsx';
import { chosenRange } from './filters.tsx';

export function Header() {
  const facts = workspaceFacts.value;
  const zone = figures.value?.range.timezone ?? facts?.timezone;
  const names = [facts?.product_name, facts?.name].filter(name => !!name).map(name => isolated(name!));
  return (
    <header class="head">
      <div>
        <p class="eyebrow">{names.join(' · ') || ' '}</p>
        <h1>{copy.title}</h1>
        <p class="muted">{copy.readOnly}</p>
        <p class="print-only">{chosenInWords()}</p>
      </div>
      <div class="head-side">
        <Freshness />
        <p class="muted small">{zone ? copy.timesIn(zone) : ' '}</p>
      </div>
    </header>
  );
}

/** The filters as a sentence, for paper. */
function chosenInWords(): string {
  const { agent, compare, metric } = view.value;
  return [
    isolated(whose(agent)),
    chosenRange(),
    compare !== 'none' && copy.chosen.compared(copy.comparisons[compare]),
    figures.value && copy.chosen.bars(metric, figures.value.range.grain),
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
        {copy.reachUnknown}
      </p>
    );
  }
  const time = (
    <time dateTime={through} lang={foreignTo(copy.language)}>
      {hourMinuteSecond(through, data.range.timezone)}
    </time>
  );
  if (!reachesPast(data)) {
    // A closed range no longer changes, so how long ago it was asked says nothing about it.
    return (
      <p class="chip">
        <i aria-hidden="true" />
        <span>{fill(copy.upToDate, time)}</span>
      </p>
    );
  }
  const late = lag > behindAfterSeconds;
  return (
    <p class={late ? 'chip late' : 'chip'}>
      <i aria-hidden="true" />
      <span>
        {late ? copy.dataBehind(copy.duration(lag)) : fill(copy.upToDateAgo(copy.duration(lag)), time)}
      </span>
    </p>
  );
}
