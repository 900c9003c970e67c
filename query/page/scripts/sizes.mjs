// Measures the build against its budgets: exit 1 if one is exceeded.
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const folder = new URL('../dist/assets/', import.meta.url);
const html = readFileSync(new URL('../dist/index.html', import.meta.url), 'utf8');
const sum = { js: 0, first: 0, css: 0 };
for (const name of readdirSync(folder).sort()) {
  if (!/\.(js|css)$/.test(name)) continue;
  const bytes = readFileSync(new URL(name, folder));
  const gzipped = gzipSync(bytes, { level: 9 }).length;
  const kind = name.endsWith('.js') ? 'js' : 'css';
  sum[kind] += gzipped;
  if (kind === 'js' && html.includes(name)) sum.first += gzipped;
  console.log(
    `${name.padEnd(28)} ${String(bytes.length).padStart(7)} bytes ${String(gzipped).padStart(6)} gzipped`,
  );
}
// The calendar comes when the dates are first opened; the budget is of what stands before the figures.
console.log(`JavaScript that comes later: ${sum.js - sum.first} gzipped`);
const budgets = [
  ['JavaScript before the figures', sum.first, 40 * 1024],
  ['CSS', sum.css, 8 * 1024],
];
for (const [name, size, budget] of budgets) {
  const fits = size <= budget;
  console.log(`${name}: ${size} of ${budget} bytes gzipped${fits ? '' : ', OVER BUDGET'}`);
  if (!fits) process.exitCode = 1;
}
