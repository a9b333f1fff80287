import { expect, it } from "vitest";

import { Composite, SWEEPS } from "../src/composite";
import type { NetworkEntry } from "../src/decode";
import { endOf, nearest, search, widest } from "../src/fixed_points";
import { Network } from "../src/network";
import { smallWorld } from "./worlds";

// Two agents of one own column each, a state of two features, two hidden units.
function networkWorld(entry: Partial<NetworkEntry> = {}, arrays: Record<string, Float32Array> = {}) {
  const network: NetworkEntry = { width: 2, depth: 1, conditioned: 1, activation: "relu", ...entry };
  const header = { agents: ["agent 1", "agent 2"], features: ["x", "y"], types: { binary: [], groups: [] }, lengths: [1], network };
  return smallWorld(header as never, {
    there: new Uint8Array(2).fill(1),
    histories: new Float32Array([3, 5]),
    history_minimum: new Float32Array([1, 0, 0]),
    history_maximum: new Float32Array([5, 1, 1]),
    history_weights: new Float32Array([1, -1, 0.25, 0, 0, 0.5]), // columns × units
    biases: new Float32Array([0.1, 0.2]),
    weights_0: new Float32Array([1, 0, 0, 1]),
    weights_1: new Float32Array([0.5, 0, 0, 0.5]),
    output_bias: new Float32Array([0, 0.3]),
    starts: new Float32Array([1, 1, -4, 2]),
    ...arrays,
  });
}

const close = (found: ArrayLike<number>, wanted: number[]) =>
  wanted.forEach((value, place) => expect(found[place]).toBeCloseTo(value, 5));

it("computes biases from the scaled history and the agent's identity", () => {
  const network = new Network(networkWorld());
  close(network.condition(0, 0), [0.1 + 0.5 + 0.25, 0.2 - 0.5]); // (3 − 1)/4 = 0.5
  close(network.condition(0, 1), [0.1 + 1, 0.2 - 1 + 0.5]);
});

it("passes a state through the layers", () => {
  const network = new Network(networkWorld());
  close(network.denoise(Float32Array.of(0.5, -3), Float32Array.of(1, 2)), [0.75, 0.3]); // the second unit is silent
});

it.each([
  ["silu", 1 / (1 + Math.exp(-1))],
  ["gelu", 0.841192],
  ["tanh", Math.tanh(1)],
] as const)("knows the activation %s", (activation, wanted) => {
  const network = new Network(networkWorld({ activation }));
  close(network.denoise(Float32Array.of(0, 0), Float32Array.of(1, 0)), [0.5 * wanted, 0.3]);
});

it("lets layers that do not see the history keep their own biases", () => {
  const arrays = { biases: new Float32Array([0, 0, 1, 2]), weights_1: new Float32Array([1, 0, 0, 1]), weights_2: new Float32Array([1, 0, 0, 1]) };
  const network = new Network(networkWorld({ depth: 2, conditioned: 1 }, arrays));
  close(network.denoise(Float32Array.of(0, 0), Float32Array.of(1, 1)), [2, 3.3]);
});

it("hops from agent to agent in their order, and keeps the way", () => {
  const world = networkWorld();
  const composite = new Composite(world, new Network(world));
  const { network } = composite;
  const start = Float32Array.of(1, 1);
  const hop = (agent: number, y: Float32Array) => network.denoise(network.condition(0, agent), y);
  expect(composite.messages(0, [1, 0], 0)[0]).toEqual(start);
  expect(composite.messages(0, [1, 0], 2)[0]).toEqual(hop(0, hop(1, start)));
  expect(composite.messages(0, [0, 1], 1)[0]).toEqual(hop(0, start));
  expect(composite.hops(0, [0, 1])).toBe(2 * SWEEPS);
  const { mean, variance } = composite.belief(0, [0, 1], 0);
  close(mean, [-1.5, 1.5]);
  close(variance, [6.25, 0.25]);
});

it("finds fixed points, and how many starts end at each", () => {
  // f(y) = (tanh(10 y_0), 0.3): three fixed points across, of which 0 is not stable
  const arrays = { weights_0: new Float32Array([10, 0, 0, 0]), weights_1: new Float32Array([1, 0, 0, 0]) };
  const network = new Network(networkWorld({ activation: "tanh" }, arrays));
  const context = new Float32Array(2);
  const starts = [0.2, 0.6, -0.3, 2].map((value) => Float32Array.of(value, 0));
  let step = search(network, context, starts);
  let next = step.next();
  while (!next.done) next = step.next();
  expect(next.value.map((point) => point.starts)).toEqual([3, 1]);
  close(next.value[0]!.y, [1, 0.3]);
  close(next.value[1]!.y, [-1, 0.3]);
  expect(nearest(next.value, Float32Array.of(-0.4, 0.3))).toBe(1);
  expect(widest(next.value)).toEqual([0, 1]);
});

it("says that a flow does not rest", () => {
  // f(y) = (−tanh(10 y_0), 0.3) goes to and fro
  const arrays = { weights_0: new Float32Array([10, 0, 0, 0]), weights_1: new Float32Array([-1, 0, 0, 0]) };
  const network = new Network(networkWorld({ activation: "tanh" }, arrays));
  expect(endOf(network, new Float32Array(2), Float32Array.of(1, 0))).toBeNull();
});
