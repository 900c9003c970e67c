import { render } from 'preact';
import { App } from './app.tsx';
import { copy } from './copy/index.ts';
import { readFor, type TimeFormat } from './format/locale.ts';
import { start } from './store/page.ts';

const root = document.getElementById('usage')!;
root.replaceChildren();
const { documentElement } = document;
documentElement.lang = copy.language;
// The service's operator may have fixed the time format; the page comes with it.
readFor(navigator.languages, (documentElement.dataset.timeFormat ?? 'auto') as TimeFormat);
start();
render(<App />, root);
