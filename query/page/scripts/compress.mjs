// Puts a .gz and a .br beside every file of the build that is worth it, so that the server only picks one.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const worthIt = /\.(html|js|css|svg|txt)$/;
const smallest = 512;

function compress(folder) {
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) compress(path);
    else if (worthIt.test(name)) {
      const bytes = readFileSync(path);
      if (bytes.length < smallest) continue;
      // Node writes no time into the header; the byte that names the operating system is blanked too.
      const gz = gzipSync(bytes, { level: 9 });
      gz[9] = 255;
      const br = brotliCompressSync(bytes, {
        params: {
          [constants.BROTLI_PARAM_QUALITY]: 11,
          [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
          [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
        },
      });
      writeFileSync(`${path}.gz`, gz);
      writeFileSync(`${path}.br`, br);
    }
  }
}

compress(process.argv[2] ?? 'dist');
