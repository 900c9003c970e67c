import { useSignal, useSignalEffect } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import { Chart } from './chart/chart.tsx';
import { Dated, fill } from './components/bits.tsx';
import { Cards } from './components/cards.tsx';
import { Drawer } from './components/drawer.tsx';
import { FailurePanel, UnknownAgent } from './components/failure.tsx';
import { Filters } from './components/filters.tsx';
import { Foot } from './components/foot.tsx';
import { Header } from './components/header.tsx';
import { Leaderboard } from './components/leaderboard.tsx';
import { Notices } from './components/notices.tsx';
import { Sentence } from './components/sentence.tsx';
import { Shortcuts } from './components/shortcuts.tsx';
import { copy } from './copy/index.ts';
import { rangeLabel } from './format/time.ts';
import { strangers, whose, workspaceFacts } from './store/facts.ts';
import { cancelLoading, figures, shownView, usage } from './store/page.ts';
import { emptiness, isStranger } from './store/screen.ts';

export function App() {
  const data = figures.value;
  const loading = usage.loading.value;
  const standing = usage.failure.value;
  const { agent } = shownView.value;
  const empty = data && emptiness(data, agent);
  const stranger = empty && isStranger(data, agent, strangers.value);

  useEffect(() => {
    const { name, product_name } = workspaceFacts.value ?? {};
    document.title = copy.documentTitle([name, product_name]);
  }, [workspaceFacts.value]);

  return (
    <>
      <a class="skip" href="#figures">
        {copy.skip}
      </a>
      <Shortcuts />
      <div class="page">
        <Header />
        <Filters />
        {/* Outside of what is busy, where screen readers hold back what is said. */}
        <Waiting />
        <main
          id="figures"
          tabIndex={-1}
          aria-busy={loading !== null}
          class={loading && data ? 'refetching' : undefined}
        >
          <Notices />
          {!data && standing ? (
            <FailurePanel standing={standing} />
          ) : stranger ? (
            <UnknownAgent />
          ) : (
            <>
              <Cards data={data} />
              {!empty && <Sentence data={data} />}
              <Chart data={data} empty={empty} />
              {!empty && <Leaderboard data={data} />}
            </>
          )}
          <Foot data={data} />
        </main>
      </div>
      <Drawer data={data} />
      <Announcer />
    </>
  );
}

const quietMs = 300;

/** Says that it is loading once a reader may wonder, and offers a way out once they do. */
function Waiting() {
  // Between two tries there is nothing to wait for but the countdown, which is shown.
  const loading = usage.failure.value ? null : usage.loading.value;
  const first = figures.value === null;
  const waited = useSignal(false);
  const key = loading?.key;
  useEffect(() => {
    waited.value = false;
    if (key === undefined) return;
    const timer = setTimeout(() => {
      waited.value = true;
    }, quietMs);
    return () => clearTimeout(timer);
  }, [key]);
  const text = loading?.slow ? copy.stillLoading : loading && waited.value && first ? copy.loading : '';
  return (
    <div class={text ? 'wait on' : 'wait'}>
      <span role="status">{text}</span>
      {loading?.slow && (
        <button type="button" class="button" onClick={cancelLoading}>
          {copy.cancel}
        </button>
      )}
    </div>
  );
}

/** One sentence for a screen reader once a filter took effect; a quiet refresh says nothing. */
function Announcer() {
  const text = useSignal<ComponentChildren>(null);
  const last = useSignal('');
  useSignalEffect(() => {
    const shown = usage.shown.value;
    if (!shown || shown.key === last.peek()) return;
    const first = last.peek() === '';
    last.value = shown.key;
    if (first) return;
    const { agent } = shownView.peek();
    const { summary, range } = shown.data;
    const words = copy.applied(summary.credits, summary.messages);
    text.value = fill(words, whose(agent), <Dated>{rangeLabel(range)}</Dated>);
  });
  return (
    <p class="sr" role="status">
      {text.value}
    </p>
  );
}
