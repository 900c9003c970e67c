import { render } from 'preact';
import { App } from './app.tsx';
import { start } from './store/page.ts';

const root = document.getElementById('usage')!;
root.replaceChildren();
start();
render(<App />, root);
