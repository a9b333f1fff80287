// Units whose positions are features of the state: where they are, where the team believes them, and how surely.

import type { Unit } from "../decode";
import { drawn, set } from "../dom";
import type { Frame } from "../inference";
import type { World } from "../world";
import type { Drawing } from "./map";

const NAMED = 24; // units that carry their names
const LINE = 11; // pixels that a name is high
const LETTER = 7.5; // and a letter wide, about
const MARK = 6; // half a mark

type Place = [number, number];
export type Box = [left: number, top: number, right: number, bottom: number];

interface Marks {
  truth: SVGPathElement;
  belief: SVGCircleElement;
  interval: SVGEllipseElement;
  error: SVGLineElement;
  name: SVGTextElement | null;
}

interface Range {
  low: [number, number];
  high: [number, number];
}

export class PositionDrawing implements Drawing {
  readonly legend: [string, string][];
  private readonly world: World;
  private readonly units: Unit[];
  private readonly down: boolean;
  private readonly range: Range;
  private marks: Marks[] = [];
  private unit = 1; // pixels
  private origin: [number, number] = [0, 0];

  constructor(world: World, map: { units: Unit[]; down: boolean }) {
    this.world = world;
    this.units = map.units;
    this.down = map.down;
    this.range = rangeOf(world, map.units);
    const level = world.header.intervals;
    const width = level ? `${Math.round(100 * level.level)}% interval in each direction` : "two claimed deviations";
    this.legend = [
      ["belief", "where the team believes a unit"],
      ["truth", "where it is, in truth; a line joins the two"],
      ["interval", `how sure the team is: ${width}`],
    ];
    if (map.units.some((unit) => unit.alive >= 0)) this.legend.push(["faint", "the team believes it dead"]);
  }

  height(width: number): number {
    const { low, high } = this.range;
    return (width * (high[1] - low[1])) / (high[0] - low[0]);
  }

  lay(canvas: SVGSVGElement, width: number, height: number): void {
    const { low, high } = this.range;
    this.unit = Math.min(width / (high[0] - low[0]), height / (high[1] - low[1]));
    this.origin = [(width - this.unit * (high[0] - low[0])) / 2, (height - this.unit * (high[1] - low[1])) / 2];
    const frame = { x: this.origin[0], y: this.origin[1], width: width - 2 * this.origin[0], height: height - 2 * this.origin[1] };
    canvas.append(drawn("rect", { class: "ground", ...frame }));
    this.marks = this.units.map((unit) => ({
      interval: drawn("ellipse", { class: "interval" }),
      error: drawn("line", { class: "apart" }),
      truth: drawn("path", { class: "truth", d: "M0 -7L6 0L0 7L-6 0Z" }),
      belief: drawn("circle", { class: "unit", r: 5.5 }),
      name: this.units.length <= NAMED ? drawn("text", { class: "name" }, unit.name) : null,
    }));
    const layers = ["interval", "error", "truth", "belief", "name"] as const;
    for (const layer of layers) canvas.append(...this.marks.flatMap((marks) => marks[layer] ?? []));
  }

  show(frame: Frame): void {
    const places = this.units.map((unit) => this.at(unit, frame.truth));
    const taken = places.map(([x, y]): Box => [x - MARK, y - MARK, x + MARK, y + MARK]);
    this.units.forEach((unit, place) => this.showUnit(unit, this.marks[place]!, frame, taken));
  }

  private showUnit(unit: Unit, marks: Marks, { belief, truth, half }: Frame, taken: Box[]): void {
    const here = this.at(unit, belief.mean);
    const there = this.at(unit, truth);
    const dead = unit.alive >= 0 && truth[unit.alive]! < 0.5;
    const reach = [unit.x, unit.y].map((k) => Math.abs(this.world.ownWidth(k, half[k]!)) * this.unit);
    const told = here.every(Number.isFinite);
    const known = there.every(Number.isFinite) && !dead;
    const sure = told && reach.every(Number.isFinite);
    const faint = unit.alive >= 0 && belief.mean[unit.alive]! < 0.5;
    set(marks.truth, visible(known, { transform: `translate(${there[0]} ${there[1]})` }));
    set(marks.belief, { ...visible(told, { cx: here[0], cy: here[1] }), "data-faint": faint });
    set(marks.interval, { ...visible(sure, { cx: here[0], cy: here[1], rx: reach[0]!, ry: reach[1]! }), "data-faint": faint });
    set(marks.error, visible(told && known, { x1: here[0], y1: here[1], x2: there[0], y2: there[1] }));
    if (marks.name) set(marks.name, visible(known, known ? beside(there, unit.name, taken) : {}));
  }

  private at(unit: Unit, values: ArrayLike<number>): [number, number] {
    const x = this.world.own(unit.x, values[unit.x]!);
    const y = this.world.own(unit.y, values[unit.y]!);
    const { low, high } = this.range;
    return [this.origin[0] + this.unit * (x - low[0]), this.origin[1] + this.unit * (this.down ? y - low[1] : high[1] - y)];
  }
}

/** Where a name stands: beside, above or below its mark, the first that is free of other marks and of names before it. */
export function beside([x, y]: Place, name: string, taken: Box[]): Record<string, number | string> {
  const wide = LETTER * name.length;
  const choices: [Place, string, number][] = [
    [[x + 9, y + 4], "start", x + 9],
    [[x - 9, y + 4], "end", x - 9 - wide],
    [[x, y - 11], "middle", x - wide / 2],
    [[x, y + 20], "middle", x - wide / 2],
  ];
  const boxes = choices.map(([place, , left]): Box => [left, place[1] - LINE, left + wide, place[1] + 3]);
  const free = boxes.findIndex((box) => !taken.some((other) => meet(box, other)));
  const [place, anchor] = choices[Math.max(0, free)]!;
  taken.push(boxes[Math.max(0, free)]!);
  return { x: place[0], y: place[1], "text-anchor": anchor };
}

export function meet(one: Box, other: Box): boolean {
  return one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
}

function visible(shown: boolean, attributes: Record<string, number | string>): Record<string, number | string> {
  return shown ? { ...attributes, visibility: "visible" } : { visibility: "hidden" };
}

/** The places of all units in all episodes, with a margin; the dead do not count. Their whole range where none is known. */
function rangeOf(world: World, units: Unit[]): Range {
  const low: [number, number] = [Infinity, Infinity];
  const high: [number, number] = [-Infinity, -Infinity];
  const rows = world.arrays.states!.length / world.size;
  if (world.arrays.states!.every(Number.isNaN)) {
    for (const unit of units) {
      [unit.x, unit.y].forEach((k, axis) => {
        low[axis] = Math.min(low[axis]!, world.own(k, 0));
        high[axis] = Math.max(high[axis]!, world.own(k, 1));
      });
    }
  }
  for (let row = 0; row < rows; row++) {
    const truth = world.truth(row);
    for (const unit of units) {
      if (unit.alive >= 0 && truth[unit.alive]! < 0.5) continue;
      [unit.x, unit.y].forEach((k, axis) => {
        const value = world.own(k, truth[k]!);
        if (Number.isFinite(value)) {
          low[axis] = Math.min(low[axis]!, value);
          high[axis] = Math.max(high[axis]!, value);
        }
      });
    }
  }
  const span = Math.max(high[0] - low[0], high[1] - low[1]);
  const margin = 0.08 * (Number.isFinite(span) && span > 0 ? span : 1);
  const middle = (axis: 0 | 1) => (Number.isFinite(low[axis]) ? (low[axis] + high[axis]) / 2 : 0);
  const half = (axis: 0 | 1) => Math.max(Number.isFinite(low[axis]) ? (high[axis] - low[axis]) / 2 : 0.5, 0.25 * (span || 1)) + margin;
  return {
    low: [middle(0) - half(0), middle(1) - half(1)],
    high: [middle(0) + half(0), middle(1) + half(1)],
  };
}
