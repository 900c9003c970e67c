/** The choices: which agent, which range, compared with what, in which steps. In a bar, or in a sheet on a phone. */

import { signal } from '@preact/signals';
import { useLayoutEffect, useRef } from 'preact/hooks';
import type { Comparison, Grain } from '../api/types.ts';
import { copy } from '../copy/index.ts';
import { civilSpan, instantSpan, rangeLabel } from '../format/time.ts';
import { phone } from '../store/clock.ts';
import { whose } from '../store/facts.ts';
import { go, view } from '../store/navigation.ts';
import { figures, question, resolvedRange, usage } from '../store/page.ts';
import { comparisons, grains } from '../store/view.ts';
import { AgentPicker } from './agent-picker.tsx';
import { CopyLink, Dated, Icon } from './bits.tsx';
import { DateRange } from './date-range.tsx';

const sheetOpen = signal(false);

/** What the range is called: resolved dates once they are known, the preset's name until then. */
export function chosenRange(): string {
  const { range } = view.value;
  if (range.kind === 'dates') return civilSpan(range.from, range.to);
  const resolved = resolvedRange.value;
  if (resolved) return rangeLabel(resolved);
  if (range.kind === 'preset') return copy.presets[range.preset];
  return instantSpan(range.start, range.end, figures.value?.range.timezone ?? 'UTC');
}

/** The same on the screen: a preset's name is the page's own word. */
export function ChosenRange() {
  const text = chosenRange();
  return view.value.range.kind === 'preset' && !resolvedRange.value ? text : <Dated>{text}</Dated>;
}

export function Filters() {
  const bar = useRef<HTMLDivElement>(null);
  if (!phone.value) {
    return (
      <div class="filters" role="search" aria-label={copy.filters} ref={bar}>
        <div class="filters-in">
          <Controls />
          <span class="spring" />
          <CopyLink />
          <Download />
        </div>
        <Progress />
      </div>
    );
  }
  const { agent } = view.value;
  return (
    <div class="filters" role="search" aria-label={copy.filters}>
      <div class="filters-in">
        <button
          type="button"
          class="control wide-control"
          aria-haspopup="dialog"
          onClick={() => {
            sheetOpen.value = true;
          }}
        >
          <Icon name="sliders" />
          <span class="control-label">{copy.filters}</span>
          <span class="control-value">
            <ChosenRange /> · <bdi>{whose(agent)}</bdi>
          </span>
        </button>
      </div>
      <Progress />
      <Sheet />
    </div>
  );
}

function Sheet() {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = sheetOpen.value;
  useLayoutEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  const close = () => {
    sheetOpen.value = false;
  };
  return (
    <dialog
      class="sheet"
      ref={dialog}
      aria-label={copy.filters}
      onClose={close}
      onClick={event => event.target === dialog.current && close()}
    >
      {open && (
        <div class="sheet-in">
          <div class="sheet-head">
            <h2>{copy.filters}</h2>
            <button type="button" class="button primary" onClick={close}>
              {copy.done}
            </button>
          </div>
          <Controls />
          <CopyLink />
          <Download />
        </div>
      )}
    </dialog>
  );
}

function Controls() {
  return (
    <>
      <AgentPicker />
      <DateRange />
      <Compare />
      <Interval />
    </>
  );
}

function Compare() {
  return (
    <label class="control select">
      <span class="control-label">{copy.compare}</span>
      <select
        value={view.value.compare}
        onChange={event => go({ compare: event.currentTarget.value as Comparison })}
      >
        {comparisons.map(key => (
          <option key={key} value={key}>
            {copy.comparisons[key]}
          </option>
        ))}
      </select>
      <Icon name="chevron" />
    </label>
  );
}

const mostBars = 400;
const grainSeconds: Record<Grain, number> = {
  minute: 60,
  hour: 3600,
  day: 86_400,
  week: 604_800,
  month: 2_629_746,
};

/** Roughly how many bars an interval makes: enough to tell a reader what would be refused. */
const barsFor = (start: string, end: string, grain: Grain) =>
  Math.ceil((Date.parse(end) - Date.parse(start)) / 1000 / grainSeconds[grain]);

function Interval() {
  const current = resolvedRange.value;
  return (
    <label class="control select">
      <span class="control-label">{copy.interval}</span>
      <select
        value={view.value.grain}
        onChange={event => go({ grain: event.currentTarget.value as Grain | 'auto' })}
      >
        <option value="auto">
          {current && view.value.grain === 'auto' ? copy.autoGrain(current.grain) : copy.auto}
        </option>
        {grains.map(grain => {
          const bars = current ? barsFor(current.start, current.end, grain) : 0;
          const tooMany = bars > mostBars;
          return (
            <option key={grain} value={grain} disabled={tooMany}>
              {tooMany ? copy.tooManyBars(copy.grains[grain], bars, mostBars) : copy.grains[grain]}
            </option>
          );
        })}
      </select>
      <Icon name="chevron" />
    </label>
  );
}

function Download() {
  return (
    <a class="control" href={`/v1/usage/export.csv?${question.value}`} download>
      <Icon name="download" />
      <span class="action">{copy.downloadCsv}</span>
    </a>
  );
}

/** A thin bar under the filters while something is on its way. */
function Progress() {
  return usage.loading.value && figures.value ? <div class="progress-bar" aria-hidden="true" /> : null;
}
