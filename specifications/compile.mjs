// SPDX-License-Identifier: GPL-3.0-or-later
// Compiles Kaitai Struct specifications to Python.
//
//   node compile.mjs PREFIX FILE.ksy...
//
// PREFIX is the directory given to `npm install --prefix`. Prints one JSON object that maps each
// specification to {module: source, ...}, and the version of the compiler under "".

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [prefix, ...specifications] = process.argv.slice(2);
const require = createRequire(resolve(prefix, "node_modules") + "/");
const compiler = require("kaitai-struct-compiler");
const yaml = require("js-yaml");

const importer = {
  importYaml(name) {
    throw new Error(`imports are not used in these specifications: ${name}`);
  },
};

const compiled = { "": compiler.version };
for (const path of specifications) {
  try {
    const specification = yaml.load(readFileSync(path, "utf8"));
    compiled[path] = await compiler.compile("python", specification, importer, false);
  } catch (error) {
    console.error(`${path}: ${error.message ?? error}`);
    process.exit(1);
  }
}
process.stdout.write(JSON.stringify(compiled));
