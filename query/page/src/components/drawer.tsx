/** What is behind a bar, an agent or the whole range: its channels, models and heaviest conversations. */

import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { type Failure, get, RequestFailed } from '../api/client.ts';
import type { Breakdown, BreakdownBy, Dashboard } from '../api/types.ts';
import { copy } from '../copy/index.ts';
import { isZero } from '../format/decimal.ts';
import { group } from '../format/number.ts';
import { barLabel, rangeLabel } from '../format/time.ts';
import { whose } from '../store/facts.ts';
import { stopLooking, view } from '../store/navigation.ts';
import { shownView, workspaceId } from '../store/page.ts';
import { rangeParams, wholeMinute } from '../store/view.ts';
import { Bone, CopyLink, Dated, Icon, ShareBar } from './bits.tsx';

const parts: BreakdownBy[] = ['channel', 'model', 'conversation'];

/** How many of a part are listed before the reader asks for the others. */
const few = 10;

interface Subject {
  title: ComponentChildren;
  of: ComponentChildren;
  question: string;
}

/** null where the shown figures have no such bar. */
function subjectOf(data: Dashboard): Subject | null {
  const { behind } = view.value;
  const { range, agent } = shownView.value;
  if (!behind) return null;
  const who = behind.kind === 'agent' ? behind.id : agent;
  const name = whose(who);
  if (behind.kind !== 'bar') {
    return {
      title: name,
      of: <Dated>{rangeLabel(data.range)}</Dated>,
      question: rangeParams(workspaceId, range, who).toString(),
    };
  }
  const bar = data.series.find(one => wholeMinute(one.start) === behind.start);
  if (!bar) return null;
  const [start, end] = [wholeMinute(bar.start), wholeMinute(bar.end)];
  return {
    title: <Dated>{barLabel(bar.start, bar.end, data.range.grain, data.range.timezone)}</Dated>,
    of: name,
    question: rangeParams(workspaceId, { kind: 'instants', start, end }, who).toString(),
  };
}

export function Drawer({ data }: { data: Dashboard | null }) {
  const subject = data && subjectOf(data);
  return subject && <Open key={subject.question} {...subject} />;
}

function Open({ title, of, question }: Subject) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const element = dialog.current!;
    const opener = document.activeElement as HTMLElement | null;
    element.showModal();
    return () => {
      element.close();
      opener?.focus?.();
    };
  }, []);
  return (
    <dialog
      class="drawer"
      ref={dialog}
      aria-labelledby="drawer-title"
      onCancel={event => {
        event.preventDefault(); // it closes by way of the address
        stopLooking();
      }}
      onClick={event => event.target === dialog.current && stopLooking()}
    >
      <div class="drawer-in">
        <div class="drawer-head">
          <div>
            <p class="eyebrow">{copy.behindTitle}</p>
            <h2 id="drawer-title">
              <bdi>{title}</bdi>
            </h2>
            <p class="muted">
              <bdi>{of}</bdi>
            </p>
          </div>
          <button type="button" class="control square" aria-label={copy.close} onClick={stopLooking}>
            <Icon name="close" />
          </button>
        </div>
        {parts.map(by => (
          <Part key={by} by={by} question={question} />
        ))}
        <p>
          <CopyLink />
        </p>
      </div>
    </dialog>
  );
}

interface PartProps {
  by: BreakdownBy;
  question: string;
}

function Part({ by, question }: PartProps) {
  const { title, column, unnamed } = copy.behind[by];
  const answer = useSignal<Breakdown | null>(null);
  const failure = useSignal<Failure | null>(null);
  const tries = useSignal(0);
  const all = useSignal(false);
  useEffect(() => {
    const controller = new AbortController();
    failure.value = null;
    get<Breakdown>(`/v1/usage/breakdown?${question}&by=${by}`, { signal: controller.signal }).then(
      got => {
        answer.value = got.data;
      },
      error => {
        if (controller.signal.aborted) return;
        if (!(error instanceof RequestFailed)) throw error;
        failure.value = error.failure;
      },
    );
    return () => controller.abort();
  }, [question, by, tries.value]);

  const data = answer.value;
  const items = data && (all.value ? data.items : data.items.slice(0, few));
  const id = `drawer-${by}`;
  return (
    <section aria-labelledby={id} aria-busy={!data && !failure.value}>
      <h3 id={id}>{title}</h3>
      {failure.value && (
        <p role="alert">
          {failure.value.kind === 'rejected' ? (
            copy.tooLongToLookBehind
          ) : (
            <>
              {copy.errorTitle}.{' '}
              <button type="button" class="link" onClick={() => tries.value++}>
                {copy.tryAgain}
              </button>
            </>
          )}
          {failure.value.reference && (
            <span class="muted small"> {copy.reference(failure.value.reference)}</span>
          )}
        </p>
      )}
      {!data && !failure.value && <Bone kind="line" />}
      {data && items && (
        <table>
          <caption class="sr">{title}</caption>
          <thead>
            <tr>
              <th scope="col">{column}</th>
              <th scope="col" class="number">
                {copy.creditsWord}
              </th>
              <th scope="col" class="share">
                {copy.shareWord}
              </th>
              <th scope="col" class="number">
                {copy.messagesWord}
              </th>
            </tr>
          </thead>
          <tbody>
            {items.map(item => (
              <Row {...item} key={item.key} name={item.key || unnamed} />
            ))}
            {items.length === data.items.length && data.rest.count > 0 && (
              <Row {...data.rest} name={copy.rest(data.rest.count)} />
            )}
          </tbody>
          {by === 'channel' && (
            <tfoot>
              <tr>
                <th scope="row">{data.completeness === 'partial' ? copy.partialTotal : copy.total}</th>
                <td class="number">{group(data.total.credits)}</td>
                <td />
                <td class="number">{group(data.total.messages)}</td>
              </tr>
            </tfoot>
          )}
        </table>
      )}
      {data && items && items.length < data.items.length && (
        <button
          type="button"
          class="link"
          onClick={() => {
            all.value = true;
          }}
        >
          {copy.showMore(data.items.length - items.length)}
        </button>
      )}
    </section>
  );
}

interface RowProps {
  name: string;
  credits: string;
  messages: string;
  share: string;
}

const Row = ({ name, credits, messages, share }: RowProps) => (
  <tr>
    <th scope="row">
      <bdi>{name}</bdi>
    </th>
    <td class="number">{group(credits)}</td>
    <td class="share">
      <ShareBar percent={share} used={!isZero(credits)} />
    </td>
    <td class="number">{group(messages)}</td>
  </tr>
);
