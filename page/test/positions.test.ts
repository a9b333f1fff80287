// Where names stand on a map of units.

import { expect, test } from "vitest";

import { beside, meet, type Box } from "../src/views/positions";

test("names of units at one place stand around it, and do not meet", () => {
  const taken: Box[] = [];
  const places = ["enemy 1", "ally 4", "enemy 10", "ally 1"].map((name) => beside([100, 100], name, taken));
  expect(places.map((place) => place["text-anchor"])).toEqual(["start", "end", "middle", "middle"]);
  expect(taken.some((one, place) => taken.slice(place + 1).some((other) => meet(one, other)))).toBe(false);
  expect(beside([100, 100], "one more", taken)).toMatchObject({ x: 109, "text-anchor": "start" });
});

test("a name does not stand on another unit's mark", () => {
  expect(beside([100, 100], "ally 1", [[120, 94, 132, 106]])).toMatchObject({ x: 91, "text-anchor": "end" });
});
