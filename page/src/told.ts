// What the agents of a live team told of each step, as the stream brings it: estimates in the state's own units, by name.

import type { Header, Numbers } from "./decode";
import { mixture } from "./samples";
import type { Belief } from "./world";

type Values = Record<string, number | null>;

export interface OneTold {
  agent: number;
  mean?: Values;
  deviation?: Values;
  participants?: number[];
  verdict?: { accepted: boolean; reason: string };
  nothing?: string;
  bytes: number;
  messages: number;
  late: number;
  refused: Record<string, number>;
}

export interface StepTold {
  row: number;
  told: OneTold[];
}

export class Told {
  version = 0; // rises with what is told
  private readonly features: readonly string[];
  private readonly arrays: Record<string, Numbers>;
  private readonly rows: (OneTold | undefined)[][] = [];

  constructor(header: Header, arrays: Record<string, Numbers>) {
    this.features = header.features;
    this.arrays = arrays;
  }

  receive({ row, told }: StepTold): void {
    const agents: (OneTold | undefined)[] = [];
    for (const one of told) agents[one.agent] = one;
    this.rows[row] = agents;
    this.version += 1;
  }

  /** What an agent told of a step, if it did. */
  by(row: number, agent: number): OneTold | undefined {
    return this.rows[row]?.[agent];
  }

  /** Whether an agent told an estimate. */
  knows(row: number, agent: number): boolean {
    return this.by(row, agent)?.mean !== undefined;
  }

  /** Why an agent does not trust its own estimate; null where it does. */
  doubt(row: number, agent: number): string | null {
    const verdict = this.by(row, agent)?.verdict;
    return verdict === undefined || verdict.accepted ? null : `does not trust its own estimate: ${verdict.reason}`;
  }

  /** The estimates that these agents told, averaged; scaled. */
  belief(row: number, agents: readonly number[]): Belief {
    const messages = this.rows[row]?.reduce((sum, one) => sum + (one?.messages ?? 0), 0) ?? NaN;
    return { ...mixture(this.features.length, agents, (agent, k) => this.scaled(this.by(row, agent)!, k)), messages };
  }

  private scaled({ mean, deviation }: OneTold, k: number): [number, number] {
    const name = this.features[k]!;
    const span = this.arrays.span![k]!;
    const one = (value: number | null | undefined) => (typeof value === "number" ? value : NaN);
    const above = one(mean?.[name]) - this.arrays.low![k]!;
    const width = one(deviation?.[name]);
    return span > 0 ? [above / span, (width / span) ** 2] : [above, 0];
  }
}
