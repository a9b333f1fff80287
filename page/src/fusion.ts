// Fusion in the browser: answers of the chosen agents are added up (`fuse.py` has the formulas).

import type { Numbers } from "./decode";
import type { Belief, World } from "./world";

const SMALLEST_FREQUENCY = 1e-6; // as in `answers.py`

export class Fusion {
  private readonly world: World;
  private readonly logits: Float64Array;
  private readonly kept: number;
  private readonly groupOf: Int32Array;

  constructor(world: World) {
    this.world = world;
    this.kept = world.header.answers!.kept || world.size;
    this.groupOf = new Int32Array(world.size).fill(-1);
    world.header.types.groups.forEach(([first, stop], group) => this.groupOf.fill(group, first, stop));
    this.logits = Float64Array.from(world.arrays.prior_mean as Float32Array, (mean, k) => {
      if (world.isNumber[k]) return 0;
      const frequency = Math.min(Math.max(mean, SMALLEST_FREQUENCY), 1 - SMALLEST_FREQUENCY);
      return Math.log(frequency) - (this.groupOf[k]! >= 0 ? 0 : Math.log1p(-frequency));
    });
  }

  /** What these agents say together at a step; who is not there says nothing. */
  belief(row: number, agents: readonly number[]): Belief {
    const present = agents.filter((agent) => this.world.isThere(row, agent));
    const { evidence, weight, precision } = this.sums(row, present);
    return { ...this.posterior(evidence, weight, precision), messages: present.length };
  }

  private sums(row: number, agents: readonly number[]) {
    const { arrays, size } = this.world;
    const found = { evidence: new Float64Array(size), weight: new Float64Array(size), precision: new Float64Array(size) };
    for (const agent of agents) {
      const first = (row * this.world.numAgents + agent) * this.kept;
      this.add(found.evidence, arrays.answer_evidence!, first);
      if (arrays.answer_weight) this.add(found.weight, arrays.answer_weight, first);
      if (arrays.answer_precision) this.add(found.precision, arrays.answer_precision, first);
    }
    for (const part of Object.values(found)) for (let k = 0; k < size; k++) part[k]! *= arrays.answer_unit![k]!;
    return found;
  }

  private add(sum: Float64Array, answers: Numbers, first: number): void {
    const place = this.world.arrays.answer_place;
    for (let slot = 0; slot < this.kept; slot++) sum[place ? place[first + slot]! : slot]! += answers[first + slot]!;
  }

  /** Mean and variance of each feature for sums of answers, scaled. */
  posterior(evidence: Float64Array, weight: Float64Array, precision: Float64Array): Omit<Belief, "messages"> {
    const { arrays, isNumber, size } = this.world;
    const mean = new Float64Array(size);
    const variance = new Float64Array(size);
    for (let k = 0; k < size; k++) {
      if (isNumber[k]) mean[k] = arrays.prior_mean![k]! + evidence[k]! / (arrays.prior_precision![k]! + weight[k]!);
      else if (this.groupOf[k]! < 0) mean[k] = 1 / (1 + Math.exp(-this.logits[k]! - evidence[k]!));
    }
    for (const [first, stop] of this.world.header.types.groups) this.softmax(mean, evidence, first, stop);
    for (let k = 0; k < size; k++) {
      variance[k] = isNumber[k] ? 1 / (arrays.prior_precision![k]! + precision[k]!) : mean[k]! * (1 - mean[k]!);
    }
    return { mean, variance };
  }

  private softmax(mean: Float64Array, evidence: Float64Array, first: number, stop: number): void {
    let largest = -Infinity;
    for (let k = first; k < stop; k++) largest = Math.max(largest, this.logits[k]! + evidence[k]!);
    let total = 0;
    for (let k = first; k < stop; k++) total += mean[k] = Math.exp(this.logits[k]! + evidence[k]! - largest);
    for (let k = first; k < stop; k++) mean[k]! /= total;
  }
}
