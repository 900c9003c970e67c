/** What the page says about its figures when they are not simply true and current. */

import type { ComponentChildren } from 'preact';
import type { Dashboard } from '../api/types.ts';
import { copy } from '../copy/index.ts';
import { isolated } from '../format/isolate.ts';
import { hourMinute, rangeLabel } from '../format/time.ts';
import { now, online } from '../store/clock.ts';
import { whose } from '../store/facts.ts';
import { remark } from '../store/navigation.ts';
import { askAgain, question, shownView, usage } from '../store/page.ts';
import { behindAfterSeconds, lagSeconds, missingSpans, reachesPast } from '../store/screen.ts';
import { Dated, fill } from './bits.tsx';
import { FailureLine } from './failure.tsx';

/** Quiet refreshes that may fail in a row before the page says so. */
const missedBeforeSaying = 3;

export function Notices() {
  const shown = usage.shown.value;
  return (
    <div class="notices">
      <Remark />
      {shown && <Trouble />}
      {shown && <Behind />}
      {shown?.data.completeness === 'partial' && (
        <Notice kind="warn">
          <p>{partial({ ...shown.data, freshness: shown.freshness })}</p>
        </Notice>
      )}
      {usage.cancelled.value && (
        <Notice kind="info">
          <p>{copy.loadingCancelled}</p>
          <button type="button" class="button" onClick={askAgain}>
            {copy.tryAgain}
          </button>
        </Notice>
      )}
    </div>
  );
}

function partial(data: Dashboard): ComponentChildren {
  const { spans, more } = missingSpans(data);
  const places = spans.length ? copy.spans(Array(spans.length).fill('{}'), more) : copy.thisRange;
  return fill(copy.partial(places), ...spans.map(span => <Dated key={span}>{span}</Dated>));
}

function Remark() {
  const said = remark.value;
  if (said === null) return null;
  const text =
    said === 'dates' ? copy.unreadDates : said === 'other' ? copy.unreadOther : copy.grainChanged(said.grain);
  return (
    <Notice kind="info">
      <p>{text}</p>
    </Notice>
  );
}

/** The figures shown are older than they ought to be, or answer another question than the one asked. */
function Trouble() {
  const shown = usage.shown.value!;
  const standing = usage.failure.value;
  const at = hourMinute(shown.receivedAt, shown.data.range.timezone);
  const stamp = fill(copy.figuresFrom, <Dated>{at}</Dated>);
  if (!online.value && standing?.failure.kind !== 'unauthorized') {
    return (
      <Notice kind="warn">
        <p>
          <strong>{copy.offline}</strong> {stamp}
        </p>
      </Notice>
    );
  }
  if (standing) {
    const { agent } = shownView.value;
    const range = <Dated>{rangeLabel(shown.data.range)}</Dated>;
    const another =
      shown.key !== question.value && fill(` ${copy.figuresFor}`, isolated(whose(agent)), range);
    return (
      <Notice kind="error">
        <FailureLine standing={standing} stamp={[stamp, another]} />
      </Notice>
    );
  }
  if (usage.missed.value < missedBeforeSaying) return null;
  return (
    <Notice kind="warn">
      <p>
        <strong>{copy.unsteady}</strong> {stamp}
      </p>
    </Notice>
  );
}

function Behind() {
  const { data, freshness, confirmedAt } = usage.shown.value!;
  const lag = reachesPast(data) ? lagSeconds(freshness, now.value - confirmedAt) : null;
  if (lag === null || lag <= behindAfterSeconds || !online.value) return null;
  return (
    <Notice kind="warn">
      <p>
        <strong>{copy.dataBehind(copy.duration(lag))}.</strong> {copy.behindText}
      </p>
    </Notice>
  );
}

const info = 'M8 7.5v4M8 4.8v.2M8 14.5a6.5 6.5 0 100-13 6.5 6.5 0 000 13z';
const triangle = 'M8 6v3.5M8 11.8v.2M8 2L1.5 13.5h13z';

function Notice({ kind, children }: { kind: 'info' | 'warn' | 'error'; children: ComponentChildren }) {
  return (
    <div class={`notice ${kind}`} role={kind === 'error' ? 'alert' : 'status'}>
      <svg class="icon" width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
        <path d={kind === 'info' ? info : triangle} />
      </svg>
      <div>{children}</div>
    </div>
  );
}
