// Small worlds whose answers are known.

import type { Header, Numbers } from "../src/decode";
import { World } from "../src/world";

const HEADER: Header = {
  title: "a team",
  agents: ["agent 1", "agent 2", "agent 3"],
  features: ["speed", "door", "red", "green"],
  types: { binary: [1], groups: [[2, 4]] },
  lengths: [1, 2],
  notes: [],
  answers: { bits: 32, kept: 0, changed: 0 },
  arrays: {},
};

/** Three agents, three steps in two episodes; a number, a binary feature, one of two. */
export function smallWorld(header: Partial<Header> = {}, arrays: Record<string, Numbers> = {}): World {
  const zeros = new Float32Array(3 * 3 * 4);
  return new World({
    header: { ...HEADER, ...header },
    arrays: {
      states: new Float32Array(12),
      low: new Float64Array([10, 0, 0, 0]),
      span: new Float64Array([20, 1, 1, 1]),
      there: new Uint8Array(9).fill(1),
      answer_evidence: zeros,
      answer_weight: zeros.slice(),
      answer_precision: zeros.slice(),
      answer_unit: new Float32Array([2, 1, 1, 1]),
      prior_mean: new Float32Array([0.5, 0.2, 0.6, 0.4]),
      prior_precision: new Float32Array([4, 1, 1, 1]),
      ...arrays,
    },
  });
}
