// The episodes that a page shows: the truth, the types of features, who is there, and units.

import type { Content, Header, Numbers } from "./decode";
import { Told } from "./told";

/** Places of features that are neither binary nor one of k. */
export function numbersOf(header: Header): boolean[] {
  const isNumber = header.features.map(() => true);
  for (const place of header.types.binary) isNumber[place] = false;
  for (const [first, stop] of header.types.groups) isNumber.fill(false, first, stop);
  return isNumber;
}

export class World {
  readonly header: Header;
  readonly arrays: Record<string, Numbers>;
  readonly numAgents: number;
  readonly size: number;
  readonly isNumber: boolean[];
  readonly firsts: number[] = [];
  readonly told: Told | null; // by the agents of a live team

  constructor({ header, arrays }: Content) {
    this.header = header;
    this.arrays = arrays;
    this.numAgents = header.agents.length;
    this.size = header.features.length;
    this.isNumber = numbersOf(header);
    this.told = header.live?.kind === "team" ? new Told(header, arrays) : null;
    let first = 0;
    for (const length of header.lengths) {
      this.firsts.push(first);
      first += length;
    }
  }

  get numEpisodes(): number {
    return this.header.lengths.length;
  }

  /** Steps of an episode. */
  length(episode: number): number {
    return this.header.lengths[episode]!;
  }

  /** The row of all arrays that holds a step of an episode. */
  row(episode: number, step: number): number {
    return this.firsts[episode]! + step;
  }

  /** The episode and the step of a row. */
  placeOf(row: number): { episode: number; step: number } {
    const episode = this.firsts.findLastIndex((first) => first <= row);
    return { episode, step: row - this.firsts[episode]! };
  }

  /** The true state, scaled; not a number where it is not known. */
  truth(row: number): Numbers {
    return this.arrays.states!.subarray(row * this.size, (row + 1) * this.size);
  }

  /** Other numbers in the place of an array's, such as the true states of worlds that go on. */
  replace(name: "states" | "observed", numbers: readonly number[]): void {
    this.arrays[name]?.set(numbers);
  }

  /** Whether an agent is there; of a live team, whether it told an estimate. */
  isThere(row: number, agent: number): boolean {
    if (this.told) return this.told.knows(row, agent);
    return this.arrays.there === undefined || this.arrays.there[row * this.numAgents + agent] !== 0;
  }

  /** Why an agent is in doubt; null where it is not. */
  doubt(row: number, agent: number): string | null {
    if (this.told) return this.told.doubt(row, agent);
    const place = row * this.numAgents + agent;
    return this.arrays.doubted?.[place] ? this.header.reasons![this.arrays.doubt_place![place]!]! : null;
  }

  /** A scaled value of a feature in its own unit. */
  own(feature: number, value: number): number {
    return this.arrays.low![feature]! + value * this.arrays.span![feature]!;
  }

  /** A scaled width of a feature in its own unit. */
  ownWidth(feature: number, width: number): number {
    return width * this.arrays.span![feature]!;
  }
}

/** What is believed of a state, scaled. */
export interface Belief {
  mean: Float64Array;
  variance: Float64Array;
  messages: number;
}

/** √ mean (ŝ − s)² over the features that are known and told; not a number where there is none. */
export function rootMeanSquare(mean: Float64Array, truth: Numbers): number {
  let sum = 0;
  let count = 0;
  for (let k = 0; k < mean.length; k++) {
    const error = mean[k]! - truth[k]!;
    if (Number.isNaN(error)) continue;
    sum += error * error;
    count += 1;
  }
  return count ? Math.sqrt(sum / count) : NaN;
}

/** √ mean variance: the error that the team itself expects. */
export function expectedError(variance: Float64Array): number {
  return Math.sqrt(variance.reduce((sum, value) => sum + value, 0) / variance.length);
}
