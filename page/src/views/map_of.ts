// The map that a world has, if any.

import type { World } from "../world";
import { MapPanel } from "./map";
import { PositionDrawing } from "./positions";
import { SensorDrawing } from "./sensors";

export function mapOf(world: World, toggle: (agent: number) => void): MapPanel | null {
  const { map } = world.header;
  if (map?.kind === "sensors") return new MapPanel(new SensorDrawing(world, map, toggle));
  return map?.kind === "positions" ? new MapPanel(new PositionDrawing(world, map)) : null;
}
