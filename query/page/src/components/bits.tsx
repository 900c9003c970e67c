/** Small pieces that several parts of the page share. */

import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { copy } from '../copy/index.ts';
import type { Change } from '../format/change.ts';
import { foreignTo } from '../format/locale.ts';
import { share } from '../format/number.ts';

/** The colour of a series; a mark like those on the chart, so that patterns apply to it as well. */
export function Swatch({ colour }: { colour: number }) {
  return (
    <svg class="swatch" width="10" height="10" aria-hidden="true">
      <rect class={`s${colour}`} width="10" height="10" rx="2.5" />
    </svg>
  );
}

const icons = {
  chevron: 'M4 6l4 4 4-4',
  left: 'M10 4L6 8l4 4',
  right: 'M6 4l4 4-4 4',
  check: 'M3.5 8.5l3 3 6-7',
  close: 'M4 4l8 8M12 4l-8 8',
  link: 'M6.5 9.5l3-3M7 5l1.2-1.2a2.7 2.7 0 013.8 3.8L10.8 8.8M9 11l-1.2 1.2A2.7 2.7 0 014 8.4L5.2 7.2',
  download: 'M8 3v7M5 7.5L8 10.5l3-3M3.5 13h9',
  calendar:
    'M3 6.5h10M5.5 2.5v2M10.5 2.5v2M3.5 3.5h9a.5.5 0 01.5.5v8.5a.5.5 0 01-.5.5h-9a.5.5 0 01-.5-.5V4a.5.5 0 01.5-.5z',
  sliders: 'M2.5 5h5M11 5h2.5M2.5 11H5M8.5 11h5M9 3.5v3M6.5 9.5v3',
  out: 'M7 11.5a4.5 4.5 0 100-9 4.5 4.5 0 000 9zM10.3 10.3L13.5 13.5M5 7h4',
} as const;

export function Icon({ name }: { name: keyof typeof icons }) {
  return (
    <svg class="icon" width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
      <path d={icons[name]} />
    </svg>
  );
}

/** How a figure moved; neutral in colour, because spending more is neither good nor bad. */
export function ChangeMark({ change }: { change: Change }) {
  return (
    <span class={`change ${change.kind}`}>
      <span aria-hidden="true">{change.text}</span>
      <span class="sr">{change.words}</span>
    </span>
  );
}

/** A share of the whole, as a bar and as a percentage. */
export function ShareBar({ percent, used }: { percent: string; used: boolean }) {
  return (
    <>
      <svg class="share-bar" width="56" height="6" aria-hidden="true">
        <rect class="track" width="56" height="6" rx="3" />
        <rect class="fill" width={`${Math.max(0, Math.min(100, Number(percent)))}%`} height="6" rx="3" />
      </svg>
      <span class="num">{share(percent, used)}</span>
    </>
  );
}

/** The address bar holds everything that is chosen, so copying it is sharing the view. */
export function CopyLink() {
  const copied = useSignal<'no' | 'yes' | 'by-hand'>('no');
  const copyIt = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      copied.value = 'yes';
    } catch {
      // No permission, as in many frames: the address bar is the reader's own.
      copied.value = 'by-hand';
    }
    setTimeout(() => {
      copied.value = 'no';
    }, 2500);
  };
  const outcome = { no: '', yes: copy.linkCopied, 'by-hand': copy.copyByHand }[copied.value];
  return (
    <>
      <button type="button" class="control" onClick={copyIt}>
        <Icon name={copied.value === 'yes' ? 'check' : 'link'} />
        <span class="action">{outcome || copy.copyLink}</span>
      </button>
      {/* Beside the button: what it says is no part of the button's name. */}
      <span role="status" class="sr">
        {outcome}
      </span>
    </>
  );
}

/** A text of the catalogue with something that is more than text at each {}. */
export const fill = (text: string, ...parts: ComponentChildren[]): ComponentChildren =>
  text.split('{}').flatMap((piece, i) => (i ? [parts[i - 1], piece] : [piece]));

/** What the reader's own language writes, dates that is, in a text of the page's. */
export function Dated({ children }: { children: ComponentChildren }) {
  const lang = foreignTo(copy.language);
  return lang ? <span lang={lang}>{children}</span> : children;
}

/** A grey bar where a figure will be. */
export const Bone = ({ kind }: { kind: string }) => <span class={`bone ${kind}`} aria-hidden="true" />;

interface SegmentedProps<T extends string> {
  label: string;
  name: string;
  value: T;
  options: { value: T; label: string }[];
  onChange: (value: T) => void;
  children?: ComponentChildren;
}

/** One of few: a group of radio buttons that looks like a switch. */
export function Segmented<T extends string>({ label, name, value, options, onChange }: SegmentedProps<T>) {
  return (
    <div class="segmented" role="radiogroup" aria-label={label}>
      {options.map(option => (
        <label key={option.value}>
          <input
            type="radio"
            name={name}
            value={option.value}
            checked={option.value === value}
            onChange={() => onChange(option.value)}
          />
          <span>{option.label}</span>
        </label>
      ))}
    </div>
  );
}
