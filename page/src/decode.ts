// From the page's text to its header and arrays: the inverse of `container.py`.

export interface ArrayEntry {
  type: string;
  shape: number[];
  offset: number;
}

export interface NetworkEntry {
  width: number;
  depth: number;
  conditioned: number;
  activation: "relu" | "silu" | "gelu" | "tanh";
}

export interface Unit {
  name: string;
  x: number;
  y: number;
  alive: number;
}

export type WorldMap =
  | { kind: "sensors"; sensors: [number, number][]; areas: [number, number][]; slots: number[][] }
  | { kind: "positions"; units: Unit[]; down: boolean };

export interface Header {
  title: string;
  agents: string[];
  features: string[];
  types: { binary: number[]; groups: [number, number][] };
  lengths: number[];
  notes: string[];
  map?: WorldMap | null;
  answers?: { bits: number; kept: number; changed: number };
  intervals?: { level: number; by: string } | null;
  reasons?: string[];
  network?: NetworkEntry;
  observations?: string[];
  samples?: { count: number; one: boolean; messages: number }; // one: all agents hold the same state
  live?: { kind: "team" | "training"; shown?: "steps" | "worlds" };
  arrays: Record<string, ArrayEntry>;
}

export type Numbers = Float32Array | Float64Array | Uint8Array | Uint16Array | Int32Array;

export interface Content {
  header: Header;
  arrays: Record<string, Numbers>;
}

/** A page that cannot be shown, and why: a sentence for whoever looks at it. */
export class DamagedPage extends Error {}

const DAMAGED = "This file is damaged or was not saved whole: ask for it again, or write it again.";
const MAGIC = 0x31504643; // "CFP1", little-endian

/** Decodes the text; `size` is how many characters it should have. */
export async function decode(text: string, size: number): Promise<Content> {
  if (text.length !== size) {
    throw new DamagedPage(`${DAMAGED} It holds ${text.length} of ${size} characters of data.`);
  }
  let block: ArrayBuffer;
  try {
    block = await inflate(bytesOf(text));
  } catch {
    throw new DamagedPage(`${DAMAGED} Its data cannot be decompressed.`);
  }
  return contentOf(block);
}

/** The header and the arrays of a block. */
export function contentOf(block: ArrayBuffer): Content {
  const view = new DataView(block);
  if (view.byteLength < 8 || view.getUint32(0, true) !== MAGIC) {
    throw new DamagedPage(`${DAMAGED} Its data are of no page.`);
  }
  const start = 8 + view.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(block, 8, start - 8))) as Header;
  const arrays: Record<string, Numbers> = {};
  for (const [name, entry] of Object.entries(header.arrays)) arrays[name] = arrayOf(block, start, entry);
  return { header, arrays };
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let place = 0; place < bytes.length; place++) bytes[place] = characters.charCodeAt(place);
  return bytes;
}

async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function arrayOf(block: ArrayBuffer, start: number, { type, shape, offset }: ArrayEntry): Numbers {
  const count = shape.reduce((product, size) => product * size, 1);
  const first = start + offset;
  switch (type) {
    case "float16":
      return fromHalf(new Uint16Array(block, first, count));
    case "float32":
      return new Float32Array(block, first, count);
    case "float64":
      return new Float64Array(block, first, count);
    case "uint8":
      return new Uint8Array(block, first, count);
    case "uint16":
      return new Uint16Array(block, first, count);
    case "int32":
      return new Int32Array(block, first, count);
    default:
      throw new DamagedPage(`${DAMAGED} It holds an array of the unknown type ${type}.`);
  }
}

/** Numbers of 16 bits as numbers of 32, by a table of all of them. */
export function fromHalf(halves: Uint16Array): Float32Array {
  const found = new Float32Array(halves.length);
  for (let place = 0; place < halves.length; place++) found[place] = HALVES[halves[place]!]!;
  return found;
}

const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
});
