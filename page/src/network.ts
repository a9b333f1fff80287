// The denoiser's forward pass: a matrix product a layer (`network.py` has the formula).

import type { NetworkEntry } from "./decode";
import type { World } from "./world";

type Activation = (x: number) => number;

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);
const ACTIVATIONS: Record<NetworkEntry["activation"], Activation> = {
  relu: (x) => (x > 0 ? x : 0),
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => 0.5 * x * (1 + Math.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x ** 3))),
  tanh: Math.tanh,
};

/** All that depends on a history: the biases of the layers that see it. */
export type Context = Float32Array;

export class Network {
  readonly entry: NetworkEntry;
  readonly cost: number; // products of a call
  private readonly world: World;
  private readonly activate: Activation;
  private readonly contexts = new Map<number, Context>();
  private readonly hidden: [Float32Array, Float32Array];

  constructor(world: World) {
    this.world = world;
    this.entry = world.header.network!;
    this.activate = ACTIVATIONS[this.entry.activation];
    this.hidden = [new Float32Array(this.entry.width), new Float32Array(this.entry.width)];
    const { width, depth } = this.entry;
    this.cost = width * (2 * world.size + (depth - 1) * width);
  }

  /** c_l of an agent at a step; kept, as hops come back to it. */
  condition(row: number, agent: number): Context {
    const key = row * this.world.numAgents + agent;
    let found = this.contexts.get(key);
    if (found === undefined) {
      if (this.contexts.size > 4096) this.contexts.clear();
      found = this.conditioned(key, agent);
      this.contexts.set(key, found);
    }
    return found;
  }

  private conditioned(place: number, agent: number): Context {
    const { arrays, numAgents } = this.world;
    const units = this.entry.conditioned * this.entry.width;
    const found = Float32Array.from(arrays.biases!.subarray(0, units));
    const columns = arrays.history_minimum!.length;
    const own = columns - numAgents;
    for (let column = 0; column < columns; column++) {
      const value = column < own ? arrays.histories![place * own + column]! : Number(column - own === agent);
      const low = arrays.history_minimum![column]!;
      const scaled = (value - low) / (arrays.history_maximum![column]! - low);
      if (scaled === 0) continue;
      for (let unit = 0; unit < units; unit++) found[unit]! += scaled * arrays.history_weights![column * units + unit]!;
    }
    return found;
  }

  /** f(τ, y). */
  denoise(context: Context, y: Float32Array): Float32Array {
    const { depth, width, conditioned } = this.entry;
    const { arrays, size } = this.world;
    let x = y;
    for (let layer = 0; layer < depth; layer++) {
      const out = this.hidden[layer % 2]!;
      const biases = layer < conditioned ? context : (arrays.biases as Float32Array);
      out.set(biases.subarray(layer * width, (layer + 1) * width));
      addProduct(out, x, arrays[`weights_${layer}`] as Float32Array);
      for (let unit = 0; unit < width; unit++) out[unit] = this.activate(out[unit]!);
      x = out;
    }
    const state = Float32Array.from((arrays.output_bias as Float32Array).subarray(0, size));
    addProduct(state, x, arrays[`weights_${depth}`] as Float32Array);
    return state;
  }
}

/** out += x W; rows of units that are silent cost nothing. */
function addProduct(out: Float32Array, x: Float32Array, weights: Float32Array): void {
  const columns = out.length;
  for (let row = 0; row < x.length; row++) {
    const value = x[row]!;
    if (value === 0) continue;
    const first = row * columns;
    for (let column = 0; column < columns; column++) out[column]! += value * weights[first + column]!;
  }
}
