// The events of a live page, from the server that it came from; who comes late, or again, gets what was told meanwhile.

type Hear = (data: never) => void;

/** Calls `hear` with what is told, by kind, and `stands` with whether the connection does, until the event "end". */
export function follow(hear: Record<string, Hear>, stands: (state: "open" | "lost" | "refused") => void): void {
  const source = new EventSource(`stream${location.search}`);
  for (const [kind, act] of Object.entries(hear)) {
    source.addEventListener(kind, (event) => {
      if (kind === "end") source.close();
      act(JSON.parse((event as MessageEvent<string>).data) as never);
    });
  }
  source.addEventListener("open", () => stands("open"));
  source.addEventListener("error", () => stands(source.readyState === EventSource.CLOSED ? "refused" : "lost"));
}
