// What all plots look like.

import type uPlot from "uplot";

const FONT = "12px system-ui, sans-serif";

/** A colour of the style, as it is now: light or dark. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function axes(): { axis: uPlot.Axis; labelled: uPlot.Axis } {
  const axis = { stroke: colour("ink"), grid: { stroke: colour("faint"), width: 1 }, ticks: { show: false }, font: FONT };
  return { axis, labelled: { ...axis, labelFont: FONT, labelSize: 18, size: 44 } };
}
