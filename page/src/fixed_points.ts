// Fixed points of one agent's denoiser, and which of them starts in a plane end at (`fixed_points.py`).

import type { Context, Network } from "./network";

const MERGE_RADIUS = 0.05;
const RESTS = 1e-4;
const MOST_STEPS = 200;

export interface Point {
  y: Float32Array;
  starts: number;
}

/** The end of the flow from y, or null where it still moves after the last step. */
export function endOf(network: Network, context: Context, y: Float32Array): Float32Array | null {
  let now = y;
  for (let step = 0; step < MOST_STEPS; step++) {
    const next = network.denoise(context, now);
    if (distance(next, now) <= RESTS) return next;
    now = next;
  }
  return null;
}

/** The place of a point within the merge radius, or −1. */
export function placeOf(points: readonly Point[], y: Float32Array): number {
  return points.findIndex((point) => distance(point.y, y) <= MERGE_RADIUS);
}

/** Ends of flows from these starts, merged, those of most starts first; yields after each start. */
export function* search(
  network: Network,
  context: Context,
  starts: readonly Float32Array[],
): Generator<void, Point[], void> {
  const points: Point[] = [];
  for (const start of starts) {
    const end = endOf(network, context, start);
    if (end !== null) {
      const place = placeOf(points, end);
      if (place < 0) points.push({ y: end, starts: 1 });
      else points[place]!.starts += 1;
    }
    yield;
  }
  return points.sort((one, other) => other.starts - one.starts);
}

function distance(one: Float32Array, other: Float32Array): number {
  let sum = 0;
  for (let k = 0; k < one.length; k++) sum += (one[k]! - other[k]!) ** 2;
  return Math.sqrt(sum);
}
