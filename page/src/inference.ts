// What is shown of one step: the truth, the belief after some hops, who has spoken, how far errors reach.

import { Composite, SWEEPS } from "./composite";
import type { Numbers } from "./decode";
import { Fusion } from "./fusion";
import { Network } from "./network";
import { Samples } from "./samples";
import { chosenOf, type By, type View } from "./view";
import type { Belief, World } from "./world";

export interface Frame {
  row: number;
  truth: Numbers;
  belief: Belief;
  half: Float64Array; // of each feature's interval, scaled; not a number where none is told
  present: number[]; // the chosen agents that are there, as they speak
  hops: number; // made so far
  allHops: number;
  speaker: number | null; // who spoke last
  before: number | null; // and who before
}

export const WORDS: Record<By, string> = {
  fusion: "fusion: each agent answers once, and answers add up",
  composite: `composite diffusion: messages go round ${SWEEPS} times`,
  samples: "each agent infers by itself; the chosen agents' beliefs are averaged",
  told: "what each of them tells when it has heard the others",
};

const DEVIATIONS = 2; // half an interval's width, where errors were not measured

export class Inference {
  readonly ways: By[] = [];
  readonly composite: Composite | null = null;
  private readonly world: World;
  private readonly fusion: Fusion | null = null;
  private readonly samples: Samples | null = null;

  constructor(world: World) {
    this.world = world;
    if (world.header.answers) {
      this.fusion = new Fusion(world);
      this.ways.push("fusion");
    }
    if (world.header.network) {
      this.composite = new Composite(world, new Network(world));
      this.ways.push("composite");
    }
    if (world.header.samples) {
      this.samples = new Samples(world);
      this.ways.push("samples");
    }
    if (world.told) this.ways.push("told");
  }

  frame(view: View): Frame {
    const row = this.world.row(view.episode, view.step);
    const present = chosenOf(view).filter((agent) => this.world.isThere(row, agent));
    const allHops = this.allHops(view.by, present.length);
    const hops = Math.min(view.hops ?? allHops, allHops);
    const belief = this.belief(view.by, row, present, hops);
    const speaker = hops > 0 ? present[(hops - 1) % present.length]! : null;
    const before = hops > 1 ? present[(hops - 2) % present.length]! : null;
    const half = this.half(view.by, belief);
    return { row, truth: this.world.truth(row), belief, half, present, hops, allHops, speaker, before };
  }

  /** The belief at the end of a step, for the plot over time. */
  last(view: View, step: number): Belief {
    return this.frame({ ...view, step, hops: null }).belief;
  }

  private allHops(by: By, present: number): number {
    return by === "composite" ? SWEEPS * present : by === "fusion" ? present : 0;
  }

  private belief(by: By, row: number, present: readonly number[], hops: number): Belief {
    if (by === "told") return this.world.told!.belief(row, present);
    if (by === "composite") return this.composite!.belief(row, present, hops);
    return by === "fusion" ? this.fusion!.belief(row, present.slice(0, hops)) : this.samples!.belief(row, present);
  }

  private half(by: By, belief: Belief): Float64Array {
    const { reach } = this.world.arrays;
    const size = this.world.size;
    const first = by === "fusion" && reach && belief.messages > 0 ? (belief.messages - 1) * size : null;
    return belief.variance.map((variance, k) => {
      if (!this.world.isNumber[k]) return NaN;
      return Math.sqrt(variance) * (first === null ? DEVIATIONS : reach![first + k]!);
    });
  }
}

/** Whether the estimate of a feature misses the truth: by more than a half, or outside of its interval. */
export function isWrong(frame: Frame, isNumber: boolean, k: number): boolean {
  const error = Math.abs(frame.belief.mean[k]! - frame.truth[k]!);
  return isNumber ? error > frame.half[k]! : error > 0.5;
}

/** Whether it can be said that the estimate of a feature misses: of numbers only where it says how far it may be off. */
export function isJudged(frame: Frame, isNumber: boolean, k: number): boolean {
  return !isNumber || !Number.isNaN(frame.half[k]!);
}
