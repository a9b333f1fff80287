import { expect, it } from "vitest";

import { Fusion } from "../src/fusion";
import { expectedError, rootMeanSquare } from "../src/world";
import { smallWorld } from "./worlds";

// answers of agents 0 and 2 in row 1, in units of [2, 1, 1, 1]
const first = 1 * 3 * 4;
const evidence = new Float32Array(36);
evidence.set([0.3, 1.2, 0.4, -0.4], first);
evidence.set([-0.1, -0.2, 0.1, 0.3], first + 8);
const weight = new Float32Array(36);
weight[first] = 1.5;
weight[first + 8] = 0.5;
const precision = new Float32Array(36);
precision[first] = 3;
precision[first + 8] = 1;
const ANSWERS = { answer_evidence: evidence, answer_weight: weight, answer_precision: precision };

it("adds answers up: numbers in information form, the others as log-odds", () => {
  const found = new Fusion(smallWorld({}, ANSWERS)).belief(1, [2, 0]);
  const odds = Math.log(0.2 / 0.8) + 1;
  const red = (0.6 * Math.exp(0.5)) / (0.6 * Math.exp(0.5) + 0.4 * Math.exp(-0.1));
  expect(found.mean[0]).toBeCloseTo(0.5 + (2 * 0.2) / (4 + 2 * 2), 6);
  expect(found.variance[0]).toBeCloseTo(1 / (4 + 2 * 4), 6);
  expect(found.mean[1]).toBeCloseTo(1 / (1 + Math.exp(-odds)), 6);
  expect(found.mean[2]).toBeCloseTo(red, 6);
  expect(found.mean[2]! + found.mean[3]!).toBeCloseTo(1, 12);
  expect(found.variance[2]).toBeCloseTo(red * (1 - red), 6);
  expect(found.messages).toBe(2);
});

it("says what the prior says where nobody takes part", () => {
  const found = new Fusion(smallWorld({}, ANSWERS)).belief(1, []);
  [0.5, 0.2, 0.6, 0.4].forEach((mean, k) => expect(found.mean[k]).toBeCloseTo(mean, 6));
  expect(found.variance[0]).toBeCloseTo(0.25, 6);
});

it("does not hear who is not there", () => {
  const there = new Uint8Array(9).fill(1);
  there[3 + 2] = 0;
  const world = smallWorld({}, { ...ANSWERS, there });
  const alone = new Fusion(world).belief(1, [0]);
  expect(new Fusion(world).belief(1, [0, 2])).toEqual(alone);
});

it("adds the largest weights to the features that they are of", () => {
  const place = new Uint16Array(18);
  const largest = new Float32Array(18);
  largest.set([0.4, 1], 6);
  place.set([0, 1], 6);
  const header = { answers: { bits: 16, kept: 2, changed: 0 } };
  const arrays = { answer_evidence: largest, answer_weight: new Float32Array(18), answer_precision: new Float32Array(18), answer_place: place };
  const found = new Fusion(smallWorld(header, arrays)).belief(1, [0]);
  expect(found.mean[0]).toBeCloseTo(0.5 + 0.8 / 4, 6);
  expect(found.mean[1]).toBeCloseTo(1 / (1 + 4 * Math.exp(-1)), 6);
});

it("measures errors of known features alone", () => {
  expect(rootMeanSquare(new Float64Array([1, 5, 2]), new Float32Array([0, NaN, 4]))).toBeCloseTo(Math.sqrt(2.5));
  expect(rootMeanSquare(new Float64Array([1]), new Float32Array([NaN]))).toBeNaN();
  expect(expectedError(new Float64Array([0.25, 0.75]))).toBeCloseTo(Math.sqrt(0.5));
});
