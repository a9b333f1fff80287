import { describe, expect, it } from "vitest";

import { addressOf, agentsOf, chosenOf, firstView, viewOf, type Limits } from "../src/view";

const LIMITS: Limits = { lengths: [3, 20, 5, 20], numAgents: 6, ways: ["fusion", "composite"] };

describe("the address", () => {
  it("names episode, step and agents, counted from 0, the agents as they speak", () => {
    const { view, faults } = viewOf("#episode=3&step=17&agents=5,1,2", LIMITS);
    expect(faults).toEqual([]);
    expect([view.episode, view.step, chosenOf(view)]).toEqual([3, 17, [5, 1, 2]]);
    expect(view.order).toEqual([5, 1, 2, 0, 3, 4]);
    expect(addressOf(view, LIMITS)).toBe("#episode=3&step=17&agents=5,1,2");
  });

  it("leaves out what is as usual, and says that nobody takes part", () => {
    expect(addressOf(firstView(LIMITS), LIMITS)).toBe("#episode=0&step=0");
    const { view } = viewOf("#agents=", LIMITS);
    expect(chosenOf(view)).toEqual([]);
    expect(addressOf(view, LIMITS)).toContain("agents=");
  });

  it("keeps how the team infers, and how far the message has come", () => {
    const address = "#episode=1&step=2&by=composite&hops=4";
    const { view } = viewOf(address, LIMITS);
    expect([view.by, view.hops]).toEqual(["composite", 4]);
    expect(addressOf(view, LIMITS)).toBe(address);
  });

  it.each(["#episode=4", "#episode=0&step=3", "#step=-1", "#step=x", "#agents=6", "#agents=1,1", "#agents=a", "#by=samples"])(
    "says what the page does not have: %s",
    (address) => {
      const { view, faults } = viewOf(address, LIMITS);
      expect(faults).toHaveLength(1);
      expect(view).toEqual(firstView(LIMITS));
    },
  );
});

it("reads agents that people count from 1", () => {
  expect(agentsOf(["3", "1"], 6, 1)).toEqual([2, 0]);
  expect(agentsOf(["0"], 6, 1)).toBeNull();
  expect(agentsOf(["7"], 6, 1)).toBeNull();
  expect(agentsOf([], 6, 1)).toEqual([]);
});
