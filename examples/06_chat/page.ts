// The page: it makes a key, is invited to one room, and talks there.
import { RpcError } from "@postern/rpc";
import type { Happening } from "./contracts.ts";
import { byId, element } from "./dom.ts";
import { type Guest, invite } from "./guest.ts";

byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(byId("name").value, byId("room").value).catch(tell);
});

async function enter(name: string, room: string): Promise<void> {
  byId("door").hidden = true;
  const guest = await invite(location.origin, { room, name });
  const { heard, say } = guest.enter(room);
  byId("line").addEventListener("submit", (event) => {
    event.preventDefault();
    say(byId("text").value);
    byId("text").value = "";
  });
  byId("cellar").addEventListener("click", () => trespass(guest).catch(tell));
  for await (const happening of heard) {
    byId("inside").hidden = false;
    show(happening);
  }
}

/** The right is for one room, whatever the page asks for. */
async function trespass(guest: Guest): Promise<void> {
  for await (const { did } of guest.enter("cellar").heard) byId("status").textContent = `In the cellar: ${did}`;
}

function show({ from, did, text }: Happening): void {
  const item = element("li");
  item.className = did;
  item.textContent = did === "say" ? `${from}: ${text}` : `${from} ${did}s`; // as text: who talks here writes no HTML
  byId("heard").append(item);
}

function tell(error: unknown): void {
  byId("status").textContent = error instanceof RpcError ? `${error.code}: ${error.message}` : String(error);
}
