// Fixed points of one agent's denoiser, and which of them starts in a plane end at (`fixed_points.py`).

import type { Context, Network } from "./network";

const MERGE_RADIUS = 0.05;
const RESTS = 1e-5; // as in `find_fixed_points`
const MOST_STEPS = 1000;

export interface Point {
  y: Float32Array;
  starts: number;
}

/** The end of the flow from y, or null where it still moves after the last step. */
export function endOf(network: Network, context: Context, y: Float32Array): Float32Array | null {
  const { end, rests } = flow(network, context, y, MOST_STEPS);
  return rests ? end : null;
}

/** y after so many calls of the denoiser, or fewer where it has come to rest. */
export function flow(network: Network, context: Context, y: Float32Array, most: number) {
  let end = y;
  for (let step = 0; step < most; step++) {
    const next = network.denoise(context, end);
    const rests = distance(next, end) <= RESTS;
    end = next;
    if (rests) return { end, rests };
  }
  return { end, rests: false };
}

/** The two features in which points differ most. */
export function widest(points: readonly Point[]): [number, number] {
  const size = points[0]?.y.length ?? 0;
  const spreads = Array.from({ length: size }, (_, k) => {
    const values = points.map((point) => point.y[k]!);
    return { k, spread: Math.max(...values) - Math.min(...values) };
  });
  spreads.sort((one, other) => other.spread - one.spread);
  return [spreads[0]?.k ?? 0, spreads[1]?.k ?? 0];
}

/** The point that is nearest to the end of a flow, which need not have come to rest. */
export function nearest(points: readonly Point[], y: Float32Array): number {
  const distances = points.map((point) => distance(point.y, y));
  return distances.indexOf(Math.min(...distances));
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
