// What a policy's agents infer, each by itself: the chosen agents' beliefs, averaged.

import type { Belief, World } from "./world";

export class Samples {
  private readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  /** The mixture of the agents' beliefs: its mean, and its variance by the law of total variance. */
  belief(row: number, agents: readonly number[]): Belief {
    const { arrays, numAgents, size } = this.world;
    const mean = new Float64Array(size).fill(agents.length ? 0 : NaN);
    const variance = new Float64Array(size).fill(agents.length ? 0 : NaN);
    for (const agent of agents) {
      const first = (row * numAgents + agent) * size;
      for (let k = 0; k < size; k++) {
        const value = arrays.own_mean![first + k]!;
        mean[k]! += value / agents.length;
        variance[k]! += (arrays.own_variance![first + k]! + value * value) / agents.length;
      }
    }
    for (let k = 0; k < size; k++) variance[k] = Math.max(0, variance[k]! - mean[k]! ** 2);
    return { mean, variance, messages: this.world.header.samples!.messages };
  }
}
