import { expect, it } from "vitest";

import { count, number, percent, within } from "../src/format";

it.each([
  [0, "0"],
  [12.3456, "12.3"],
  [-0.5, "−0.5"],
  [120, "120"],
  [15200.4, "15200"],
  [1e-9, "1.00e−9"],
  [NaN, "–"],
  [-Infinity, "−∞"],
])("writes %f as %s", (value, text) => expect(number(value)).toBe(text));

it.each([
  [0.873, "87%"],
  [0.0042, "0.4%"],
  [0, "0%"],
  [0.0999, "10%"],
  [1e-5, "0%"],
  [NaN, "–"],
])("writes the share %f as %s", (value, text) => expect(percent(value)).toBe(text));

it.each([
  [0.2951, 0.1342, "0.30 ± 0.13"],
  [-0.00441, 0.035, "−0.004 ± 0.035"],
  [-0.0001, 0.0186, "0.000 ± 0.019"],
  [1520.4, 87.3, "1520 ± 87"],
  [3, 1e-9, "3 ± 1.00e−9"],
  [3, NaN, "3"],
  [3, 0, "3"],
  [NaN, 1, "–"],
])("writes %f within %f as %s", (value, half, text) => expect(within(value, half)).toBe(text));

it("counts", () => expect([count(1, "agent"), count(2, "agent")]).toEqual(["1 agent", "2 agents"]));
