import { useSignal } from '@preact/signals';
import type { Dashboard } from '../api/types.ts';
import { Dated, fill, Swatch } from '../components/bits.tsx';
import { copy } from '../copy/index.ts';
import { change } from '../format/change.ts';
import { foreignTo } from '../format/locale.ts';
import { group } from '../format/number.ts';
import { barLabel, rangeLabel } from '../format/time.ts';
import { printing } from '../store/clock.ts';
import type { Metric } from '../store/view.ts';
import { stateNote } from './describe.ts';
import { seriesName } from './names.ts';
import type { Series } from './series.ts';

const pageSize = 100;

const show = (value: string | null) => (value === null ? '—' : group(value));

/** The chart's figures as a real table; its footer is the headline. */
export function FiguresTable({
  data,
  metric,
  series,
}: {
  data: Dashboard;
  metric: Metric;
  series: Series[];
}) {
  const page = useSignal(0);
  const { grain, timezone } = data.range;
  // What has not begun has no figures to list.
  const begun = data.series.map((bar, index) => ({ bar, index })).filter(({ bar }) => bar.state !== 'future');
  const pages = Math.ceil(begun.length / pageSize);
  const at = Math.min(page.value, Math.max(0, pages - 1));
  const split = series.filter(one => one.kind !== 'total');
  const compared = data.series.some(bar => bar.previous);
  const noted = begun.some(({ bar }) => stateNote(bar));
  const lang = foreignTo(copy.language);
  const rows = printing.value ? begun : begun.slice(at * pageSize, (at + 1) * pageSize);

  return (
    <div id="figures-table">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <div class="scroll" tabIndex={0} role="region" aria-label={copy.figuresOfChart}>
        <table class="figures">
          <caption>
            {fill(copy.usageBy(grain, '{}', timezone), <Dated>{rangeLabel(data.range)}</Dated>)}
          </caption>
          <thead>
            <tr>
              <th scope="col">{grain === 'day' ? copy.date : copy.time}</th>
              <th scope="col">{copy.creditsWord}</th>
              <th scope="col">{copy.messagesWord}</th>
              {split.map(one => (
                <th scope="col" key={one.id ?? one.kind}>
                  <Swatch colour={one.colour} />
                  <bdi>{seriesName(one)}</bdi>
                </th>
              ))}
              {compared && <th scope="col">{copy.comparison}</th>}
              {compared && <th scope="col">{copy.changeWord}</th>}
              {noted && <th scope="col">{copy.note}</th>}
            </tr>
          </thead>
          <tbody>
            {rows.map(({ bar, index }) => (
              <tr key={bar.start} data-state={bar.state}>
                <th scope="row" lang={lang}>
                  {barLabel(bar.start, bar.end, grain, timezone)}
                </th>
                <td>{show(bar.credits)}</td>
                <td>{show(bar.messages)}</td>
                {split.map(one => (
                  <td key={one.id ?? one.kind}>{show(one.values[index] ?? null)}</td>
                ))}
                {compared && <td>{show(bar.previous?.[metric] ?? null)}</td>}
                {compared && <td>{change(bar[metric], bar.previous?.[metric] ?? null).text}</td>}
                {noted && <td>{stateNote(bar)}</td>}
              </tr>
            ))}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">{data.completeness === 'partial' ? copy.totalAtLeast : copy.total}</th>
              <td>{group(data.summary.credits)}</td>
              <td>{group(data.summary.messages)}</td>
              {split.map(one => (
                <td key={one.id ?? one.kind}>{group(one.total)}</td>
              ))}
              {compared && <td>{show(data.summary.previous?.[metric] ?? null)}</td>}
              {compared && (
                <td>{change(data.summary[metric], data.summary.previous?.[metric] ?? null).text}</td>
              )}
              {noted && <td />}
            </tr>
          </tfoot>
        </table>
      </div>
      {pages > 1 && !printing.value && (
        <p class="pager">
          <button type="button" class="button" disabled={at === 0} onClick={() => (page.value = at - 1)}>
            {copy.previousRows(pageSize)}
          </button>{' '}
          {copy.rows(at * pageSize + 1, Math.min((at + 1) * pageSize, begun.length), begun.length)}{' '}
          <button
            type="button"
            class="button"
            disabled={at === pages - 1}
            onClick={() => (page.value = at + 1)}
          >
            {copy.nextRows(pageSize)}
          </button>
        </p>
      )}
    </div>
  );
}
