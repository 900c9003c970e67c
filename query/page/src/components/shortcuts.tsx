import { signal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { copy } from '../copy/index.ts';
import { phone } from '../store/clock.ts';
import { go, view } from '../store/navigation.ts';
import { setShortcuts, shortcuts } from '../store/preferences.ts';
import { openPicker } from './agent-picker.tsx';
import { dialogOpen } from './date-range.tsx';

const helpOpen = signal(false);

const keys: { key: string; does: string; run: () => void }[] = [
  {
    key: 'A',
    does: copy.keys.agent,
    run: () => {
      openPicker.value++;
    },
  },
  {
    key: 'D',
    does: copy.keys.dates,
    run: () => {
      dialogOpen.value = true;
    },
  },
  {
    key: 'M',
    does: copy.keys.metric,
    run: () => go({ metric: view.value.metric === 'credits' ? 'messages' : 'credits' }),
  },
  { key: 'T', does: copy.keys.table, run: () => go({ table: !view.value.table }) },
  {
    key: '?',
    does: copy.keys.help,
    run: () => {
      helpOpen.value = true;
    },
  },
];

/** Single letters, unless they are switched off or someone is typing. */
export function Shortcuts() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (!shortcuts.value || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented)
        return;
      if ((event.target as Element).closest('input:not([type=radio]), select, textarea, dialog')) return;
      const shortcut = keys.find(({ key }) => key === event.key.toUpperCase());
      // On a phone the filters are in a sheet, and there is seldom a keyboard.
      if (!shortcut || (phone.value && (shortcut.key === 'A' || shortcut.key === 'D'))) return;
      event.preventDefault();
      shortcut.run();
    };
    addEventListener('keydown', onKeyDown);
    return () => removeEventListener('keydown', onKeyDown);
  }, []);
  const open = helpOpen.value;
  useLayoutEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  const close = () => {
    helpOpen.value = false;
  };
  return (
    <dialog
      class="help"
      ref={dialog}
      aria-label={copy.shortcuts}
      onClose={close}
      onClick={event => event.target === dialog.current && close()}
    >
      {open && (
        <div class="help-in">
          <h2>{copy.shortcuts}</h2>
          <dl>
            {keys.map(({ key, does }) => (
              <div key={key}>
                <dt>
                  <kbd>{key}</kbd>
                </dt>
                <dd>{does}</dd>
              </div>
            ))}
          </dl>
          <label class="check">
            <input
              type="checkbox"
              checked={shortcuts.value}
              onChange={event => setShortcuts(event.currentTarget.checked)}
            />
            {copy.shortcutsUse}
          </label>
          <button type="button" class="button primary" onClick={close}>
            {copy.close}
          </button>
        </div>
      )}
    </dialog>
  );
}

export const ShortcutsButton = () => (
  <button
    type="button"
    class="link small"
    onClick={() => {
      helpOpen.value = true;
    }}
  >
    {copy.shortcuts}
  </button>
);
