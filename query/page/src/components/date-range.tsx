/** The date range: ◂ and ▸, and a dialog with presets, two text fields and a calendar. */

import { signal, useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { UsageRange } from '../api/types.ts';
import { copy } from '../copy/index.ts';
import { addDays, addMonths, readDate } from '../format/civil.ts';
import { foreignTo, reader } from '../format/locale.ts';
import { civilDate } from '../format/time.ts';
import { phone } from '../store/clock.ts';
import { workspaceFacts } from '../store/facts.ts';
import { go, view } from '../store/navigation.ts';
import { neighbour } from '../store/neighbour.ts';
import { figures, resolvedRange, serviceNow } from '../store/page.ts';
import { presets, type RangeChoice } from '../store/view.ts';
import { Icon } from './bits.tsx';
import { ChosenRange } from './filters.tsx';

/** Set by the shortcut and by the button. */
export const dialogOpen = signal(false);

const zone = () => figures.value?.range.timezone ?? workspaceFacts.value?.timezone ?? 'UTC';
const today = () => civilDate(new Date(serviceNow()), zone());
const anchorDay = () => Number(workspaceFacts.value?.billing_anchor?.slice(8) ?? 1);

export function DateRange() {
  const button = useRef<HTMLButtonElement>(null);
  const resolved = resolvedRange.value;
  const { range } = view.value;
  const step = (direction: -1 | 1) => {
    const to = neighbour(range, resolved, direction, {
      now: serviceNow(),
      today: today(),
      anchorDay: anchorDay(),
    });
    return (
      <button
        type="button"
        class="control square"
        aria-label={direction < 0 ? copy.earlier : copy.later}
        // Not disabled, which would take the focus away at the last step.
        aria-disabled={!to}
        onClick={() => to && go({ range: to })}
      >
        <Icon name={direction < 0 ? 'left' : 'right'} />
      </button>
    );
  };
  return (
    <div class="dates">
      {step(-1)}
      <button
        type="button"
        class="control"
        ref={button}
        aria-haspopup="dialog"
        aria-expanded={dialogOpen.value}
        onClick={() => {
          dialogOpen.value = true;
        }}
      >
        <Icon name="calendar" />
        <span class="sr">{copy.dateRangeIs}</span>
        <span class="control-value">
          <ChosenRange />
        </span>
        <Icon name="chevron" />
      </button>
      {step(1)}
      {dialogOpen.value && <RangeDialog anchor={button.current} />}
    </div>
  );
}

type Field = 'from' | 'to';

function RangeDialog({ anchor }: { anchor: HTMLElement | null }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const { range } = view.value;
  const resolved = figures.value?.range;
  const [from, to] = initialDates(range, resolved);
  const text = useSignal<Record<Field, string>>({ from, to });
  const problem = useSignal<{ field: Field; message: string } | null>(null);
  const close = () => {
    dialogOpen.value = false;
  };

  useLayoutEffect(() => {
    const element = dialog.current!;
    element.showModal();
    if (!phone.value && anchor) {
      const box = anchor.getBoundingClientRect();
      const left = Math.min(box.left, innerWidth - element.offsetWidth - 16);
      element.style.setProperty('left', `${Math.max(16, left)}px`);
      element.style.setProperty(
        'top',
        `${Math.min(box.bottom + 6, Math.max(16, innerHeight - element.offsetHeight - 16))}px`,
      );
    }
    return () => element.close();
  }, []);

  const apply = (event: Event) => {
    event.preventDefault();
    const [first, last] = [readDate(text.value.from), readDate(text.value.to)];
    if (!first) problem.value = { field: 'from', message: copy.unreadDate };
    else if (!last) problem.value = { field: 'to', message: copy.unreadDate };
    else if (last < first) problem.value = { field: 'to', message: copy.endBeforeStart };
    else {
      close();
      go({ range: { kind: 'dates', from: first, to: last }, grain: 'auto' });
      return;
    }
    dialog.current?.querySelector<HTMLInputElement>(`[name=${problem.value.field}]`)?.focus();
  };

  const [first, last] = [readDate(text.value.from), readDate(text.value.to)];
  const field = (name: Field, label: string) => {
    const wrong = problem.value?.field === name ? problem.value.message : null;
    return (
      <label class="field">
        <span>{label}</span>
        <input
          type="text"
          name={name}
          value={text.value[name]}
          placeholder={copy.dateForm}
          autocomplete="off"
          aria-invalid={wrong ? true : undefined}
          aria-describedby={wrong ? 'date-problem' : undefined}
          onInput={event => {
            text.value = { ...text.value, [name]: event.currentTarget.value };
            problem.value = null;
          }}
        />
      </label>
    );
  };

  return (
    <dialog
      class="range-dialog"
      ref={dialog}
      aria-label={copy.dateRange}
      onClose={close}
      onClick={event => event.target === dialog.current && close()}
    >
      <form class="range-in" onSubmit={apply} noValidate>
        <div class="presets" role="group" aria-label={copy.presetsWord}>
          {presets.map(preset => (
            <button
              type="button"
              key={preset}
              aria-pressed={range.kind === 'preset' && range.preset === preset}
              onClick={() => {
                close();
                go({ range: { kind: 'preset', preset }, grain: 'auto' });
              }}
            >
              {copy.presets[preset]}
            </button>
          ))}
          <button
            type="button"
            aria-pressed={range.kind !== 'preset'}
            onClick={() => dialog.current?.querySelector<HTMLInputElement>('[name=from]')?.focus()}
          >
            {copy.custom}
          </button>
        </div>
        <div class="custom">
          <div class="fields">
            {field('from', copy.startDate)}
            {field('to', copy.endDate)}
          </div>
          <p class="problem" id="date-problem" role="alert">
            {problem.value?.message}
          </p>
          <Calendar
            from={first}
            to={last && first && last >= first ? last : null}
            onChange={(a, b) => {
              text.value = { from: a, to: b };
              problem.value = null;
            }}
          />
          <div class="range-actions">
            <span class="muted small">{copy.bothIncluded(zone())}</span>
            <button type="button" class="button" onClick={close}>
              {copy.cancel}
            </button>
            <button type="submit" class="button primary">
              {copy.apply}
            </button>
          </div>
        </div>
      </form>
    </dialog>
  );
}

function initialDates(range: RangeChoice, resolved: UsageRange | undefined): [string, string] {
  if (range.kind === 'dates') return [range.from, range.to];
  if (resolved?.from && resolved.to) return [resolved.from, resolved.to];
  if (resolved) {
    const lastInstant = new Date(Date.parse(resolved.end) - 1);
    return [civilDate(resolved.start, resolved.timezone), civilDate(lastInstant, resolved.timezone)];
  }
  const now = today();
  return [addDays(now, -29), now];
}

interface CalendarProps {
  from: string | null;
  to: string | null;
  onChange: (from: string, to: string) => void;
}

/** Fetched when the dialog first opens; the fields work without it. */
function Calendar({ from, to, onChange }: CalendarProps) {
  const box = useRef<HTMLDivElement>(null);
  const ready = useSignal(customElements.get('calendar-range') !== undefined);
  useEffect(() => {
    let gone = false;
    import('cally').then(
      () => {
        if (!gone) ready.value = true;
      },
      () => {},
    );
    return () => {
      gone = true;
    };
  }, []);

  useEffect(() => {
    const calendar = box.current?.querySelector('calendar-range');
    const changed = (event: Event) => {
      const [first, last] = (event.target as HTMLElement & { value: string }).value.split('/');
      if (first && last) onChange(first, last);
    };
    calendar?.addEventListener('change', changed);
    return () => calendar?.removeEventListener('change', changed);
  });

  const months = phone.value ? 1 : 2;
  // The range's last month stands on the right, where one looks first.
  const last = to && to < today() ? to : today();
  const focused = useRef(months === 2 ? addMonths(last, -1) : last);
  return (
    <div class={phone.value ? 'calendar one' : 'calendar'} ref={box}>
      {ready.value && (
        <calendar-range
          months={months}
          value={from && to ? `${from}/${to}` : ''}
          today={today()}
          max={today() > (to ?? '') ? today() : (to ?? today())}
          focused-date={focused.current}
          locale={reader().tag}
          lang={foreignTo(copy.language)}
          // As the service's weeks begin, whatever the locale.
          first-day-of-week={1}
          page-by="single"
        >
          <span slot="previous">
            <Icon name="left" />
            <span class="sr" lang={copy.language}>
              {copy.previousMonth}
            </span>
          </span>
          <span slot="next">
            <Icon name="right" />
            <span class="sr" lang={copy.language}>
              {copy.nextMonth}
            </span>
          </span>
          <div class="months">
            <calendar-month />
            {months === 2 && <calendar-month offset={1} />}
          </div>
        </calendar-range>
      )}
    </div>
  );
}
