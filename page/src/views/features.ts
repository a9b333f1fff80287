// Every feature as a row: the truth, the team's estimate, how sure it is, and where it errs.

import { drawn, element, say, set } from "../dom";
import { asChance, number, percent, within } from "../format";
import { isWrong, type Frame } from "../inference";
import type { World } from "../world";

const WIDTH = 180;
const LATER = 120; // milliseconds, after which rows that are not in sight follow

interface Row {
  root: HTMLTableRowElement;
  bar: SVGRectElement;
  dot: SVGCircleElement;
  truthMark: SVGPathElement;
  truth: HTMLTableCellElement;
  estimate: HTMLTableCellElement;
  mark: HTMLElement;
}

export class FeaturesPanel {
  readonly root: HTMLElement;
  private readonly world: World;
  private readonly rows: Row[];
  private readonly places: Map<Element, number>;
  private readonly scroller = element("div", { class: "scroller", tabindex: 0, role: "region" });
  private frame: Frame | null = null;
  private later: number | undefined;
  private readonly inSight = new Set<number>();

  constructor(world: World) {
    this.world = world;
    this.rows = world.header.features.map((name) => rowOf(name));
    this.places = new Map(this.rows.map((row, place) => [row.root, place]));
    const level = world.header.intervals;
    const width = level ? `${percent(level.level)} interval` : "two claimed deviations";
    const bar = world.isNumber.includes(true) ? `; bar, of numbers: ${width}` : "";
    const columns = ["Feature", "Low–high", "Truth", "Estimate"].map((name) => element("th", { scope: "col" }, name));
    columns.push(element("th", { scope: "col" }, element("span", { class: "word" }, "Missed")));
    set(this.scroller, { "aria-label": "Every feature" });
    this.scroller.append(
      element(
        "table",
        { class: "features" },
        element("thead", {}, element("tr", {}, ...columns)),
        element("tbody", {}, ...this.rows.map((row) => row.root)),
      ),
    );
    const observer = new IntersectionObserver((entries) => this.noteRows(entries));
    for (const row of this.rows) observer.observe(row.root);
    this.root = element(
      "section",
      { class: "all-features", "aria-labelledby": "features" },
      element("h2", { id: "features" }, "Every feature"),
      element("p", { class: "hint" }, `Dot: the team's estimate${bar}; diamond: the truth.`),
      this.scroller,
    );
  }

  /** Rows in sight at once, all others when nothing has changed for a moment. */
  update(frame: Frame): void {
    this.frame = frame;
    this.refresh(this.inSight);
    window.clearTimeout(this.later);
    this.later = window.setTimeout(() => this.refresh(this.rows.keys()), LATER);
  }

  /** Notes which rows are in sight: asking for that at every step would cost a layout. */
  private noteRows(entries: IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of entries) {
      const place = this.places.get(target)!;
      if (!isIntersecting) this.inSight.delete(place);
      else this.inSight.add(place);
    }
    this.refresh(this.inSight);
  }

  private refresh(rows: Iterable<number>): void {
    if (this.frame === null) return;
    for (const k of rows) this.draw(this.rows[k]!, this.frame, k);
  }

  private draw(row: Row, frame: Frame, k: number): void {
    const isNumber = this.world.isNumber[k]!;
    const mean = frame.belief.mean[k]!;
    const truth = frame.truth[k]!;
    const half = isNumber ? frame.half[k]! : NaN;
    const wrong = isWrong(frame, isNumber, k);
    mark(row.dot, mean, { cx: place(mean) });
    mark(row.truthMark, truth, { transform: `translate(${place(truth)} 0)` });
    const [low, high] = [place(mean - half), place(mean + half)];
    const bar = Number.isFinite(half) && Number.isFinite(mean);
    set(row.bar, bar ? { x: low, width: Math.max(1, high - low), visibility: "visible" } : { visibility: "hidden" });
    say(row.truth, isNumber ? number(this.world.own(k, truth)) : Number.isNaN(truth) ? "–" : truth > 0.5 ? "yes" : "no");
    say(row.estimate, isNumber ? within(this.world.own(k, mean), this.world.ownWidth(k, half)) : percent(asChance(mean)));
    row.mark.hidden = !wrong;
    set(row.root, { "data-mean": mean, "data-variance": frame.belief.variance[k]!, "data-wrong": wrong });
  }
}

function rowOf(name: string): Row {
  const bar = drawn("rect", { class: "bar", y: 7, height: 8, rx: 2 });
  const dot = drawn("circle", { class: "dot", cy: 11, r: 5 });
  const truthMark = drawn("path", { class: "truth", d: "M0 2 L6 11 L0 20 L-6 11 Z" });
  const axis = drawn("line", { class: "axis", x1: place(0), x2: place(1), y1: 11, y2: 11 });
  const picture = drawn("svg", { width: WIDTH, height: 22, viewBox: `0 0 ${WIDTH} 22`, "aria-hidden": "true" }, axis, bar, truthMark, dot);
  const [truth, estimate] = [element("td"), element("td")];
  const mark = element("span", { class: "mark", hidden: true }, "✕", element("span", { class: "word" }, " missed"));
  const root = element(
    "tr",
    {},
    element("th", { scope: "row", title: name }, ...breakable(name)),
    element("td", { class: "picture" }, picture),
    truth,
    estimate,
    element("td", {}, mark),
  );
  return { root, bar, dot, truthMark, truth, estimate, mark };
}

/** A name that may go on in a second line after an underscore. */
function breakable(name: string): (Node | string)[] {
  return name.split(/(?<=_)/).flatMap((part, place) => (place ? [element("wbr"), part] : [part]));
}

/** Where a scaled value stands; what is far outside stands at the edge. */
function place(value: number): number {
  const inside = Math.max(-0.08, Math.min(1.08, value));
  return Math.round((0.1 + 0.8 * inside) * WIDTH * 10) / 10;
}

/** Shows a mark with these attributes, where its value is a number. */
function mark(target: Element, value: number, attributes: Record<string, string | number>): void {
  set(target, Number.isNaN(value) ? { visibility: "hidden" } : { ...attributes, visibility: "visible" });
}
