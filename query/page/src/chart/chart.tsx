import { Fragment } from 'preact';
import { useLayoutEffect, useMemo } from 'preact/hooks';
import type { Dashboard } from '../api/types.ts';
import { Bone, Icon, Segmented, Swatch } from '../components/bits.tsx';
import { Empty } from '../components/empty.tsx';
import { Spikes } from '../components/spikes.tsx';
import { copy } from '../copy/index.ts';
import { printing } from '../store/clock.ts';
import { go, view, zoomedFrom, zoomOut } from '../store/navigation.ts';
import { colours } from '../store/page.ts';
import type { Emptiness } from '../store/screen.ts';
import { seriesName } from './names.ts';
import { Plot } from './plot.tsx';
import { buildSeries, hideKey, type Series } from './series.ts';
import { clearChart, focusPlot } from './state.ts';
import { FiguresTable } from './table.tsx';

export function Chart({ data, empty }: { data: Dashboard | null; empty: Emptiness }) {
  const { metric, stacking, hidden, table } = view.value;
  const slots = colours.value;
  const list = useMemo(
    () => (data ? buildSeries(data, metric, stacking, slots) : []),
    [data, metric, stacking, slots],
  );
  // Bar 3 of another range is another bar.
  useLayoutEffect(clearChart, [data?.range.start, data?.range.end, data?.range.grain]);
  const hiddenSeries = new Set(list.filter(one => one.kind !== 'total' && hidden.includes(hideKey(one))));
  const hiddenAgents = [...hiddenSeries].reduce((n, one) => n + (one.kind === 'other' ? one.others : 1), 0);

  const toggle = (one: Series) => {
    const key = hideKey(one);
    go({ hidden: hidden.includes(key) ? hidden.filter(id => id !== key) : [...hidden, key] });
  };

  return (
    <section class="card chart" aria-labelledby="chart-title">
      <div class="card-head">
        <h2 id="chart-title">
          {copy.chart[metric]}
          {hiddenAgents > 0 && <span class="muted"> {copy.hiddenAgents(hiddenAgents)}</span>}
        </h2>
        {zoomedFrom.value !== null && (
          <button
            type="button"
            class="button quiet"
            onClick={() => {
              focusPlot();
              zoomOut();
            }}
          >
            <Icon name="out" />
            {copy.zoomOut}
          </button>
        )}
        <div class="card-tools">
          <Segmented
            label={copy.measure}
            name="metric"
            value={metric}
            options={[
              { value: 'credits', label: copy.creditsWord },
              { value: 'messages', label: copy.messagesWord },
            ]}
            onChange={value => go({ metric: value })}
          />
          <Segmented
            label={copy.bars}
            name="stacking"
            value={stacking}
            options={[
              { value: 'agents', label: copy.byAgent },
              { value: 'total', label: copy.total },
            ]}
            onChange={value => go({ stacking: value })}
          />
        </div>
      </div>
      {!data ? (
        // Keys, so that no skeleton's box is taken over and seen to move.
        <div key="bones">
          <div class="plot-space">
            <Bone kind="plot" />
          </div>
          <div class="legend">
            <Bone kind="line" />
          </div>
          <p class="below">&nbsp;</p>
        </div>
      ) : empty ? (
        <Empty data={data} kind={empty} />
      ) : (
        <Fragment key="figures">
          <Plot data={data} metric={metric} series={list} hidden={hiddenSeries} />
          <div class="legend" role="group" aria-label={copy.shownInChart}>
            {stacking === 'agents' &&
              list.map(one => (
                <button
                  type="button"
                  key={hideKey(one)}
                  aria-pressed={!hiddenSeries.has(one)}
                  onClick={() => toggle(one)}
                >
                  <Swatch colour={one.colour} />
                  <bdi>{seriesName(one)}</bdi>
                </button>
              ))}
            <StateKey data={data} />
          </div>
          <Spikes data={data} />
          <p class="below">
            <button
              type="button"
              class="link"
              aria-expanded={table}
              aria-controls="figures-table"
              onClick={() => go({ table: !table })}
            >
              {table ? copy.hideTable : copy.showTable}
            </button>
          </p>
          {(table || printing.value) && <FiguresTable data={data} metric={metric} series={list} />}
        </Fragment>
      )}
    </section>
  );
}

/** Explains the marks of the states that occur, and no others. */
function StateKey({ data }: { data: Dashboard }) {
  const has = (state: string) => data.series.some(bar => bar.state === state);
  return (
    <>
      {data.series.some(bar => bar.previous) && <Key mark="previous" text={copy.comparison} />}
      {has('in_progress') && <Key mark="progress" text={copy.inProgressKey} />}
      {has('settling') && <Key mark="settling" text={copy.state.settling} />}
      {has('missing') && <Key mark="missing" text={copy.state.missing} />}
    </>
  );
}

const Key = ({ mark, text }: { mark: string; text: string }) => (
  <span class="key">
    <svg width="14" height="12" aria-hidden="true">
      {mark === 'settling' ? (
        <path class="settling" d="M1 3h12" />
      ) : (
        <path class={mark} d="M2 1h10v10h-10z" />
      )}
    </svg>
    {text}
  </span>
);
