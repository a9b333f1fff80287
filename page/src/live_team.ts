// A team that infers while one looks: hears what agents tell, and shows the newest step as long as nobody chose another.

import { element } from "./dom";
import { follow } from "./stream";
import type { StepTold, Told } from "./told";
import type { View } from "./view";
import { LivePanel } from "./views/live";
import type { World } from "./world";

export class LiveTeam {
  readonly panel: LivePanel;
  private readonly world: World;
  private readonly newest = element("input", { type: "checkbox", id: "newest" });
  private last = -1;

  constructor(world: World, told: Told, change: (changed: Partial<View>) => void) {
    this.world = world;
    this.newest.checked = !/step=/.test(location.hash);
    this.newest.addEventListener("change", () => change(this.shown()));
    const label = element("label", { for: "newest" }, "Show the newest step");
    this.panel = new LivePanel(element("div", { class: "field" }, this.newest, label));
    const hear = {
      status: ({ text }: { text: string }) => this.panel.say(text),
      step: (step: StepTold) => {
        told.receive(step);
        this.last = Math.max(this.last, step.row);
        change(this.shown());
      },
      end: ({ text }: { text: string }) => this.panel.end(text),
    };
    follow(hear, (state) => this.panel.stands(state));
  }

  get follows(): boolean {
    return this.newest.checked;
  }

  /** Somebody chose a step. */
  stay(): void {
    this.newest.checked = false;
  }

  private shown(): Partial<View> {
    return this.follows && this.last >= 0 ? this.world.placeOf(this.last) : {};
  }
}
