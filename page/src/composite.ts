// Composite diffusion hop by hop: each agent denoises what it received, y ← f(τ_i, y) (Definition 6).

import type { Network } from "./network";
import type { Belief, World } from "./world";

export const SWEEPS = 6; // as `reconstruct` makes by default
const MOST_STARTS = 16;
const PRODUCTS = 4e7; // for all hops of a step, so that scrubbing stays fluent

export class Composite {
  readonly network: Network;
  private readonly world: World;
  private readonly size: number;
  private path: { key: string; messages: Float32Array[][] } = { key: "", messages: [] };

  constructor(world: World, network: Network) {
    this.world = world;
    this.network = network;
    this.size = world.size;
  }

  /** Hops of a whole run. */
  hops(row: number, agents: readonly number[]): number {
    return SWEEPS * this.present(row, agents).length;
  }

  /** From how many noisy states messages start: fewer where hops are costly. */
  numStarts(agents: number): number {
    const all = this.world.arrays.starts!.length / this.size;
    return Math.max(1, Math.min(all, MOST_STARTS, Math.floor(PRODUCTS / (SWEEPS * Math.max(agents, 1) * this.network.cost))));
  }

  /** The mean and the scatter of the messages after so many hops. */
  belief(row: number, agents: readonly number[], hops: number): Belief {
    const messages = this.messages(row, agents, hops);
    const mean = new Float64Array(this.size);
    const variance = new Float64Array(this.size);
    for (let k = 0; k < this.size; k++) {
      for (const message of messages) mean[k]! += message[k]! / messages.length;
      for (const message of messages) variance[k]! += (message[k]! - mean[k]!) ** 2 / messages.length;
    }
    return { mean, variance, messages: Math.min(hops, this.hops(row, agents)) };
  }

  /** The messages after so many hops, one of each start; those before are kept. */
  messages(row: number, agents: readonly number[], hops: number): Float32Array[] {
    const order = this.present(row, agents);
    const key = `${row}:${order.join()}`;
    if (this.path.key !== key) this.path = { key, messages: [this.starts(order.length)] };
    const path = this.path.messages;
    const wanted = Math.min(hops, SWEEPS * order.length);
    while (path.length <= wanted) {
      const context = this.network.condition(row, order[(path.length - 1) % order.length]!);
      path.push(path.at(-1)!.map((message) => this.network.denoise(context, message)));
    }
    return path[wanted]!;
  }

  private present(row: number, agents: readonly number[]): number[] {
    return agents.filter((agent) => this.world.isThere(row, agent));
  }

  private starts(agents: number): Float32Array[] {
    const starts = this.world.arrays.starts as Float32Array;
    return Array.from({ length: this.numStarts(agents) }, (_, place) =>
      starts.slice(place * this.size, (place + 1) * this.size),
    );
  }
}
