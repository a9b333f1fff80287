// The map of the world: a drawing for each kind of it, in a frame that follows the width of the window.

import { drawn, element, set } from "../dom";
import type { Frame } from "../inference";
import type { View } from "../view";

/** A drawing on the map's canvas, which is `width` × `height` pixels. */
export interface Drawing {
  /** Height for a width. */
  height(width: number): number;
  /** Makes all elements anew, for a new size. */
  lay(canvas: SVGSVGElement, width: number, height: number): void;
  /** Shows a step. */
  show(frame: Frame, view: View): void;
  /** What the marks mean. */
  readonly legend: [mark: string, text: string][];
}

const MOST_HEIGHT = 520; // and more where the window is high
const BESIDE = 420; // pixels of a window that the map leaves to all else

export class MapPanel {
  readonly root: HTMLElement;
  private readonly drawing: Drawing;
  private readonly canvas = drawn("svg", { class: "map", role: "img" });
  private readonly place = element("div", { class: "map-place" });
  private width = 0;
  private last: [Frame, View] | null = null;

  constructor(drawing: Drawing) {
    this.drawing = drawing;
    this.place.append(this.canvas);
    const marks = drawing.legend.map(([mark, text]) => {
      const sample = drawn("svg", { class: "sample", width: 20, height: 20, "aria-hidden": "true" });
      sample.append(...SAMPLES[mark]!());
      return element("li", {}, sample, text);
    });
    this.root = element(
      "section",
      { class: "world", "aria-labelledby": "world" },
      element("h2", { id: "world" }, "The world, and what the team believes of it"),
      this.place,
      element("ul", { class: "legend" }, ...marks),
    );
    new ResizeObserver(() => this.lay()).observe(this.place);
  }

  update(frame: Frame, view: View): void {
    this.last = [frame, view];
    if (this.width === 0) this.lay();
    else this.drawing.show(frame, view);
    set(this.canvas, { "aria-label": `Map of step ${view.step + 1}; the table tells every feature` });
  }

  private lay(): void {
    const width = Math.floor(this.place.clientWidth);
    if (width === 0 || width === this.width || this.last === null) return;
    this.width = width;
    const most = Math.max(MOST_HEIGHT, window.innerHeight - BESIDE);
    const height = Math.min(most, Math.round(this.drawing.height(width)));
    set(this.canvas, { width, height, viewBox: `0 0 ${width} ${height}` });
    this.canvas.replaceChildren();
    this.drawing.lay(this.canvas, width, height);
    this.drawing.show(...this.last);
  }
}

/** A star of five points around a place. */
export function starPath(size: number, x: number, y: number): string {
  const points = Array.from({ length: 10 }, (_, corner) => {
    const radius = corner % 2 ? 0.42 * size : size;
    const angle = (corner * Math.PI) / 5;
    return `${(x + radius * Math.sin(angle)).toFixed(2)} ${(y - radius * Math.cos(angle)).toFixed(2)}`;
  });
  return `M${points.join("L")}Z`;
}

const at = (name: "path" | "circle" | "rect" | "line" | "ellipse", attributes: Record<string, string | number>) => () => [
  drawn(name, attributes),
];

const SAMPLES: Record<string, () => SVGElement[]> = {
  sensor: at("rect", { class: "sensor", x: 3, y: 3, width: 14, height: 14, rx: 3 }),
  chance: () => [
    drawn("circle", { class: "area", cx: 10, cy: 10, r: 8 }),
    drawn("circle", { class: "chance", cx: 10, cy: 10, r: 8, "fill-opacity": 0.8 }),
  ],
  target: at("path", { class: "target", d: starPath(8, 10, 10) }),
  missed: at("path", { class: "missed-mark", d: "M4 4L16 16M16 4L4 16" }),
  seen: at("line", { class: "link seen", x1: 1, x2: 19, y1: 10, y2: 10 }),
  message: at("path", { class: "message", d: "M2 5H18V15H2ZM2 5L10 11L18 5" }),
  doubt: at("path", { class: "doubt-mark", d: "M10 2L18 17H2Z" }),
  belief: at("circle", { class: "unit", cx: 10, cy: 10, r: 6 }),
  faint: at("circle", { class: "unit", "data-faint": "", cx: 10, cy: 10, r: 6 }),
  truth: at("path", { class: "truth", d: "M10 2L17 10L10 18L3 10Z" }),
  interval: at("ellipse", { class: "interval", cx: 10, cy: 10, rx: 9, ry: 6 }),
};
