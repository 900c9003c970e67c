import { useLayoutEffect, useRef } from 'preact/hooks';
import type { Dashboard, Grain } from '../api/types.ts';
import { ChangeMark, Dated, Swatch } from '../components/bits.tsx';
import { copy } from '../copy/index.ts';
import { go, lookBehind, view } from '../store/navigation.ts';
import type { Metric } from '../store/view.ts';
import { wholeMinute } from '../store/view.ts';
import { describeBar } from './describe.ts';
import type { Geometry } from './geometry.ts';
import { seriesName } from './names.ts';
import type { Series } from './series.ts';
import { active, clearChart, focusPlot, pinned } from './state.ts';
import { canZoomInto, zoomTo } from './zoom.ts';

interface Props {
  data: Dashboard;
  metric: Metric;
  series: Series[];
  geometry: Geometry;
}

/** Between a bar's column and its tooltip, so that a pointer on its way to the next bar does not run into it. */
const gap = 24;

const within: Partial<Record<Grain, string>> = copy.within;

export function Tooltip({ data, metric, series, geometry }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const index = active.value;
  const band = geometry.bands[index];
  const isPinned = pinned.value;

  useLayoutEffect(() => {
    const element = box.current;
    if (!element || !band) return;
    // Set through the object model: the page's policy allows no style attributes.
    const own = element.offsetWidth;
    const around = element.parentElement!;
    const space = around.clientWidth;
    const axis = around.querySelector<HTMLElement>('.plot')!.offsetLeft;
    const right = axis + band.right + gap;
    const left = axis + band.left - own - gap;
    const x = right + own <= space ? right : left >= 0 ? left : (space - own) / 2;
    element.style.setProperty('left', `${Math.max(0, Math.min(space - own, x))}px`);
  });

  // A click anywhere else lets go of a pinned bar.
  useLayoutEffect(() => {
    if (!isPinned) return;
    const letGo = (event: PointerEvent) => {
      if (!(event.target as Element).closest('.tooltip, .plot')) clearChart();
    };
    addEventListener('pointerdown', letGo);
    return () => removeEventListener('pointerdown', letGo);
  }, [isPinned]);

  if (!band) return null;
  const text = describeBar(data, index, metric, series, seriesName);
  return (
    // biome-ignore lint/a11y/useAriaPropsSupportedByRole: it has its label only with the role of a group
    <div
      key={index}
      class={isPinned ? 'tooltip pinned' : 'tooltip'}
      ref={box}
      role={isPinned ? 'group' : undefined}
      aria-labelledby={isPinned ? 'tip-title' : undefined}
      aria-hidden={isPinned ? undefined : 'true'}
      onPointerLeave={event => {
        const into = event.relatedTarget as Element | null;
        if (!isPinned && !into?.closest?.('.plot')) active.value = -1;
      }}
      onKeyDown={event => {
        if (event.key !== 'Escape') return;
        focusPlot();
        clearChart();
      }}
    >
      <p class="tip-title">
        <span id="tip-title">
          <Dated>{text.title}</Dated>
        </span>{' '}
        <span class="muted">{text.zone}</span>
      </p>
      <p class="tip-total">
        <span class="num">{text.value}</span> {text.value !== '—' && text.unit}
        {text.note && <span class="tag">{text.note}</span>}
      </p>
      {text.parts.length > 0 && (
        <ul>
          {text.parts.map(part => (
            <li key={part.series.id ?? part.series.kind}>
              <Swatch colour={part.series.colour} />
              <bdi>{part.name}</bdi>
              <span class="num">{part.value}</span>
              <span class="num muted">{part.share}</span>
            </li>
          ))}
        </ul>
      )}
      {text.previous && (
        <p class="tip-previous">
          <span class="muted">
            <Dated>{text.previous.span}</Dated>: <span class="num">{text.previous.value}</span>
          </span>{' '}
          <ChangeMark change={text.previous.change} />
        </p>
      )}
      {isPinned && (
        <p class="tip-actions">
          {canZoomInto(data) && (
            <button type="button" class="button" onClick={() => zoomTo(data, index, index)}>
              {within[data.range.grain]}
            </button>
          )}
          {view.value.agent === null && text.parts[0]?.series.id != null && (
            <button
              type="button"
              class="button"
              onClick={() => {
                focusPlot();
                go({ agent: text.parts[0]!.series.id });
              }}
            >
              {copy.only(text.parts[0].name)}
            </button>
          )}
          {text.value !== '—' && (
            <button
              type="button"
              class="button"
              aria-haspopup="dialog"
              onClick={() => lookBehind({ kind: 'bar', start: wholeMinute(data.series[index]!.start) })}
            >
              {copy.details}
            </button>
          )}
        </p>
      )}
    </div>
  );
}
