// Builds the script and the style that every page carries, into the package or into the folder that is named.
import { readFile } from "node:fs/promises";

import { build } from "esbuild";

const folder = process.argv[2] ?? "../composite_flow/page/bundle";
const licence = (await readFile("node_modules/uplot/LICENSE", "utf8")).trim();
const banner = { js: `/* This script holds uPlot.\n\n${licence}\n*/` };
const shared = { bundle: true, minify: true, charset: "ascii", target: "es2022", legalComments: "none" };
await build({ ...shared, entryPoints: ["src/main.ts"], format: "iife", banner, outfile: `${folder}/page.js` });
await build({ ...shared, entryPoints: ["src/style.css"], outfile: `${folder}/page.css` });
