// What a policy's agents infer, each by itself: the chosen agents' beliefs, averaged.

import type { Belief, World } from "./world";

/** The mean and the variance of a feature, as one agent believes it. */
export type OneBelief = (agent: number, feature: number) => [mean: number, variance: number];

/** The mixture of the agents' beliefs: its mean, and its variance by the law of total variance. */
export function mixture(size: number, agents: readonly number[], believed: OneBelief): Omit<Belief, "messages"> {
  const mean = new Float64Array(size).fill(agents.length ? 0 : NaN);
  const variance = new Float64Array(size).fill(agents.length ? 0 : NaN);
  for (const agent of agents) {
    for (let k = 0; k < size; k++) {
      const [own, spread] = believed(agent, k);
      mean[k]! += own / agents.length;
      variance[k]! += (spread + own * own) / agents.length;
    }
  }
  for (let k = 0; k < size; k++) variance[k] = Math.max(0, variance[k]! - mean[k]! ** 2);
  return { mean, variance };
}

export class Samples {
  private readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  belief(row: number, agents: readonly number[]): Belief {
    const { arrays, numAgents, size } = this.world;
    const place = (agent: number, k: number) => (row * numAgents + agent) * size + k;
    const found = mixture(size, agents, (agent, k) => [arrays.own_mean![place(agent, k)]!, arrays.own_variance![place(agent, k)]!]);
    const { count, one, messages } = this.world.header.samples!;
    if (one || (count === 1 && agents.length === 1)) found.variance.fill(NaN); // a single state tells no spread
    return { ...found, messages };
  }
}
