// Tells Node that the files in dist/cjs are CommonJS, and puts the licence beside them.
import { copyFileSync, writeFileSync } from 'node:fs';

writeFileSync('dist/cjs/package.json', '{"type": "commonjs"}\n');
copyFileSync('../../LICENSE', 'LICENSE');
