import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/**
 * Vite's helper for dynamic imports preloads style sheets and dependencies of a chunk. The one chunk that is
 * fetched later, the calendar, has neither, and the helper would be a fiftieth of all the script there is.
 */
const plainDynamicImport: Plugin = {
  name: 'plain-dynamic-import',
  enforce: 'pre',
  load: {
    order: 'pre',
    handler: id =>
      id.includes('vite/preload-helper') ? 'export const __vitePreload = load => load();' : undefined,
  },
};

/**
 * cally registers five elements; the page uses two. Without the registration of the others, and told that
 * making an element has no side effect, the bundler leaves them out.
 */
const onlyTheRangeCalendar: Plugin = {
  name: 'only-the-range-calendar',
  transform: {
    filter: { id: /\/cally\/dist\/cally\.js$/ },
    handler(code) {
      const unused = ['calendar-date', 'calendar-multi', 'calendar-select-year', 'calendar-select-month'];
      let slim = code.replace(/= k\(/g, '= /* @__PURE__ */ k(');
      for (const name of unused) {
        const before = slim;
        slim = slim.replace(new RegExp(`customElements\\.define\\("${name}", \\w+\\);`), '');
        if (slim === before) throw new Error(`cally no longer registers ${name} the way this build expects`);
      }
      return { code: slim, map: null };
    },
  },
};

// What comes out is committed and embedded in the binary, so it must not depend on the machine:
// no source maps, no time stamps, names from content hashes only.
export default defineConfig({
  base: '/',
  publicDir: false,
  plugins: [plainDynamicImport, onlyTheRangeCalendar],
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    assetsDir: 'assets',
    assetsInlineLimit: 0, // the page's security policy has no data: URLs
    sourcemap: false,
    reportCompressedSize: false,
    // The first browsers with light-dark(), popover and <dialog>: Chrome 123, Firefox 125, Safari 17.5.
    target: ['chrome123', 'firefox125', 'safari17.5'],
    modulePreload: { polyfill: false },
  },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  // The machine's load decides how long a test takes, not whether it passes.
  test: { include: ['src/**/*.test.ts'], testTimeout: 60_000 },
  server: { proxy: { '/v1': 'http://127.0.0.1:8080' } },
});
