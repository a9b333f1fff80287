// Fixed points in two features, in groups of those that lie together there.

import { expect, test } from "vitest";

import type { Point } from "../src/fixed_points";
import { groupsOf } from "../src/views/points";

test("points that lie together in the two features are one group, whatever their others", () => {
  const points = [[0, 0, 0], [0.1, 9, -0.2], [1, 0, 0], [0, 5, 0.3], [1.2, 7, 0.1]].map((y) => ({ y: Float32Array.from(y), starts: 1 }) as Point);
  expect(groupsOf(points, 0, 2)).toEqual([0, 0, 1, 2, 1]);
  expect(groupsOf(points, 0, 1)).toEqual([0, 1, 2, 3, 4]);
});
