// What a live team told, scaled and averaged, in cases that can be worked out by hand.

import { expect, test } from "vitest";

import { Inference } from "../src/inference";
import { firstView } from "../src/view";
import type { OneTold } from "../src/told";
import { smallWorld } from "./worlds";

const NAMES = ["speed", "door", "red", "green"];

function one(agent: number, values: (number | null)[], more: Partial<OneTold> = {}): OneTold {
  const mean = Object.fromEntries(NAMES.map((name, k) => [name, values[k]!]));
  const deviation = Object.fromEntries(NAMES.map((name) => [name, 0.5]));
  return { agent, mean, deviation, participants: [agent], bytes: 10, messages: 2, late: 0, refused: {}, ...more };
}

function live() {
  const world = smallWorld({ answers: undefined, live: { kind: "team" } });
  world.told!.receive({ row: 1, told: [one(0, [20, 0.2, 1, 0]), one(2, [30, 0.6, 0, 1])] });
  return world;
}

test("estimates in the state's own units are scaled, and averaged with their scatter", () => {
  const { mean, variance, messages } = live().told!.belief(1, [0, 2]);
  expect([...mean].map((value) => +value.toFixed(6))).toEqual([0.75, 0.4, 0.5, 0.5]); // speed: 10 to 30
  expect(variance[0]).toBeCloseTo((0.5 / 20) ** 2 + 0.25 ** 2, 10);
  expect(variance[1]).toBeCloseTo(0.25 + 0.2 ** 2, 10);
  expect(messages).toBe(4);
});

test("who told nothing is not there, and takes no part", () => {
  const world = live();
  expect([0, 1, 2].map((agent) => world.isThere(1, agent))).toEqual([true, false, true]);
  expect(world.isThere(0, 0)).toBe(false);
  const inference = new Inference(world);
  expect(inference.ways).toEqual(["told"]);
  const limits = { lengths: world.header.lengths, numAgents: 3, ways: inference.ways };
  expect(inference.frame({ ...firstView(limits), episode: 1, step: 0 }).present).toEqual([0, 2]);
  const nothing = inference.frame(firstView(limits)).belief;
  expect([nothing.mean[0], nothing.messages]).toEqual([NaN, NaN]);
});

test("a later word about a step counts, and what is no number stays none", () => {
  const world = live();
  const before = world.told!.version;
  world.told!.receive({ row: 1, told: [one(0, [null, 0.2, 1, 0])] });
  expect(world.told!.version).toBeGreaterThan(before);
  expect(world.told!.belief(1, [0]).mean[0]).toBeNaN();
  expect(world.isThere(1, 2)).toBe(false);
});

test("an agent that says why it does not trust its estimate is in doubt", () => {
  const world = live();
  world.told!.receive({ row: 2, told: [one(1, [20, 0, 1, 0], { verdict: { accepted: false, reason: "too wide" } })] });
  expect(world.doubt(2, 1)).toContain("too wide");
  expect(world.doubt(1, 0)).toBeNull();
});

test("a feature that never changes is where its range is", () => {
  const world = smallWorld({ answers: undefined, live: { kind: "team" } }, { span: new Float64Array([0, 1, 1, 1]) });
  world.told!.receive({ row: 0, told: [one(0, [10, 0, 1, 0])] });
  expect(world.told!.belief(0, [0]).mean[0]).toBe(0);
});

test("rows are steps of episodes", () => {
  const world = smallWorld();
  expect([0, 1, 2].map((row) => world.placeOf(row))).toEqual([
    { episode: 0, step: 0 },
    { episode: 1, step: 0 },
    { episode: 1, step: 1 },
  ]);
});
